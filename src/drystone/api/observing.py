"""What routes of observations take: a bulk in one of three formats, counted, hashed and spooled while it comes; which series
are asked for, and of what time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from annotated_types import Len
from fastapi import Depends, Query, Request
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.core.errors import Invalid
from drystone.core.spool import Spool
from drystone.core.text import Text
from drystone.http.times import moment
from drystone.http.upload import unless_slow
from drystone.observations import months, reading, rows
from drystone.observations.buckets import zone_of
from drystone.observations.reading import MOST_NAMES, Choice, Span
from drystone.observations.rows import Format, Rows
from drystone.resources import Resources

_FORMATS: dict[str, Format] = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "text/csv": "csv",
}
# JSON is in memory as a whole, the others line by line.
MOST_BYTES: dict[Format, int] = {"json": 8 << 20, "ndjson": 64 << 20, "csv": 64 << 20}
_Name = Annotated[Text, Len(1, rows.MAX_NAME)]


@dataclass(frozen=True)
class Bulk:
    """A body as received."""

    form: Format
    spool: Spool

    async def read(self, resources: Resources) -> Rows:
        """Its rows, read in a thread. Raises Invalid where it is not what its type says."""
        first = months.first_kept(resources.settings.observations.keep_months, datetime.now(UTC))
        oldest = rows.EARLIEST if first is None else datetime.combine(first, time.min, UTC)
        return await asyncio.to_thread(rows.read, self.spool.body, self.form, oldest=max(oldest, rows.EARLIEST))


@asynccontextmanager
async def receive(request: Request, resources: Resources) -> AsyncIterator[Bulk]:
    """The bulk as received; its spool is gone when the block ends.

    Raises Invalid: no such type, too large, too slow; Unavailable: no room on the disk.
    """
    form = _form(request)
    await resources.admission.check_disk()
    spool = Spool(resources.admission.spool_folder)
    try:
        async for part in unless_slow(request, resources.settings.receiving.idle_s):
            await spool.write(part)
            if spool.size_bytes > MOST_BYTES[form]:
                raise Invalid(
                    "observations.too_large",
                    f"A bulk may have up to {MOST_BYTES[form]:,} bytes as {form}.",
                    hint="send the rest in further requests; sending rows twice does no harm",
                    status=413,
                )
        await spool.finish()
        yield Bulk(form, spool)
    finally:
        spool.close()


def _form(request: Request) -> Format:
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    form = _FORMATS.get(media_type.strip().lower())
    if form is None:
        raise Invalid(
            "observations.unsupported_type",
            f"A bulk is no {media_type.strip()[:100] or 'body without a type'}.",
            hint=f"send Content-Type: {', '.join(_FORMATS)}",
            status=415,
        )
    charset = parameters.lower().replace('"', "").replace(" ", "").partition("charset=")[2].partition(";")[0]
    if charset not in ("", "utf-8", "utf8"):
        raise Invalid("request.bad_encoding", "A bulk is in UTF-8.", hint="convert it", status=415)
    return form


def get_choice(
    entity: Annotated[list[_Name], Query(max_length=MOST_NAMES, description="Keys or ids; may be given again.")] = [],  # noqa: B006  # nobody changes it
    metric: Annotated[
        list[_Name],
        Query(
            max_length=MOST_NAMES,
            description=f"`{rows.MENTIONS}` is told only where it is named: how often documents of a day mention the entity.",
        ),
    ] = [],  # noqa: B006  # nobody changes it
    source: Annotated[list[_Name], Query(max_length=MOST_NAMES)] = [],  # noqa: B006  # nobody changes it
) -> Choice:
    """Which series; without a parameter whatever it is."""
    return Choice(entity, metric, source)


ChoiceOf = Annotated[Choice, Depends(get_choice)]


From = Annotated[
    Text | None,
    Query(
        alias="from",
        description="A time, or an age such as 7d; without it: since there are observations.",
        examples=["2026-11-01T00:00:00Z"],
    ),
]
Until = Annotated[Text | None, Query(description="Up to; without it: as far as observations go.")]
Tz = Annotated[
    Text,
    Query(description="A time zone of the IANA database; times without one are of it.", examples=["Europe/Berlin"]),
]


def get_span(from_: From = None, until: Until = None) -> Span:
    """The time that is asked about."""
    return Span.of(moment("from", from_), moment("until", until))


def get_zoned_span(from_: From = None, until: Until = None, tz: Tz = "UTC") -> ZonedSpan:
    """The time that is asked about, and the zone that it is told in."""
    zone = zone_of(tz)
    span = Span.of(moment("from", from_, zone), moment("until", until, zone))
    return ZonedSpan(span, zone, opens=from_ is None, ends=until is None)


@dataclass(frozen=True)
class ZonedSpan:
    """A time, and the zone whose days and hours are meant. opens, ends: its start or end was not said."""

    span: Span
    zone: ZoneInfo
    opens: bool = False
    ends: bool = False

    async def observed(self, session: AsyncSession, caller: Principal, choice: Choice) -> Span:
        """The time, as far as there are observations where it was not said."""
        return await reading.observed(session, caller, choice, self.span, opens=self.opens, ends=self.ends)


SpanOf = Annotated[Span, Depends(get_span)]
ZonedSpanOf = Annotated[ZonedSpan, Depends(get_zoned_span)]


def described() -> dict[str, Any]:
    """OpenAPI's description of the body. Any row is heard: those that are wrong are told one by one."""
    row = rows.ROW.json_schema()
    row["properties"]["evidence"]["anyOf"][0] = row.pop("$defs")["EvidenceIn"]
    example = {
        "entity": "pump-7",
        "metric": "temperature",
        "observed_at": "2026-11-23T08:30:00Z",
        "value": 21.5,
        "unit": "°C",
    }
    text = {"type": "string", "description": "A row a line."}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "array", "items": {"anyOf": [row, {}]}, "maxItems": rows.MOST_ROWS},
                    "example": [example],
                },
                "application/x-ndjson": {"schema": text},
                "text/csv": {
                    "schema": {**text, "description": "With a header: " + ", ".join(rows.COLUMNS)},
                    "example": "entity,metric,observed_at,value\npump-7,temperature,2026-11-23T08:30:00Z,21.5\n",
                },
            },
        }
    }

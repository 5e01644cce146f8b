"""Tools that read observations: which series there are, the latest of each, raw rows, buckets side by side."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from annotated_types import Ge, Le, Len
from pydantic import BaseModel, Field
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.core import ids
from drystone.core.errors import Invalid
from drystone.core.numbers import MAX_BIGINT, WHOLE
from drystone.core.text import Text
from drystone.http.times import moment
from drystone.mcp.calls import Call
from drystone.mcp.tools import Takes, Untrusted, tool
from drystone.observations import adding, reading
from drystone.observations.buckets import Fill, zone_of
from drystone.observations.reading import After, AnyRow, AnySeries, Choice, Span
from drystone.observations.rows import MAX_NAME, microseconds
from drystone.observations.selects import Aggregate

# Values that buckets give at once: more are more than a model reads.
MOST_VALUES = 5000
_Name = Annotated[Text, Len(1, MAX_NAME)]
_Names = Annotated[list[_Name], Len(0, reading.MOST_NAMES)]
_Time = Annotated[Text, Len(1, 64)]
BucketLength = Annotated[
    Annotated[Text, Len(1, 32)], Field(description="As in PT15M, PT6H; of the calendar P1D, P1W, P1M, P3M, P1Y.")
]
Zone = Annotated[Annotated[Text, Len(1, 64)], Field(description="A time zone of the IANA database.")]


class SeriesChoice(Takes):
    """Which series; what is left out is whatever it is."""

    entities: _Names = Field([], description="Keys or ids.")
    metrics: _Names = Field([])
    sources: _Names = Field([])

    def choice(self) -> Choice:
        return Choice(self.entities, self.metrics, self.sources)


class SeriesQuery(SeriesChoice):
    """Which series, page by page."""

    limit: Annotated[int, Ge(1), Le(200), WHOLE] = 100
    cursor: str | None = Field(
        None, pattern=rf"^(\d{{1,15}}|{ids.PATTERN})$", description="next_cursor of the page before."
    )

    def after(self) -> After:
        if self.cursor is None:
            return After()
        return After(id=int(self.cursor)) if self.cursor.isdecimal() else After(entity_id=UUID(self.cursor))


class Series(BaseModel):
    """What one source says of one metric of one entity. first_at, last_at: null: nothing was observed."""

    id: int | None = Field(description="null: it is counted from mentions, and kept nowhere.")
    entity: str
    metric: str
    source: str
    unit: str | None
    first_at: datetime | None
    last_at: datetime | None


class SeriesPage(Untrusted):
    """One page of series, in the order they were made."""

    series: list[Series]
    next_cursor: str | None


@tool("List series")
async def list_series(call: Call, given: SeriesQuery) -> SeriesPage:
    """List what is observed of which entities, by whom, and from when to when."""
    async with call.transaction() as session:
        found = await reading.page_series(
            session, call.principal, given.choice(), after=given.after(), limit=given.limit + 1
        )
        shown = found[: given.limit]
        spans = await reading.spans(session, call.principal, shown)
    return SeriesPage(
        series=[
            Series(
                id=row.id,
                entity=row.entity,
                metric=row.metric,
                source=row.source,
                unit=row.unit,
                first_at=first_at,
                last_at=last_at,
            )
            for row, (first_at, last_at) in zip(shown, spans, strict=True)
        ],
        next_cursor=str(shown[-1].id or shown[-1].entity_id) if len(found) > given.limit else None,
    )


class Evidence(BaseModel):
    """Where a value was read: that stretch of the text of that version."""

    version_id: UUID
    start: int
    end: int


class Observation(BaseModel):
    """A value at a moment. evidence: null, too, where the key may not see the document."""

    entity: str
    metric: str
    source: str
    unit: str | None
    observed_at: datetime
    value: float
    attributes: dict[str, Any] | None
    evidence: Evidence | None


async def told(session: AsyncSession, principal: Principal, found: list[tuple[AnySeries, AnyRow]]) -> list[Observation]:
    """Series with a row of each, as they are shown to this caller."""
    return [
        Observation(
            entity=series.entity,
            metric=series.metric,
            source=series.source,
            unit=series.unit,
            observed_at=row.observed_at,
            value=row.value,
            attributes=row.attributes,
            evidence=evidence and _evidence(evidence),
        )
        for series, row, evidence in await reading.with_evidence(session, principal, found)
    ]


def _evidence(row: Row[Any]) -> Evidence:
    return Evidence(version_id=row.evidence_version_id, start=row.evidence_start, end=row.evidence_end)


class LatestQuery(SeriesChoice):
    """Of which series, and when."""

    as_of: _Time | None = Field(None, description="What was the newest then: a time, or how long ago (7d).")


class LatestObservations(Untrusted):
    """The newest observation of each series."""

    observations: list[Observation]


@tool("Latest observations")
async def latest_observations(call: Call, given: LatestQuery) -> LatestObservations:
    """Get the newest observation of each series that is chosen, or what was the newest at a time."""
    async with call.transaction() as session:
        found = await reading.latest(session, call.principal, given.choice(), moment("as_of", given.as_of))
        return LatestObservations(observations=await told(session, call.principal, found))


class ObservationsQuery(SeriesChoice):
    """Of which series, and of what time."""

    since: _Time | None = Field(None, description="From this time on, or an age such as 7d.")
    until: _Time | None = Field(None, description="Up to; without it: as far as observations go.")
    order: Literal["newest", "oldest"] = "newest"
    limit: Annotated[int, Ge(1), Le(500), WHOLE] = 100
    cursor: str | None = Field(None, pattern=r"^-?\d{1,18}\.\d{1,18}$", description="next_cursor of the page before.")


class Observations(Untrusted):
    """One page of observations."""

    observations: list[Observation]
    next_cursor: str | None


@tool("List observations")
async def list_observations(call: Call, given: ObservationsQuery) -> Observations:
    """List raw observations by time, of all series that are chosen. For days, averages and trends observation_buckets is shorter."""
    span = Span.of(moment("since", given.since), moment("until", given.until))
    async with call.transaction() as session:
        found = await reading.page_raw(
            session,
            call.principal,
            given.choice(),
            span,
            after=_after(given.cursor),
            newest_first=given.order == "newest",
            limit=given.limit + 1,
        )
        items = await told(session, call.principal, found[: given.limit])
    last = found[given.limit - 1][1] if len(found) > given.limit else None
    return Observations(
        observations=items,
        next_cursor=f"{microseconds(last.observed_at)}.{last.series_id}" if last is not None else None,
    )


def _after(cursor: str | None) -> tuple[datetime, int] | None:
    if cursor is None:
        return None
    moment_, _, series_id = cursor.partition(".")
    return adding.moment_of(max(min(int(moment_), 10**16), -(10**16))), min(int(series_id), MAX_BIGINT)


class BucketsQuery(SeriesChoice):
    """Of which series, of what time, and how."""

    since: _Time | None = Field(None, description="From this time on, or an age such as 90d.")
    until: _Time | None = Field(None, description="Up to; without it: as far as observations go.")
    tz: Zone = "UTC"
    bucket: BucketLength = "P1D"
    aggregate: Aggregate = "avg"
    fill: Fill = Field(
        "none",
        description="Where nothing was observed: left out (none), null, the value before, or on the line between.",
    )


class BucketLine(BaseModel):
    """One series. values: one for each of `times`; counts: how much was observed in each."""

    entity: str
    metric: str
    source: str
    unit: str | None
    values: list[float | None]
    counts: list[int]


class Buckets(Untrusted):
    """Series side by side, in the same buckets."""

    times: list[datetime] = Field(description="When each bucket begins.")
    series: list[BucketLine]


@tool("Observations in buckets")
async def observation_buckets(call: Call, given: BucketsQuery) -> Buckets:
    """Get series side by side in buckets of time: averages, extremes, sums, counts by hour, day, month or year.

    Buckets are whole: since and until are widened to their edges.
    """
    zone = zone_of(given.tz)
    span = Span.of(moment("since", given.since, zone), moment("until", given.until, zone))
    async with call.transaction() as session:
        table = await reading.table(
            session,
            call.principal,
            given.choice(),
            span,
            bucket=given.bucket,
            zone=zone,
            aggregates=[given.aggregate],
            fill=given.fill,
        )
    if (values := len(table.moments) * len(table.lines)) > MOST_VALUES:
        raise Invalid(
            "observations.too_many_values",
            f"These would be {values:,} values; {MOST_VALUES:,} are given at once.",
            hint="ask for longer buckets, a shorter time, or fewer series",
        )
    return Buckets(
        times=list(table.moments),
        series=[
            BucketLine(
                entity=line.series.entity,
                metric=line.series.metric,
                source=line.series.source,
                unit=line.series.unit,
                values=[None if value != value else value for value in line.values[given.aggregate].tolist()],
                counts=line.counts.astype(int).tolist(),
            )
            for line in table.lines
        ],
    )

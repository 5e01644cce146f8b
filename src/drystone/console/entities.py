"""An entity: what the catalogue and a profile said of it at a moment, what was measured of it, which passages are the evidence."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from annotated_types import Len
from fastapi import Request, Response
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.catalogue import queries, service
from drystone.catalogue.content import EntityContent
from drystone.console import charts, marking
from drystone.console.charts import Chart
from drystone.console.marking import Name, Piece
from drystone.console.pages import new_router, page
from drystone.console.visitors import Session, Visitor
from drystone.core.clock import utc_now
from drystone.core.errors import Invalid
from drystone.core.text import Text
from drystone.http.times import moment
from drystone.observations import overviews, reading
from drystone.observations.buckets import zone_of
from drystone.observations.overviews import Measured
from drystone.observations.reading import Choice, Span

router = new_router()

_PASSAGES, _HISTORY, _PROFILES = 20, 20, 200
# More are told in numbers only.
_MOST_CHARTS = 12
_Over = Literal["week", "month", "year", "decade"]
_SPANS: dict[_Over, tuple[timedelta, str]] = {
    "week": (timedelta(days=7), "PT1H"),
    "month": (timedelta(days=31), "P1D"),
    "year": (timedelta(days=365), "P1D"),
    "decade": (timedelta(days=3653), "P1M"),
}


@dataclass(frozen=True)
class ShownSeries:
    """What was measured, as a line up to the moment. chart: None: nothing in that span, or there are too many series.

    label: of the property that the metric is called after, else the metric.
    """

    measured: Measured
    label: str
    chart: Chart | None


@router.get("/entities/{key}")
async def get(
    request: Request,
    key: Text,
    visitor: Visitor,
    session: Session,
    at: Annotated[Text, Len(0, 40)] = "",
    profile: Text = "",
    over: _Over = "year",
    tz: Annotated[Text, Len(1, 64)] = "UTC",
) -> Response:
    """One entity as it was at a moment: `at` is a time or an age; without it, now."""
    zone = zone_of(tz)
    error = None
    try:
        then = moment("at", at.strip() or None, zone) or utc_now()
    except Invalid as exc:
        then, error = (
            utc_now(),
            {"message": f"“{at}” is neither an age nor a time. This is as of now.", "hint": exc.hint},
        )
    found = await overviews.of_entity(
        session, visitor, key, then, profile=profile or None, zone=zone, passages=_PASSAGES
    )
    now = await service.get(session, visitor, "entity", key)
    profiles = await service.page(session, visitor, "profile", queries.Choice(), after=None, limit=_PROFILES)
    outward, inward = await service.references(session, visitor, "entity", key)
    content = (found.entity or now).content
    assert isinstance(content, EntityContent)
    return page(
        request,
        "entity.html",
        visitor=visitor,
        status_code=200 if error is None else 422,
        error=error,
        entity=found.entity,
        key=now.key,
        content=content,
        names=sorted({name for names in content.aliases.values() for name in names}),
        definition=_written(content.schema_definition),
        profile=found.profile,
        profile_definition=_written(found.profile.definition) if found.profile and found.profile.definition else None,
        profiles=profiles,
        chosen_profile=profile,
        at=at,
        then=then.astimezone(UTC),
        over=over,
        tz=tz,
        spans=list(_SPANS),
        series=await _series(session, visitor, now.key, found.measured, then, over, zone),
        size=(charts.WIDTH, charts.HEIGHT),
        passages=[(row, _marked(row)) for row in found.passages],
        outward=outward,
        inward=inward,
        history=await service.history(session, visitor, "entity", key, before=None, limit=_HISTORY),
    )


async def _series(
    session: AsyncSession,
    visitor: Principal,
    key: str,
    measured: Sequence[Measured],
    then: datetime,
    over: _Over,
    zone: ZoneInfo,
) -> list[ShownSeries]:
    is_drawn = len(measured) <= _MOST_CHARTS
    labels = await _labels(session, visitor, {each.series.metric for each in measured}, then)
    return [
        ShownSeries(
            each,
            labels.get(each.series.metric, each.series.metric),
            await _chart(session, visitor, key, each, then, over, zone) if is_drawn else None,
        )
        for each in measured
    ]


async def _labels(
    session: AsyncSession, visitor: Principal, metrics: Collection[str], then: datetime
) -> dict[str, str]:
    """What the properties that metrics are called after were called at the moment, by metric."""
    at = await queries.revision_at(session, visitor.workspace_id, then)
    found = await queries.then(session, visitor.workspace_id, "entity", sorted(metrics), revision=at)
    contents = {view.key: view.content for view in found if isinstance(view.content, EntityContent)}
    return {key: content.label for key, content in contents.items() if content.type == "property"}


async def _chart(
    session: AsyncSession, visitor: Principal, key: str, measured: Measured, then: datetime, over: _Over, zone: ZoneInfo
) -> Chart | None:
    """The line of a series over the span that ends with the moment, or with the newest row before it."""
    if measured.latest is None:
        return None
    length, bucket = _SPANS[over]
    end = min(then, measured.latest.observed_at) + timedelta(microseconds=1)
    choice = Choice([key], [measured.series.metric], [measured.series.source])
    span = Span.of(end - length, end)
    table = await reading.table(
        session, visitor, choice, span, bucket=bucket, zone=zone, aggregates=["avg"], fill="null"
    )
    return next((charts.line(table.moments, line.values["avg"]) for line in table.lines), None)


def _written(definition: Any) -> str:
    return json.dumps(definition, indent=2, ensure_ascii=False) if definition else ""


def _marked(row: Row[Any]) -> list[Piece]:
    begin = row.start_offset
    words = [(start - begin, end - begin) for start, end in zip(row.starts, row.ends, strict=True)]
    return marking.pieces(marking.flowing(row.text, row.name), words, list[Name]())

"""Reading observations: which series there are, their rows, the latest of each, buckets, rates and moving averages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.core.errors import Invalid, NotFound, pointer_to
from drystone.observations import buckets, queries, selects
from drystone.observations.buckets import Edges, Fill
from drystone.observations.rows import EARLIEST, FURTHEST
from drystone.observations.selects import Aggregate

MOST_SERIES = 1000
MOST_NAMES = 200
MAX_WINDOW = 1000
Per = Literal["s", "m", "h", "d"]
_SECONDS: Mapping[Per, int] = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Choice:
    """Which series: of these entities (by key or id), metrics and sources; empty: whatever it is."""

    entities: Sequence[str] = ()
    metrics: Sequence[str] = ()
    sources: Sequence[str] = ()


@dataclass(frozen=True)
class Span:
    """A time from `start` up to `end`."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, start: datetime | None, end: datetime | None) -> Span:
        """None: as far as observations go. Raises Invalid where there is no time between them."""
        latest = datetime.now(UTC) + FURTHEST
        given = cls(max(start or EARLIEST, EARLIEST), min(end or latest, latest))
        if given.start >= given.end:
            raise Invalid(
                "observations.bad_span",
                f"Nothing lies from {given.start.isoformat()} up to {given.end.isoformat()}.",
                hint="`from` is earlier than `until`, and both are between 1900 and ten years from now",
                pointer=pointer_to("from"),
            )
        return given


@dataclass(frozen=True)
class Line:
    """One series in buckets: values with NaN where there is none, and how much was observed in each bucket."""

    series: Row[Any]
    values: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Table:
    """Series side by side: moments are when buckets begin, in the zone asked for; from_hours: what they were made of."""

    moments: Sequence[datetime]
    lines: Sequence[Line]
    from_hours: bool


async def page_series(
    session: AsyncSession, principal: Principal, choice: Choice, *, after: int, limit: int
) -> Sequence[Row[Any]]:
    """Series by id: id, entity, entity_id, metric, source, unit, created_at. Raises NotFound for an unknown entity."""
    principal.require("read")
    entity_ids = await _entity_ids(session, principal, choice.entities)
    return await selects.series(
        session,
        principal.workspace_id,
        entity_ids=entity_ids,
        metrics=choice.metrics or None,
        sources=choice.sources or None,
        after=after,
        limit=limit,
    )


async def _entity_ids(session: AsyncSession, principal: Principal, said: Sequence[str]) -> list[UUID] | None:
    if not said:
        return None
    found = await queries.find_entities(session, principal.workspace_id, set(said))
    if lacking := [each for each in said if each not in found]:
        raise NotFound(
            "entity.not_found",
            f"There is no entity {lacking[0][:200]!r} in the catalogue.",
            hint="GET /api/v1/entities lists those there are",
            pointer=pointer_to("entity"),
        )
    return list(found.values())


async def chosen(session: AsyncSession, principal: Principal, choice: Choice) -> dict[int, Row[Any]]:
    """All series that are chosen, by id, in the order of their names. Raises Invalid for more than MOST_SERIES."""
    rows = await page_series(session, principal, choice, after=0, limit=MOST_SERIES + 1)
    if len(rows) > MOST_SERIES:
        raise Invalid(
            "observations.too_many_series",
            f"That would be more than {MOST_SERIES} series.",
            hint="name entities, metrics or sources; GET /api/v1/series pages through all",
            pointer=pointer_to("entity"),
        )
    return {row.id: row for row in sorted(rows, key=lambda row: (row.entity, row.metric, row.source))}


async def page_raw(
    session: AsyncSession,
    principal: Principal,
    choice: Choice,
    span: Span,
    *,
    after: tuple[datetime, int] | None,
    newest_first: bool,
    limit: int,
) -> list[tuple[Row[Any], Row[Any]]]:
    """A page of raw rows by time, each with its series."""
    series = await chosen(session, principal, choice)
    found = await selects.raw(
        session, list(series), span.start, span.end, after=after, newest_first=newest_first, limit=limit
    )
    return [(series[row.series_id], row) for row in found]


async def latest(
    session: AsyncSession, principal: Principal, choice: Choice, as_of: datetime | None
) -> list[tuple[Row[Any], Row[Any]]]:
    """Of each series the newest row, or the one that was at a time; series that had none are left out."""
    series = await chosen(session, principal, choice)
    found = {row.series_id: row for row in await selects.latest(session, list(series), as_of)}
    return [(row, found[series_id]) for series_id, row in series.items() if series_id in found]


async def visible_versions(
    session: AsyncSession, principal: Principal, rows: Collection[Row[Any]]
) -> Collection[UUID] | None:
    """Of which versions a caller may be told as evidence; None: of all. A key of some collections: of theirs."""
    if principal.collection_ids is None:
        return None
    named = {row.evidence_version_id for row in rows if row.evidence_version_id is not None}
    return await queries.versions_there(session, sorted(named)) if named else set()


@dataclass(frozen=True)
class Rate:
    """The change since the observation before, in so much time; rate: None where there is none before."""

    series: Row[Any]
    row: Row[Any]
    rate: float | None


async def page_rates(
    session: AsyncSession,
    principal: Principal,
    choice: Choice,
    span: Span,
    *,
    per: Per,
    is_counter: bool,
    after: tuple[datetime, int] | None,
    limit: int,
) -> list[Rate]:
    """A page of rates by time. is_counter: a value below the one before began anew from nothing."""
    series = await chosen(session, principal, choice)
    found = await selects.raw(
        session, list(series), span.start, span.end, after=after, newest_first=False, with_previous=True, limit=limit
    )
    return [Rate(series[row.series_id], row, _rate(row, per, is_counter)) for row in found]


def _rate(row: Row[Any], per: Per, is_counter: bool) -> float | None:
    if row.previous_at is None:
        return None
    change = row.value - row.previous_value
    if is_counter and change < 0:
        change = row.value
    rate = float(change / ((row.observed_at - row.previous_at) / timedelta(seconds=_SECONDS[per])))
    return rate if np.isfinite(rate) else None


async def table(
    session: AsyncSession,
    principal: Principal,
    choice: Choice,
    span: Span,
    *,
    bucket: str,
    zone: ZoneInfo,
    aggregate: Aggregate,
    fill: Fill,
) -> Table:
    """Series in buckets, side by side. Whole buckets: from the one that the span begins in to the one that it ends in."""
    length = buckets.parse(bucket)
    series = await chosen(session, principal, choice)
    if not series:
        return Table([], [], False)
    edges = buckets.edges(length, zone, span.start, span.end, series=len(series))
    wanted: list[Aggregate] = ["sum"] if aggregate == "avg" else [aggregate]
    arrays = await _arrays(session, series, edges, wanted)
    moments = edges.moments[:-1]
    lines = []
    for series_id, row in series.items():
        counts, values = arrays[series_id]["count"], arrays[series_id][wanted[0]]
        if aggregate == "avg":
            with np.errstate(invalid="ignore", divide="ignore"):
                values = np.where(counts > 0, values / counts, np.nan)
        elif aggregate == "count":
            values = np.where(counts > 0, counts, np.nan)
        lines.append(Line(row, buckets.filled(values, moments, fill), counts))
    made = Table([moment.astimezone(zone) for moment in moments], lines, edges.is_of_hours)
    return _without_empty(made) if fill == "none" else made


async def moving_average(
    session: AsyncSession, principal: Principal, choice: Choice, span: Span, *, bucket: str, zone: ZoneInfo, window: int
) -> Table:
    """For each bucket the mean of all that was observed in it and the window - 1 before it."""
    length = buckets.parse(bucket)
    series = await chosen(session, principal, choice)
    if not series:
        return Table([], [], False)
    edges = buckets.edges(length, zone, span.start, span.end, before=window - 1, series=len(series))
    arrays = await _arrays(session, series, edges, ["sum"])
    lines = []
    for series_id, row in series.items():
        counts, sums = arrays[series_id]["count"], np.nan_to_num(arrays[series_id]["sum"])
        lines.append(Line(row, buckets.moving(sums, counts, window), counts[window - 1 :]))
    moments = [moment.astimezone(zone) for moment in edges.moments[window - 1 : -1]]
    return Table(moments, lines, edges.is_of_hours)


async def _arrays(
    session: AsyncSession, series: Collection[int], edges: Edges, aggregates: Sequence[Aggregate]
) -> dict[int, dict[str, np.ndarray]]:
    """Of each series, by place of the bucket: how much was observed, and the aggregates; NaN where nothing was."""
    names = [name for name in aggregates if name != "count"]
    made = {
        series_id: {"count": np.zeros(len(edges))} | {name: np.full(len(edges), np.nan) for name in names}
        for series_id in series
    }
    found = await selects.of_buckets(
        session, list(series), edges.moments, edges.step, aggregates, from_hours=edges.is_of_hours
    )
    for row in found:
        arrays = made[row.series_id]
        for name in ("count", *names):
            arrays[name][row.places] = row._mapping[name]
    return made


def _without_empty(given: Table) -> Table:
    """Only buckets in which any of the series was observed."""
    is_there = np.any([line.counts > 0 for line in given.lines], axis=0)
    lines = [Line(line.series, line.values[is_there], line.counts[is_there]) for line in given.lines]
    return Table(
        [moment for moment, there in zip(given.moments, is_there, strict=True) if there], lines, given.from_hours
    )

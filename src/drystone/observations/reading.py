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
from drystone.observations import buckets, mentioned, queries, selects
from drystone.observations.buckets import Edges, Fill
from drystone.observations.mentioned import Day, Mentioned
from drystone.observations.rows import EARLIEST, FURTHEST, MENTIONS, microseconds
from drystone.observations.selects import Aggregate

MOST_SERIES = 1000
MOST_NAMES = 200
MAX_WINDOW = 1000
Per = Literal["s", "m", "h", "d"]
MadeOf = Literal["hours", "raw", "mentions"]
_SECONDS: Mapping[Per, int] = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Choice:
    """Which series: of these entities (by key or id), metrics and sources; empty: whatever is kept."""

    entities: Sequence[str] = ()
    metrics: Sequence[str] = ()
    sources: Sequence[str] = ()

    @property
    def has_mentions(self) -> bool:
        """Whether those are meant that are counted from documents: only where they are named."""
        return MENTIONS in self.metrics and (not self.sources or mentioned.SOURCE in self.sources)


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


# What is observed at the end of a span lies within it, if the span goes on for so long.
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class After:
    """Behind which series a page begins: that of an id, or of an entity's mentions, which come after all of these."""

    id: int = 0
    entity_id: UUID | None = None


# id, entity, entity_id, metric, source, unit, created_at.
AnySeries = Row[Any] | Mentioned
# observed_at, value, attributes, evidence_….
AnyRow = Row[Any] | Day


@dataclass(frozen=True)
class Chosen:
    """Series that were asked for, each kind by what its rows name: kept by id, counted by number."""

    kept: dict[int, Row[Any]]
    counted: dict[int, Mentioned]

    @property
    def all(self) -> dict[int, AnySeries]:
        """In the order of their names."""
        both: dict[int, AnySeries] = {**self.kept, **self.counted}
        return dict(sorted(both.items(), key=lambda pair: (pair[1].entity, pair[1].metric, pair[1].source)))


@dataclass(frozen=True)
class Line:
    """One series in buckets: values by aggregate, NaN where there is none, and how much was observed in each bucket."""

    series: AnySeries
    values: Mapping[Aggregate, np.ndarray]
    counts: np.ndarray


@dataclass(frozen=True)
class Table:
    """Series side by side: moments are when buckets begin, in the zone asked for. made_of: those that are kept."""

    moments: Sequence[datetime]
    lines: Sequence[Line]
    made_of: MadeOf


async def page_series(
    session: AsyncSession, principal: Principal, choice: Choice, *, after: After, limit: int
) -> list[AnySeries]:
    """Series by id, then those of mentions. Raises NotFound for an unknown entity."""
    principal.require("read")
    entity_ids = await _entity_ids(session, principal, choice.entities)
    found: list[AnySeries] = []
    if after.entity_id is None:
        found += await selects.series(
            session,
            principal.workspace_id,
            entity_ids=entity_ids,
            metrics=choice.metrics or None,
            sources=choice.sources or None,
            after=after.id,
            limit=limit,
        )
    if choice.has_mentions and len(found) < limit:
        found += await mentioned.page(session, principal, entity_ids, after=after.entity_id, limit=limit - len(found))
    return found


async def spans(
    session: AsyncSession, principal: Principal, series: Sequence[AnySeries]
) -> list[tuple[datetime | None, datetime | None]]:
    """When each of these was first and last observed."""
    kept = await selects.spans(session, [each.id for each in series if each.id is not None])
    counted = await mentioned.spans(session, principal, [each for each in series if isinstance(each, Mentioned)])
    return [
        (kept.get(each.id) if each.id is not None else counted.get(each.entity_id)) or (None, None) for each in series
    ]


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


async def chosen(session: AsyncSession, principal: Principal, choice: Choice) -> Chosen:
    """All series that are chosen. Raises Invalid for more than MOST_SERIES."""
    found = await page_series(session, principal, choice, after=After(), limit=MOST_SERIES + 1)
    if len(found) > MOST_SERIES:
        raise Invalid(
            "observations.too_many_series",
            f"That would be more than {MOST_SERIES} series.",
            hint="name entities, metrics or sources; GET /api/v1/series pages through all",
            pointer=pointer_to("entity"),
        )
    counted = {each.number: each for each in found if isinstance(each, Mentioned)}
    return Chosen({each.id: each for each in found if not isinstance(each, Mentioned)}, counted)


async def page_raw(
    session: AsyncSession,
    principal: Principal,
    choice: Choice,
    span: Span,
    *,
    after: tuple[datetime, int] | None,
    newest_first: bool,
    with_previous: bool = False,
    limit: int,
) -> list[tuple[AnySeries, AnyRow]]:
    """A page of raw rows by time, each with its series. with_previous: and with the row before it."""
    series = await chosen(session, principal, choice)
    rows: list[AnyRow] = []
    rows += await selects.raw(
        session,
        list(series.kept),
        span.start,
        span.end,
        after=after,
        newest_first=newest_first,
        with_previous=with_previous,
        limit=limit,
    )
    rows += await mentioned.page_days(
        session,
        principal,
        list(series.counted.values()),
        span.start,
        span.end,
        after=after,
        newest_first=newest_first,
        limit=limit,
    )
    sign, by_id = -1 if newest_first else 1, series.all
    rows.sort(key=lambda row: (sign * microseconds(row.observed_at), row.series_id))
    return [(by_id[row.series_id], row) for row in rows[:limit]]


async def latest(
    session: AsyncSession, principal: Principal, choice: Choice, as_of: datetime | None
) -> list[tuple[AnySeries, AnyRow]]:
    """Of each series the newest row, or the one that was at a time; series that had none are left out."""
    series = await chosen(session, principal, choice)
    rows: list[AnyRow] = []
    rows += await selects.latest(session, list(series.kept), as_of)
    rows += await mentioned.latest(session, principal, list(series.counted.values()), as_of)
    found = {row.series_id: row for row in rows}
    return [(row, found[series_id]) for series_id, row in series.all.items() if series_id in found]


async def with_evidence(
    session: AsyncSession, principal: Principal, found: Sequence[tuple[AnySeries, AnyRow]]
) -> list[tuple[AnySeries, AnyRow, Row[Any] | None]]:
    """Series with a row of each, and that row once more where it names evidence that the caller may be told of.

    A key of some collections is told of versions of theirs.
    """
    seen: Collection[UUID] | None = None
    if principal.collection_ids is not None:
        named = {row.evidence_version_id for _, row in found if row.evidence_version_id is not None}
        seen = await queries.versions_there(session, sorted(named)) if named else ()

    def evidence(row: AnyRow) -> Row[Any] | None:
        if isinstance(row, Day) or row.evidence_version_id is None:
            return None
        return row if seen is None or row.evidence_version_id in seen else None

    return [(series, row, evidence(row)) for series, row in found]


@dataclass(frozen=True)
class Rate:
    """The change since the observation before, in so much time; rate: None where there is none before."""

    series: AnySeries
    row: AnyRow
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
    found = await page_raw(
        session, principal, choice, span, after=after, newest_first=False, with_previous=True, limit=limit
    )
    return [Rate(series, row, _rate(row, per, is_counter)) for series, row in found]


def _rate(row: AnyRow, per: Per, is_counter: bool) -> float | None:
    if row.previous_at is None or row.previous_value is None:
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
    aggregates: Sequence[Aggregate],
    fill: Fill,
) -> Table:
    """Series in buckets, side by side. Whole buckets: from the one that the span begins in to the one that it ends in."""
    length = buckets.parse(bucket)
    series = await chosen(session, principal, choice)
    if not series.all:
        return Table([], [], "raw")
    edges = buckets.edges(length, zone, span.start, span.end, series=len(series.all))
    arrays = await _arrays(session, principal, series, edges, zone, aggregates)
    moments = edges.moments[:-1]
    lines = []
    for series_id, row in series.all.items():
        of = arrays[series_id]
        values = {each: buckets.filled(_aggregated(each, of), moments, fill) for each in aggregates}
        lines.append(Line(row, values, of["count"]))
    made = Table([moment.astimezone(zone) for moment in moments], lines, _made_of(series, edges))
    return _without_empty(made) if fill == "none" else made


def _aggregated(aggregate: Aggregate, of: Mapping[str, np.ndarray]) -> np.ndarray:
    counts = of["count"]
    if aggregate == "avg":
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(counts > 0, of["sum"] / counts, np.nan)
    return np.where(counts > 0, counts, np.nan) if aggregate == "count" else of[aggregate]


async def moving_average(
    session: AsyncSession,
    principal: Principal,
    choice: Choice,
    span: Span,
    *,
    bucket: str,
    zone: ZoneInfo,
    window: int,
    empty_is_zero: bool = False,
) -> Table:
    """For each bucket the mean of all that was observed in it and the window - 1 before it.

    empty_is_zero: buckets in which nothing was observed count as one 0.
    """
    length = buckets.parse(bucket)
    series = await chosen(session, principal, choice)
    if not series.all:
        return Table([], [], "raw")
    edges = buckets.edges(length, zone, span.start, span.end, before=window - 1, series=len(series.all))
    arrays = await _arrays(session, principal, series, edges, zone, ["sum"])
    lines = []
    for series_id, row in series.all.items():
        counts, sums = arrays[series_id]["count"], np.nan_to_num(arrays[series_id]["sum"])
        means = buckets.moving(sums, counts, window, empty_is_zero=empty_is_zero)
        lines.append(Line(row, {"avg": means}, counts[window - 1 :]))
    moments = [moment.astimezone(zone) for moment in edges.moments[window - 1 : -1]]
    return Table(moments, lines, _made_of(series, edges))


def _made_of(series: Chosen, edges: Edges) -> MadeOf:
    if not series.kept:
        return "mentions"
    return "hours" if edges.is_of_hours else "raw"


async def _arrays(
    session: AsyncSession,
    principal: Principal,
    series: Chosen,
    edges: Edges,
    zone: ZoneInfo,
    aggregates: Sequence[Aggregate],
) -> dict[int, dict[str, np.ndarray]]:
    """Of each series, by place of the bucket: how much was observed, and the aggregates; NaN where nothing was.

    Instead of avg there is sum.
    """
    wanted: list[Aggregate] = list(dict.fromkeys("sum" if each == "avg" else each for each in aggregates))
    names = [name for name in wanted if name != "count"]
    made = {
        series_id: {"count": np.zeros(len(edges))} | {name: np.full(len(edges), np.nan) for name in names}
        for series_id in series.kept
    }
    found = await selects.of_buckets(
        session, list(series.kept), edges.moments, edges.step, wanted, from_hours=edges.is_of_hours
    )
    for row in found:
        arrays = made[row.series_id]
        for name in ("count", *names):
            arrays[name][row.places] = row._mapping[name]
    return made | await mentioned.arrays(session, principal, list(series.counted.values()), edges, zone)


def _without_empty(given: Table) -> Table:
    """Only buckets in which any of the series was observed."""
    is_there = np.any([line.counts > 0 for line in given.lines], axis=0)
    lines = [
        Line(line.series, {name: values[is_there] for name, values in line.values.items()}, line.counts[is_there])
        for line in given.lines
    ]
    return Table([moment for moment, there in zip(given.moments, is_there, strict=True) if there], lines, given.made_of)


async def observed(
    session: AsyncSession, principal: Principal, choice: Choice, span: Span, *, opens: bool, ends: bool
) -> Span:
    """A span whose start (opens) or end (ends) nobody has said goes as far as what is chosen was observed."""
    if not (opens or ends):
        return span
    series = list((await chosen(session, principal, choice)).all.values())
    times = [time for both in await spans(session, principal, series) for time in both if time is not None]
    start = max(span.start, min(times, default=datetime.now(UTC))) if opens else span.start
    end = min(span.end, max(times, default=start) + _INSTANT) if ends else span.end
    return Span(start, max(end, start + _INSTANT))

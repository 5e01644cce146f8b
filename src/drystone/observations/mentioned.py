"""The metric `mentions`: how often documents of a day mention an entity, counted when it is asked for (docs/adr/0043).

It is told where it is named, of what the caller reaches: nobody writes it, and no row of it is kept. A document's date is a
day of the calendar in every time zone; so its observation stands at the midnight of the zone that is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.mentions import queries
from drystone.mentions.queries import Within
from drystone.observations.buckets import Edges, first_day, midnight
from drystone.observations.rows import EARLIEST, FURTHEST, MENTIONS

# Who says so.
SOURCE = "documents"
# Above every id of a series, and of 18 digits.
_FIRST_NUMBER = 10**17
_NUMBER_BITS = 56


@dataclass(frozen=True)
class Mentioned:
    """An entity's mentions, as a series. It has no id; number: in its place where series are in order, or told apart."""

    entity_id: UUID
    entity: str
    created_at: datetime
    id: None = None
    metric: str = MENTIONS
    source: str = SOURCE
    unit: None = None

    @property
    def number(self) -> int:
        """The same each time, and another one than that of the next thousand, but for one chance in 10^11."""
        digest = hashlib.blake2b(self.entity_id.bytes, digest_size=8).digest()
        return _FIRST_NUMBER + (int.from_bytes(digest) >> (64 - _NUMBER_BITS))


@dataclass(frozen=True)
class Day:
    """One observation: what a raw row has, too. series_id: the number of its series."""

    series_id: int
    observed_at: datetime
    value: float
    attributes: dict[str, Any]
    previous_at: datetime | None = None
    previous_value: float | None = None
    evidence_version_id: None = None


async def page(
    session: AsyncSession, principal: Principal, entity_ids: Collection[UUID] | None, *, after: UUID | None, limit: int
) -> list[Mentioned]:
    """Series of these entities, or all, that any document within the caller's reach mentions, by the entity's id."""
    found = await queries.page_mentioned(
        session,
        principal.workspace_id,
        entity_ids=entity_ids,
        collection_ids=principal.collection_ids,
        after=after,
        limit=limit,
    )
    return [Mentioned(row.id, row.key, row.created_at) for row in found]


async def spans(
    session: AsyncSession, principal: Principal, series: Sequence[Mentioned]
) -> dict[UUID, tuple[datetime, datetime]]:
    """By entity when it was first and last mentioned."""
    if not series:
        return {}
    found = await queries.spans_of(session, _within(principal, series, EARLIEST, datetime.now(UTC) + FURTHEST))
    return {entity_id: (_moment(first), _moment(last)) for entity_id, (first, last) in found.items()}


async def page_days(
    session: AsyncSession,
    principal: Principal,
    series: Sequence[Mentioned],
    start: datetime,
    end: datetime,
    *,
    after: tuple[datetime, int] | None,
    newest_first: bool,
    limit: int,
) -> list[Day]:
    """A page of days by time, then by series, as raw rows are told."""
    if not series:
        return []
    if after is not None and newest_first:
        end = min(end, after[0] + timedelta(microseconds=1))
    elif after is not None:
        start = max(start, after[0])
    # Those of the day that the page before ended with come again, and of the last day here some may be lacking.
    found = await queries.page_days(
        session, _within(principal, series, start, end), newest_first=newest_first, limit=limit + 2 * len(series)
    )
    days = [_day(row, of) for row, of in _with_series(found, series)]
    if after is not None:
        days = [each for each in days if each.observed_at != after[0] or each.series_id > after[1]]
    return days


async def latest(
    session: AsyncSession, principal: Principal, series: Sequence[Mentioned], as_of: datetime | None
) -> list[Day]:
    """Of each the newest day, or that of a time."""
    if not series:
        return []
    furthest = datetime.now(UTC) + FURTHEST
    end = furthest if as_of is None else min(as_of, furthest) + timedelta(microseconds=1)
    found = await queries.newest_days(session, _within(principal, series, EARLIEST, end))
    return [_day(row, of) for row, of in _with_series(found, series)]


async def arrays(
    session: AsyncSession, principal: Principal, series: Sequence[Mentioned], edges: Edges, zone: ZoneInfo
) -> dict[int, dict[str, np.ndarray]]:
    """By number and bucket: of how many days it has mentions, and every aggregate of what these days have; NaN of none."""
    made = {each.number: _none(len(edges)) for each in series}
    if not series:
        return made
    start, end = max(edges.moments[0], EARLIEST), edges.moments[-1]
    if start >= end:
        return made
    found = await queries.all_days(session, _within(principal, series, start, end, zone))
    ends = np.array([_microseconds(edge) for edge in edges.moments])
    place_of: dict[date, int] = {}
    for row, of in _with_series(found, series):
        for day in row.days:
            if day not in place_of:
                place_of[day] = int(np.searchsorted(ends, _microseconds(midnight(day, zone)), side="right")) - 1
        places = np.array([place_of[day] for day in row.days], np.int64)
        _fill(made[of.number], places, np.array(row.mentions, np.float64))
    return made


def _none(count: int) -> dict[str, np.ndarray]:
    names = ("sum", "min", "max", "first", "last")
    return {"count": np.zeros(count)} | {name: np.full(count, np.nan) for name in names}


def _fill(arrays: Mapping[str, np.ndarray], places: np.ndarray, values: np.ndarray) -> None:
    """places, values: by day, so ascending."""
    there, starts, counts = np.unique(places, return_index=True, return_counts=True)
    arrays["count"][there] = counts
    arrays["sum"][there] = np.add.reduceat(values, starts)
    arrays["min"][there] = np.minimum.reduceat(values, starts)
    arrays["max"][there] = np.maximum.reduceat(values, starts)
    arrays["first"][there] = values[starts]
    arrays["last"][there] = values[starts + counts - 1]


def _within(
    principal: Principal, series: Sequence[Mentioned], start: datetime, end: datetime, zone: tzinfo = UTC
) -> Within:
    ids = [each.entity_id for each in series]
    return Within(ids, principal.collection_ids, first_day(start, zone), first_day(end, zone))


def _with_series(found: Sequence[Row[Any]], series: Sequence[Mentioned]) -> list[tuple[Row[Any], Mentioned]]:
    of_entity = {each.entity_id: each for each in series}
    return [(row, of_entity[row.entity_id]) for row in found]


def _day(row: Row[Any], of: Mentioned) -> Day:
    previous = getattr(row, "previous_day", None)
    return Day(
        of.number,
        _moment(row.day),
        float(row.mentions),
        {"documents": row.documents, "passages": row.passages},
        previous_at=None if previous is None else _moment(previous),
        previous_value=None if previous is None else float(row.previous_mentions),
    )


def _moment(day: date) -> datetime:
    return midnight(day, UTC)


def _microseconds(moment: datetime) -> int:
    return (moment - EARLIEST) // timedelta(microseconds=1)

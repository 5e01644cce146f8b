"""Statements that read observations. Each series is come to by its own way through the primary key of the months asked for.

`cross join lateral` keeps it so: a page of many series reads no more of each than a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

Aggregate = Literal["avg", "min", "max", "sum", "count", "first", "last"]


async def series(
    session: AsyncSession,
    workspace_id: UUID,
    *,
    entity_ids: Sequence[UUID] | None,
    metrics: Sequence[str] | None,
    sources: Sequence[str] | None,
    after: int = 0,
    limit: int,
) -> Sequence[Row[Any]]:
    """Series of entities that are not deleted, by id; None: whatever it is."""
    given = {
        "workspace_id": workspace_id,
        "entity_ids": None if entity_ids is None else list(entity_ids),
        "metrics": None if metrics is None else list(metrics),
        "sources": None if sources is None else list(sources),
        "after": after,
        "limit": limit,
    }
    return (await session.execute(_SERIES, given)).all()


async def spans(session: AsyncSession, ids: Sequence[int]) -> dict[int, tuple[datetime, datetime]]:
    """When each of these series was first and last observed; none of those that never were."""
    rows = await session.execute(_SPANS, {"ids": list(ids)})
    return {row.id: (row.first_at, row.last_at) for row in rows}


async def raw(
    session: AsyncSession,
    ids: Sequence[int],
    start: datetime,
    end: datetime,
    *,
    after: tuple[datetime, int] | None,
    newest_first: bool,
    with_previous: bool = False,
    limit: int,
) -> Sequence[Row[Any]]:
    """A page of raw rows by time, then by series. after: of the last row of the page before.

    with_previous: beside each row the one of its series before it, previous_at and previous_value, or None.
    """
    at, series_id = after or (end if newest_first else start, -1)
    given = {"ids": list(ids), "start": start, "end": end, "limit": limit, "at": at, "series_id": series_id}
    return (await session.execute(_RAW[newest_first, with_previous, after is not None], _used(given, after))).all()


def _used(given: dict[str, Any], after: object) -> dict[str, Any]:
    return {name: value for name, value in given.items() if after is not None or name not in ("at", "series_id")}


async def latest(session: AsyncSession, ids: Sequence[int], as_of: datetime | None) -> Sequence[Row[Any]]:
    """Of each of these series that has any, the newest row up to and with `as_of`, or of all."""
    given: dict[str, Any] = {"ids": list(ids)} | ({} if as_of is None else {"as_of": as_of})
    return (await session.execute(_LATEST if as_of is None else _LATEST_AS_OF, given)).all()


async def of_buckets(
    session: AsyncSession,
    ids: Sequence[int],
    moments: Sequence[datetime],
    step: timedelta | None,
    aggregates: Sequence[Aggregate],
    *,
    from_hours: bool,
) -> Sequence[Row[Any]]:
    """A row a series that was observed: series_id, and as lists, an element for each bucket that is not empty, its place
    (from 0), its count, and the aggregates by their names.

    moments: edges; the last one ends the last bucket. from_hours: they are all of whole hours.
    """
    given: dict[str, Any] = {"ids": list(ids), "start": moments[0], "end": moments[-1]}
    given |= {"edges": list(moments[:-1])} if step is None else {"step": step}
    is_hour = from_hours and step == timedelta(hours=1)
    statement = _buckets(tuple(aggregates), from_hours=from_hours, is_fixed=step is not None, is_hour=is_hour)
    return (await session.execute(statement, given)).all()


_SERIES = text("""
select s.id, s.entity_id, e.key as entity, s.metric, s.source, s.unit, s.created_at
from series s join entities e on e.id = s.entity_id and e.deleted_at is null
where s.workspace_id = :workspace_id and s.id > :after
  and (cast(:entity_ids as uuid[]) is null or s.entity_id = any(cast(:entity_ids as uuid[])))
  and (cast(:metrics as text[]) is null or s.metric = any(cast(:metrics as text[])))
  and (cast(:sources as text[]) is null or s.source = any(cast(:sources as text[])))
order by s.id
limit :limit
""")

_SPANS = text("""
select s.id, first.observed_at as first_at, last.observed_at as last_at
from unnest(cast(:ids as bigint[])) as s (id)
cross join lateral (select observed_at from observations where series_id = s.id order by observed_at limit 1) as first
cross join lateral (select observed_at from observations where series_id = s.id order by observed_at desc limit 1) as last
""")

_COLUMNS = """r.series_id, r.observed_at, r.value, r.attributes, r.evidence_version_id, r.evidence_start, r.evidence_end,
               r.evidence_sha256"""


_BEFORE = """
left join lateral (
    select p.observed_at as previous_at, p.value as previous_value from observations p
    where p.series_id = o.series_id and p.observed_at < o.observed_at order by p.observed_at desc limit 1
) as before on true"""


def _raw(newest_first: bool, with_previous: bool, goes_on: bool) -> TextClause:
    order, beyond = ("desc", "<") if newest_first else ("asc", ">")
    on = f"and r.observed_at {beyond}= :at and (r.observed_at {beyond} :at or s.id > :series_id)" if goes_on else ""
    return text(f"""
select o.*{", before.*" if with_previous else ""}
from (
    select page.* from unnest(cast(:ids as bigint[])) as s (id)
    cross join lateral (
        select {_COLUMNS} from observations r
        where r.series_id = s.id and r.observed_at >= :start and r.observed_at < :end {on}
        order by r.observed_at {order} limit :limit
    ) as page
    order by page.observed_at {order}, page.series_id limit :limit
) as o{_BEFORE if with_previous else ""}
order by o.observed_at {order}, o.series_id
""")


_RAW = {
    (newest_first, with_previous, goes_on): _raw(newest_first, with_previous, goes_on)
    for newest_first in (False, True)
    for with_previous in (False, True)
    for goes_on in (False, True)
}


def _latest(until: str) -> TextClause:
    return text(f"""
select newest.* from unnest(cast(:ids as bigint[])) as s (id)
cross join lateral (
    select {_COLUMNS} from observations r where r.series_id = s.id {until} order by r.observed_at desc limit 1
) as newest
order by newest.series_id
""")


_LATEST, _LATEST_AS_OF = _latest(""), _latest("and r.observed_at <= :as_of")

_OF_RAW = {
    "sum": "sum(value order by at)",
    "min": "min(value)",
    "max": "max(value)",
    "first": "(array_agg(value order by at))[1]",
    "last": "(array_agg(value order by at))[count(*)]",
    "count": "count(*)",
}
_OF_HOURS = {
    "sum": "sum(sum order by at)",
    "min": "min(min)",
    "max": "max(max)",
    "first": "(array_agg(first order by at))[1]",
    "last": "(array_agg(last order by at))[count(*)]",
    "count": "sum(count)",
}


@cache
def _buckets(aggregates: tuple[Aggregate, ...], *, from_hours: bool, is_fixed: bool, is_hour: bool) -> TextClause:
    """is_hour: buckets are the hours themselves."""
    of = _OF_HOURS if from_hours else _OF_RAW
    names = [each for each in aggregates if each != "count"]
    made = [f"cast({of['count']} as bigint) as count", *(f"{of[each]} as {each}" for each in names)]
    table, column = ("observation_hours", "hour") if from_hours else ("observations", "observed_at")
    start = "cast(:start as timestamptz)"
    begin = (
        f"date_bin(cast(:step as interval), at, {start})"
        if is_fixed
        else "width_bucket(at, cast(:edges as timestamptz[]))"
    )
    place = "begin - 1"
    if is_fixed:
        place = f"cast(extract(epoch from begin - {start}) / extract(epoch from cast(:step as interval)) as int)"
    columns = ["at as begin", "count", *names] if is_hour else [f"{begin} as begin", *made]
    return text(f"""
select series_id, array_agg({place}) as places{"".join(f", array_agg({name}) as {name}" for name in ("count", *names))}
from (
    select series_id, {", ".join(columns)}
    from (
        select r.*, r.{column} as at from {table} r
        where r.series_id = any(cast(:ids as bigint[])) and r.{column} >= :start and r.{column} < :end
    ) as r
    {"" if is_hour else "group by 1, 2"}
) as bucket
group by series_id
""")

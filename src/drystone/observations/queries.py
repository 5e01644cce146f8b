"""Statements of observations that write, and that find series. Arrays carry many rows; times are microseconds since 1970.

Joins with what stands in an array go through `lateral … limit 1` or `on conflict`, that is by the primary key whatever
PostgreSQL thinks of the array's length.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession


async def find_entities(session: AsyncSession, workspace_id: UUID, said: Collection[str]) -> dict[str, UUID]:
    """The entities that go by these keys or ids and are not deleted, as they were said."""
    ids = {each: its_id for each in said if (its_id := _as_id(each)) is not None}
    given = {"workspace_id": workspace_id, "keys": sorted(said), "ids": sorted(set(ids.values()))}
    rows = (await session.execute(_ENTITIES, given)).all()
    there = {row.id for row in rows}
    by_id = {each: its_id for each, its_id in ids.items() if its_id in there}
    return by_id | {row.key: row.id for row in rows if row.key in said}


def _as_id(said: str) -> UUID | None:
    try:
        return UUID(said)
    except ValueError:
        return None


async def versions_there(session: AsyncSession, ids: Sequence[UUID]) -> set[UUID]:
    """Those of these ids that are versions of documents which the caller reaches."""
    return set(await session.scalars(_VERSIONS, {"ids": list(ids)}))


async def ensure_series(
    session: AsyncSession, workspace_id: UUID, wanted: Mapping[tuple[UUID, str, str], str | None]
) -> dict[tuple[UUID, str, str], tuple[int, str | None]]:
    """Of each (entity, metric, source) its id and unit; what is missing is made, with the unit given.

    In one order for everybody, so that two who make the same ones wait for each other once.
    """
    keys = sorted(wanted, key=lambda key: (str(key[0]), key[1], key[2]))
    given = {
        "workspace_id": workspace_id,
        "entity_ids": [key[0] for key in keys],
        "metrics": [key[1] for key in keys],
        "sources": [key[2] for key in keys],
    }
    found = {
        (row.entity_id, row.metric, row.source): (row.id, row.unit) for row in await session.execute(_SERIES, given)
    }
    if len(found) < len(keys):
        await session.execute(_MAKE_SERIES, given | {"units": [wanted[key] for key in keys]})
        rows = await session.execute(_SERIES, given)
        found = {(row.entity_id, row.metric, row.source): (row.id, row.unit) for row in rows}
    return found


async def hold_series(session: AsyncSession, ids: Sequence[int]) -> None:
    """Let nobody else change what these series hold until this transaction ends."""
    await session.execute(_HOLD, {"ids": list(ids)})


async def add(session: AsyncSession, given: Mapping[str, Any], *, has_extras: bool, replaces: bool = False) -> int:
    """Add rows; those whose key is taken are left out, or replaced. How many were written."""
    statement = (_REPLACE if replaces else _ADD)[has_extras]
    return int((await session.execute(statement, dict(given))).scalar_one())


async def different(session: AsyncSession, given: Mapping[str, Any], *, has_extras: bool) -> list[int]:
    """The places (from 0) of those rows that are there with another content."""
    return list(await session.scalars(_DIFFERENT[has_extras], dict(given)))


async def add_hours(session: AsyncSession, given: Mapping[str, Any]) -> set[tuple[int, datetime]]:
    """Add the hours that these rows amount to, where there is none yet. Which were added: series, hour."""
    return {(row.series_id, row.hour) for row in await session.execute(_ADD_HOURS, dict(given))}


async def make_hours(session: AsyncSession, given: Mapping[str, Any]) -> None:
    """Make these hours anew of their raw rows, which are there."""
    await session.execute(_MAKE_HOURS, dict(given))


async def months_missing(session: AsyncSession, months: Sequence[date]) -> list[date]:
    """Those of these months that have no partition."""
    return list(await session.scalars(_MONTHS_MISSING, {"months": list(months)}))


async def make_months(session: AsyncSession, months: Sequence[date]) -> None:
    """Make the partitions of these months; those that are there already stay as they are."""
    await session.execute(_MAKE_MONTHS, {"months": list(months)})


async def months(session: AsyncSession) -> Sequence[Row[Any]]:
    """The months there are partitions of, in order: month, raw_bytes, hour_bytes."""
    return (await session.execute(_MONTHS)).all()


async def end_months(session: AsyncSession, first: date, *, is_detached: bool) -> list[date]:
    """Drop or detach the partitions of all months before `first`; which they were."""
    return list(await session.scalars(_END_MONTHS, {"first": first, "is_detached": is_detached}))


async def count(session: AsyncSession, ids: Sequence[int], start: datetime, end: datetime) -> int:
    """How many raw rows of these series there are from `start` up to `end`."""
    return int((await session.execute(_COUNT, {"ids": list(ids), "start": start, "end": end})).scalar_one())


async def delete(session: AsyncSession, ids: Sequence[int], start: datetime, end: datetime) -> int:
    """Remove the raw rows of these series from `start` up to `end`, and make the hours they were in anew; how many."""
    given = {"ids": list(ids), "start": start, "end": end}
    gone = int((await session.execute(_DELETE, given)).scalar_one())
    if gone:
        await session.execute(_DELETE_HOURS, given)
        await session.execute(_MAKE_EDGES, given)
    return gone


_ENTITIES = text("""
select id, key from entities
where workspace_id = :workspace_id and deleted_at is null and (key = any(:keys) or id = any(:ids))
""")

_VERSIONS = text("select id from versions where id = any(:ids)")

_WANTED_SERIES = """unnest(cast(:entity_ids as uuid[]), cast(:metrics as text[]), cast(:sources as text[]))"""

_SERIES = text(f"""
select s.id, s.entity_id, s.metric, s.source, s.unit
from {_WANTED_SERIES} as g (entity_id, metric, source)
cross join lateral (
    select * from series
    where workspace_id = :workspace_id and entity_id = g.entity_id and metric = g.metric and source = g.source
    limit 1
) as s
""")

_MAKE_SERIES = text("""
insert into series (workspace_id, entity_id, metric, source, unit)
select :workspace_id, g.*
from unnest(cast(:entity_ids as uuid[]), cast(:metrics as text[]), cast(:sources as text[]), cast(:units as text[])) as g
on conflict (workspace_id, entity_id, metric, source) do nothing
""")

_HOLD = text("""
select count(*) from (select id from series where id = any(cast(:ids as bigint[])) order by id for no key update) as held
""")

_AT = "timestamptz 'epoch' + g.at * interval '1 microsecond'"
_EXTRAS = ("attributes", "evidence_version_id", "evidence_start", "evidence_end", "evidence_sha256")
_CONTENT = ("value", *_EXTRAS)
_LIST = ", ".join(_CONTENT)


def _of(relation: str) -> str:
    return ", ".join(f"{relation}.{name}" for name in _CONTENT)


# Rows as they are given, as a relation g: most have a value and nothing else, and need three arrays only.
_ROWS = {
    False: """(
    select series_id, at, place, value, cast(null as jsonb) as attributes, cast(null as uuid) as evidence_version_id,
           cast(null as int) as evidence_start, cast(null as int) as evidence_end, cast(null as bytea) as evidence_sha256
    from unnest(cast(:series_ids as bigint[]), cast(:times as bigint[]), cast(:values as float8[]))
         with ordinality as plain (series_id, at, value, place)
) as g""",
    True: f"""unnest(cast(:series_ids as bigint[]), cast(:times as bigint[]), cast(:values as float8[]),
         cast(cast(:attributes as text[]) as jsonb[]), cast(:version_ids as uuid[]), cast(:starts as int[]),
         cast(:ends as int[]), cast(:quotes as bytea[]))
         with ordinality as g (series_id, at, {_LIST}, place)""",
}


def _insert(has_extras: bool, conflict: str) -> TextClause:
    return text(f"""
with written as (
    insert into observations (series_id, observed_at, workspace_id, {_LIST})
    select g.series_id, {_AT}, :workspace_id, {_of("g")} from {_ROWS[has_extras]}
    on conflict (series_id, observed_at) {conflict}
    returning 1
)
select count(*) from written
""")


_SET = ", ".join(f"{name} = excluded.{name}" for name in _CONTENT)
_ADD = {has_extras: _insert(has_extras, "do nothing") for has_extras in (False, True)}
_REPLACE = {has_extras: _insert(has_extras, f"do update set {_SET}") for has_extras in (False, True)}

_DIFFERENT = {
    has_extras: text(f"""
select g.place - 1
from {_ROWS[has_extras]}
cross join lateral (
    select {_LIST} from observations
    where series_id = g.series_id and observed_at = {_AT} and observed_at >= :low and observed_at < :high
    limit 1
) as o
where ({_of("o")}) is distinct from ({_of("g")})
order by 1
""")
    for has_extras in (False, True)
}

# In the order of time, so that sums are the same to the last digit whatever way PostgreSQL goes to the rows.
_AGGREGATES = """count(*) as count, sum(value order by observed_at) as sum, min(value) as min, max(value) as max,
       (array_agg(value order by observed_at))[1] as first,
       (array_agg(value order by observed_at))[count(*)] as last"""
_SET_HOUR = ", ".join(f"{name} = excluded.{name}" for name in ("count", "sum", "min", "max", "first", "last"))

_ADD_HOURS = text(f"""
insert into observation_hours (series_id, hour, workspace_id, count, sum, min, max, first, last)
select series_id, date_trunc('hour', observed_at, 'UTC'), :workspace_id, {_AGGREGATES}
from (select g.series_id, {_AT} as observed_at, g.value from {_ROWS[False]}) as given
group by 1, 2
on conflict (series_id, hour) do nothing
returning series_id, hour
""")

_MAKE_HOURS = text(f"""
insert into observation_hours (series_id, hour, workspace_id, count, sum, min, max, first, last)
select g.series_id, {_AT}, :workspace_id, made.*
from unnest(cast(:series_ids as bigint[]), cast(:times as bigint[])) as g (series_id, at)
cross join lateral (
    select {_AGGREGATES} from observations
    where series_id = g.series_id and observed_at >= {_AT} and observed_at < {_AT} + interval '1 hour'
      and observed_at >= :low and observed_at < :high
) as made
on conflict (series_id, hour) do update set {_SET_HOUR}
""")

_COUNT = text("""
select count(*) from observations
where series_id = any(cast(:ids as bigint[])) and observed_at >= :start and observed_at < :end
""")

_DELETE = text("""
with gone as (
    delete from observations
    where series_id = any(cast(:ids as bigint[])) and observed_at >= :start and observed_at < :end
    returning 1
)
select count(*) from gone
""")

_DELETE_HOURS = text("""
delete from observation_hours
where series_id = any(cast(:ids as bigint[]))
  and hour >= date_trunc('hour', cast(:start as timestamptz), 'UTC') and hour < :end
""")

# What is left of the first and the last hour; those between are empty. The hour that begins with `end` is none of them.
_MAKE_EDGES = text(f"""
insert into observation_hours (series_id, hour, workspace_id, count, sum, min, max, first, last)
select series_id, date_trunc('hour', observed_at, 'UTC'), workspace_id, {_AGGREGATES}
from observations
where series_id = any(cast(:ids as bigint[]))
  and (observed_at >= date_trunc('hour', cast(:start as timestamptz), 'UTC') and observed_at < :start
       or observed_at >= :end and observed_at < date_trunc('hour', cast(:end as timestamptz), 'UTC') + interval '1 hour'
          and date_trunc('hour', cast(:end as timestamptz), 'UTC') < :end)
group by 1, 2, 3
""")

_MONTHS_MISSING = text("""
select month from unnest(cast(:months as date[])) as month
where to_regclass('observations_' || to_char(month, 'YYYY_MM')) is null
order by 1
""")

_MAKE_MONTHS = text("select make_observation_month(month) from unnest(cast(:months as date[])) as month")

_MONTHS = text("select month, raw_bytes, hour_bytes from observation_months() order by month")

_END_MONTHS = text("select * from end_observation_months(cast(:first as date), cast(:is_detached as boolean))")

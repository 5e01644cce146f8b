"""Numbers that nobody counts and somebody knows: the queue and sizes from PostgreSQL, who is alive from Redis, the disk.

Read when the metrics are asked for, kept for some seconds, and never long waited for: a source that does not answer in time
is told as such (`drystone_reading_ok`), and what it would have said is left out.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from drystone import tables
from drystone.core import measures
from drystone.core.db import make_engine
from drystone.core.errors import DrystoneError
from drystone.core.logging import get_logger
from drystone.core.measures import Numbers, Values
from drystone.core.settings import Settings
from drystone.jobs import presence

# What several scrapers ask within these seconds is read once; sizes cost PostgreSQL a look at every file.
_KEPT_S, _SIZES_KEPT_S = 5.0, 60.0
# A scrape waits for no source longer.
_ANSWER_S = 2.0
# Of each kind and state; more is told as so many.
_MOST_JOBS = 100_000

log = get_logger("readings")


@dataclass
class _Source:
    """Where numbers come from, and what it said last."""

    read: Callable[[], Awaitable[Values]]
    kept_s: float
    values: Values = field(default_factory=dict)
    is_ok: bool = False
    read_at: float | None = None

    async def refresh(self, name: str) -> None:
        if self.read_at is not None and time.monotonic() - self.read_at < self.kept_s:
            return
        try:
            async with asyncio.timeout(_ANSWER_S):
                self.values, self.is_ok = await self.read(), True
        except (TimeoutError, DrystoneError, DBAPIError, RedisError, OSError) as exc:
            self.values, self.is_ok = {}, False
            log.warning("readings.failed", reading=name, error=repr(exc)[:300])
        self.read_at = time.monotonic()


class Readings:
    """One a process. A connection of its own: it must tell of the others when they are all in use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = make_engine(
            settings.database.url.get_secret_value(),
            pool_size=1,
            application_name="drystone-metrics",
            command_timeout_s=_ANSWER_S,
        )
        self._turn = asyncio.Lock()
        self._sources = {
            "queue": _Source(self._in_database(_queue), _KEPT_S),
            "sizes": _Source(self._in_database(_sizes), _SIZES_KEPT_S),
            "workers": _Source(self._workers, _KEPT_S),
            "disk": _Source(self._disk, _KEPT_S),
        }

    async def take(self) -> Values:
        """What all sources say, none older than a minute. Never raises because of them."""
        async with self._turn:
            for name, source in self._sources.items():
                await source.refresh(name)
        found: dict[measures.Reading, Any] = {}
        for source in self._sources.values():
            found |= source.values
        found[measures.READ_OK] = {(name,): float(source.is_ok) for name, source in self._sources.items()}
        return found

    async def aclose(self) -> None:
        await self._engine.dispose()

    def _in_database(self, read: Callable[[AsyncConnection], Awaitable[Values]]) -> Callable[[], Awaitable[Values]]:
        async def reading() -> Values:
            async with self._engine.connect() as connection:
                return await read(await connection.execution_options(isolation_level="AUTOCOMMIT"))

        return reading

    async def _workers(self) -> Values:
        async with presence.connect(self._settings.redis, timeout_s=_ANSWER_S) as redis:
            return {measures.WORKERS: {(): float(len(await presence.present(redis)))}}

    async def _disk(self) -> Values:
        return {measures.DISK_FREE: {(): await asyncio.to_thread(_free, self._settings.general.data_dir)}}


def _free(folder: Path) -> float:
    return float(shutil.disk_usage(folder).free)


async def _queue(connection: AsyncConnection) -> Values:
    rows = (await connection.execute(_QUEUE, {"most": _MOST_JOBS})).all()
    jobs: Numbers = {(measures.bounded("kind", row.kind), row.state): float(row.jobs) for row in rows}
    oldest: Numbers = {(measures.bounded("kind", row.kind),): float(row.oldest_s) for row in rows if row.state == "due"}
    leases = (await connection.execute(_LEASES)).one()
    return {
        measures.QUEUE_JOBS: jobs,
        measures.QUEUE_OLDEST: oldest,
        measures.LEASES: {("running",): float(leases.running), ("expired",): float(leases.expired)},
        measures.WEBHOOKS_DISABLED: {(): float((await connection.execute(_DISABLED)).scalar_one())},
    }


async def _sizes(connection: AsyncConnection) -> Values:
    rows = (await connection.execute(_TABLES, {"names": sorted(tables.metadata.tables)})).all()
    whole = (await connection.execute(_DATABASE)).one()
    live: Numbers = {(row.name, "live"): float(row.live) for row in rows}
    dead: Numbers = {(row.name, "dead"): float(row.dead) for row in rows}
    return {
        measures.DATABASE_BYTES: {(): float(whole.size_bytes)},
        measures.DATABASE_BACKENDS: {("open",): float(whole.backends), ("max",): float(whole.most)},
        measures.TABLE_BYTES: {(row.name,): float(row.size_bytes) for row in rows},
        measures.TABLE_ROWS: {**live, **dead},
    }


# What ended is in other indexes, and not counted: there may be millions.
_QUEUE = text("""
select kind, state, count(*) as jobs, coalesce(max(waited_s), 0) as oldest_s from (
    (select kind, case when run_after <= clock_timestamp() then 'due' else 'later' end as state,
            extract(epoch from clock_timestamp() - run_after) as waited_s
     from jobs where state = 'queued' order by run_after, id limit :most)
    union all
    (select kind, 'running', 0 from jobs where state = 'running' limit :most)
) as job
group by kind, state
""")

_LEASES = text("""
select count(*) filter (where lease_until >= clock_timestamp()) as running,
       count(*) filter (where lease_until < clock_timestamp()) as expired
from jobs where state = 'running'
""")

_DISABLED = text("select count(*) from webhooks where disabled_at is not null")

# The vectors of all models are one line: there is a table for each.
_TABLES = text("""
select case when relname ~ '^vectors_[0-9]+$' then 'vectors' else relname end as name,
       sum(pg_total_relation_size(relid)) as size_bytes, sum(n_live_tup) as live, sum(n_dead_tup) as dead
from pg_stat_user_tables
where schemaname = 'public' and (relname = any(:names) or relname ~ '^vectors_[0-9]+$')
group by 1
""")

_DATABASE = text("""
select pg_database_size(current_database()) as size_bytes,
       (select count(*) from pg_stat_activity where backend_type = 'client backend') as backends,
       cast(current_setting('max_connections') as int) as most
""")

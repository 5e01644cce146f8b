"""The sweep, in every worker's main process: gives back what was lost, offers what nobody took.

An advisory lock lets one sweep at a time, however many workers there are. No beat process.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from datetime import UTC, datetime

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import idempotency
from drystone.adapters.incoming import Incoming
from drystone.adapters.objects import Objects
from drystone.catalogue import drafts
from drystone.core import crash_points
from drystone.core.db import Sessions, make_engine, make_sessions, transaction
from drystone.core.errors import Unavailable
from drystone.core.logging import get_logger
from drystone.core.settings import Settings
from drystone.documents import batches, blobs, deletions, direct, kept_files, mentioning, part_uploads, scrub, terms
from drystone.documents.progress import tell_retrying
from drystone.jobs import events, presence, queries
from drystone.jobs import service as jobs
from drystone.jobs.broker import QUEUE, Nudger
from drystone.observations import months
from drystone.webhooks import sending

# A due job that was offered and not taken for this long is offered again; at once when Redis has forgotten its queue.
OFFER_AGAIN_S = 30.0
SCRUB_EVERY_S = 3600.0
MONTHS_EVERY_S = 3600.0

# Orphans are looked for this often at most; more often where their grace is short, so that none outlives it for long.
BLOBS_EVERY_S, BLOBS_PER_GRACE = 600.0, 6

log = get_logger("worker.sweep")


class Sweep:
    """Runs until `stop` is set, in the thread that calls it."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._redis_run_id: str | None = None
        self._blobs_every_s = min(BLOBS_EVERY_S, settings.worker.blob_grace_s / BLOBS_PER_GRACE)
        self._blobs_at = time.monotonic() + self._blobs_every_s
        self._scrub_at = time.monotonic() + SCRUB_EVERY_S
        self._months_at = time.monotonic()

    def run(self) -> None:
        """Look now, and then every `sweep_s` seconds."""
        nudger = Nudger(self._settings.redis)
        with asyncio.Runner() as runner:
            engine = make_engine(
                self._settings.database.url.get_secret_value(), pool_size=2, application_name="drystone-sweep"
            )
            sessions = make_sessions(engine)
            while not self._stop.is_set():
                try:
                    runner.run(self._once(sessions, nudger))
                except Unavailable as exc:
                    log.warning("sweep.unavailable", code=exc.code)
                except Exception:  # a sweep that fails is tried again; it must never end
                    log.exception("sweep.failed")
                self._stop.wait(self._settings.worker.sweep_s)
            runner.run(engine.dispose())
        nudger.close()

    async def _once(self, sessions: Sessions, nudger: Nudger) -> None:
        forgotten = await self._redis_forgot()
        async with transaction(sessions) as session:
            await release_of_the_dead(session)
            if await session.scalar(text("select pg_try_advisory_xact_lock(7355000)")):
                for row in await queries.return_expired(session):
                    log.warning("job.lease_expired", job_id=str(row.id), kind=row.kind, lost_tries=row.lost_tries)
                    await tell_retrying(session, row.kind, row.subject_id, job_id=str(row.id), reason="worker.lost")
                due = await queries.take_unoffered(session, older_than_s=0.5 if forgotten else OFFER_AGAIN_S, limit=500)
            else:
                due = []
        crash_points.reach("mid_sweep")
        for job_id in due:
            nudger.nudge(job_id)
        async with transaction(sessions) as session:
            await batches.settle_all(session)
        await self._export_deletions(sessions)
        if time.monotonic() > self._blobs_at:
            self._blobs_at = time.monotonic() + self._blobs_every_s
            async with transaction(sessions) as session:
                await idempotency.forget_expired(session)
            await _forget_the_old(sessions)
            await _expire_drafts(sessions)
            await _heal_mentions(sessions, nudger)
            await _expire(sessions, nudger)
            async with transaction(sessions) as session:
                await part_uploads.sweep(session)
            objects, grace_s = Objects.open_s3(self._settings.s3), self._settings.worker.blob_grace_s
            await blobs.sweep(sessions, objects, grace_s=grace_s)
            incoming = Incoming(objects, self._settings.s3)
            await direct.sweep(sessions, incoming, older_than_s=max(grace_s, direct.EXPIRES_S))
        if self._settings.receiving.scrub_days and time.monotonic() > self._scrub_at:
            self._scrub_at = time.monotonic() + SCRUB_EVERY_S
            async with transaction(sessions) as session:
                await scrub.schedule(session, nudger, days=self._settings.receiving.scrub_days)

        if time.monotonic() > self._months_at:
            self._months_at = time.monotonic() + MONTHS_EVERY_S
            await self._turn_months(sessions)

    async def _turn_months(self, sessions: Sessions) -> None:
        """Have the next months of observations, and end those that are too old."""
        settings, now = self._settings.observations, datetime.now(UTC)
        await months.make_ahead(sessions, now)
        if first := months.first_kept(settings.keep_months, now):
            await months.end(sessions, first, is_detached=settings.detach)

    async def _export_deletions(self, sessions: Sessions) -> None:
        try:
            await deletions.export(sessions, deletions.path_of(self._settings))
        except Unavailable as exc:  # the rest of the sweep must not wait for a full disk
            log.warning("sweep.deletions_not_exported", code=exc.code)

    async def _redis_forgot(self) -> bool:
        """Whether Redis started anew since the last look, or its queue is empty."""
        redis = Redis.from_url(
            self._settings.redis.broker_url.get_secret_value(), socket_timeout=5, socket_connect_timeout=2
        )
        try:
            async with redis:
                run_id = (await redis.info("server"))["run_id"]
                is_empty = await redis.llen(QUEUE) == 0
        except (RedisError, OSError):
            return False
        is_new = self._redis_run_id not in (None, run_id)
        self._redis_run_id = run_id
        return is_new or is_empty


async def _forget_the_old(sessions: Sessions) -> None:
    """Remove events and deliveries that nobody comes back for, some thousands at a time."""
    for sweep in (events.sweep, sending.sweep):
        more = True
        while more:
            async with transaction(sessions) as session:
                more = await sweep(session) > 0


async def _expire_drafts(sessions: Sessions) -> None:
    more = True
    while more:
        async with transaction(sessions) as session:
            more = await drafts.expire(session) > 0


async def _heal_mentions(sessions: Sessions, nudger: Nudger) -> None:
    async with transaction(sessions) as session:
        healed = await mentioning.heal(session, nudger)
    for workspace_id in healed:
        log.warning("mentions.begun_again", workspace_id=str(workspace_id))


async def _expire(sessions: Sessions, nudger: Nudger) -> None:
    """Delete files and collections whose time is over, some at a time."""
    for expire in (kept_files.expire, terms.expire):
        more = True
        while more:
            async with transaction(sessions) as session:
                more = await expire(session, nudger) > 0


async def release_of_the_dead(session: AsyncSession, *, vanished: bool = True) -> None:
    """Give back the jobs of processes of this host that no longer exist, without waiting for their leases.

    vanished: False when they were told to stop.
    """
    for worker in await jobs.workers_with_jobs(session, socket.gethostname()):
        if presence.is_dead(worker):
            released = await jobs.release_of_worker(session, worker, vanished=vanished)
            if vanished:
                log.warning("worker.vanished", worker=worker, jobs=released)

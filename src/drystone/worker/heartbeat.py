"""Extends the leases of the jobs in hand, from a thread and a connection of its own: nothing the job does delays it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from uuid import UUID

from drystone.core.db import Sessions, make_engine, make_sessions, transaction
from drystone.core.errors import Unavailable
from drystone.core.logging import get_logger
from drystone.core.settings import Settings
from drystone.jobs import queries
from drystone.jobs.queries import Claim

log = get_logger("worker.heartbeat")


class Heartbeat:
    """Beats for every job held; calls `lost` (from its thread) for one that is no longer ours."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._held: dict[UUID, tuple[int, Callable[[], object]]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def hold(self, claim: Claim, lost: Callable[[], object]) -> None:
        """Begin to beat for a job."""
        with self._lock:
            self._held[claim.job_id] = (claim.attempt, lost)

    def let_go(self, claim: Claim) -> None:
        """The job has ended."""
        with self._lock:
            self._held.pop(claim.job_id, None)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            engine = make_engine(
                self._settings.database.url.get_secret_value(),
                pool_size=1,
                application_name="drystone-heartbeat",
            )
            sessions = make_sessions(engine)
            while not self._stop.wait(self._settings.worker.heartbeat_s):
                with self._lock:
                    held = dict(self._held)
                if held:
                    runner.run(self._beat(sessions, held))
            runner.run(engine.dispose())

    async def _beat(self, sessions: Sessions, held: dict[UUID, tuple[int, Callable[[], object]]]) -> None:
        attempts = {job_id: attempt for job_id, (attempt, _) in held.items()}
        try:
            async with transaction(sessions) as session:
                still = await queries.heartbeat(session, attempts, lease_s=self._settings.worker.lease_s)
        except Unavailable:
            log.warning("worker.heartbeat_missed", jobs=len(held))
            return
        for job_id, (_, on_loss) in held.items():
            if job_id in still:
                continue
            with self._lock:
                is_current = self._held.pop(job_id, None) is not None
            if is_current:
                on_loss()

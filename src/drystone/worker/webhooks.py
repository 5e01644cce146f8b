"""The webhooks' sender, in every worker's main process: a thread, an event loop and connections of its own.

Whatever the servers of others do, no pool process waits for them. Webhooks that are slow wait for each other only: calls
to them never take more than half of the lanes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from uuid import UUID

from drystone.adapters.calling import Caller
from drystone.core import tracing
from drystone.core.db import Sessions, make_engine, make_sessions, transaction
from drystone.core.errors import Unavailable
from drystone.core.logging import bind, get_logger
from drystone.core.settings import Settings
from drystone.jobs import presence
from drystone.jobs import service as jobs
from drystone.webhooks import sending
from drystone.webhooks.sending import Sending

# Between two looks for new events and due deliveries.
LOOK_S = 1.0
# Calls at the same time: in all, to those that were slow at their last call, and to one webhook.
LANES, LANES_OF_SLOW, LANES_PER_WEBHOOK = 16, 8, 2
# A server that takes longer is slow.
SLOW_S = 1.0

log = get_logger("worker.webhooks")


class WebhookLane:
    """Runs until `stop` is set, in the thread that calls it."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._name = f"{presence.process_name()}"
        # Of each call under way: its webhook and when it began.
        self._calls: dict[UUID, tuple[UUID, float]] = {}
        self._slow: set[UUID] = set()

    def run(self) -> None:
        """Look now, and then every second; give back what is in hand at the end."""
        with asyncio.Runner() as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        engine = make_engine(
            self._settings.database.url.get_secret_value(), pool_size=2, application_name="drystone-webhooks"
        )
        sessions = make_sessions(engine)
        caller = Caller(allow_private=self._settings.webhooks.allow_private, timeout_s=sending.TIMEOUT_S)
        calls: set[asyncio.Task[None]] = set()
        while not self._stop.is_set():
            try:
                await self._look(sessions, caller, calls)
            except Unavailable as exc:
                log.warning("webhooks.unavailable", code=exc.code)
            except Exception:  # a look that fails is tried again; it must never end
                log.exception("webhooks.failed")
            await asyncio.to_thread(self._stop.wait, LOOK_S)
        await self._end(sessions, calls)
        await caller.aclose()
        await engine.dispose()

    async def _look(self, sessions: Sessions, caller: Caller, calls: set[asyncio.Task[None]]) -> None:
        await sending.dispatch(sessions)
        while not self._stop.is_set():
            while len(calls) < LANES and (found := await self._claim(sessions)):
                self._calls[found.claim.job_id] = found.webhook_id, time.monotonic()
                calls.add(asyncio.create_task(self._send(sessions, caller, found)))
            if not calls:
                return
            ended, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED, timeout=LOOK_S)
            calls.intersection_update(waiting)
            if not ended:
                return  # all are slow: new events are looked for meanwhile

    async def _claim(self, sessions: Sessions) -> Sending | None:
        async with transaction(sessions) as session:
            return await sending.claim_next(session, worker=self._name, busy=self._barred())

    def _barred(self) -> set[UUID]:
        """Webhooks that get no further call now."""
        now = time.monotonic()
        self._slow |= {webhook_id for webhook_id, began in self._calls.values() if now - began > SLOW_S}
        busy = Counter(webhook_id for webhook_id, _ in self._calls.values())
        full = {webhook_id for webhook_id, number in busy.items() if number >= LANES_PER_WEBHOOK}
        held_by_slow = sum(busy[webhook_id] for webhook_id in self._slow)
        return full | self._slow if held_by_slow >= LANES_OF_SLOW else full

    async def _send(self, sessions: Sessions, caller: Caller, found: Sending) -> None:
        bind(job_id=str(found.claim.job_id))
        try:
            with tracing.jobs(found.claim.kind, {str(found.claim.job_id): found.claim.traceparent}):
                await sending.send(sessions, caller, found)
        except (Unavailable, jobs.LostLease) as exc:
            log.warning("webhook.outcome_unwritten", job_id=str(found.claim.job_id), code=exc.code)
        except Exception:  # the edge: the lease ends by itself, and the call is made again
            log.exception("webhook.failed", job_id=str(found.claim.job_id))
        finally:
            webhook_id, began = self._calls.pop(found.claim.job_id)
            if time.monotonic() - began <= SLOW_S:
                self._slow.discard(webhook_id)

    async def _end(self, sessions: Sessions, calls: set[asyncio.Task[None]]) -> None:
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        try:
            async with transaction(sessions) as session:
                await jobs.release_of_worker(session, self._name)
        except Unavailable:
            pass  # PostgreSQL is down too: the leases end by themselves

"""One pool process: an event loop in a thread of its own, open resources, and lanes that take jobs from the ledger.

Celery's task only wakes it. Awake, it takes every due job it finds; idle, it looks by itself now and then, so that a
broker that is away makes work slower, not stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from uuid import UUID, uuid4

import uvloop
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.adapters.parsing import Parser, ParserDied
from drystone.core import crash_points, measures, tracing
from drystone.core.db import transaction
from drystone.core.errors import Conflict, Denied, DrystoneError, Invalid, NotFound, Unavailable
from drystone.core.logging import bind, bound, get_logger
from drystone.core.settings import Settings
from drystone.documents.ingest import Tools
from drystone.documents.models import INGEST
from drystone.documents.progress import tell_retrying
from drystone.documents.turns import Turns
from drystone.jobs import presence, queries
from drystone.jobs import service as jobs
from drystone.jobs.queries import Claim
from drystone.resources import open_resources
from drystone.worker.handlers import HANDLERS
from drystone.worker.heartbeat import Heartbeat

# Lanes of a process work side by side: while one uses the core, another waits for the database or the object store.
# Two take small jobs, several at once: those that have been due for longest, and some of each collection in turn.
# The third takes what is large, one at a time, and small jobs while there is none.
OLDEST, IN_TURNS, LARGE = "oldest", "in turns", "large"
# Small jobs taken at once, and what they may cost together, in bytes to read: a few seconds of embedding.
JOBS_AT_ONCE, LIGHT = 16, 32 * 1024
# One task works in the first two for at most this long; then it nudges again and ends: a shutdown never waits long. The
# third goes on by itself: a document of half an hour must not keep the process from hearing of small ones.
DRAIN_S = 2.0
# Tries of a job whose failure is a fault of ours, with backoff between them.
MAX_INTERNAL_TRIES = 3
# Tries of a job that is answered and refused, or answered with what cannot be used. Who is away is waited for.
MAX_REFUSED_TRIES = 6
_REFUSALS = frozenset({"embedding.bad_answer", "embedding.refused", "embedding.denied", "objects.corrupt"})

log = get_logger("worker.process")


class Process:
    """The working part of one pool process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._name = presence.process_name()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._heartbeat = Heartbeat(settings)
        self._stopping = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._in_hand: set[UUID] = set()
        self._large: asyncio.Task[None] | None = None
        self._is_unsure = False

    def start(self) -> None:
        """Open everything; returns when jobs can be taken. Raises what opening raised."""
        self._thread.start()
        self._started.result(timeout=60)
        self._heartbeat.start()

    def stop(self) -> None:
        """Take no more jobs and close; what is in hand is given back by the main process."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(timeout=2)
        self._heartbeat.stop()

    def drain(self, first: UUID | None) -> None:
        """Run this job, if it is still to be had, and then whatever else is small and due, for about DRAIN_S seconds."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._drain(first), self._loop).result()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main())
        except BaseException as exc:
            if not self._started.done():
                self._started.set_exception(exc)
            raise

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._busy = asyncio.Lock()
        bind(process=self._name)
        async with open_resources(self._settings, name="worker", searches=False) as resources:
            parsers = Parser(self._settings.parsing), Parser(self._settings.parsing)
            self._resources = resources
            small = Tools(
                sessions=resources.sessions,
                objects=resources.objects,
                embedders=resources.embedders,
                parser=parsers[0],
                nudger=resources.nudger,
                turns=Turns(),
                spool_folder=resources.admission.spool_folder,
                takes_large=False,
            )
            # A parser of its own: a file that takes its whole minute holds up no small ones.
            self._tools = {OLDEST: small, IN_TURNS: small, LARGE: replace(small, parser=parsers[1], takes_large=True)}
            self._started.set_result(None)
            background = [
                asyncio.create_task(self._say_alive()),
                asyncio.create_task(self._look_by_itself()),
            ]
            await self._stopping.wait()
            if self._large is not None:
                background.append(self._large)
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            for parser in parsers:
                await parser.aclose()

    async def _drain(self, first: UUID | None) -> None:
        async with self._busy:
            until = time.monotonic() + DRAIN_S
            if first is not None:
                await self._run_check(first)
            if self._large is None or self._large.done():
                self._large = asyncio.create_task(self._large_lane())
            more = await asyncio.gather(self._lane(OLDEST, until), self._lane(IN_TURNS, until))
        if any(more) and not self._stopping.is_set():
            self._resources.nudger.nudge(uuid4())  # nobody's id: it only wakes a worker

    async def _large_lane(self) -> None:
        try:
            await self._lane(LARGE, math.inf)
        except Exception:  # the edge: the next drain begins it anew
            log.exception("worker.lane_failed", lane=LARGE)

    async def _lane(self, lane: str, until: float) -> bool:
        """Take jobs until there are none or time is up; True when time was up."""
        while not self._stopping.is_set():
            try:
                claims = await self._claim(partial(self._claim_in_lane, lane=lane))
            except Unavailable:
                return False
            if not claims:
                return False
            await self._run_jobs(self._tools[lane], claims)
            if time.monotonic() > until:
                return True
        return False

    async def _run_check(self, job_id: UUID) -> None:
        with contextlib.suppress(Unavailable):
            if claims := await self._claim(partial(self._claim_check, job_id=job_id)):
                await self._run_jobs(self._tools[OLDEST], claims)

    async def _claim(self, take: Callable[[AsyncSession], Awaitable[list[Claim]]]) -> list[Claim]:
        async with self._claiming:
            try:
                async with transaction(self._resources.sessions) as session:
                    if self._is_unsure:
                        await jobs.release_of_worker(session, self._name, but=self._in_hand)
                    claims = await take(session)
            except Unavailable:
                self._is_unsure = True  # perhaps PostgreSQL gave us jobs, and died before it could say so
                raise
            self._is_unsure = False
            self._in_hand |= {claim.job_id for claim in claims}
            for claim in claims:
                measures.job_taken(claim.kind, claim.waited_s)
            return claims

    async def _claim_check(self, session: AsyncSession, job_id: UUID) -> list[Claim]:
        lease_s = self._settings.worker.lease_s
        claim = await queries.claim_check(session, job_id, worker=self._name, lease_s=lease_s)
        return [] if claim is None else [claim]

    async def _claim_in_lane(self, session: AsyncSession, lane: str) -> list[Claim]:
        lease_s = self._settings.worker.lease_s
        if lane == LARGE:
            large = await queries.claim_next(session, worker=self._name, lease_s=lease_s, heavier_than=LIGHT)
            if large is not None:
                return [large]
        claim_light = partial(
            queries.claim_light, session, worker=self._name, lease_s=lease_s, light=LIGHT, limit=JOBS_AT_ONCE
        )
        # With no collection waiting there may still be jobs that belong to none.
        return await claim_light(in_turns=lane == IN_TURNS) or (
            await claim_light(in_turns=False) if lane == IN_TURNS else []
        )

    async def _run_jobs(self, tools: Tools, claims: list[Claim]) -> None:
        """Run jobs to their ends. Stopped when all of them are lost; one lost among others is fenced when it is written."""
        task = asyncio.create_task(self._work(tools, claims))
        loop = asyncio.get_running_loop()
        left = {claim.job_id for claim in claims}

        def lose(job_id: UUID) -> None:
            left.discard(job_id)
            if not left:
                task.cancel()

        for claim in claims:
            self._heartbeat.hold(claim, lost=partial(loop.call_soon_threadsafe, lose, claim.job_id))
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            log.warning("job.lease_lost", job_ids=[str(claim.job_id) for claim in claims])
        finally:
            for claim in claims:
                self._in_hand.discard(claim.job_id)
                self._heartbeat.let_go(claim)

    async def _work(self, tools: Tools, claims: list[Claim]) -> None:
        bind(**_named(claims))
        given_up = [claim for claim in claims if claim.lost_tries >= jobs.MAX_LOST_TRIES]
        for claim in given_up:
            await self._end_badly(claim, _lost_too_often(claim))
        for kind in dict.fromkeys(claim.kind for claim in claims):
            ours = [claim for claim in claims if claim.kind == kind and claim not in given_up]
            if ours:
                with tracing.jobs(kind, {str(claim.job_id): claim.traceparent for claim in ours}) as failed:
                    await self._run_to_end(tools, kind, ours, failed)

    async def _run_to_end(
        self, tools: Tools, kind: str, claims: list[Claim], failed: Callable[[str, str], None]
    ) -> None:
        failures = await self._run_kind(tools, kind, claims)
        measures.job_ended(kind, "done", len(claims) - len(failures))
        for claim, exc in failures.items():
            failed(str(claim.job_id), measures.reason(exc))
            await self._end_badly(claim, exc)

    async def _run_kind(self, tools: Tools, kind: str, claims: list[Claim]) -> dict[Claim, Exception]:
        by_id = {claim.job_id: claim for claim in claims}
        try:
            crash_points.reach("after_claim")
            failures = await HANDLERS[kind].run(tools, claims)
        except Exception as exc:  # noqa: BLE001  the edge: none of them may have ended
            return dict.fromkeys(claims, exc)
        return {by_id[job_id]: exc for job_id, exc in failures.items()}

    async def _end_badly(self, claim: Claim, exc: Exception) -> None:
        """Give a job back or fail it, whatever stood in its way: it ends explained and the worker lives."""
        with bound(job_id=str(claim.job_id)):
            await self._tell_end(claim, exc)

    async def _tell_end(self, claim: Claim, exc: Exception) -> None:
        try:
            await self._answer(claim, exc)
        except jobs.LostLease:
            log.warning("job.lease_lost")
            measures.job_ended(claim.kind, "lost")
        except Unavailable as away:
            # Not even the outcome could be written: the next claim gives the job back, or the lease ends by itself.
            log.warning("job.outcome_unwritten", code=away.code)
            self._is_unsure = True
        finally:
            self._in_hand.discard(claim.job_id)

    async def _answer(self, claim: Claim, exc: Exception) -> None:
        match exc:
            case jobs.LostLease():
                raise exc
            case jobs.Heavier():
                await self._release(claim, None, delay_s=0.0, cost=exc.cost)
            case jobs.Unfinished():
                await self._release(claim, None, delay_s=0.0, progressed=True)
            case Unavailable() if exc.code in _REFUSALS and _refused_tries(claim) + 1 >= MAX_REFUSED_TRIES:
                await self._fail(claim, exc)
            case Unavailable() | TimeoutError():
                await self._give_back(claim, exc)
            case ParserDied():
                await self._poison(claim, exc, limit=self._settings.worker.max_poison_tries)
            case Invalid() | NotFound() | Conflict() | Denied():
                await self._fail(claim, exc)
            case _:
                error_id = uuid4().hex[:12]
                log.error("job.internal_error", error_id=error_id, exc_info=exc)
                await self._poison(claim, _internal(exc, error_id), limit=MAX_INTERNAL_TRIES)

    async def _fail(self, claim: Claim, error: DrystoneError) -> None:
        async with transaction(self._resources.sessions) as session:
            await jobs.fail(session, claim, error)
            await HANDLERS[claim.kind].give_up(session, claim, error)
        measures.job_ended(claim.kind, "failed")
        if claim.kind == INGEST:
            measures.document_failed(error.code)
        log.info("job.failed", job_id=str(claim.job_id), code=error.code)

    async def _poison(self, claim: Claim, error: DrystoneError, *, limit: int) -> None:
        if claim.poison_tries + 1 >= limit:
            await self._fail(claim, _quarantined(error, claim.poison_tries + 1))
            return
        await self._release(claim, error, delay_s=2.0**claim.poison_tries, poison=True)

    async def _give_back(self, claim: Claim, exc: Exception) -> None:
        error = (
            exc
            if isinstance(exc, DrystoneError)
            else Unavailable(
                "job.deadline", "It took too long.", hint="it is tried again; split the file if that goes on"
            )
        )
        delay_s = min(60.0, 2.0 ** min(claim.transient_tries, 6)) * random.uniform(0.5, 1.0)  # noqa: S311  jitter
        until = time.monotonic() + self._settings.worker.lease_s
        while True:
            try:
                afresh = error.code in _REFUSALS and claim.error_code not in _REFUSALS
                await self._release(claim, error, delay_s=delay_s, transient=True, afresh=afresh)
                return
            except Unavailable:
                # PostgreSQL itself was away. It is back long before the lease would end by itself.
                if self._stopping.is_set() or time.monotonic() > until:
                    raise
            await asyncio.sleep(0.5)

    async def _release(
        self,
        claim: Claim,
        error: DrystoneError | None,
        *,
        delay_s: float,
        poison: bool = False,
        transient: bool = False,
        progressed: bool = False,
        afresh: bool = False,
        cost: int | None = None,
    ) -> None:
        async with transaction(self._resources.sessions) as session:
            is_ours = await queries.release(
                session,
                claim.job_id,
                claim.attempt,
                delay_s=delay_s,
                error_code=error.code if error else None,
                error_message=error.message if error else None,
                error_hint=error.hint if error else None,
                poison=poison,
                transient=transient,
                progressed=progressed,
                afresh=afresh,
                cost=cost,
            )
            if is_ours and error is not None:
                why = {"reason": error.code, "message": error.message, "wait_s": round(delay_s, 1)}
                await tell_retrying(session, claim.kind, claim.subject_id, job_id=str(claim.job_id), **why)
        measures.job_ended(claim.kind, "given_back")
        log.info(
            "job.given_back", job_id=str(claim.job_id), code=error.code if error else None, delay_s=round(delay_s, 1)
        )

    async def _say_alive(self) -> None:
        async with presence.connect(self._settings.redis, timeout_s=5) as redis:
            while True:
                try:
                    await presence.renew(redis, self._name)
                except (RedisError, OSError) as exc:
                    log.warning("worker.redis_unavailable", error=repr(exc))
                await asyncio.sleep(presence.RENEW_S)

    async def _look_by_itself(self) -> None:
        while True:
            await asyncio.sleep(self._settings.worker.sweep_s * random.uniform(0.8, 1.2))  # noqa: S311  jitter
            if not self._busy.locked():
                await self._drain(None)


def _named(claims: list[Claim]) -> dict[str, str | list[str]]:
    """What every line of the log says that is written while these are worked on."""
    ids = [str(claim.job_id) for claim in claims]
    return {"job_id": ids[0]} if len(ids) == 1 else {"job_ids": ids}


def _lost_too_often(claim: Claim) -> Invalid:
    return Invalid(
        "worker.lost_too_often",
        f"The worker vanished {claim.lost_tries} times while it had this job.",
        hint="the file may need more memory than the machine has; see the worker's log",
    )


def _quarantined(error: DrystoneError, tries: int) -> DrystoneError:
    if not isinstance(error, ParserDied):
        return error
    return Invalid(
        "document.quarantined",
        f"The parser died {tries} times on this file: {error.message}",
        hint="the file is damaged or hostile; open it in another program and save it anew",
    )


def _internal(exc: Exception, error_id: str) -> DrystoneError:
    return DrystoneError(
        "internal.error",
        f"A fault of ours ({type(exc).__name__}), id {error_id}.",
        hint="the worker's log tells more under this id; please report it",
    )


def _refused_tries(claim: Claim) -> int:
    """How often in a row it was refused: who was away in between has refused nothing."""
    return claim.transient_tries if claim.error_code in _REFUSALS else 0

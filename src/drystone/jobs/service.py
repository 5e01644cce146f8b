"""Enqueue, claim, finish, give back, sweep. A job's row is the truth; nothing else remembers work."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.core import crash_points
from drystone.core.db import after_commit
from drystone.core.errors import DrystoneError
from drystone.core.ids import new_id
from drystone.jobs import queries
from drystone.jobs.broker import Nudger
from drystone.jobs.models import DONE, FAILED

# A worker that vanishes this often with the same job most likely dies of it.
MAX_LOST_TRIES = 10


class LostLease(DrystoneError):
    """The job is no longer held under this attempt: another worker has it, or it was cancelled. Write nothing."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__("job.lease_lost", "The job is no longer held by this worker.", job_id=str(job_id))


class Heavier(Exception):
    """A job turned out to be more work than it looked: it goes back, to be taken as what it is."""

    def __init__(self, cost: int) -> None:
        super().__init__(f"cost {cost}")
        self.cost = cost


class Unfinished(Exception):
    """A job that has done a part, kept what it made, and goes back so that others come first."""


async def enqueue(
    session: AsyncSession,
    nudger: Nudger,
    *,
    kind: str,
    subject_id: UUID,
    workspace_id: UUID,
    collection_id: UUID | None = None,
    cost: int = 0,
) -> UUID:
    """Add a job to the transaction of what it is for; nudge a worker once that is committed.

    collection_id: whose turn it takes when several wait. cost: bytes to read, roughly.
    """
    job_id = new_id()
    await queries.add(
        session,
        job_id,
        workspace_id=workspace_id,
        kind=kind,
        subject_id=subject_id,
        collection_id=collection_id,
        cost=cost,
    )

    async def nudge() -> None:
        crash_points.reach("before_nudge")
        nudger.nudge(job_id)

    after_commit(session, nudge)
    return job_id


async def finish_all(session: AsyncSession, claims: Collection[queries.Claim]) -> None:
    """End jobs well. Raises LostLease when one is no longer this worker's."""
    finished = await queries.set_all_done(session, claims)
    for claim in claims:
        if claim.job_id not in finished:
            raise LostLease(claim.job_id)


async def finish(session: AsyncSession, claim: queries.Claim) -> None:
    """End a job well. Raises LostLease when it is no longer this worker's."""
    if not await queries.set_finished(session, claim.job_id, claim.attempt, state=DONE):
        raise LostLease(claim.job_id)


async def fail(session: AsyncSession, claim: queries.Claim, error: DrystoneError) -> None:
    """End a job for good, with the reason. Raises LostLease when it is no longer this worker's."""
    if not await queries.set_finished(
        session,
        claim.job_id,
        claim.attempt,
        state=FAILED,
        error_code=error.code,
        error_message=error.message,
        error_hint=error.hint,
    ):
        raise LostLease(claim.job_id)


async def release_of_worker(
    session: AsyncSession, worker: str, *, vanished: bool = False, but: Collection[UUID] = ()
) -> int:
    """Give back every job that a worker process holds in the ledger, and no longer in hand; how many.

    worker: a process's name `host:pid`. vanished: it was not told to stop: counted against the jobs, which may be why,
    and after the first time they wait longer and longer. but: the jobs it does have in hand.
    """
    result = await session.execute(
        text("""
        update jobs set state = 'queued', lease_until = null, offered_at = '-infinity', lost_tries = lost_tries + :lost,
               run_after = clock_timestamp() + make_interval(secs => :lost * (least(60, power(2, lost_tries)) - 1))
        where state = 'running' and worker = :worker and id <> all(:but) returning id
        """),
        {"worker": worker, "lost": int(vanished), "but": list(but)},
    )
    return len(result.all())


async def workers_with_jobs(session: AsyncSession, host: str) -> list[str]:
    """Names `host:pid` of the processes on this host that hold jobs."""
    rows = await session.execute(
        text("select distinct worker from jobs where state = 'running' and starts_with(worker, :prefix)"),
        {"prefix": f"{host}:"},
    )
    return [row.worker for row in rows]

"""The ledger's statements. Leases and order go by PostgreSQL's clock only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True)
class Claim:
    """A job that this worker holds until its lease ends. attempt is the fencing token."""

    job_id: UUID
    workspace_id: UUID
    kind: str
    subject_id: UUID
    attempt: int
    poison_tries: int
    lost_tries: int
    transient_tries: int


async def claim(session: AsyncSession, job_id: UUID, *, worker: str, lease_s: int) -> Claim | None:
    """Take this job, if it is queued and due."""
    return _claim_of(
        (await session.execute(_CLAIM_ONE, {"id": job_id, "worker": worker, "lease_s": lease_s})).one_or_none()
    )


async def claim_next(session: AsyncSession, *, worker: str, lease_s: int) -> Claim | None:
    """Take the job that has been due for longest, passing over those others are taking.

    Kinds named `checks.…` are left to their message: they prove that the broker delivers. `webhooks.…` have a sender of
    their own, so that a slow server of somebody else never keeps a document waiting.
    """
    return _claim_of((await session.execute(_CLAIM_NEXT, {"worker": worker, "lease_s": lease_s})).one_or_none())


async def heartbeat(session: AsyncSession, job_id: UUID, attempt: int, *, lease_s: int) -> bool:
    """Extend the lease; False when the job is no longer held under this attempt."""
    result = await session.execute(_HEARTBEAT, {"id": job_id, "attempt": attempt, "lease_s": lease_s})
    return result.first() is not None


async def lock_held(session: AsyncSession, job_id: UUID, attempt: int) -> bool:
    """Whether the job is still held under this attempt; locks its row until the transaction ends."""
    return (
        await session.execute(
            text("select 1 from jobs where id = :id and attempt = :attempt and state = 'running' for update"),
            {"id": job_id, "attempt": attempt},
        )
    ).first() is not None


async def set_finished(
    session: AsyncSession,
    job_id: UUID,
    attempt: int,
    *,
    state: str,
    error_code: str | None = None,
    error_message: str | None = None,
    error_hint: str | None = None,
) -> bool:
    """End the job; False when it is no longer held under this attempt."""
    result = await session.execute(
        _FINISH,
        {
            "id": job_id,
            "attempt": attempt,
            "state": state,
            "code": error_code,
            "message": error_message,
            "hint": error_hint,
        },
    )
    return result.first() is not None


async def release(
    session: AsyncSession,
    job_id: UUID,
    attempt: int,
    *,
    delay_s: float,
    error_code: str | None = None,
    error_message: str | None = None,
    transient: bool = False,
    poison: bool = False,
) -> bool:
    """Give the job back to the queue, due after delay_s."""
    result = await session.execute(
        _RELEASE,
        {
            "id": job_id,
            "attempt": attempt,
            "delay_s": delay_s,
            "code": error_code,
            "message": error_message,
            "transient": int(transient),
            "poison": int(poison),
        },
    )
    return result.first() is not None


async def return_expired(session: AsyncSession) -> Sequence[Row[Any]]:
    """Queue again the jobs whose lease ran out, with backoff; (id, kind, subject_id, lost_tries) of each."""
    return (await session.execute(_RETURN_EXPIRED)).all()


async def take_unoffered(session: AsyncSession, *, older_than_s: float, limit: int) -> list[UUID]:
    """Ids of due jobs that nobody took since they were last offered; marks them offered now."""
    rows = await session.execute(_TAKE_UNOFFERED, {"older_than_s": older_than_s, "limit": limit})
    return [row.id for row in rows]


@dataclass(frozen=True)
class Backlog:
    """Work that waits. depth: how many jobs, counted up to a limit; age_s: for how long the oldest has been due."""

    depth: int
    age_s: float


async def backlog(session: AsyncSession, *, up_to: int) -> Backlog:
    """What is queued; no more than `up_to` entries of an index are read."""
    row = (await session.execute(_BACKLOG, {"up_to": up_to})).one()
    return Backlog(row.depth, float(row.age_s))


async def stuck(session: AsyncSession, *, idle_s: float) -> int:
    """How many jobs have been due for idle_s while no worker took or held any; 0 when work moves.

    Kinds named `checks.…` wait for their message and do not count.
    """
    waiting: int = (await session.execute(_DUE_FOR_LONG, {"idle_s": idle_s})).scalar_one()
    moves = waiting and (await session.execute(_MOVES, {"idle_s": idle_s})).scalar_one()
    return 0 if moves else waiting


_COLUMNS = "id, workspace_id, kind, subject_id, attempt, poison_tries, lost_tries, transient_tries"

_CLAIM_ONE = text(f"""
update jobs set state = 'running', attempt = attempt + 1, worker = :worker,
       started_at = clock_timestamp(), lease_until = clock_timestamp() + make_interval(secs => :lease_s)
where id = :id and state = 'queued' and run_after <= clock_timestamp() and kind not like 'webhooks.%'
returning {_COLUMNS}
""")

_CLAIM_NEXT = text(f"""
update jobs set state = 'running', attempt = attempt + 1, worker = :worker,
       started_at = clock_timestamp(), lease_until = clock_timestamp() + make_interval(secs => :lease_s)
where id = (
    select id from jobs where state = 'queued' and run_after <= clock_timestamp()
      and kind not like 'checks.%' and kind not like 'webhooks.%'
    order by run_after, id limit 1 for update skip locked
)
returning {_COLUMNS}
""")

_HEARTBEAT = text("""
update jobs set lease_until = clock_timestamp() + make_interval(secs => :lease_s)
where id = :id and attempt = :attempt and state = 'running'
returning id
""")

_FINISH = text("""
update jobs set state = :state, finished_at = clock_timestamp(), lease_until = null,
       error_code = :code, error_message = :message, error_hint = :hint
where id = :id and attempt = :attempt and state = 'running'
returning id
""")

_RELEASE = text("""
update jobs set state = 'queued', lease_until = null, run_after = clock_timestamp() + make_interval(secs => :delay_s),
       offered_at = clock_timestamp(), error_code = :code, error_message = :message,
       transient_tries = transient_tries + :transient, poison_tries = poison_tries + :poison
where id = :id and attempt = :attempt and state = 'running'
returning id
""")

_RETURN_EXPIRED = text("""
update jobs set state = 'queued', lease_until = null, lost_tries = lost_tries + 1,
       run_after = clock_timestamp() + make_interval(secs => least(60, power(2, lost_tries)) - 1),
       offered_at = '-infinity', error_code = 'worker.lost', error_message = 'The worker that had this job vanished.'
where id in (
    select id from jobs where state = 'running' and lease_until < clock_timestamp()
    order by lease_until limit 500 for update skip locked
)
returning id, kind, subject_id, workspace_id, attempt, lost_tries
""")

_TAKE_UNOFFERED = text("""
update jobs set offered_at = clock_timestamp()
where id in (
    select id from jobs
    where state = 'queued' and run_after <= clock_timestamp()
      and offered_at < clock_timestamp() - make_interval(secs => :older_than_s) and kind not like 'webhooks.%'
    order by run_after, id limit :limit for update skip locked
)
returning id
""")

_BACKLOG = text("""
select (select count(*) from (select 1 from jobs where state = 'queued' limit :up_to) waiting) as depth,
       coalesce((select greatest(0, extract(epoch from clock_timestamp() - run_after)) from jobs
                 where state = 'queued' order by run_after, id limit 1), 0) as age_s
""")

_DUE_FOR_LONG = text("""
select count(*) from jobs
where state = 'queued' and run_after < clock_timestamp() - make_interval(secs => :idle_s)
  and kind not like 'checks.%' and kind not like 'webhooks.%'
""")

_MOVES = text("""
select exists (select 1 from jobs where state = 'running' and lease_until > clock_timestamp())
    or exists (select 1 from jobs where started_at > clock_timestamp() - make_interval(secs => :idle_s))
""")


def _claim_of(row: Row[Any] | None) -> Claim | None:
    if row is None:
        return None
    return Claim(
        job_id=row.id,
        workspace_id=row.workspace_id,
        kind=row.kind,
        subject_id=row.subject_id,
        attempt=row.attempt,
        poison_tries=row.poison_tries,
        lost_tries=row.lost_tries,
        transient_tries=row.transient_tries,
    )

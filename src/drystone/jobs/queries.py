"""The ledger's statements. Leases and order go by PostgreSQL's clock only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.core import tracing


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
    error_code: str | None = None  # why it was given back the last time
    traceparent: str | None = None  # the trace of the request that made it
    waited_s: float = 0.0  # from when it was due to when it was taken


async def add(
    session: AsyncSession,
    job_id: UUID,
    *,
    workspace_id: UUID,
    kind: str,
    subject_id: UUID,
    collection_id: UUID | None,
    cost: int,
) -> None:
    """Add a job that is due at once."""
    await session.execute(
        _ADD,
        {
            "id": job_id,
            "workspace_id": workspace_id,
            "kind": kind,
            "subject_id": subject_id,
            "collection_id": collection_id,
            "cost": cost,
            "traceparent": tracing.parent(),
        },
    )


async def claim_check(session: AsyncSession, job_id: UUID, *, worker: str, lease_s: int) -> Claim | None:
    """Take this job if it is a check, queued and due. Work is taken in its order, whichever message woke us."""
    row = (await session.execute(_CLAIM_CHECK, {"id": job_id, "worker": worker, "lease_s": lease_s})).one_or_none()
    return None if row is None else claim_of(row)


async def claim_next(session: AsyncSession, *, worker: str, lease_s: int, heavier_than: int = -1) -> Claim | None:
    """Take the job that has been due for longest, passing over those others are taking.

    heavier_than: only jobs that cost more, or that a worker vanished with: these are never taken with others.
    Kinds named `checks.…` are left to their message: they prove that the broker delivers. `webhooks.…` have a sender of
    their own, so that a slow server of somebody else never keeps a document waiting.
    """
    row = (
        await session.execute(_CLAIM_NEXT, {"worker": worker, "lease_s": lease_s, "heavier_than": heavier_than})
    ).one_or_none()
    return None if row is None else claim_of(row)


async def claim_light(
    session: AsyncSession, *, worker: str, lease_s: int, light: int, limit: int, in_turns: bool
) -> list[Claim]:
    """Take several small jobs that together cost no more than `light`: at most `limit`, fewer when few are due.

    A quarter of what is due at most, so that the other lanes and processes get their part of a short queue.
    in_turns: a share of each collection that waits, in place of those that have been due for longest.
    """
    rows = await session.execute(
        _CLAIM_IN_TURNS if in_turns else _CLAIM_OLDEST,
        {"worker": worker, "lease_s": lease_s, "light": light, "limit": limit},
    )
    return [claim_of(row) for row in rows]


async def heartbeat(session: AsyncSession, held: Mapping[UUID, int], *, lease_s: int) -> set[UUID]:
    """Extend the leases of these jobs, held under these attempts; the ids of those that are still held."""
    rows = await session.execute(_HEARTBEAT, {"ids": list(held), "attempts": list(held.values()), "lease_s": lease_s})
    return {row.id for row in rows}


async def lock_all_held(session: AsyncSession, claims: Collection[Claim]) -> set[UUID]:
    """The ids of those jobs that are still held under their attempt; locks their rows until the transaction ends."""
    rows = await session.execute(_LOCK_HELD, _ids_and_attempts(claims))
    return {row.id for row in rows}


async def set_all_done(session: AsyncSession, claims: Collection[Claim]) -> set[UUID]:
    """End jobs well; the ids of those that were still held under their attempt."""
    rows = await session.execute(_FINISH_ALL, _ids_and_attempts(claims))
    return {row.id for row in rows}


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
    error_hint: str | None = None,
    transient: bool = False,
    poison: bool = False,
    progressed: bool = False,
    afresh: bool = False,
    cost: int | None = None,
) -> bool:
    """Give the job back to the queue, due after delay_s. cost: what it turned out to be.

    progressed: a part of it is done, so earlier tries that were lost or met nobody count no more. afresh: nor do those that
    met nobody.
    """
    result = await session.execute(
        _RELEASE,
        {
            "id": job_id,
            "attempt": attempt,
            "delay_s": delay_s,
            "code": error_code,
            "message": error_message,
            "hint": error_hint,
            "transient": int(transient),
            "poison": int(poison),
            "keep": int(not progressed),
            "count_on": int(not (progressed or afresh)),
            "cost": cost,
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


# Of a taken job, what `claim_of` reads; named in full, for statements that take from several tables.
CLAIMED = (
    ", ".join(
        f"jobs.{name}"
        for name in (
            "id",
            "workspace_id",
            "kind",
            "subject_id",
            "attempt",
            "poison_tries",
            "lost_tries",
            "transient_tries",
            "error_code",
            "traceparent",
        )
    )
    + ", cast(extract(epoch from jobs.started_at - jobs.run_after) as float8) as waited_s"
)

_ADD = text("""
insert into jobs (id, workspace_id, kind, subject_id, collection_id, cost, traceparent)
values (:id, :workspace_id, :kind, :subject_id, :collection_id, :cost, :traceparent)
""")

_TAKE = """
update jobs set state = 'running', attempt = attempt + 1, worker = :worker,
       started_at = clock_timestamp(), lease_until = clock_timestamp() + make_interval(secs => :lease_s)
"""

_CLAIM_CHECK = text(f"""
{_TAKE}
where id = :id and state = 'queued' and run_after <= clock_timestamp() and kind like 'checks.%'
returning {CLAIMED}
""")

_CLAIM_NEXT = text(f"""
{_TAKE}
where id = (
    select id from jobs
    where state = 'queued' and run_after <= clock_timestamp()
      and kind not like 'checks.%' and kind not like 'webhooks.%'
      and (cost > :heavier_than or lost_tries > 0)
    order by run_after, id limit 1 for update skip locked
)
returning {CLAIMED}
""")

_IS_LIGHT = """state = 'queued' and run_after <= clock_timestamp() and cost <= :light and lost_tries = 0
      and kind not like 'checks.%' and kind not like 'webhooks.%'"""

# How many to take; counted up to four times as many, which is as far as it matters.
_SHARE = f"""
share as materialized (
    select cast(greatest(1, least(:limit, (count(*) + 3) / 4)) as int) as jobs
    from (select from jobs where {_IS_LIGHT} limit 4 * cast(:limit as int)) as due
)
"""

# The first always, the others while they fit.
_FITTING = """
fitting as (
    select id from (
        select id, row_number() over oldest as place, sum(cost) over oldest as cost_so_far from chosen
        window oldest as (order by run_after, id)
    ) as counted
    where place = 1 or cost_so_far <= :light
)
"""

_CLAIM_OLDEST = text(f"""
with {_SHARE}, chosen as materialized (
    select id, cost, run_after from jobs where {_IS_LIGHT}
    order by run_after, id limit (select jobs from share) for update skip locked
), {_FITTING}
{_TAKE}
where id in (select id from fitting)
returning {CLAIMED}
""")

# Goes from one waiting collection to the next through ix_jobs_turns. More than 200 are served by the other lanes.
_CLAIM_IN_TURNS = text(f"""
with recursive {_SHARE}, waiting as (
    (select collection_id from jobs where state = 'queued' and collection_id is not null
     order by collection_id limit 1)
    union all
    (select (select jobs.collection_id from jobs
             where jobs.state = 'queued' and jobs.collection_id > waiting.collection_id
             order by jobs.collection_id limit 1)
     from waiting where waiting.collection_id is not null)
), place as materialized (
    select collection_id from (select collection_id from waiting limit 200) as few
    where collection_id is not null order by random()
), chosen as materialized (
    select job.id, job.cost, job.run_after from place cross join lateral (
        select id, cost, run_after from jobs where {_IS_LIGHT} and jobs.collection_id = place.collection_id
        order by run_after, id
        limit (select greatest(1, share.jobs / greatest(1, (select count(*) from place))) from share)
        for update skip locked
    ) as job
    limit (select jobs from share)
), {_FITTING}
{_TAKE}
where id in (select id from fitting)
returning {CLAIMED}
""")

# Locked in the order in which a publication locks them: the two may meet on several rows.
_HEARTBEAT = text("""
with held as materialized (
    select jobs.id from jobs
    join unnest(cast(:ids as uuid[]), cast(:attempts as int[])) as held (id, attempt)
      on jobs.id = held.id and jobs.attempt = held.attempt
    where jobs.state = 'running' order by jobs.id for update of jobs
)
update jobs set lease_until = clock_timestamp() + make_interval(secs => :lease_s)
where id in (select id from held)
returning id
""")

_LOCK_HELD = text("""
select jobs.id from jobs
join unnest(cast(:ids as uuid[]), cast(:attempts as int[])) as held (id, attempt)
  on jobs.id = held.id and jobs.attempt = held.attempt
where jobs.state = 'running' order by jobs.id for update of jobs
""")

_FINISH_ALL = text("""
update jobs set state = 'done', finished_at = clock_timestamp(), lease_until = null,
       error_code = null, error_message = null, error_hint = null
from unnest(cast(:ids as uuid[]), cast(:attempts as int[])) as held (id, attempt)
where jobs.id = held.id and jobs.attempt = held.attempt and jobs.state = 'running'
returning jobs.id
""")

_FINISH = text("""
update jobs set state = :state, finished_at = clock_timestamp(), lease_until = null,
       error_code = :code, error_message = :message, error_hint = :hint
where id = :id and attempt = :attempt and state = 'running'
returning id
""")

_RELEASE = text("""
update jobs set state = 'queued', lease_until = null, run_after = clock_timestamp() + make_interval(secs => :delay_s),
       offered_at = clock_timestamp(), error_code = :code, error_message = :message, error_hint = :hint,
       transient_tries = transient_tries * :count_on + :transient, lost_tries = lost_tries * :keep,
       poison_tries = poison_tries + :poison,
       cost = coalesce(:cost, cost)
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

# What others are slow to take, or what was only to be looked at, keeps no upload waiting.
_BACKLOG = text("""
with waiting as not materialized (
    select id, run_after from jobs
    where state = 'queued' and kind not like 'webhooks.%' and kind not like 'checks.%'
)
select (select count(*) from (select 1 from waiting limit :up_to) counted) as depth,
       coalesce((select greatest(0, extract(epoch from clock_timestamp() - run_after)) from waiting
                 order by run_after, id limit 1), 0) as age_s
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


def _ids_and_attempts(claims: Collection[Claim]) -> dict[str, Any]:
    return {"ids": [claim.job_id for claim in claims], "attempts": [claim.attempt for claim in claims]}


def claim_of(row: Row[Any]) -> Claim:
    """The claim that a statement which takes a job gave back."""
    return Claim(
        job_id=row.id,
        workspace_id=row.workspace_id,
        kind=row.kind,
        subject_id=row.subject_id,
        attempt=row.attempt,
        poison_tries=row.poison_tries,
        lost_tries=row.lost_tries,
        transient_tries=row.transient_tries,
        error_code=row.error_code,
        traceparent=row.traceparent,
        waited_s=row.waited_s,
    )

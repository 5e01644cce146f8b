"""The ledger as people use it: find jobs, see how the queue moves, take jobs back or give them another chance.

What a retry or a cancelled job means for its subject is told by a `Steering` of the room whose kind it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, case, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from drystone.core.db import after_commit
from drystone.core.errors import Conflict, DrystoneError, Invalid, NotFound
from drystone.jobs.broker import Nudger
from drystone.jobs.models import CANCELLED, DONE, FAILED, QUEUED, RUNNING, Job

# Jobs that one call retries or cancels; the answer says when there are more.
AT_ONCE = 1000
# The time over which throughput is measured.
RATE_S = 300


@dataclass(frozen=True)
class Chosen:
    """Which jobs: those that fit all that is given. kind, reason: whole, or the beginning and a star: `parse.*`."""

    ids: Sequence[UUID] | None = None
    states: Sequence[str] = ()
    kind: str | None = None
    reason: str | None = None
    # Confines to these collections: what the caller asked for, and what the key may see.
    collection_ids: Sequence[UUID] | None = None
    subject_ids: Sequence[UUID] | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None
    finished_after: datetime | None = None
    min_attempt: int | None = None


@dataclass(frozen=True)
class JobView:
    """A job; waiting_s: how long it has been due and not taken, by PostgreSQL's clock; None when it is not."""

    job: Job
    waiting_s: float | None


@dataclass(frozen=True)
class Steering:
    """What a kind's room does for people.

    refusals: why some of these jobs cannot be retried; changes nothing, and locks what `reopen` will change.
    reopen: brings the subjects of jobs back to where work on them may begin, and tells it.
    close: ends the subjects of cancelled jobs with that reason, and tells it.
    """

    refusals: Callable[[AsyncSession, Sequence[Job], bool], Awaitable[Mapping[UUID, DrystoneError]]]
    reopen: Callable[[AsyncSession, Sequence[Job]], Awaitable[None]]
    close: Callable[[AsyncSession, Sequence[Job], DrystoneError], Awaitable[None]]


@dataclass(frozen=True)
class Outcome:
    """What became of a call for many: the jobs it changed, why others were not, and whether there are more."""

    jobs: Sequence[Job]
    refused: Mapping[UUID, DrystoneError]
    more: bool


async def get(session: AsyncSession, workspace_id: UUID, job_id: UUID, seen: Chosen) -> JobView:
    """One job of the workspace. seen: what the key may see. Raises NotFound."""
    found = await page(session, workspace_id, replace(seen, ids=[job_id]), before=None, limit=1)
    if not found:
        raise no_job(job_id)
    return found[0]


async def page(
    session: AsyncSession, workspace_id: UUID, chosen: Chosen, *, before: UUID | None, limit: int
) -> list[JobView]:
    """Jobs of the workspace, newest first; those older than `before`."""
    now = func.clock_timestamp()
    waiting_s = case((Job.state == QUEUED, func.extract("epoch", now - Job.run_after)))
    query = select(Job, waiting_s).where(*_conditions(workspace_id, chosen)).order_by(Job.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Job.id < before)
    rows = await session.execute(query.execution_options(populate_existing=True))
    return [JobView(job, float(waited) if waited is not None and waited >= 0 else None) for job, waited in rows]


async def retry(
    session: AsyncSession,
    nudger: Nudger,
    workspace_id: UUID,
    chosen: Chosen,
    steering: Mapping[str, Steering],
    *,
    force: bool = False,
    dry_run: bool = False,
) -> Outcome:
    """Queue failed and cancelled jobs anew, with all their tries before them. The attempt counts on: it is the fence.

    force: also those whose file was quarantined.
    """
    jobs, more = await _lock(session, workspace_id, chosen, (FAILED, CANCELLED))
    refused: dict[UUID, DrystoneError] = {}
    for kind, of_kind in _by_kind(jobs, steering):
        refused |= await kind.refusals(session, of_kind, force)
    accepted = [job for job in jobs if job.id not in refused]
    if not dry_run and accepted:
        for kind, of_kind in _by_kind(accepted, steering):
            await kind.reopen(session, of_kind)
        await session.execute(update(Job).where(Job.id.in_([job.id for job in accepted])).values(_ANEW))
        _nudge_after_commit(session, nudger, accepted)
    return Outcome(accepted, refused, more)


async def cancel(
    session: AsyncSession,
    workspace_id: UUID,
    chosen: Chosen,
    steering: Mapping[str, Steering],
    *,
    dry_run: bool = False,
) -> Outcome:
    """End queued and running jobs. A worker that has one loses it at its next heartbeat; what it writes changes nothing."""
    jobs, more = await _lock(session, workspace_id, chosen, (QUEUED, RUNNING))
    refused = {job.id: _needed(job) for job in jobs if job.kind not in steering}
    accepted = [job for job in jobs if job.id not in refused]
    if not dry_run and accepted:
        reason = cancelled()
        for kind, of_kind in _by_kind(accepted, steering):
            await kind.close(session, of_kind, reason)
        values = {
            "state": CANCELLED,
            "finished_at": func.clock_timestamp(),
            "lease_until": None,
            "error_code": reason.code,
            "error_message": reason.message,
            "error_hint": reason.hint,
        }
        await session.execute(update(Job).where(Job.id.in_([job.id for job in accepted])).values(values))
    return Outcome(accepted, refused, more)


def expect_one(outcome: Outcome, view: JobView, verb: str) -> None:
    """Raise why the one job that was meant was not changed."""
    for error in outcome.refused.values():
        raise error
    if not outcome.jobs:
        raise Conflict(
            "job.other_state",
            f"The job is {view.job.state}: it cannot be {verb}.",
            hint="failed and cancelled jobs can be retried, queued and running ones cancelled",
            state=view.job.state,
        )


async def stats(session: AsyncSession, workspace_id: UUID, seen: Chosen) -> Mapping[str, Any]:
    """How the queue stands and moves: counts, oldest age, running jobs, jobs ended within RATE_S."""
    given = {
        "workspace_id": workspace_id,
        "collection_ids": None if seen.collection_ids is None else list(seen.collection_ids),
        "rate_s": RATE_S,
    }
    queue = (await session.execute(_QUEUE, given)).one()
    counts = (await session.execute(_COUNTS, given)).all()
    rates = (await session.execute(_RATES, given)).one()
    return {"queue": queue, "counts": counts, "rates": rates}


async def ended_by_hour(session: AsyncSession, workspace_id: UUID, seen: Chosen, *, kind: str) -> list[Row[Any]]:
    """How many jobs of a kind were done, and how many failed, in each of the last 24 hours: hour, done, failed; oldest first."""
    collection_ids = None if seen.collection_ids is None else list(seen.collection_ids)
    given = {"workspace_id": workspace_id, "collection_ids": collection_ids, "kind": kind}
    return list((await session.execute(_BY_HOUR, given)).all())


def cancelled() -> Invalid:
    """The reason of a job that somebody cancelled."""
    return Invalid(
        "job.cancelled", "Somebody cancelled the work on it.", hint='retry the job ("drystone jobs retry ID") to go on'
    )


def no_job(job_id: UUID) -> NotFound:
    """The error for a job that does not exist, or not for this caller."""
    return NotFound(
        "job.not_found",
        f"There is no job {job_id}.",
        hint="GET /api/v1/jobs lists those there are",
        job_id=str(job_id),
    )


def _needed(job: Job) -> Conflict:
    return Conflict(
        "job.not_cancellable",
        f"A job of kind {job.kind} cannot be cancelled by itself: it is part of something larger.",
        hint="what fills a collection's second model ends with the change: drystone embedding cancel; what clears away, let it end",
    )


async def _lock(
    session: AsyncSession, workspace_id: UUID, chosen: Chosen, states: Sequence[str]
) -> tuple[list[Job], bool]:
    """The chosen jobs in these states, oldest first, locked; and whether there are more. Jobs first, then documents."""
    wanted = [state for state in states if not chosen.states or state in chosen.states]
    conditions = _conditions(workspace_id, replace(chosen, states=wanted or ["none"]))
    query = select(Job).where(*conditions).order_by(Job.id).limit(AT_ONCE + 1).with_for_update()
    found = list((await session.scalars(query.execution_options(populate_existing=True))).all())
    return found[:AT_ONCE], len(found) > AT_ONCE


def _by_kind(jobs: Sequence[Job], steering: Mapping[str, Steering]) -> list[tuple[Steering, list[Job]]]:
    found = [(kind, [job for job in jobs if job.kind == name]) for name, kind in steering.items()]
    return [(kind, of_kind) for kind, of_kind in found if of_kind]


def _nudge_after_commit(session: AsyncSession, nudger: Nudger, jobs: Sequence[Job]) -> None:
    async def nudge() -> None:
        for job in jobs[:4]:  # a worker that is awake takes whatever else is due
            nudger.nudge(job.id)

    after_commit(session, nudge)


def _conditions(workspace_id: UUID, chosen: Chosen) -> list[ColumnElement[bool]]:
    found: list[tuple[object, Callable[[], ColumnElement[bool]]]] = [
        (chosen.ids is not None, lambda: Job.id.in_(chosen.ids or ())),
        (chosen.states, lambda: Job.state.in_(chosen.states)),
        (chosen.kind, lambda: _fits(Job.kind, chosen.kind or "")),
        (chosen.reason, lambda: _reason(chosen.reason or "")),
        (chosen.collection_ids is not None, lambda: Job.collection_id.in_(chosen.collection_ids or ())),
        (chosen.subject_ids is not None, lambda: Job.subject_id.in_(chosen.subject_ids or ())),
        (chosen.created_before, lambda: Job.created_at < chosen.created_before),
        (chosen.created_after, lambda: Job.created_at > chosen.created_after),
        (chosen.finished_after, lambda: Job.finished_at > chosen.finished_after),
        (chosen.min_attempt, lambda: Job.attempt >= chosen.min_attempt),
    ]
    return [Job.workspace_id == workspace_id, *(condition() for is_given, condition in found if is_given)]


def _reason(reason: str) -> ColumnElement[bool]:
    # A job that was given back and then done keeps the reason of the try before: it did not fail for it.
    return (Job.state != DONE) & _fits(Job.error_code, reason)


def _fits(column: InstrumentedAttribute[Any], wanted: str) -> ColumnElement[bool]:
    """Whether a column holds this text, or begins with what stands before its star."""
    if wanted.endswith("*"):
        return column.startswith(wanted[:-1], autoescape=True)
    return column == wanted


_ANEW: dict[str, Any] = {
    "state": QUEUED,
    "run_after": func.clock_timestamp(),
    "offered_at": func.clock_timestamp(),
    "lease_until": None,
    "finished_at": None,
    "poison_tries": 0,
    "lost_tries": 0,
    "transient_tries": 0,
    "error_code": None,
    "error_message": None,
    "error_hint": None,
}

_MINE = (
    "workspace_id = :workspace_id and (cast(:collection_ids as uuid[]) is null or collection_id = any(:collection_ids))"
)

_QUEUE = text(f"""
select count(*) filter (where run_after <= clock_timestamp()) as due,
       count(*) filter (where run_after > clock_timestamp()) as later,
       coalesce(extract(epoch from clock_timestamp() - min(run_after) filter (where run_after <= clock_timestamp())), 0)
           as oldest_s
from jobs where state = 'queued' and {_MINE}
""")

_COUNTS = text(f"""
select kind, state, count(*) as number from jobs where state = 'queued' and {_MINE} group by 1, 2
union all
select kind, state, count(*) from jobs where state = 'running' and {_MINE} group by 1, 2
union all
select kind, state, count(*) from jobs where state = 'failed' and {_MINE} group by 1, 2
order by 1, 2
""")

_RATES = text(f"""
select count(*) filter (where state = 'done') as done, count(*) filter (where state = 'failed') as failed,
       coalesce(extract(epoch from clock_timestamp() - min(finished_at)), 0) as over_s
from jobs where finished_at > clock_timestamp() - make_interval(secs => :rate_s) and {_MINE}
""")

_BY_HOUR = text(f"""
select hour, count(jobs.id) filter (where state = 'done') as done, count(jobs.id) filter (where state = 'failed') as failed
from generate_series(date_trunc('hour', now()) - interval '23 hours', date_trunc('hour', now()), interval '1 hour') as hour
left join jobs on finished_at >= hour and finished_at < hour + interval '1 hour' and kind = :kind and {_MINE}
group by hour order by hour
""")

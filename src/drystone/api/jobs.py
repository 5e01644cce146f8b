"""/jobs: the ledger of work: what is queued, running or over, and why; another chance, or an end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from annotated_types import Ge, Le, Len
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Action, Principal
from drystone.api.dependencies import Caller, ResourcesOf, Session
from drystone.api.problems import responses
from drystone.api.schemas import Failure
from drystone.api.times import moment
from drystone.core.errors import Invalid
from drystone.core.numbers import MAX_INTEGER
from drystone.core.text import Text
from drystone.documents import collections, progress, queries, retrying
from drystone.documents.models import INGEST
from drystone.jobs import events, ledger
from drystone.jobs.ledger import Chosen, JobView, Outcome
from drystone.jobs.models import CANCELLED, DONE, QUEUED, RUNNING
from drystone.jobs.models import Job as Row
from drystone.webhooks import service as webhooks
from drystone.webhooks.models import DELIVER

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
_STEERING = {INGEST: retrying.STEERING, DELIVER: webhooks.STEERING}

router = APIRouter(prefix="/jobs", tags=["jobs"])


class JobDocument(BaseModel):
    """The document that a job is about."""

    id: UUID
    name: str | None
    title: str | None


class Lease(BaseModel):
    """Who works on it, and until when it is theirs without a heartbeat."""

    worker: str | None
    until: datetime


class JobProgress(BaseModel):
    """How far a long document has come."""

    done: int = Field(description="Passages that are embedded.")
    total: int


class Job(BaseModel):
    """One piece of work, as the ledger has it."""

    id: UUID
    kind: str = Field(examples=["documents.ingest"])
    subject_id: UUID
    document: JobDocument | None
    collection: str | None
    state: JobState
    attempt: int = Field(description="How often it was begun.")
    lease: Lease | None
    progress: JobProgress | None = Field(description="Of a long document while it is worked on, about once a second.")
    tries: dict[str, int] = Field(
        description="Failed tries: poison (broke its parser), lost (the worker vanished), transient (a server was away)."
    )
    error: Failure | None = Field(description="Why it failed; while it is queued again, why the last try did.")
    waiting_s: float | None = Field(description="How long it has been due and nobody took it.")
    created_at: datetime
    run_after: datetime = Field(description="The next try is not before.")
    started_at: datetime | None
    finished_at: datetime | None


class Jobs(BaseModel):
    """One page of jobs, newest first."""

    items: list[Job]
    next_cursor: str | None


class KindCount(BaseModel):
    """Jobs of one kind in one state."""

    kind: str
    state: JobState
    jobs: int


class QueueState(BaseModel):
    """How the queue stands and how fast it moves."""

    due: int = Field(description="Queued, and nobody took it yet.")
    later: int = Field(description="Queued for a later try.")
    oldest_s: float = Field(description="How long the oldest due job has waited.")
    running: list[Job]
    counts: list[KindCount] = Field(description="Queued, running and failed ones by kind.")
    done_recently: int = Field(description="Jobs done in the last five minutes.")
    failed_recently: int = Field(description="Jobs that failed in the last five minutes.")
    recent_s: int = Field(description="The span of done_recently and failed_recently.")
    jobs_per_s: float = Field(description="Over the last five minutes, or since the first job that ended in them.")
    empty_in_s: float | None = Field(description="At this pace; null when nothing moves.")


class Choice(BaseModel):
    """Which jobs are meant: those that fit all that is given; something must be."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "parse.*", "collection": "papers", "dry_run": True}]}
    )

    ids: Annotated[list[UUID], Len(1, ledger.AT_ONCE)] | None = None
    kind: Text | None = Field(None, description="A kind, or its beginning and a star: `documents.*`.")
    reason: Text | None = Field(None, description="The code of a reason, or its beginning and a star.")
    collection: Text | None = None
    all: StrictBool = Field(False, description="True: every job that this can be done to.")
    dry_run: StrictBool = Field(False, description="Only say what would be done.")


class RetryChoice(Choice):
    """Which failed or cancelled jobs to retry."""

    force: StrictBool = Field(False, description="Quarantined files too.")


class RetryOne(BaseModel):
    """How to retry one job."""

    model_config = ConfigDict(extra="forbid")

    force: StrictBool = Field(False, description="Even if its file was quarantined.")


class Changed(BaseModel):
    """What a call for many jobs did, or would do."""

    jobs: int = Field(description="Jobs that were changed.")
    ids: list[UUID]
    refused: dict[str, int] = Field(description="Jobs that were not, by the code of the reason.")
    more: bool = Field(description=f"There are more than the {ledger.AT_ONCE} that one call changes: call again.")
    dry_run: bool


async def _chosen(
    caller: Caller,
    session: Session,
    state: Annotated[list[JobState] | None, Query(description="May be given more than once.")] = None,
    kind: Annotated[Text | None, Query(description="A kind, or its beginning and a star: `documents.*`.")] = None,
    reason: Annotated[Text | None, Query(description="The code of a reason, or its beginning and a star.")] = None,
    collection: Text | None = None,
    document: Annotated[UUID | None, Query(description="Jobs about this document, any version of it.")] = None,
    subject: UUID | None = None,
    older_than: Annotated[Text | None, Query(description="Made before: `15m`, `2h`, `7d`, or a time.")] = None,
    newer_than: Annotated[Text | None, Query(description="Made after.")] = None,
    ended_after: Annotated[Text | None, Query(description="Done, failed or cancelled after.")] = None,
    min_attempt: Annotated[int | None, Ge(0), Le(MAX_INTEGER), Query(description="Begun so often or more.")] = None,
) -> Chosen:
    caller.require("read")
    subjects = None if subject is None else [subject]
    if document is not None:
        subjects = [document, *await queries.version_ids(session, document)]
    return Chosen(
        states=state or (),
        kind=kind,
        reason=reason,
        collection_ids=await _collection_ids(session, caller, collection),
        subject_ids=subjects,
        created_before=moment("older_than", older_than),
        created_after=moment("newer_than", newer_than),
        finished_after=moment("ended_after", ended_after),
        min_attempt=min_attempt,
    )


@router.get("", summary="List jobs", responses=responses(404))
async def list_(
    caller: Caller,
    session: Session,
    chosen: Annotated[Chosen, Depends(_chosen, scope="function")],
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    cursor: Annotated[UUID | None, Query(description="next_cursor of the page before.")] = None,
) -> Jobs:
    """Jobs, newest first."""
    found = await ledger.page(session, caller.workspace_id, chosen, before=cursor, limit=limit + 1)
    more = len(found) > limit
    return Jobs(items=await _shown(session, found[:limit]), next_cursor=str(found[limit - 1].job.id) if more else None)


@router.get("/stats", summary="See how the queue moves", responses=responses())
async def stats(caller: Caller, session: Session) -> QueueState:
    """Depth, age, running jobs, pace, and when the queue would be empty."""
    caller.require("read")
    seen = await _seen(session, caller)
    found = await ledger.stats(session, caller.workspace_id, seen)
    running = Chosen(states=(RUNNING,), collection_ids=seen.collection_ids)
    views = await ledger.page(session, caller.workspace_id, running, before=None, limit=200)
    queue, rates = found["queue"], found["rates"]
    ended = rates.done + rates.failed
    pace = ended / max(float(rates.over_s), 1.0)
    return QueueState(
        due=queue.due,
        later=queue.later,
        oldest_s=round(float(queue.oldest_s), 1),
        running=await _shown(session, views),
        counts=[KindCount(kind=row.kind, state=row.state, jobs=row.number) for row in found["counts"]],
        done_recently=rates.done,
        failed_recently=rates.failed,
        recent_s=ledger.RATE_S,
        jobs_per_s=round(pace, 2),
        empty_in_s=0.0 if not queue.due else round(queue.due / pace, 1) if ended else None,
    )


@router.post("/retry", summary="Retry many jobs", responses=responses(404))
async def retry_many(body: RetryChoice, caller: Caller, resources: ResourcesOf, session: Session) -> Changed:
    """Queue failed and cancelled jobs anew. Those that cannot be retried are counted by reason."""
    caller.require("write")
    outcome = await ledger.retry(
        session,
        resources.nudger,
        caller.workspace_id,
        await _choice(session, caller, body),
        _STEERING,
        force=body.force,
        dry_run=body.dry_run,
    )
    return await _changed(session, caller, "job.retry", outcome, dry_run=body.dry_run)


@router.post("/cancel", summary="Cancel many jobs", responses=responses(404))
async def cancel_many(body: Choice, caller: Caller, session: Session) -> Changed:
    """End queued and running jobs. Their documents fail with `job.cancelled`."""
    caller.require("write")
    chosen = await _choice(session, caller, body)
    outcome = await ledger.cancel(session, caller.workspace_id, chosen, _STEERING, dry_run=body.dry_run)
    return await _changed(session, caller, "job.cancel", outcome, dry_run=body.dry_run)


@router.get("/{job_id}", summary="Get a job", responses=responses(404))
async def get(job_id: UUID, caller: Caller, session: Session) -> Job:
    """One job: its document, its lease, its tries and, if it failed, why."""
    caller.require("read")
    seen = await _seen(session, caller)
    return (await _shown(session, [await ledger.get(session, caller.workspace_id, job_id, seen)]))[0]


@router.post("/{job_id}/retry", summary="Retry a job", responses=responses(404, 409))
async def retry(
    job_id: UUID, caller: Caller, resources: ResourcesOf, session: Session, body: RetryOne | None = None
) -> Job:
    """Queue a failed or cancelled job anew: its document is pending again."""
    caller.require("write")
    seen = await _seen(session, caller, job_id)
    view = await ledger.get(session, caller.workspace_id, job_id, seen)
    force = body is not None and body.force
    outcome = await ledger.retry(session, resources.nudger, caller.workspace_id, seen, _STEERING, force=force)
    ledger.expect_one(outcome, view, "retried")
    await _changed(session, caller, "job.retry", outcome, dry_run=False)
    return await get(job_id, caller, session)


@router.post("/{job_id}/cancel", summary="Cancel a job", responses=responses(404, 409))
async def cancel(job_id: UUID, caller: Caller, session: Session) -> Job:
    """End a queued or running job: its document fails with `job.cancelled`. It can be retried."""
    caller.require("write")
    seen = await _seen(session, caller, job_id)
    view = await ledger.get(session, caller.workspace_id, job_id, seen)
    outcome = await ledger.cancel(session, caller.workspace_id, seen, _STEERING)
    ledger.expect_one(outcome, view, "cancelled")
    await _changed(session, caller, "job.cancel", outcome, dry_run=False)
    return await get(job_id, caller, session)


async def _changed(
    session: AsyncSession, caller: Principal, action: Action, outcome: Outcome, *, dry_run: bool
) -> Changed:
    ids = [job.id for job in outcome.jobs]
    refused: dict[str, int] = {}
    for error in outcome.refused.values():
        refused[error.code] = refused.get(error.code, 0) + 1
    if not dry_run:
        await access.record_all(session, caller, action, "job", ids)
    return Changed(jobs=len(ids), ids=ids, refused=refused, more=outcome.more, dry_run=dry_run)


async def _seen(session: AsyncSession, caller: Principal, *ids: UUID) -> Chosen:
    return Chosen(ids=ids or None, collection_ids=await _collection_ids(session, caller, None))


async def _choice(session: AsyncSession, caller: Principal, body: Choice) -> Chosen:
    if not (body.ids or body.kind or body.reason or body.collection or body.all):
        raise Invalid(
            "job.nothing_chosen",
            "Nothing says which jobs are meant.",
            hint='give ids, kind, reason or collection, or "all": true',
            pointer="/ids",
        )
    collection_ids = await _collection_ids(session, caller, body.collection)
    return Chosen(ids=body.ids, kind=body.kind, reason=body.reason, collection_ids=collection_ids)


async def _collection_ids(session: AsyncSession, caller: Principal, collection: str | None) -> list[UUID] | None:
    if collection is not None:
        return [(await collections.get(session, caller, collection)).id]
    return None if caller.collection_ids is None else list(caller.collection_ids)


async def _shown(session: AsyncSession, views: Sequence[JobView]) -> list[Job]:
    documents = await queries.job_documents(session, [view.job.subject_id for view in views])
    names = await queries.collection_names(session, [i for view in views if (i := view.job.collection_id)])
    running = [view.job.subject_id for view in views if view.job.state == RUNNING]
    told = await events.newest(session, progress.KIND, [d.id for i in running if (d := documents.get(i))])
    return [_job(view, documents.get(view.job.subject_id), names, told) for view in views]


def _progress(row: Row, document: Any, told: Mapping[UUID, Any]) -> JobProgress | None:
    event = told.get(document.id) if document is not None and row.state == RUNNING else None
    if event is None or row.started_at is None or event.at < row.started_at:
        return None
    return JobProgress(done=event.data["done"], total=event.data["total"])


def _job(view: JobView, document: Any, names: dict[UUID, str], told: Mapping[UUID, Any]) -> Job:
    row = view.job
    failure = None
    if row.error_code is not None and row.state != DONE:
        failure = Failure(code=row.error_code, message=row.error_message or "", hint=row.error_hint)
    has_lease = row.state == RUNNING and row.lease_until is not None
    return Job(
        id=row.id,
        kind=row.kind,
        subject_id=row.subject_id,
        document=document and JobDocument(id=document.id, name=document.name, title=document.title),
        collection=names.get(row.collection_id) if row.collection_id else None,
        state=row.state,
        attempt=row.attempt,
        lease=Lease(worker=row.worker, until=row.lease_until) if has_lease and row.lease_until else None,
        progress=_progress(row, document, told),
        tries={"poison": row.poison_tries, "lost": row.lost_tries, "transient": row.transient_tries},
        error=failure,
        waiting_s=round(view.waiting_s, 1) if view.waiting_s is not None and row.state == QUEUED else None,
        created_at=row.created_at,
        run_after=row.run_after,
        started_at=row.started_at,
        finished_at=row.finished_at if row.state in (DONE, CANCELLED, "failed") else None,
    )

"""/jobs: the ledger of work: what is queued, running or over, and why; another chance, or an end."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from annotated_types import Ge, Le, Len
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from sqlalchemy.ext.asyncio import AsyncSession

from drystone import steering
from drystone.access.service import Principal
from drystone.api.schemas import Failure
from drystone.core.errors import Invalid
from drystone.core.numbers import MAX_INTEGER
from drystone.core.text import Text
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.problems import responses
from drystone.http.times import moment
from drystone.jobs import ledger
from drystone.jobs.ledger import Chosen, Outcome
from drystone.jobs.models import CANCELLED, DONE, FAILED, QUEUED, RUNNING
from drystone.steering import ShownJob

JobState = Literal["queued", "running", "done", "failed", "cancelled"]

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

    @classmethod
    def of(cls, shown: ShownJob) -> Job:
        row, document, waiting_s = shown.job, shown.document, shown.view.waiting_s
        has_lease = row.state == RUNNING and row.lease_until is not None
        return cls(
            id=row.id,
            kind=row.kind,
            subject_id=row.subject_id,
            document=document and JobDocument(id=document.id, name=document.name, title=document.title),
            collection=shown.collection,
            state=row.state,
            attempt=row.attempt,
            lease=Lease(worker=row.worker, until=row.lease_until) if has_lease and row.lease_until else None,
            progress=shown.progress and JobProgress(done=shown.progress[0], total=shown.progress[1]),
            tries={"poison": row.poison_tries, "lost": row.lost_tries, "transient": row.transient_tries},
            error=Failure(code=row.error_code or "", message=row.error_message or "", hint=row.error_hint)
            if shown.has_failed
            else None,
            waiting_s=round(waiting_s, 1) if waiting_s is not None and row.state == QUEUED else None,
            created_at=row.created_at,
            run_after=row.run_after,
            started_at=row.started_at,
            finished_at=row.finished_at if row.state in (DONE, CANCELLED, FAILED) else None,
        )


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

    @classmethod
    def of(cls, outcome: Outcome, *, dry_run: bool) -> Changed:
        ids = [job.id for job in outcome.jobs]
        refused = Counter(error.code for error in outcome.refused.values())
        return cls(jobs=len(ids), ids=ids, refused=dict(refused), more=outcome.more, dry_run=dry_run)


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
    return await steering.within(
        session,
        caller,
        collection=collection,
        document=document,
        subject=subject,
        states=state or (),
        kind=kind,
        reason=reason,
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
    found = await steering.page(session, caller, chosen, before=cursor, limit=limit + 1)
    more = len(found) > limit
    return Jobs(
        items=[Job.of(each) for each in found[:limit]], next_cursor=str(found[limit - 1].job.id) if more else None
    )


@router.get("/stats", summary="See how the queue moves", responses=responses())
async def stats(caller: Caller, session: Session) -> QueueState:
    """Depth, age, running jobs, pace, and when the queue would be empty."""
    found = await steering.queue(session, caller)
    return QueueState(
        due=found.due,
        later=found.later,
        oldest_s=round(found.oldest_s, 1),
        running=[Job.of(each) for each in found.running],
        counts=[KindCount(kind=kind, state=state, jobs=number) for (kind, state), number in found.counts.items()],
        done_recently=found.done,
        failed_recently=found.failed,
        recent_s=ledger.RATE_S,
        jobs_per_s=round(found.jobs_per_s, 2),
        empty_in_s=None if found.empty_in_s is None else round(found.empty_in_s, 1),
    )


@router.post("/retry", summary="Retry many jobs", responses=responses(404))
async def retry_many(body: RetryChoice, caller: Caller, resources: ResourcesOf, session: Session) -> Changed:
    """Queue failed and cancelled jobs anew. Those that cannot be retried are counted by reason."""
    caller.require("write")
    outcome = await steering.retry(
        session,
        resources.nudger,
        caller,
        await _choice(session, caller, body),
        force=body.force,
        dry_run=body.dry_run,
    )
    return Changed.of(outcome, dry_run=body.dry_run)


@router.post("/cancel", summary="Cancel many jobs", responses=responses(404))
async def cancel_many(body: Choice, caller: Caller, session: Session) -> Changed:
    """End queued and running jobs. Their documents fail with `job.cancelled`."""
    caller.require("write")
    chosen = await _choice(session, caller, body)
    return Changed.of(await steering.cancel(session, caller, chosen, dry_run=body.dry_run), dry_run=body.dry_run)


@router.get("/{job_id}", summary="Get a job", responses=responses(404))
async def get(job_id: UUID, caller: Caller, session: Session) -> Job:
    """One job: its document, its lease, its tries and, if it failed, why."""
    return Job.of(await steering.get(session, caller, job_id))


@router.post("/{job_id}/retry", summary="Retry a job", responses=responses(404, 409))
async def retry(
    job_id: UUID, caller: Caller, resources: ResourcesOf, session: Session, body: RetryOne | None = None
) -> Job:
    """Queue a failed or cancelled job anew: its document is pending again."""
    force = body is not None and body.force
    return Job.of(await steering.retry_one(session, resources.nudger, caller, job_id, force=force))


@router.post("/{job_id}/cancel", summary="Cancel a job", responses=responses(404, 409))
async def cancel(job_id: UUID, caller: Caller, session: Session) -> Job:
    """End a queued or running job: its document fails with `job.cancelled`. It can be retried."""
    return Job.of(await steering.cancel_one(session, caller, job_id))


async def _choice(session: AsyncSession, caller: Principal, body: Choice) -> Chosen:
    if not (body.ids or body.kind or body.reason or body.collection or body.all):
        raise Invalid(
            "job.nothing_chosen",
            "Nothing says which jobs are meant.",
            hint='give ids, kind, reason or collection, or "all": true',
            pointer="/ids",
        )
    return await steering.within(
        session, caller, collection=body.collection, ids=body.ids, kind=body.kind, reason=body.reason
    )

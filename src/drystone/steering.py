"""Jobs of all kinds as people see and steer them: which are whose, what each is about, another chance, an end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Action, Principal
from drystone.documents import collections, progress, queries, retrying
from drystone.documents.models import INGEST
from drystone.jobs import events, ledger
from drystone.jobs.broker import Nudger
from drystone.jobs.ledger import Chosen, JobView, Outcome
from drystone.jobs.models import DONE, RUNNING, Job
from drystone.webhooks import service as webhooks
from drystone.webhooks.models import DELIVER

_STEERING = {INGEST: retrying.STEERING, DELIVER: webhooks.STEERING}
# Running ones that are told with the state of the queue.
_MOST_RUNNING = 200


@dataclass(frozen=True)
class ShownJob:
    """A job, and what it is about. document: its row, with id, name and title. progress: passages done, and all."""

    view: JobView
    document: Row[Any] | None
    collection: str | None
    progress: tuple[int, int] | None

    @property
    def job(self) -> Job:
        return self.view.job

    @property
    def has_failed(self) -> bool:
        """Whether its error says why it failed, or why its last try did: one that was done keeps that of a try before."""
        return self.job.error_code is not None and self.job.state != DONE


@dataclass(frozen=True)
class Queue:
    """How the queue stands and moves. counts: by kind and state. done, failed: ended within ledger.RATE_S."""

    due: int
    later: int
    oldest_s: float
    running: list[ShownJob]
    counts: Mapping[tuple[str, str], int]
    done: int
    failed: int
    jobs_per_s: float
    empty_in_s: float | None


async def within(
    session: AsyncSession,
    caller: Principal,
    *,
    collection: str | None = None,
    document: UUID | None = None,
    subject: UUID | None = None,
    **choice: Any,
) -> Chosen:
    """Those jobs among which the caller chooses. choice: of ledger.Chosen. Raises Denied, NotFound for a collection."""
    caller.require("read")
    subjects = None if subject is None else [subject]
    if document is not None:
        subjects = [document, *await queries.version_ids(session, document)]
    seen = await _collection_ids(session, caller, collection)
    return Chosen(collection_ids=seen, subject_ids=subjects, **choice)


async def page(
    session: AsyncSession, caller: Principal, chosen: Chosen, *, before: UUID | None, limit: int
) -> list[ShownJob]:
    """Jobs, newest first, older than `before`."""
    return await _shown(session, await ledger.page(session, caller.workspace_id, chosen, before=before, limit=limit))


async def get(session: AsyncSession, caller: Principal, job_id: UUID) -> ShownJob:
    """One job. Raises NotFound."""
    view = await ledger.get(session, caller.workspace_id, job_id, await within(session, caller))
    return (await _shown(session, [view]))[0]


async def queue(session: AsyncSession, caller: Principal) -> Queue:
    """How the queue stands and moves, as far as the caller sees it."""
    seen = await within(session, caller)
    found = await ledger.stats(session, caller.workspace_id, seen)
    running = Chosen(states=(RUNNING,), collection_ids=seen.collection_ids)
    now, rates = found["queue"], found["rates"]
    ended = rates.done + rates.failed
    pace = ended / max(float(rates.over_s), 1.0)
    return Queue(
        due=now.due,
        later=now.later,
        oldest_s=float(now.oldest_s),
        running=await page(session, caller, running, before=None, limit=_MOST_RUNNING),
        counts={(row.kind, row.state): row.number for row in found["counts"]},
        done=rates.done,
        failed=rates.failed,
        jobs_per_s=pace,
        empty_in_s=0.0 if not now.due else now.due / pace if ended else None,
    )


async def retry(
    session: AsyncSession, nudger: Nudger, caller: Principal, chosen: Chosen, *, force: bool, dry_run: bool
) -> Outcome:
    """Queue failed and cancelled jobs anew."""
    caller.require("write")
    outcome = await ledger.retry(session, nudger, caller.workspace_id, chosen, _STEERING, force=force, dry_run=dry_run)
    return await _recorded(session, caller, "job.retry", outcome, dry_run=dry_run)


async def cancel(session: AsyncSession, caller: Principal, chosen: Chosen, *, dry_run: bool) -> Outcome:
    """End queued and running jobs."""
    caller.require("write")
    outcome = await ledger.cancel(session, caller.workspace_id, chosen, _STEERING, dry_run=dry_run)
    return await _recorded(session, caller, "job.cancel", outcome, dry_run=dry_run)


async def retry_one(
    session: AsyncSession, nudger: Nudger, caller: Principal, job_id: UUID, *, force: bool = False
) -> ShownJob:
    """Queue a failed or cancelled job anew. Raises NotFound, Conflict for one in another state, Denied."""
    caller.require("write")
    view = (await get(session, caller, job_id)).view
    chosen = await within(session, caller, ids=[job_id])
    outcome = await retry(session, nudger, caller, chosen, force=force, dry_run=False)
    ledger.expect_one(outcome, view, "retried")
    return await get(session, caller, job_id)


async def cancel_one(session: AsyncSession, caller: Principal, job_id: UUID) -> ShownJob:
    """End a queued or running job. Raises NotFound, Conflict for one in another state, Denied."""
    caller.require("write")
    view = (await get(session, caller, job_id)).view
    outcome = await cancel(session, caller, await within(session, caller, ids=[job_id]), dry_run=False)
    ledger.expect_one(outcome, view, "cancelled")
    return await get(session, caller, job_id)


async def _recorded(
    session: AsyncSession, caller: Principal, action: Action, outcome: Outcome, *, dry_run: bool
) -> Outcome:
    if not dry_run:
        await access.record_all(session, caller, action, "job", [job.id for job in outcome.jobs])
    return outcome


async def _collection_ids(session: AsyncSession, caller: Principal, collection: str | None) -> list[UUID] | None:
    if collection is not None:
        return [(await collections.get(session, caller, collection)).id]
    return None if caller.collection_ids is None else list(caller.collection_ids)


async def _shown(session: AsyncSession, views: Sequence[JobView]) -> list[ShownJob]:
    documents = await queries.job_documents(session, [view.job.subject_id for view in views])
    names = await queries.collection_names(session, [i for view in views if (i := view.job.collection_id)])
    running = [view.job.subject_id for view in views if view.job.state == RUNNING]
    told = await events.newest(session, progress.KIND, [d.id for i in running if (d := documents.get(i))])
    return [
        ShownJob(
            view,
            document := documents.get(view.job.subject_id),
            names.get(view.job.collection_id) if view.job.collection_id else None,
            _progress(view.job, document, told),
        )
        for view in views
    ]


def _progress(job: Job, document: Any, told: Mapping[UUID, Any]) -> tuple[int, int] | None:
    event = told.get(document.id) if document is not None and job.state == RUNNING else None
    if event is None or job.started_at is None or event.at < job.started_at:
        return None
    return event.data["done"], event.data["total"]

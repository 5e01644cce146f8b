"""A second chance for documents that failed, and an end for those whose work was cancelled. Called with their jobs locked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.core.errors import Conflict, DrystoneError
from drystone.documents.models import FAILED, PENDING, READY, Batch, Document, Version
from drystone.jobs import events
from drystone.jobs.events import Happening
from drystone.jobs.ledger import Steering
from drystone.jobs.models import Job

QUARANTINED = "document.quarantined"


async def refusals(session: AsyncSession, jobs: Sequence[Job], force: bool) -> Mapping[UUID, DrystoneError]:
    """Why some of these jobs cannot be retried."""
    subjects = await _lock(session, jobs)
    found = {job.id: _refusal(job, subjects.get(job.subject_id), force) for job in jobs}
    return {job_id: error for job_id, error in found.items() if error is not None}


async def reopen(session: AsyncSession, jobs: Sequence[Job]) -> None:
    """Failed versions are pending again, with their documents and batches."""
    subjects = await _lock(session, jobs)
    versions = [subject.version_id for subject in subjects.values()]
    reason: dict[str, Any] = {"error_code": None, "error_message": None, "error_hint": None}
    await session.execute(update(Version).where(Version.id.in_(versions)).values(state=PENDING, **reason))
    await _set_documents(session, list(subjects.values()), PENDING)
    batches = {subject.batch_id for subject in subjects.values()}
    await session.execute(update(Batch).where(Batch.id.in_(batches - {None})).values(done_at=None))
    await events.emit_all(
        session,
        [
            _event(job, subject, "job.retrying", {"job_id": str(job.id), "reason": "requested"})
            for job in jobs
            if (subject := subjects.get(job.subject_id)) is not None
        ],
    )


async def close(session: AsyncSession, jobs: Sequence[Job], error: DrystoneError) -> None:
    """Pending versions fail with this reason. An older ready version is searched on."""
    subjects = {key: subject for key, subject in (await _lock(session, jobs)).items() if subject.state == PENDING}
    await session.execute(
        update(Version)
        .where(Version.id.in_(list(subjects)))
        .values(state=FAILED, error_code=error.code, error_message=error.message, error_hint=error.hint)
    )
    newest = [subject for subject in subjects.values() if subject.latest_version_id == subject.version_id]
    await _set_documents(session, newest, FAILED)
    told = {"code": error.code, "message": error.message, "hint": error.hint}
    await events.emit_all(
        session,
        [
            _event(job, subjects[job.subject_id], "document.failed", told)
            for job in jobs
            if subjects.get(job.subject_id) in newest
        ],
    )


STEERING = Steering(refusals, reopen, close)


async def _lock(session: AsyncSession, jobs: Sequence[Job]) -> dict[UUID, Row[Any]]:
    """The versions of these jobs whose documents are not deleted, those documents locked in the order of their ids."""
    rows: Any = await session.execute(
        select(
            Version.id.label("version_id"),
            Version.state,
            Version.batch_id,
            Document.id.label("document_id"),
            Document.collection_id,
            Document.latest_version_id,
        )
        .join(Document, Document.id == Version.document_id)
        .where(Version.id.in_([job.subject_id for job in jobs]), Document.deleted_at.is_(None))
        .order_by(Document.id)
        .with_for_update(of=Document)
    )
    return {row.version_id: row for row in rows}


def _refusal(job: Job, subject: Row[Any] | None, force: bool) -> DrystoneError | None:
    if subject is None:
        return Conflict(
            "job.subject_deleted", "The document was deleted.", hint="upload the file again to have it back"
        )
    if subject.latest_version_id != subject.version_id:
        return Conflict(
            "job.superseded",
            "A newer version of this document was uploaded; this one is not retried.",
            hint="look at the newest version: GET /api/v1/documents/{id}",
            document_id=str(subject.document_id),
        )
    if subject.state == READY:
        return Conflict("job.subject_ready", "The document is ready already.", hint="nothing needs doing")
    if job.error_code == QUARANTINED and not force:
        return Conflict(
            "job.quarantined",
            "The file killed its parser several times; it is not tried again unless that is forced.",
            hint="open it in another program and save it anew, or retry with force",
        )
    return None


async def _set_documents(session: AsyncSession, subjects: Sequence[Row[Any]], state: str) -> None:
    await session.execute(
        update(Document)
        .where(Document.id.in_([subject.document_id for subject in subjects]))
        .values(state=state, revision=Document.revision + 1, updated_at=func.now())
    )


def _event(job: Job, subject: Row[Any], kind: str, data: dict[str, Any]) -> Happening:
    return Happening(
        job.workspace_id, kind, "document", subject.document_id, subject.collection_id, subject.batch_id, data
    )

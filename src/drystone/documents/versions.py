"""The versions of a document: listed, read, made, and an old one made the newest again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Principal
from drystone.adapters.objects import Objects
from drystone.core.conditions import NO_CONDITION, Condition
from drystone.core.errors import Conflict, NotFound
from drystone.core.ids import new_id
from drystone.documents import batches, collections, queries, service
from drystone.documents.models import FAILED, INGEST, PENDING, Document, File, Version
from drystone.documents.service import DocumentView
from drystone.index import spaces
from drystone.jobs import events
from drystone.jobs import service as jobs
from drystone.jobs.broker import Nudger


@dataclass(frozen=True)
class VersionView:
    """A version with its file. is_current: search sees it; is_newest: no later one was sent."""

    version: Version
    file: File
    is_current: bool
    is_newest: bool

    @property
    def etag(self) -> str:
        """Of its row: state and current or not are all that ever changes of a version."""
        return f'"{self.version.id.hex}-{self.version.state}-{int(self.is_current)}{int(self.is_newest)}"'


async def page(
    session: AsyncSession, principal: Principal, document_id: UUID, *, before: int | None, limit: int
) -> list[VersionView]:
    """The versions of a document, newest first; those with a number below `before`. Raises NotFound."""
    view = await service.get_document(session, principal, document_id)
    rows = await queries.page_versions(session, document_id, before=before, limit=limit)
    return [_view(view.document, version, file) for version, file in rows]


async def get(session: AsyncSession, principal: Principal, document_id: UUID, number: int) -> VersionView:
    """One version by its number. Raises NotFound."""
    view = await service.get_document(session, principal, document_id)
    found = await queries.find_version(session, document_id, number)
    if found is None:
        raise NotFound(
            "version.not_found",
            f"Document {document_id} has no version {number}.",
            hint=f"the newest is {view.version.number}",
            document_id=str(document_id),
        )
    return _view(view.document, *found)


async def read_text(
    session: AsyncSession, objects: Objects, principal: Principal, document_id: UUID, number: int
) -> str:
    """The text extracted from a version. Raises Conflict where there is none."""
    version = (await get(session, principal, document_id, number)).version
    if version.text_sha256 is None:
        raise Conflict(
            "version.no_text",
            f"Version {number} has no text: it is {version.state}.",
            hint=version.error_hint or "wait until its state is ready",
            state=version.state,
        )
    return await service.kept_text(objects, version.text_sha256)


async def restore(
    session: AsyncSession,
    nudger: Nudger,
    principal: Principal,
    document_id: UUID,
    number: int,
    condition: Condition = NO_CONDITION,
) -> tuple[DocumentView, UUID | None]:
    """Make a new version of the file of an old one; the document, and the job, or None where it is the newest already."""
    document = await service.lock_for_change(session, principal, document_id, condition)
    wanted = await get(session, principal, document_id, number)
    newest, its_file = await queries.newest_version(session, document_id)
    job_id = None
    if its_file.id != wanted.file.id or newest.state == FAILED:
        job_id = await append(
            session,
            nudger,
            principal,
            document,
            file_id=wanted.file.id,
            sha256=wanted.file.sha256,
            name=wanted.version.name,
            restored=number,
        )
    return await service.get_document(session, principal, document_id), job_id


async def append(
    session: AsyncSession,
    nudger: Nudger,
    principal: Principal,
    document: Document,
    *,
    file_id: UUID,
    sha256: bytes,
    name: str | None = None,
    changes: dict[str, Any] | None = None,
    batch_id: UUID | None = None,
    **details: Any,
) -> UUID:
    """Add a version to a document whose row the caller has locked; the job that makes it searchable.

    name: of the file; None: as before. changes: of the document's own columns, beside. details: for the audit.
    Raises Conflict where a document without external_id would become a second one of the same bytes.
    """
    before, version_id, name = document.sha256, new_id(), name or document.name
    number = (await queries.newest_version(session, document.id))[0].number + 1
    if not await queries.try_set_document(
        session, document.id, sha256=sha256, name=name, state=PENDING, latest_version_id=version_id, **(changes or {})
    ):
        raise await _taken(session, document, sha256)
    await access.record(
        session,
        principal,
        "document.replace",
        "document",
        document.id,
        before_sha256=before,
        after_sha256=sha256,
        **details,
    )
    return await begin(
        session,
        nudger,
        principal,
        version_id=version_id,
        document_id=document.id,
        collection_id=document.collection_id,
        number=number,
        file_id=file_id,
        name=name,
        batch_id=batch_id,
    )


async def begin(
    session: AsyncSession,
    nudger: Nudger,
    principal: Principal,
    *,
    version_id: UUID,
    document_id: UUID,
    collection_id: UUID,
    number: int,
    file_id: UUID,
    name: str | None,
    batch_id: UUID | None = None,
) -> UUID:
    """Add the row of a version, the job that makes it searchable, and the event; the job's id.

    Raises Conflict where the collection's vectors are brought by callers: nobody here can make one.
    """
    added = await queries.add_version(
        session,
        {
            "id": version_id,
            "workspace_id": principal.workspace_id,
            "document_id": document_id,
            "number": number,
            "file_id": file_id,
            "name": name,
            "batch_id": batch_id,
        },
    )
    if added.model == spaces.CALLERS:
        raise collections.brings_its_own()
    if batch_id is not None:
        await batches.reopen(session, batch_id)
    job_id = await jobs.enqueue(
        session,
        nudger,
        kind=INGEST,
        subject_id=version_id,
        workspace_id=principal.workspace_id,
        collection_id=collection_id,
        cost=added.size_bytes,
    )
    await events.emit(
        session,
        principal.workspace_id,
        "document.received",
        "document",
        document_id,
        collection_id=collection_id,
        batch_id=batch_id,
        version=number,
    )
    return job_id


async def _taken(session: AsyncSession, document: Document, sha256: bytes) -> Conflict:
    other = await queries.lock_by_identity(session, document.collection_id, external_id=None, sha256=sha256)
    there = f"document {other.id}" if other else "another document"
    return Conflict(
        "document.same_bytes",
        f"These bytes are {there} of the collection already, and neither has an external_id to tell them apart.",
        hint="give this document an external_id (PATCH), or delete one of the two",
        other_id=str(other.id) if other else None,
    )


def _view(document: Document, version: Version, file: File) -> VersionView:
    return VersionView(
        version=version,
        file=file,
        is_current=version.id == document.current_version_id,
        is_newest=version.id == document.latest_version_id,
    )

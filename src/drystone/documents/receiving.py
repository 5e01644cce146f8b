"""What an upload becomes: a document, a version of one, or nothing new. Object first, then the rows, then the reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import keys, quotas
from drystone.access import service as access
from drystone.access.service import Principal
from drystone.adapters.objects import Objects
from drystone.adapters.parsing import media_type_of
from drystone.core import crash_points
from drystone.core.conditions import NO_CONDITION, Condition
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Conflict, Invalid
from drystone.core.ids import new_id
from drystone.core.text import MAX_TITLE
from drystone.documents import batches, blobs, collections, describing, queries, service, versions
from drystone.documents.collections import DEFAULT_COLLECTION
from drystone.documents.models import FAILED, Collection, Document
from drystone.documents.service import DocumentView
from drystone.index.spaces import Space
from drystone.jobs.broker import Nudger

Already = Callable[[AsyncSession], Awaitable["Received | None"]]
BeforeCommit = Callable[[AsyncSession, "Received"], Awaitable[None]]


@dataclass(frozen=True)
class Upload:
    """A file as received. body: at its start, seekable; head: its first bytes, at least 4 kB where it has them."""

    body: BinaryIO
    head: bytes
    size_bytes: int
    sha256: bytes
    name: str | None
    declared_type: str | None


@dataclass(frozen=True)
class Received:
    """What became of an upload. job_id is None when the same bytes were there already."""

    document: DocumentView
    job_id: UUID | None
    is_new_document: bool


async def receive(
    sessions: Sessions,
    objects: Objects,
    nudger: Nudger,
    principal: Principal,
    space: Space,
    upload: Upload,
    *,
    collection: str = DEFAULT_COLLECTION,
    external_id: str | None = None,
    title: str | None = None,
    attributes: dict[str, Any] | None = None,
    batch_id: UUID | None = None,
    condition: Condition = NO_CONDITION,
    already: Already | None = None,
    before_commit: BeforeCommit | None = None,
) -> Received:
    """Keep the bytes, then a document, its version and a job in one transaction. Object first, then the rows.

    The collection is made where it is missing. Identity is (collection, external_id) when one is given, otherwise
    (collection, SHA-256): the same bytes again change nothing; other bytes under one external_id are a new version.
    batch_id: the batch that what is new belongs to. condition: about the document of that identity.
    already: asked first, in the transaction of the rows: what came of this very upload before, if anything did.
    before_commit: is given what came of it, in the same transaction.
    Raises Invalid `document.unsupported_type` before anything is kept.
    """
    principal.require("write")
    _check_upload(upload, external_id, title, attributes)
    media_type, sessions = (
        media_type_of(upload.name, upload.declared_type, upload.head),
        sessions.within(principal.reach),
    )
    await blobs.put(sessions, objects, upload.sha256, upload.body)
    crash_points.reach("after_put")
    async with transaction(sessions) as session:
        if already is not None and (before := await already(session)) is not None:
            return before
        await keys.recheck(session, principal)
        await _check_batch(session, principal, batch_id)
        await blobs.confirm(session, upload.sha256)
        home = await collections.get_or_create(session, principal, space, collection)
        received = await _admit(
            session,
            nudger,
            principal,
            home,
            upload,
            media_type,
            external_id=external_id,
            title=title,
            attributes=attributes,
            batch_id=batch_id,
            condition=condition,
        )
        if before_commit is not None:
            await before_commit(session, received)
        crash_points.reach("before_commit")
    crash_points.reach("after_commit")
    return received


async def replace(
    sessions: Sessions,
    objects: Objects,
    nudger: Nudger,
    principal: Principal,
    upload: Upload,
    document_id: UUID,
    *,
    title: str | None = None,
    attributes: dict[str, Any] | None = None,
    batch_id: UUID | None = None,
    condition: Condition = NO_CONDITION,
    before_commit: BeforeCommit | None = None,
) -> Received:
    """Keep the bytes, then a new version of this document and a job; nothing new when they are its newest version.

    Raises NotFound before anything is kept, Conflict where two documents without external_id would have the same bytes.
    """
    principal.require("write")
    _check_upload(upload, None, title, attributes)
    media_type, sessions = (
        media_type_of(upload.name, upload.declared_type, upload.head),
        sessions.within(principal.reach),
    )
    async with transaction(sessions) as session:
        await service.get_document(session, principal, document_id)
    await blobs.put(sessions, objects, upload.sha256, upload.body)
    async with transaction(sessions) as session:
        await keys.recheck(session, principal)
        await blobs.confirm(session, upload.sha256)
        file_id = await _file_id(session, principal, upload, media_type)  # first, as `receive` does: no deadlock
        await _check_batch(session, principal, batch_id)
        document = await service.lock_for_change(session, principal, document_id, condition)
        received = await _replace(session, nudger, principal, document, upload, file_id, title, attributes, batch_id)
        if before_commit is not None:
            await before_commit(session, received)
    return received


def _check_upload(
    upload: Upload, external_id: str | None, title: str | None, attributes: dict[str, Any] | None
) -> None:
    if upload.size_bytes == 0:
        raise Invalid("document.empty", "The file is empty.", hint="send a file with content", pointer="/file")
    if external_id is not None and not 1 <= len(external_id) <= 512:
        raise Invalid("document.external_id_length", "An external_id has 1 to 512 characters.", pointer="/external_id")
    if title is not None and not 1 <= len(title) <= MAX_TITLE:
        raise Invalid("document.title_length", f"A title has 1 to {MAX_TITLE} characters.", pointer="/title")
    if attributes is not None:
        describing.check_attributes(attributes)


async def _admit(
    session: AsyncSession,
    nudger: Nudger,
    principal: Principal,
    collection: Collection,
    upload: Upload,
    media_type: str,
    *,
    external_id: str | None,
    title: str | None,
    attributes: dict[str, Any] | None,
    batch_id: UUID | None,
    condition: Condition,
) -> Received:
    file_id = await _file_id(session, principal, upload, media_type)
    document_id, version_id = new_id(), new_id()
    is_new = await queries.add_document(
        session,
        {
            "id": document_id,
            "workspace_id": principal.workspace_id,
            "collection_id": collection.id,
            "external_id": external_id,
            "sha256": upload.sha256,
            "name": upload.name,
            "title": title,
            "attributes": attributes or {},
            "latest_version_id": version_id,
            "created_by": principal.actor,
        },
    )
    if not is_new:
        document = await queries.lock_by_identity(session, collection.id, external_id=external_id, sha256=upload.sha256)
        if document is None:
            raise Conflict("document.changing", "The document is being deleted at this moment.", hint="send it again")
        condition.check(service.etag(document))
        return await _replace(session, nudger, principal, document, upload, file_id, title, attributes, batch_id)
    condition.check(None)
    await access.record(
        session, principal, "document.create", "document", document_id, after_sha256=upload.sha256, before_sha256=None
    )
    job_id = await versions.begin(
        session,
        nudger,
        principal,
        version_id=version_id,
        document_id=document_id,
        collection_id=collection.id,
        number=1,
        file_id=file_id,
        name=upload.name,
        batch_id=batch_id,
    )
    await quotas.count(session, principal, upload.size_bytes)
    document_view = await service.get_document(session, principal, document_id)
    return Received(document=document_view, job_id=job_id, is_new_document=True)


async def _replace(
    session: AsyncSession,
    nudger: Nudger,
    principal: Principal,
    document: Document,
    upload: Upload,
    file_id: UUID,
    title: str | None,
    attributes: dict[str, Any] | None,
    batch_id: UUID | None,
) -> Received:
    """A new version of a document whose row is locked, or nothing but its description when these bytes are its newest."""
    version, file = await queries.newest_version(session, document.id)
    job_id = None
    if file.id == file_id and version.state != FAILED:
        await _update_description(session, principal, document, title, attributes)
    else:
        given = {"title": title, "attributes": attributes}
        job_id = await versions.append(
            session,
            nudger,
            principal,
            document,
            file_id=file_id,
            sha256=upload.sha256,
            name=upload.name,
            changes={name: value for name, value in given.items() if value is not None},
            batch_id=batch_id,
        )
        await quotas.count(session, principal, upload.size_bytes)
    document_view = await service.get_document(session, principal, document.id)
    return Received(document=document_view, job_id=job_id, is_new_document=False)


async def _check_batch(session: AsyncSession, principal: Principal, batch_id: UUID | None) -> None:
    if batch_id is not None:
        await batches.check(session, principal, batch_id)


async def _file_id(session: AsyncSession, principal: Principal, upload: Upload, media_type: str) -> UUID:
    return await queries.file_id(
        session,
        principal.workspace_id,
        sha256=upload.sha256,
        size_bytes=upload.size_bytes,
        media_type=media_type,
    )


async def _update_description(
    session: AsyncSession,
    principal: Principal,
    document: Document,
    title: str | None,
    attributes: dict[str, Any] | None,
) -> None:
    given = {"title": title, "attributes": attributes}
    changes = {k: v for k, v in given.items() if v is not None and v != getattr(document, k)}
    if changes:
        await queries.set_document(session, document.id, **changes)
        await access.record(session, principal, "document.describe", "document", document.id, fields=list(changes))

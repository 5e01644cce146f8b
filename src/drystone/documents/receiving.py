"""What an upload becomes: a document, a version of one, or nothing new. Object first, then the rows, then the reply."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Principal
from drystone.adapters.objects import Objects
from drystone.adapters.parsing import media_type_of
from drystone.core import crash_points
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Conflict, Invalid
from drystone.core.ids import new_id
from drystone.documents import blobs, collections, queries, service
from drystone.documents.collections import DEFAULT_COLLECTION
from drystone.documents.models import FAILED, INGEST, PENDING, Collection, Document
from drystone.documents.service import DocumentView
from drystone.index.spaces import Space
from drystone.jobs import events
from drystone.jobs import service as jobs
from drystone.jobs.broker import Nudger

_MAX_ATTRIBUTES_BYTES = 64 * 1024


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
) -> Received:
    """Keep the bytes, then a document, its version and a job in one transaction. Object first, then the rows.

    The collection is made where it is missing. Identity is (collection, external_id) when one is given, otherwise
    (collection, SHA-256): the same bytes again change nothing; other bytes under one external_id are a new version.
    Raises Invalid `document.unsupported_type` before anything is kept.
    """
    principal.require("write")
    _check_upload(upload, external_id, attributes)
    media_type = media_type_of(upload.name, upload.declared_type, upload.head)
    await blobs.keep(sessions, objects, upload.sha256, upload.body)
    crash_points.reach("after_put")
    async with transaction(sessions) as session:
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
        )
        crash_points.reach("before_commit")
    crash_points.reach("after_commit")
    return received


def _check_upload(upload: Upload, external_id: str | None, attributes: dict[str, Any] | None) -> None:
    if upload.size_bytes == 0:
        raise Invalid("document.empty", "The file is empty.", hint="send a file with content", pointer="file")
    if external_id is not None and not 1 <= len(external_id) <= 512:
        raise Invalid("document.external_id_length", "An external_id has 1 to 512 characters.", pointer="external_id")
    if attributes is not None and len(json.dumps(attributes, ensure_ascii=False).encode()) > _MAX_ATTRIBUTES_BYTES:
        raise Invalid("document.attributes_too_large", "Attributes may take up to 64 kB.", pointer="attributes")


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
) -> Received:
    file_id = await queries.file_id(
        session,
        principal.workspace_id,
        sha256=upload.sha256,
        size_bytes=upload.size_bytes,
        media_type=media_type,
    )
    document_id, version_id, number = new_id(), new_id(), 1
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
    before: bytes | None = None
    if not is_new:
        document = await queries.lock_by_identity(session, collection.id, external_id=external_id, sha256=upload.sha256)
        if document is None:
            raise Conflict("document.changing", "The document is being deleted at this moment.", hint="send it again")
        document_id, before = document.id, document.sha256
        version, file = await queries.newest_version(session, document_id)
        if file.id == file_id and version.state != FAILED:
            await _update_description(session, principal, document, title, attributes)
            return Received(
                document=await service.get_document(session, principal, document_id), job_id=None, is_new_document=False
            )
        number = version.number + 1
        changes: dict[str, Any] = {
            "sha256": upload.sha256,
            "name": upload.name,
            "state": PENDING,
            "latest_version_id": version_id,
        }
        changes |= {k: v for k, v in (("title", title), ("attributes", attributes)) if v is not None}
        await queries.set_document(session, document_id, **changes)
    await queries.add_version(
        session,
        {
            "id": version_id,
            "workspace_id": principal.workspace_id,
            "document_id": document_id,
            "number": number,
            "file_id": file_id,
        },
    )
    job_id = await jobs.enqueue(
        session,
        nudger,
        kind=INGEST,
        subject_id=version_id,
        workspace_id=principal.workspace_id,
        collection_id=collection.id,
    )
    action = "document.create" if is_new else "document.replace"
    await access.record(
        session, principal, action, "document", document_id, before_sha256=before, after_sha256=upload.sha256
    )
    await events.emit(
        session,
        principal.workspace_id,
        "document.received",
        "document",
        document_id,
        collection_id=collection.id,
        version=number,
    )
    return Received(
        document=await service.get_document(session, principal, document_id), job_id=job_id, is_new_document=is_new
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
        session.expire(document)

"""Collections and documents: receive, look up, read, delete. What an upload becomes is decided here."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Principal
from drystone.adapters.objects import Objects
from drystone.adapters.parsing import media_type_of
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Conflict, Invalid, NotFound
from drystone.core.ids import new_id
from drystone.documents import blobs, queries
from drystone.documents.models import FAILED, PENDING, STATES, Collection, Document, File, Version
from drystone.index import queries as index
from drystone.index import spaces
from drystone.jobs import events
from drystone.jobs import service as jobs
from drystone.jobs.broker import Nudger

DEFAULT_COLLECTION = "default"
INGEST, PURGE_DOCUMENT, PURGE_COLLECTION = "documents.ingest", "documents.purge", "documents.purge_collection"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MAX_ATTRIBUTES_BYTES = 64 * 1024


@dataclass(frozen=True)
class Space:
    """The embedding space that new collections get: that of the configured model."""

    model: str
    dimension: int


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


@dataclass(frozen=True)
class DocumentView:
    """A document with its newest version, as edges show it."""

    document: Document
    version: Version
    file: File
    collection_name: str

    @property
    def title(self) -> str | None:
        return self.document.title or self.version.title or self.document.name


# --- collections


async def create_collection(
    session: AsyncSession, principal: Principal, space: Space, *, name: str, description: str = "", language: str
) -> Collection:
    """Make a collection. Raises Conflict when the name is taken, Invalid for a bad name or language."""
    principal.require("write")
    collection_id = await _add_collection(session, principal, space, name, description, language)
    if collection_id is None:
        raise Conflict(
            "collection.exists",
            f"There is a collection {name!r} already.",
            hint="use it, or choose another name",
            name=name,
        )
    return await get_collection(session, principal, str(collection_id))


async def get_collection(
    session: AsyncSession, principal: Principal, name_or_id: str, *, share: bool = False
) -> Collection:
    """The collection of this name or id. Raises NotFound, also where the key may not see it."""
    principal.require("read")
    found = await queries.find_collection(session, principal.workspace_id, name_or_id, share=share)
    if found is None or not principal.may_see(found.id):
        raise NotFound(
            "collection.not_found",
            f"There is no collection {name_or_id!r}.",
            hint="the first upload into a name creates it; GET /api/v1/collections lists what there is",
            collection=name_or_id,
        )
    return found


async def list_collections(session: AsyncSession, principal: Principal) -> list[Collection]:
    """The collections this key may see, by name."""
    principal.require("read")
    found = await queries.page_collections(session, principal.workspace_id)
    return [collection for collection in found if principal.may_see(collection.id)]


async def delete_collection(session: AsyncSession, nudger: Nudger, principal: Principal, name_or_id: str) -> int:
    """Delete a collection and its documents; how many. Gone from search with the commit, from disk soon after."""
    principal.require("write")
    collection = await get_collection(session, principal, name_or_id)
    collection.deleted_at = await session.scalar(select(func.now()))
    await session.flush()
    count = await queries.delete_collection_documents(session, collection, principal.actor)
    await jobs.enqueue(
        session,
        nudger,
        kind=PURGE_COLLECTION,
        subject_id=collection.id,
        workspace_id=principal.workspace_id,
    )
    await access.record(session, principal, "collection.delete", "collection", collection.id, documents=count)
    await events.emit(session, principal.workspace_id, "collection.deleted", "collection", collection.id)
    return count


async def states(
    session: AsyncSession, principal: Principal, collections: Sequence[Collection]
) -> dict[UUID, dict[str, int]]:
    """Documents by state, and searchable chunks, of each of these collections."""
    principal.require("read")
    return await queries.count_by_state(session, [collection.id for collection in collections])


# --- documents


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
    async with transaction(sessions) as session:
        home = await _collection_for(session, principal, space, collection)
        return await _admit(
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


async def get_document(session: AsyncSession, principal: Principal, document_id: UUID) -> DocumentView:
    """A document with its newest version. Raises NotFound, also for deleted ones and those the key may not see."""
    principal.require("read")
    row = (
        await session.execute(
            _views().where(Document.id == document_id, Document.workspace_id == principal.workspace_id)
        )
    ).one_or_none()
    if row is None or not principal.may_see(row.Document.collection_id):
        raise _not_found(document_id)
    return _view(row)


async def page_documents(
    session: AsyncSession,
    principal: Principal,
    *,
    collection: str | None = None,
    state: str | None = None,
    external_id: str | None = None,
    after: UUID | None = None,
    limit: int = 50,
) -> list[DocumentView]:
    """Documents in the order they were made, those after the id `after`."""
    principal.require("read")
    query = _views().where(Document.workspace_id == principal.workspace_id)
    if collection is not None:
        query = query.where(Document.collection_id == (await get_collection(session, principal, collection)).id)
    elif principal.collection_ids is not None:
        query = query.where(Document.collection_id.in_(principal.collection_ids))
    if state is not None:
        if state not in STATES:
            raise Invalid("document.state_unknown", f"A state is one of {', '.join(STATES)}.", pointer="state")
        query = query.where(Document.state == state)
    if external_id is not None:
        query = query.where(Document.external_id == external_id)
    if after is not None:
        query = query.where(Document.id > after)
    return [_view(row) for row in await session.execute(query.order_by(Document.id).limit(limit))]


async def read_text(session: AsyncSession, objects: Objects, principal: Principal, document_id: UUID) -> str:
    """The extracted text that quotes and offsets refer to. Raises Conflict while there is none."""
    view = await get_document(session, principal, document_id)
    version_id = view.document.current_version_id
    version = None if version_id is None else await session.get(Version, version_id)
    if version is None or version.text_sha256 is None:
        raise Conflict(
            "document.not_ready",
            f"The document has no text yet: it is {view.document.state}.",
            hint=view.version.error_hint or "wait until its state is ready",
            state=view.document.state,
        )
    return (await objects.get(version.text_sha256)).decode()


def stream_content(objects: Objects, view: DocumentView) -> AsyncIterator[bytes]:
    """The bytes of the newest version, as they were uploaded."""
    return objects.stream(view.file.sha256, chunk_size=1024 * 1024)


async def delete_document(session: AsyncSession, nudger: Nudger, principal: Principal, document_id: UUID) -> None:
    """Delete a document: out of every search with the commit; its chunks go in a job."""
    principal.require("write")
    document = await queries.lock_document(session, document_id)
    if (
        document is None
        or document.workspace_id != principal.workspace_id
        or not principal.may_see(document.collection_id)
    ):
        raise _not_found(document_id)
    await queries.set_document(session, document_id, deleted_at=func.now())
    await queries.add_deletion(session, document, principal.actor)
    await jobs.enqueue(
        session, nudger, kind=PURGE_DOCUMENT, subject_id=document_id, workspace_id=principal.workspace_id
    )
    await access.record(session, principal, "document.delete", "document", document_id, before_sha256=document.sha256)
    await events.emit(session, principal.workspace_id, "document.deleted", "document", document_id)


async def purge_document(session: AsyncSession, document_id: UUID) -> None:
    """Remove the chunks and versions of a deleted document; harmless when done before."""
    row = (
        await session.execute(
            select(Document.collection_id, Collection.language)
            .join(Collection, Collection.id == Document.collection_id)
            .where(Document.id == document_id, Document.deleted_at.is_not(None))
            .with_for_update(of=Document)
        )
    ).one_or_none()
    if row is None:
        return
    await index.remove_document(session, document_id, config=row.language, collection_id=row.collection_id)
    await queries.purge(session, document_id)


# --- parts


def _check_upload(upload: Upload, external_id: str | None, attributes: dict[str, Any] | None) -> None:
    if upload.size_bytes == 0:
        raise Invalid("document.empty", "The file is empty.", hint="send a file with content", pointer="file")
    if external_id is not None and not 1 <= len(external_id) <= 512:
        raise Invalid("document.external_id_length", "An external_id has 1 to 512 characters.", pointer="external_id")
    if attributes is not None and len(json.dumps(attributes, ensure_ascii=False).encode()) > _MAX_ATTRIBUTES_BYTES:
        raise Invalid("document.attributes_too_large", "Attributes may take up to 64 kB.", pointer="attributes")


async def _collection_for(session: AsyncSession, principal: Principal, space: Space, name: str) -> Collection:
    found = await queries.find_collection(session, principal.workspace_id, name, share=True)
    if found is None and principal.collection_ids is None:
        await _add_collection(session, principal, space, name, "", "english")
    return await get_collection(session, principal, name, share=True)


async def _add_collection(
    session: AsyncSession, principal: Principal, space: Space, name: str, description: str, language: str
) -> UUID | None:
    if not _NAME.fullmatch(name) or _is_uuid(name):
        raise Invalid(
            "collection.bad_name",
            "A collection's name has 1 to 128 letters, digits, dots, hyphens or underscores, begins with a letter or "
            "digit, and is not a UUID.",
            pointer="name",
        )
    if not await queries.known_language(session, language):
        raise Invalid(
            "collection.unknown_language",
            f"There is no text-search configuration {language!r}.",
            hint="one of " + ", ".join(await queries.languages(session)),
            pointer="language",
        )
    collection_id = await queries.add_collection(
        session,
        principal.workspace_id,
        name=name,
        description=description,
        language=language,
        space_id=await spaces.find(session, space.model, space.dimension),
    )
    if collection_id is not None:
        await access.record(session, principal, "collection.create", "collection", collection_id, name=name)
        await events.emit(session, principal.workspace_id, "collection.created", "collection", collection_id)
    return collection_id


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
                document=await get_document(session, principal, document_id), job_id=None, is_new_document=False
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
        session, nudger, kind=INGEST, subject_id=version_id, workspace_id=principal.workspace_id
    )
    action = "document.create" if is_new else "document.replace"
    await access.record(
        session, principal, action, "document", document_id, before_sha256=before, after_sha256=upload.sha256
    )
    await events.emit(session, principal.workspace_id, "document.received", "document", document_id, version=number)
    return Received(document=await get_document(session, principal, document_id), job_id=job_id, is_new_document=is_new)


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


def _views() -> Any:
    return (
        select(Document, Version, File, Collection.name.label("collection_name"))
        .join(Version, Version.id == Document.latest_version_id)
        .join(File, File.id == Version.file_id)
        .join(Collection, Collection.id == Document.collection_id)
        .where(Document.deleted_at.is_(None), Collection.deleted_at.is_(None))
        .execution_options(populate_existing=True)
    )


def _view(row: Row[Any]) -> DocumentView:
    return DocumentView(document=row.Document, version=row.Version, file=row.File, collection_name=row.collection_name)


def _not_found(document_id: UUID) -> NotFound:
    return NotFound("document.not_found", f"There is no document {document_id}.", document_id=str(document_id))


def _is_uuid(name: str) -> bool:
    try:
        UUID(name)
    except ValueError:
        return False
    return True

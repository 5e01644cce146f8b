"""What an upload becomes: a document, a version of one, or nothing new. Object first, then the rows, then the reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
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
from drystone.core.text import MAX_EXTERNAL_ID, MAX_TITLE
from drystone.documents import batches, blobs, collections, describing, queries, schemas, service, terms, versions
from drystone.documents.collections import DEFAULT_COLLECTION
from drystone.documents.models import FAILED, Collection, Document
from drystone.documents.schemas import Schema
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


@dataclass(frozen=True)
class Said:
    """What an upload says of its document; None: as before."""

    title: str | None = None
    attributes: dict[str, Any] | None = None
    schema: Schema | None = None


@dataclass(frozen=True)
class Source:
    """Kept bytes that a version is made of. counted_bytes: those that the key's quota is charged."""

    file_id: UUID
    sha256: bytes
    name: str | None
    counted_bytes: int


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
    schema: str | None = None,
    batch_id: UUID | None = None,
    condition: Condition = NO_CONDITION,
    already: Already | None = None,
    before_commit: BeforeCommit | None = None,
) -> Received:
    """Keep the bytes, then a document, its version and a job in one transaction. Object first, then the rows.

    The collection is made where it is missing. Identity is (collection, external_id) when one is given, otherwise
    (collection, SHA-256): the same bytes again change nothing; other bytes under one external_id are a new version.
    schema: what it is under from now on; None: as before, or as the collection says.
    batch_id: the batch that what is new belongs to. condition: about the document of that identity.
    already: asked first, in the transaction of the rows: what came of this very upload before, if anything did.
    before_commit: is given what came of it, in the same transaction.
    Raises Invalid `document.unsupported_type` before anything is kept, `document.does_not_fit` for attributes that do not.
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
        given = await named(session, principal, schema, attributes, home)
        file_id = await _file_id(session, principal, upload, media_type)
        received = await admit(
            session,
            nudger,
            principal,
            home,
            _source(upload, file_id),
            external_id=external_id,
            said=Said(title, attributes, given),
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
    schema: str | None = None,
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
        said = Said(title, attributes, await named(session, principal, schema, attributes))
        file_id = await _file_id(session, principal, upload, media_type)  # first, as `receive` does: no deadlock
        await _check_batch(session, principal, batch_id)
        document = await service.lock_for_change(session, principal, document_id, condition)
        received = await _replace(session, nudger, principal, document, _source(upload, file_id), said, batch_id)
        if before_commit is not None:
            await before_commit(session, received)
    return received


async def check_fit(
    session: AsyncSession,
    principal: Principal,
    *,
    collection: str,
    external_id: str | None,
    sha256: bytes,
    attributes: dict[str, Any] | None,
    schema: str | None,
) -> None:
    """Raise now what `receive` would raise, as things stand, for attributes that do not fit or a schema that there is not."""
    home = await queries.find_collection(session, principal.workspace_id, collection)
    given = await named(session, principal, schema, attributes, home)
    under = given
    if home is not None:
        document = await queries.lock_by_identity(session, home.id, external_id=external_id, sha256=sha256)
        if document is not None:
            await _changes(session, document, Said(None, attributes, given))
            return
        under = given or await schemas.of(session, home)
    if under is not None:
        under.refuse(under.problems(attributes or {}), is_named=given is not None)


def _check_upload(
    upload: Upload, external_id: str | None, title: str | None, attributes: dict[str, Any] | None
) -> None:
    if upload.size_bytes == 0:
        raise Invalid("document.empty", "The file is empty.", hint="send a file with content", pointer="/file")
    if external_id is not None and not 1 <= len(external_id) <= MAX_EXTERNAL_ID:
        raise Invalid(
            "document.external_id_length",
            f"An external_id has 1 to {MAX_EXTERNAL_ID} characters.",
            pointer="/external_id",
        )
    if title is not None and not 1 <= len(title) <= MAX_TITLE:
        raise Invalid("document.title_length", f"A title has 1 to {MAX_TITLE} characters.", pointer="/title")
    if attributes is not None:
        describing.check_attributes(attributes)


async def admit(
    session: AsyncSession,
    nudger: Nudger,
    principal: Principal,
    collection: Collection,
    source: Source,
    *,
    external_id: str | None,
    said: Said,
    batch_id: UUID | None = None,
    condition: Condition = NO_CONDITION,
) -> Received:
    """The document of these bytes in a collection that the caller shares: a new one, a new version of one, or as it was."""
    if collection.expires_after_days is not None:
        await terms.note(session, [collection.id])
    document_id, version_id = new_id(), new_id()
    schema = said.schema or await schemas.of(session, collection)
    problems = schema.problems(said.attributes or {}) if schema is not None else []
    is_new = await queries.add_document(
        session,
        {
            "id": document_id,
            "workspace_id": principal.workspace_id,
            "collection_id": collection.id,
            "external_id": external_id,
            "sha256": source.sha256,
            "name": source.name,
            "title": said.title,
            "attributes": said.attributes or {},
            **(schemas.NONE if schema is None else schema.columns(problems)),
            "latest_version_id": version_id,
            "created_by": principal.actor,
        },
    )
    if not is_new:
        document = await queries.lock_by_identity(session, collection.id, external_id=external_id, sha256=source.sha256)
        if document is None:
            raise Conflict("document.changing", "The document is being deleted at this moment.", hint="send it again")
        condition.check(service.etag(document))
        return await _replace(session, nudger, principal, document, source, said, batch_id)
    condition.check(None)
    if schema is not None:
        schema.refuse(problems, is_named=said.schema is not None)
    await access.record(
        session, principal, "document.create", "document", document_id, after_sha256=source.sha256, before_sha256=None
    )
    job_id = await versions.begin(
        session,
        nudger,
        principal,
        version_id=version_id,
        document_id=document_id,
        collection_id=collection.id,
        number=1,
        file_id=source.file_id,
        name=source.name,
        batch_id=batch_id,
    )
    await quotas.count(session, principal, source.counted_bytes)
    document_view = await service.get_document(session, principal, document_id)
    return Received(document=document_view, job_id=job_id, is_new_document=True)


async def _replace(
    session: AsyncSession,
    nudger: Nudger,
    principal: Principal,
    document: Document,
    source: Source,
    said: Said,
    batch_id: UUID | None,
) -> Received:
    """A new version of a document whose row is locked, or nothing but its description when these bytes are its newest."""
    version, file = await queries.newest_version(session, document.id)
    job_id = None
    changes = await _changes(session, document, said)
    if file.id == source.file_id and version.state != FAILED:
        await _update_description(session, principal, document, changes)
    else:
        job_id = await versions.append(
            session,
            nudger,
            principal,
            document,
            file_id=source.file_id,
            sha256=source.sha256,
            name=source.name,
            changes=changes,
            batch_id=batch_id,
        )
        await quotas.count(session, principal, source.counted_bytes)
    document_view = await service.get_document(session, principal, document.id)
    return Received(document=document_view, job_id=job_id, is_new_document=False)


async def _check_batch(session: AsyncSession, principal: Principal, batch_id: UUID | None) -> None:
    if batch_id is not None:
        await batches.check(session, principal, batch_id)


def _source(upload: Upload, file_id: UUID) -> Source:
    return Source(file_id, upload.sha256, upload.name, upload.size_bytes)


async def _file_id(session: AsyncSession, principal: Principal, upload: Upload, media_type: str) -> UUID:
    return await queries.file_id(
        session,
        principal.workspace_id,
        sha256=upload.sha256,
        size_bytes=upload.size_bytes,
        media_type=media_type,
    )


async def _update_description(
    session: AsyncSession, principal: Principal, document: Document, changes: Mapping[str, Any]
) -> None:
    changes = {k: v for k, v in changes.items() if v != getattr(document, k)}
    if changes:
        await queries.set_document(session, document.id, **changes)
        fields = describing.fields_of(changes)
        await access.record(session, principal, "document.describe", "document", document.id, fields=fields)


async def named(
    session: AsyncSession,
    principal: Principal,
    schema: str | None,
    attributes: dict[str, Any] | None,
    home: Collection | None = None,
) -> Schema | None:
    """The schema that an upload names; where any may be asked, all of them stay as they are until the transaction ends."""
    if schema is not None or attributes is not None or (home is not None and home.schema_id is not None):
        await schemas.share(session, principal.workspace_id)
    return None if schema is None else await schemas.named(session, principal.workspace_id, schema)


async def _changes(session: AsyncSession, document: Document, said: Said) -> dict[str, Any]:
    """Columns of a document that is there already, as an upload would have them. Raises Invalid for what does not fit."""
    given = {"title": said.title, "attributes": said.attributes}
    changes = {name: value for name, value in given.items() if value is not None}
    if said.schema is None and said.attributes is None:
        return changes
    return changes | await schemas.settle(session, document, attributes=said.attributes, given=said.schema)

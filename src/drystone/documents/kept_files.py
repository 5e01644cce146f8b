"""Files that are kept by themselves, and documents made of them. Object first, then the rows, then the reply.

The bytes stand under their hash as those of every document do, once, whoever refers to them. A document that is made of a kept
file has an external_id that says so: the same file twice in one collection is one document.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import keys, quotas
from drystone.access import service as access
from drystone.access.service import Principal
from drystone.adapters.objects import Objects
from drystone.adapters.parsing import media_type_of
from drystone.core.clock import utc_now
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Invalid, NotFound
from drystone.core.ids import new_id
from drystone.documents import blobs, collections, describing, queries, receiving, service
from drystone.documents.models import Collection, File, KeptFile
from drystone.documents.receiving import Received, Said, Source, Upload
from drystone.documents.service import DocumentView
from drystone.jobs.broker import Nudger

_PREFIX = "file-"
_MADE = re.compile(_PREFIX + "[0-9a-f]{32}")
# Of what no document can be made: kept all the same.
OTHER = "application/octet-stream"
MAX_PURPOSE = 64
# Expired ones that one transaction deletes.
_AT_ONCE = 500
# Who deletes them.
_EXPIRY = "expiry"

# SQL over a row of documents; through collections, for that is how external_ids are found.
_MADE_OF = """
external_id = :made_as
and collection_id in (select id from collections where workspace_id = :made_in and deleted_at is null)
and (cast(:visible as uuid[]) is null or collection_id = any(cast(:visible as uuid[])))
"""

BeforeCommit = Callable[[AsyncSession, "KeptView"], Awaitable[None]]
Order = Literal["asc", "desc"]


@dataclass(frozen=True)
class KeptView:
    """A kept file and its bytes' row."""

    kept: KeptFile
    file: File


def external_id(kept_id: UUID) -> str:
    """That of documents made of this file."""
    return _PREFIX + kept_id.hex


async def receive(
    sessions: Sessions,
    objects: Objects,
    principal: Principal,
    upload: Upload,
    *,
    purpose: str,
    expires_s: int | None = None,
    before_commit: BeforeCommit | None = None,
) -> KeptView:
    """Keep the bytes, then the row of a file: a new one each time, whatever the bytes. Raises Invalid for an empty file.

    expires_s: after so many seconds it is deleted as `delete` does. before_commit: is given what came of it, in the same
    transaction. The quota is charged its bytes; documents are counted when they are made of it.
    """
    principal.require("write")
    if upload.size_bytes == 0:
        raise Invalid("document.empty", "The file is empty.", hint="send a file with content", pointer="/file")
    sessions = sessions.within(principal.reach)
    await blobs.put(sessions, objects, upload.sha256, upload.body)
    async with transaction(sessions) as session:
        await keys.recheck(session, principal)
        await blobs.confirm(session, upload.sha256)
        file_id = await queries.file_id(
            session,
            principal.workspace_id,
            sha256=upload.sha256,
            size_bytes=upload.size_bytes,
            media_type=_media_type(upload),
        )
        kept = KeptFile(
            id=new_id(),
            workspace_id=principal.workspace_id,
            file_id=file_id,
            name=upload.name or "file",
            purpose=purpose,
            created_by=principal.actor,
            expires_at=None if expires_s is None else utc_now() + timedelta(seconds=expires_s),
        )
        session.add(kept)
        await session.flush()
        await access.record(session, principal, "file.create", "file", kept.id, after_sha256=upload.sha256)
        await quotas.count(session, principal, upload.size_bytes, documents=0)
        view = await get(session, principal, kept.id)
        if before_commit is not None:
            await before_commit(session, view)
    return view


async def get(session: AsyncSession, principal: Principal, kept_id: UUID) -> KeptView:
    """A kept file. Raises NotFound, also for one that has expired or that the key may not see."""
    principal.require("read")
    row = (await session.execute(_seen(principal).where(KeptFile.id == kept_id))).one_or_none()
    if row is None:
        raise no_file(kept_id)
    return _view(row)


async def page(
    session: AsyncSession,
    principal: Principal,
    *,
    purpose: str | None = None,
    after: UUID | None = None,
    order: Order = "desc",
    limit: int,
) -> list[KeptView]:
    """Kept files in the order they came, or the newest first; those behind the id `after`."""
    principal.require("read")
    query = _seen(principal)
    if purpose is not None:
        query = query.where(KeptFile.purpose == purpose)
    if after is not None:
        query = query.where(KeptFile.id > after if order == "asc" else KeptFile.id < after)
    rows = await session.execute(query.order_by(KeptFile.id if order == "asc" else KeptFile.id.desc()).limit(limit))
    return [_view(row) for row in rows]


async def open_content(objects: Objects, view: KeptView) -> AsyncIterator[bytes]:
    """The bytes as they came; raises as `service.open_content` does."""
    return await service.open_content(objects, view.file)


async def attach(
    session: AsyncSession,
    nudger: Nudger,
    principal: Principal,
    kept_id: UUID,
    collection: Collection,
    *,
    attributes: dict[str, Any] | None = None,
    batch_id: UUID | None = None,
) -> Received:
    """Make a document of a kept file, in a collection that the caller shares; its document, where there is one already.

    Raises NotFound; Invalid `document.unsupported_type` for what cannot be read.
    """
    principal.require("write")
    row = (
        await session.execute(_seen(principal).where(KeptFile.id == kept_id).with_for_update(read=True, of=KeptFile))
    ).one_or_none()
    if row is None:
        raise no_file(kept_id)
    view = _view(row)
    if view.file.media_type == OTHER:
        raise Invalid(
            "document.unsupported_type",
            f"No document can be made of {view.kept.name!r}: there is no reader for files of this type.",
            hint="the list of types that are read is in docs/guides/documents.md",
            pointer="/file_id",
        )
    if attributes is not None:
        describing.check_attributes(attributes)
    await receiving.named(session, principal, None, attributes, collection)
    return await receiving.admit(
        session,
        nudger,
        principal,
        collection,
        Source(view.file.id, view.file.sha256, view.kept.name, counted_bytes=0),
        external_id=external_id(kept_id),
        said=Said(attributes=attributes),
        batch_id=batch_id,
    )


async def document_of(session: AsyncSession, principal: Principal, collection: Collection, name: str) -> DocumentView:
    """The document of a collection that was made of the kept file of this external_id; one that was sent by itself goes by an
    external_id made of its own id. Raises NotFound.
    """
    found = await service.page_documents(session, principal, collection=str(collection.id), external_id=name, limit=1)
    if found:
        return found[0]
    try:
        view = await service.get_document(session, principal, UUID(hex=name.removeprefix(_PREFIX)))
    except (ValueError, NotFound) as exc:
        raise no_file(name) from exc
    found_name = name_of(view.document.id, view.document.external_id)
    if view.document.collection_id != collection.id or found_name != name:
        raise no_file(name)
    return view


def name_of(document_id: UUID, its_external_id: str | None) -> str:
    """What a document goes by among files: the external_id of the kept file it was made of, or one made of its own id."""
    is_made = its_external_id is not None and _MADE.fullmatch(its_external_id)
    return (its_external_id or "") if is_made else external_id(document_id)


async def delete_one(session: AsyncSession, nudger: Nudger, principal: Principal, kept_id: UUID) -> None:
    """Delete a kept file, and the documents made of it in all collections that the key may see. Raises NotFound."""
    principal.require("write")
    found = _seen(principal).where(KeptFile.id == kept_id).with_for_update(of=KeptFile)
    if (await session.execute(found)).one_or_none() is None:
        raise no_file(kept_id)
    await _delete(session, nudger, principal, kept_id)


async def expire(session: AsyncSession, nudger: Nudger) -> int:
    """Delete those whose time is over, some hundred at a time; how many."""
    due = select(KeptFile.id, KeptFile.workspace_id).where(KeptFile.expires_at < func.now())
    due = due.order_by(KeptFile.expires_at).limit(_AT_ONCE).with_for_update(skip_locked=True)
    rows = (await session.execute(due)).all()
    for kept_id, workspace_id in rows:
        await _delete(session, nudger, Principal(workspace_id, _EXPIRY, frozenset()), kept_id)
    return len(rows)


async def remove(session: AsyncSession, kept_ids: Sequence[UUID], *, actor: str, request_id: str | None = None) -> int:
    """Remove the rows of kept files, with a note that outlives them; how many there were. Their documents stay."""
    gone = await session.execute(
        delete(KeptFile).where(KeptFile.id.in_(kept_ids)).returning(KeptFile.id, KeptFile.workspace_id, KeptFile.name)
    )
    rows = gone.all()
    for kept_id, workspace_id, _ in rows:
        await queries.note_deletion(
            session, workspace_id, "file", kept_id, actor=actor, external_id=external_id(kept_id)
        )
        who = Principal(workspace_id, actor, frozenset(), request_id=request_id)
        await access.record(session, who, "file.delete", "file", kept_id)
    return len(rows)


def no_file(kept_id: UUID | str) -> NotFound:
    """The error for a kept file that does not exist, or not for this caller."""
    return NotFound(
        "file.not_found", f"There is no file {kept_id}.", hint="list the files there are", pointer="/file_id"
    )


def _media_type(upload: Upload) -> str:
    try:
        return media_type_of(upload.name, upload.declared_type, upload.head)
    except Invalid:
        return OTHER


async def _delete(session: AsyncSession, nudger: Nudger, principal: Principal, kept_id: UUID) -> None:
    made: dict[str, Any] = {"made_in": principal.workspace_id, "made_as": external_id(kept_id), "visible": None}
    if principal.collection_ids is not None:
        made["visible"] = list(principal.collection_ids)
    touched = await queries.tombstone(session, _MADE_OF, made, actor=principal.actor, request_id=principal.request_id)
    for collection_id, (workspace_id, _) in touched.items():
        await collections.purge_later(session, nudger, workspace_id, collection_id)
    await remove(session, [kept_id], actor=principal.actor, request_id=principal.request_id)


def _seen(principal: Principal) -> Any:
    """Those the caller may see. A key that is confined to collections sees the files that it sent."""
    query = select(KeptFile, File).join(File, File.id == KeptFile.file_id)
    query = query.where(
        KeptFile.workspace_id == principal.workspace_id,
        KeptFile.expires_at.is_(None) | (KeptFile.expires_at > func.now()),
    )
    if principal.collection_ids is not None:
        query = query.where(KeptFile.created_by == principal.actor)
    return query


def _view(row: Row[Any]) -> KeptView:
    return KeptView(row.KeptFile, row.File)

"""Archives: each member becomes a document of its own, under the archive's; what cannot be taken is a failed one.

Unpacking may be cut short anywhere and begun again: what this version of the archive has received already is left alone.
Every transaction holds the job and the archive's row, so that neither a worker that was taken for dead nor a delete
that comes in between leaves a member behind.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Principal
from drystone.adapters.parsing import Archive, Member, media_type_of
from drystone.core import crash_points, measures
from drystone.core.db import transaction
from drystone.core.errors import DrystoneError, Invalid
from drystone.core.ids import new_id
from drystone.core.logging import get_logger
from drystone.documents import blobs, collections, describing, queries, versions
from drystone.documents.models import FAILED, READY, SCHEMA_COLUMNS, Document
from drystone.documents.queries import KnownMember, Pending
from drystone.index import queries as index
from drystone.jobs import events
from drystone.jobs import service as jobs
from drystone.jobs.broker import Nudger
from drystone.jobs.queries import Claim, lock_held

if TYPE_CHECKING:
    from drystone.documents.ingest import Tools

# An archive may take this long, and this much longer for each of its members.
DEADLINE_S, DEADLINE_PER_MEMBER_S = 150.0, 2.0
_HEAD_BYTES = 8_192
# A member that is refused keeps no bytes: they are in the archive.
_NOTHING = hashlib.sha256(b"").digest()
NO_TYPE = "application/octet-stream"

log = get_logger("documents.archives")


@dataclass(frozen=True)
class _Content:
    """What a member is to become: a file to be read, or one that is refused."""

    sha256: bytes
    size_bytes: int
    media_type: str
    refused: DrystoneError | None = None


async def unpack(tools: Tools, claim: Claim, pending: Pending) -> None:
    """Receive the members of the claimed version, delete those that are gone, make the version ready.

    Raises Invalid when the archive cannot be opened, LostLease when another attempt has taken over.
    """
    async with (
        blobs.opened(tools.objects, tools.spool_folder, pending.sha256, pending.size_bytes) as body,
        tools.parser.archive(body) as archive,
    ):
        del body
        async with transaction(tools.sessions) as session:
            known = await queries.members(session, pending.document_id)
        async with asyncio.timeout(DEADLINE_S + DEADLINE_PER_MEMBER_S * len(archive.members)):
            for member in archive.members:
                await _receive(tools, claim, pending, archive, member, known.get(member.path))
                crash_points.reach("mid_unpack")
        await _publish(tools, claim, pending, {member.path for member in archive.members})
    measures.document_ready(passages=0, size_bytes=pending.size_bytes)
    log.info("archive.ready", document_id=str(pending.document_id), members=len(archive.members))


async def _receive(
    tools: Tools, claim: Claim, pending: Pending, archive: Archive, member: Member, known: KnownMember | None
) -> None:
    if known is not None and not _is_due(member, known, pending):
        return
    content = await _keep(tools, archive, member)
    async with transaction(tools.sessions) as session:
        parent = await _hold(session, claim, pending, content)
        if parent is not None:
            await _admit(session, tools, parent, pending, member.path, content)


def _is_due(member: Member, known: KnownMember, pending: Pending) -> bool:
    """Whether a member that is there is to get a new version: other bytes, or another try of what failed before."""
    if (known.attributes, known.schema_id) != (pending.attributes, pending.schema_id):
        return True
    if member.refused is not None:
        return known.error_code != member.refused.code
    is_same = known.sha256 == member.sha256 or (known.is_of_this_unpacking and known.sha256 == _NOTHING)
    return not is_same or (known.state == FAILED and not known.is_of_this_unpacking)


async def _keep(tools: Tools, archive: Archive, member: Member) -> _Content:
    """Put a member's bytes where its row may refer to them."""
    try:
        if member.refused is not None:
            raise member.refused
        body = await archive.read(member)
        media_type = media_type_of(member.path, None, body[:_HEAD_BYTES])
    except Invalid as exc:
        await blobs.keep(tools.sessions, tools.objects, _NOTHING, b"")
        return _Content(_NOTHING, 0, NO_TYPE, exc)
    sha256 = await asyncio.to_thread(lambda: hashlib.sha256(body).digest())
    await blobs.keep(tools.sessions, tools.objects, sha256, body)
    return _Content(sha256, len(body), media_type)


async def _hold(session: AsyncSession, claim: Claim, pending: Pending, content: _Content | None) -> Document | None:
    """Lock job, collection, file and archive, in the order that uploads take them; None when the archive is deleted.

    Raises LostLease, and Invalid `version.superseded` when a newer version of the archive is on its way or there.
    """
    if not await lock_held(session, claim.job_id, claim.attempt):
        raise jobs.LostLease(claim.job_id)
    is_there = await queries.share_collection(session, pending.collection_id)
    if content is not None:
        await _file_id(session, pending, content)
    parent = await queries.lock_document(session, pending.document_id)
    if not is_there or parent is None:
        return None
    if await queries.has_newer_version(session, pending.document_id, pending.version_number):
        raise Invalid("version.superseded", "A newer version of this archive was received.", hint="nothing needs doing")
    return parent


async def _file_id(session: AsyncSession, pending: Pending, content: _Content) -> UUID:
    return await queries.file_id(
        session,
        pending.workspace_id,
        sha256=content.sha256,
        size_bytes=content.size_bytes,
        media_type=content.media_type,
    )


async def _admit(
    session: AsyncSession, tools: Tools, parent: Document, pending: Pending, path: str, content: _Content
) -> None:
    """The rows of a member: a new document, a new version of one, or nothing but its attributes."""
    principal = owner(parent)
    file_id = await _file_id(session, pending, content)
    document = await queries.lock_member(session, parent.id, path)
    if document is None:
        await _add(session, tools, principal, parent, pending, path, content, file_id)
        return
    # What the archive is under, its members are, and with the same attributes they fit as it does.
    taken_over = ("attributes", *SCHEMA_COLUMNS)
    changes: dict[str, Any] = {
        name: getattr(parent, name) for name in taken_over if getattr(document, name) != getattr(parent, name)
    }
    newest, file = await queries.newest_version(session, document.id)
    if content.refused is not None:
        is_same = newest.state == FAILED and newest.error_code == content.refused.code
    else:
        is_same = file.id == file_id and newest.state != FAILED
    if is_same:
        if changes:
            await queries.set_document(session, document.id, **changes)
            await access.record(
                session, principal, "document.describe", "document", document.id, fields=describing.fields_of(changes)
            )
    elif content.refused is not None:
        await _add_refused_version(session, principal, document, pending, file_id, content, changes)
    else:
        await versions.append(
            session,
            tools.nudger,
            principal,
            document,
            file_id=file_id,
            sha256=content.sha256,
            changes=changes,
            batch_id=pending.batch_id,
        )


def owner(parent: Document) -> Principal:
    """Who sent the archive: what becomes of it is written down under that name."""
    return Principal(parent.workspace_id, parent.created_by, frozenset(("read", "write")))


async def _add(
    session: AsyncSession,
    tools: Tools,
    principal: Principal,
    parent: Document,
    pending: Pending,
    path: str,
    content: _Content,
    file_id: UUID,
) -> None:
    document_id, version_id, name = new_id(), new_id(), path.rpartition("/")[2][:255]
    await queries.add_member(
        session,
        {
            "id": document_id,
            "workspace_id": parent.workspace_id,
            "collection_id": parent.collection_id,
            "parent_id": parent.id,
            "member_path": path,
            "sha256": content.sha256,
            "name": name,
            "attributes": parent.attributes,
            **{name: getattr(parent, name) for name in SCHEMA_COLUMNS},
            "latest_version_id": version_id,
            "created_by": parent.created_by,
        },
    )
    await access.record(
        session, principal, "document.create", "document", document_id, after_sha256=content.sha256, before_sha256=None
    )
    if content.refused is not None:
        await _fail_at_once(session, document_id, version_id, 1, pending, file_id, name, content.refused)
        return
    await versions.begin(
        session,
        tools.nudger,
        principal,
        version_id=version_id,
        document_id=document_id,
        collection_id=parent.collection_id,
        number=1,
        file_id=file_id,
        name=name,
        batch_id=pending.batch_id,
    )


async def _add_refused_version(
    session: AsyncSession,
    principal: Principal,
    document: Document,
    pending: Pending,
    file_id: UUID,
    content: _Content,
    changes: dict[str, Any],
) -> None:
    assert content.refused is not None
    newest, _ = await queries.newest_version(session, document.id)
    version_id = new_id()
    await access.record(
        session,
        principal,
        "document.replace",
        "document",
        document.id,
        before_sha256=document.sha256,
        after_sha256=content.sha256,
    )
    changes |= {"sha256": content.sha256, "latest_version_id": version_id}
    await queries.set_document(session, document.id, **changes)
    await _fail_at_once(
        session, document.id, version_id, newest.number + 1, pending, file_id, document.name, content.refused
    )


async def _fail_at_once(
    session: AsyncSession,
    document_id: UUID,
    version_id: UUID,
    number: int,
    pending: Pending,
    file_id: UUID,
    name: str | None,
    error: DrystoneError,
) -> None:
    """A version that is known to fail needs no job."""
    await queries.add_version(
        session,
        {
            "id": version_id,
            "workspace_id": pending.workspace_id,
            "document_id": document_id,
            "number": number,
            "file_id": file_id,
            "name": name,
            "batch_id": pending.batch_id,
            "state": FAILED,
            "error_code": error.code,
            "error_message": error.message,
            "error_hint": error.hint,
        },
    )
    await queries.set_document(session, document_id, state=FAILED)
    await events.emit(
        session,
        pending.workspace_id,
        "document.failed",
        "document",
        document_id,
        collection_id=pending.collection_id,
        batch_id=pending.batch_id,
        code=error.code,
        message=error.message,
        hint=error.hint,
    )


async def _publish(tools: Tools, claim: Claim, pending: Pending, paths: set[str]) -> None:
    """All members are received: delete those that are gone, make the version ready and end the job."""
    async with transaction(tools.sessions) as session:
        parent = await _hold(session, claim, pending, None)
        if parent is not None:
            principal = owner(parent)
            await delete_members(session, tools.nudger, principal, parent, but=paths)
            if parent.current_version_id is not None:  # which may have been a file with passages
                await index.remove_documents(session, [parent.id])
                await queries.remove_chunks(session, parent.id)
            await queries.set_version(
                session, pending.version_id, state=READY, chunk_count=0, attempt=claim.attempt, ready_at=func.now()
            )
            await queries.set_document(session, parent.id, state=READY, current_version_id=pending.version_id)
            await events.emit(
                session,
                pending.workspace_id,
                "document.ready",
                "document",
                parent.id,
                collection_id=pending.collection_id,
                batch_id=pending.batch_id,
                members=len(paths),
            )
        await jobs.finish(session, claim)


async def delete_members(
    session: AsyncSession, nudger: Nudger, principal: Principal, parent: Document, *, but: Collection[str] = ()
) -> None:
    """Delete the members of an archive whose paths are not among `but`."""
    touched = await queries.tombstone(
        session,
        "parent_id = :parent_id and member_path <> all(:paths)",
        {"parent_id": parent.id, "paths": list(but)},
        actor=principal.actor,
        request_id=None,
    )
    for collection_id, (workspace_id, _) in touched.items():
        await collections.purge_later(session, nudger, workspace_id, collection_id)

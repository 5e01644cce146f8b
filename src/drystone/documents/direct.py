"""Direct uploads: the sender puts the file into the object store, the server checks its hash and receives it.

The address it is put to can be written until it expires, so nothing there is trusted: what is kept is what was read
and hashed, in one go, never what lies there afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.adapters.incoming import Incoming
from drystone.adapters.objects import Objects
from drystone.adapters.parsing import check_readable
from drystone.core.clock import utc_now
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Conflict, Invalid, NotFound
from drystone.core.ids import new_id
from drystone.core.logging import get_logger
from drystone.core.spool import Spool
from drystone.documents import collections, receiving, service
from drystone.documents.admission import Admission
from drystone.documents.collections import DEFAULT_COLLECTION
from drystone.documents.models import DirectUpload
from drystone.documents.receiving import Received, Upload
from drystone.index.spaces import Space
from drystone.jobs.broker import Nudger

EXPIRES_S = 3600
# One PUT takes no more than this in S3.
_MAX_PUT_BYTES = 5 * 1024**3

log = get_logger("documents.direct")


@dataclass(frozen=True)
class Begun:
    """Where to put the file, and until when."""

    id: UUID
    url: str
    expires_at: datetime


@dataclass(frozen=True)
class Receiver:
    """What receiving works with."""

    sessions: Sessions
    objects: Objects
    incoming: Incoming
    nudger: Nudger
    space: Space
    admission: Admission


def check_size(size_bytes: int, max_bytes: int) -> None:
    """Raise Invalid `document.too_large` for more than the settings, or one PUT, allow."""
    if size_bytes > min(max_bytes, _MAX_PUT_BYTES):
        raise Invalid(
            "document.too_large",
            f"A file may have up to {min(max_bytes, _MAX_PUT_BYTES):,} bytes.",
            hint="split it, or raise MAX_UPLOAD_BYTES",
            pointer="/size_bytes",
        )


async def begin(
    session: AsyncSession,
    incoming: Incoming,
    principal: Principal,
    *,
    sha256: bytes,
    size_bytes: int,
    request: dict[str, Any],
) -> Begun:
    """Announce a file. request: name, declared_type, collection, external_id, title, attributes, schema.

    Raises now what `complete` would raise for collection, attributes and schema and, whatever the bytes are, for name and type.
    """
    principal.require("write")
    check_readable(request.get("name"), request.get("declared_type"))
    await collections.check_home(session, principal, request.get("collection") or DEFAULT_COLLECTION)
    await receiving.check_fit(
        session,
        principal,
        collection=request.get("collection") or DEFAULT_COLLECTION,
        external_id=request.get("external_id"),
        sha256=sha256,
        attributes=request.get("attributes"),
        schema=request.get("schema"),
    )
    upload_id, expires_at = new_id(), utc_now() + timedelta(seconds=EXPIRES_S)
    await session.execute(
        insert(DirectUpload).values(
            id=upload_id,
            workspace_id=principal.workspace_id,
            created_by=principal.actor,
            sha256=sha256,
            size_bytes=size_bytes,
            request=request,
            expires_at=expires_at,
        )
    )
    url = incoming.url(upload_id, size_bytes=size_bytes, expires_s=EXPIRES_S)
    return Begun(upload_id, url, expires_at)


async def complete(tools: Receiver, principal: Principal, upload_id: UUID) -> Received:
    """Receive what was put, as any upload; the same again, also at the same time, gives the same document.

    Raises NotFound, also for an expired one; Conflict `upload.not_there` before it was put; Invalid `upload.mismatch`
    for other bytes than were announced, which are removed: put the right ones and complete again.
    """
    principal.require("write")
    sessions = tools.sessions.within(principal.reach)
    async with transaction(sessions) as session:
        row = await _find(session, principal, upload_id)
        before = await _completed(session, principal, row)
    if before is not None:
        return before
    await tools.admission.check(row.size_bytes, principal=principal)
    spool = Spool(tools.admission.spool_folder)
    try:
        await _fetch(tools.incoming, row, spool)
        received = await _receive(tools, principal, row, spool)
    except Conflict:  # perhaps it is not there because another request received and removed it
        async with transaction(sessions) as session:
            before = await _completed(session, principal, await _find(session, principal, upload_id))
        if before is None:
            raise
        return before
    finally:
        spool.close()
    await tools.incoming.delete(upload_id)
    return received


async def sweep(sessions: Sessions, incoming: Incoming, *, older_than_s: float) -> int:
    """Remove what lies there for no announcement that still holds, and uploads in parts that nobody finished; how many."""
    async with transaction(sessions) as session:
        await session.execute(delete(DirectUpload).where(DirectUpload.expires_at < func.now()))
        live = set((await session.scalars(select(DirectUpload.id))).all())
    before, removed = utc_now() - timedelta(seconds=older_than_s), 0
    async for arrived in incoming.list():
        if arrived.upload_id not in live and arrived.modified_at < before:
            await incoming.delete(arrived.upload_id)
            removed += 1
    removed += await incoming.end_abandoned(older_than_s=older_than_s)
    if removed:
        log.info("uploads.removed", count=removed)
    return removed


async def _find(session: AsyncSession, principal: Principal, upload_id: UUID, *, lock: bool = False) -> DirectUpload:
    found = select(DirectUpload).where(
        DirectUpload.id == upload_id,
        DirectUpload.workspace_id == principal.workspace_id,
        DirectUpload.created_by == principal.actor,
        DirectUpload.expires_at > func.now(),
    )
    row = await session.scalar(found.with_for_update() if lock else found)
    if row is None:
        raise NotFound(
            "upload.not_found", f"There is no upload {upload_id}, or it has expired.", hint="announce the file again"
        )
    return row


async def _completed(session: AsyncSession, principal: Principal, row: DirectUpload) -> Received | None:
    """What came of it, if it was completed. Raises NotFound when that document is deleted by now."""
    if row.completed_at is None or row.document_id is None:
        return None
    view = await service.get_document(session, principal, row.document_id)
    return Received(document=view, job_id=None, is_new_document=False)


async def _fetch(incoming: Incoming, row: DirectUpload, spool: Spool) -> None:
    try:
        await incoming.fetch(row.id, spool, max_bytes=row.size_bytes)
    except NotFound as exc:
        raise Conflict("upload.not_there", "Nothing was put yet.", hint="PUT the file to the url first") from exc
    if (spool.size_bytes, spool.sha256) != (row.size_bytes, row.sha256):
        await incoming.delete(row.id)
        raise Invalid(
            "upload.mismatch",
            f"{spool.size_bytes:,} bytes with the SHA-256 {spool.sha256.hex()} were put, others than announced.",
            hint="they were removed; put the file again and complete again",
        )


async def _receive(tools: Receiver, principal: Principal, row: DirectUpload, spool: Spool) -> Received:
    said = row.request

    async def already(session: AsyncSession) -> Received | None:
        # Another request may have completed it while this one read the file; from here on that one waits.
        return await _completed(session, principal, await _find(session, principal, row.id, lock=True))

    async def mark(session: AsyncSession, received: Received) -> None:
        await session.execute(
            update(DirectUpload)
            .where(DirectUpload.id == row.id)
            .values(completed_at=func.now(), document_id=received.document.document.id)
        )

    upload = Upload(
        body=spool.body,
        head=spool.head,
        size_bytes=spool.size_bytes,
        sha256=spool.sha256,
        name=said.get("name"),
        declared_type=said.get("declared_type"),
    )

    return await receiving.receive(
        tools.sessions,
        tools.objects,
        tools.nudger,
        principal,
        tools.space,
        upload,
        collection=said.get("collection") or DEFAULT_COLLECTION,
        external_id=said.get("external_id"),
        title=said.get("title"),
        attributes=said.get("attributes"),
        schema=said.get("schema"),
        already=already,
        before_commit=mark,
    )

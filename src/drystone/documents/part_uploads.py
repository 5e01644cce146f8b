"""Files that come in parts, in any order and several at a time: kept as a file once their sender says in which order.

Each part is a blob of its own until then, named by a row, so that no sweep takes it; the file is made by reading them one after the
other.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import keys, quotas
from drystone.access.service import Principal
from drystone.adapters.objects import Objects
from drystone.core.clock import utc_now
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Conflict, Invalid, NotFound
from drystone.core.ids import new_id
from drystone.core.spool import Spool
from drystone.documents import blobs, kept_files, queries, service
from drystone.documents.admission import Admission
from drystone.documents.kept_files import KeptView
from drystone.documents.models import File, PartUpload, UploadPart
from drystone.documents.receiving import Upload

PENDING, COMPLETED, CANCELLED = "pending", "completed", "cancelled"
EXPIRES_S = 3600
MOST_PARTS = 10_000
# How much may be sent for each byte that was announced: a part whose answer was lost is sent again.
_TIMES = 2

BeforeCommit = Callable[[AsyncSession, UploadPart], Awaitable[None]]


@dataclass(frozen=True)
class Announced:
    """What a file is to be once all its parts are there."""

    name: str
    media_type: str
    purpose: str
    size_bytes: int
    expires_s: int | None


async def begin(session: AsyncSession, principal: Principal, announced: Announced, *, max_bytes: int) -> PartUpload:
    """Announce a file. Raises Invalid `document.too_large`; Denied where the key's quota has no room for it."""
    principal.require("write")
    if announced.size_bytes > max_bytes:
        raise Invalid(
            "document.too_large",
            f"A file may have up to {max_bytes:,} bytes.",
            hint="split it, or raise MAX_UPLOAD_BYTES",
            pointer="/bytes",
        )
    await quotas.check(session, principal, announced.size_bytes)
    upload = PartUpload(
        id=new_id(),
        workspace_id=principal.workspace_id,
        created_by=principal.actor,
        name=announced.name,
        media_type=announced.media_type,
        purpose=announced.purpose,
        size_bytes=announced.size_bytes,
        expires_s=announced.expires_s,
        state=PENDING,
        expires_at=utc_now() + timedelta(seconds=EXPIRES_S),
    )
    session.add(upload)
    await session.flush()
    await session.refresh(upload)
    return upload


async def add_part(
    sessions: Sessions,
    objects: Objects,
    principal: Principal,
    upload_id: UUID,
    part: Upload,
    *,
    before_commit: BeforeCommit | None = None,
) -> UploadPart:
    """Keep a part; the same bytes twice are two parts. before_commit: is given it in the same transaction.

    Raises NotFound, Conflict where the upload has ended, Invalid for too much.
    """
    principal.require("write")
    if part.size_bytes == 0:
        raise Invalid("upload.empty_part", "The part is empty.", hint="leave it out", pointer="/data")
    sessions = sessions.within(principal.reach)
    async with transaction(sessions) as session:
        _check_pending(await _find(session, principal, upload_id))
    await blobs.put(sessions, objects, part.sha256, part.body)
    async with transaction(sessions) as session:
        await keys.recheck(session, principal)
        await blobs.confirm(session, part.sha256)
        file_id = await queries.file_id(
            session,
            principal.workspace_id,
            sha256=part.sha256,
            size_bytes=part.size_bytes,
            media_type=kept_files.OTHER,
        )
        upload = await _find(session, principal, upload_id, lock=True)
        _check_pending(upload)
        await _check_room(session, upload, part.size_bytes)
        made = UploadPart(id=new_id(), workspace_id=upload.workspace_id, upload_id=upload.id, file_id=file_id)
        session.add(made)
        await session.flush()
        await session.refresh(made)
        if before_commit is not None:
            await before_commit(session, made)
    return made


async def complete(
    sessions: Sessions,
    objects: Objects,
    admission: Admission,
    principal: Principal,
    upload_id: UUID,
    part_ids: Sequence[UUID],
    *,
    md5: str | None = None,
) -> tuple[PartUpload, KeptView]:
    """Make the file of these parts, in this order; asked again, the same file.

    Raises NotFound, also for a part of another upload; Conflict where it was cancelled; Invalid `upload.mismatch` where the bytes are
    not as many as were announced, or have another MD5: then it is still pending.
    """
    principal.require("write")
    within = sessions.within(principal.reach)
    async with transaction(within) as session:
        upload = await _find(session, principal, upload_id)
        if upload.state == COMPLETED and upload.kept_id is not None:
            return upload, await kept_files.get(session, principal, upload.kept_id)
        _check_pending(upload)
        parts = await _files(session, upload, part_ids)
    if (size_bytes := sum(file.size_bytes for file in parts)) != upload.size_bytes:
        raise _mismatch(f"The parts have {size_bytes:,} bytes together, and {upload.size_bytes:,} were announced.")
    await admission.check(upload.size_bytes, principal=principal)
    spool = Spool(admission.spool_folder)
    try:
        await _join(objects, parts, spool, md5)

        async def end(session: AsyncSession, view: KeptView) -> None:
            ended = await _find(session, principal, upload_id, lock=True)
            _check_pending(ended)
            ended.state, ended.kept_id = COMPLETED, view.kept.id
            await session.execute(delete(UploadPart).where(UploadPart.upload_id == upload_id))

        view = await kept_files.receive(
            sessions,
            objects,
            principal,
            Upload(spool.body, spool.head, spool.size_bytes, spool.sha256, upload.name, upload.media_type),
            purpose=upload.purpose,
            expires_s=upload.expires_s,
            before_commit=end,
        )
    finally:
        spool.close()
    async with transaction(within) as session:
        return await _find(session, principal, upload_id), view


async def cancel(session: AsyncSession, principal: Principal, upload_id: UUID) -> PartUpload:
    """Give up what has come so far. Raises NotFound, Conflict where it has ended otherwise."""
    principal.require("write")
    upload = await _find(session, principal, upload_id, lock=True)
    if upload.state != CANCELLED:
        _check_pending(upload)
        upload.state = CANCELLED
        await session.execute(delete(UploadPart).where(UploadPart.upload_id == upload_id))
        await session.flush()
    return upload


async def sweep(session: AsyncSession) -> int:
    """Forget uploads whose time is over, with their parts; how many. Files that were made of them stay."""
    gone = await session.execute(delete(PartUpload).where(PartUpload.expires_at < func.now()).returning(PartUpload.id))
    return len(gone.all())


async def _find(session: AsyncSession, principal: Principal, upload_id: UUID, *, lock: bool = False) -> PartUpload:
    """An upload of the caller's own that has not expired."""
    found = select(PartUpload).where(
        PartUpload.id == upload_id,
        PartUpload.workspace_id == principal.workspace_id,
        PartUpload.created_by == principal.actor,
        PartUpload.expires_at > func.now(),
    )
    found = found.execution_options(populate_existing=True)
    upload = await session.scalar(found.with_for_update() if lock else found)
    if upload is None:
        raise no_upload(upload_id)
    return upload


def no_upload(upload_id: UUID | str) -> NotFound:
    """The error for an upload that does not exist, has expired, or is another key's."""
    return NotFound(
        "upload.not_found", f"There is no upload {upload_id}, or it has expired.", hint="announce the file again"
    )


def no_part(part_id: UUID | str) -> NotFound:
    """The error for a part that the upload does not have."""
    return NotFound("upload.no_such_part", f"The upload has no part {part_id}.", hint="send it", pointer="/part_ids")


def _check_pending(upload: PartUpload) -> None:
    if upload.state != PENDING:
        raise Conflict("upload.ended", f"The upload is {upload.state} already.", hint="announce the file again")


async def _check_room(session: AsyncSession, upload: PartUpload, size_bytes: int) -> None:
    row = (
        await session.execute(
            select(func.count(), func.coalesce(func.sum(File.size_bytes), 0))
            .select_from(UploadPart)
            .join(File, File.id == UploadPart.file_id)
            .where(UploadPart.upload_id == upload.id)
        )
    ).one()
    if row[0] >= MOST_PARTS or row[1] + size_bytes > _TIMES * upload.size_bytes:
        raise Invalid(
            "upload.too_much",
            f"The parts have {row[1]:,} bytes so far, and {upload.size_bytes:,} were announced.",
            hint="complete the upload, or cancel it and announce the right size",
            pointer="/data",
        )


async def _files(session: AsyncSession, upload: PartUpload, part_ids: Sequence[UUID]) -> list[File]:
    rows = await session.execute(
        select(UploadPart.id, File)
        .join(File, File.id == UploadPart.file_id)
        .where(UploadPart.upload_id == upload.id, UploadPart.id.in_(part_ids))
    )
    found = {row.id: row.File for row in rows}
    for part_id in part_ids:
        if part_id not in found:
            raise no_part(part_id)
    return [found[part_id] for part_id in part_ids]


async def _join(objects: Objects, parts: Sequence[File], spool: Spool, md5: str | None) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    for file in parts:
        async for piece in await service.open_content(objects, file):
            await spool.write(piece)
            await asyncio.to_thread(digest.update, piece)
    await spool.finish()
    if md5 is not None and digest.hexdigest() != md5.lower():
        raise _mismatch(f"The parts have the MD5 {digest.hexdigest()} together, and another was named.")


def _mismatch(message: str) -> Invalid:
    return Invalid(
        "upload.mismatch", message, hint="check the order of the parts, and that all are there", pointer="/part_ids"
    )

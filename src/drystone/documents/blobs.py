"""Keeping blobs, and removing those that nothing refers to once they are older than the grace period."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.adapters.objects import Objects
from drystone.core import crash_points
from drystone.core.clock import utc_now
from drystone.core.db import IDLE_IN_TRANSACTION_S, Sessions, transaction
from drystone.core.errors import Unavailable
from drystone.core.logging import get_logger
from drystone.core.spool import nameless_file, telling_full_disk

# Larger blobs are read from disk, not held in this process.
_IN_MEMORY_BYTES = 16 * 1024 * 1024

# PostgreSQL ends a transaction that does nothing for a while, and its locks with it; a removal takes some seconds of that.
_SURE_S = IDLE_IN_TRANSACTION_S / 2

# Blobs of which one statement asks whether they are wanted.
_ASKED_AT_ONCE = 500

# A removal that the store did not answer is carried out by then, or never.
REMOVAL_DOUBT_S = 120

log = get_logger("documents.blobs")


async def keep(sessions: Sessions, objects: Objects, sha256: bytes, body: bytes | BinaryIO) -> None:
    """Put a blob that a row may refer to from now on. Raises as `put` and `confirm` do."""
    await put(sessions, objects, sha256, body)
    async with transaction(sessions) as session:
        await confirm(session, sha256)


async def put(sessions: Sessions, objects: Objects, sha256: bytes, body: bytes | BinaryIO) -> None:
    """Put a blob, to be confirmed by the transaction that refers to it, right after.

    One that stood already is first said to be wanted, so that no sweep takes it before its row is there.
    """
    if await objects.put(sha256, body):
        return
    async with transaction(sessions) as session:
        await session.execute(_LOCK, {"sha256": sha256})
        await session.execute(_INTEND, {"sha256": sha256})
        is_wrong = await session.scalar(_HAS_PROBLEM, {"sha256": sha256})
    if not isinstance(body, bytes):
        body.seek(0)
    await objects.put(sha256, body, force=bool(is_wrong))


async def confirm(session: AsyncSession, sha256: bytes) -> None:
    """The right bytes were just put: what a scrub found missing or wrong is repaired.

    Raises Unavailable while a removal may be on its way that the store was asked for before, and takes them away again.
    """
    await confirm_all(session, [sha256])


async def confirm_all(session: AsyncSession, hashes: Sequence[bytes]) -> None:
    """As `confirm`, of several."""
    if await session.scalar(_CONFIRM, {"hashes": list(hashes), "doubt_s": REMOVAL_DOUBT_S}):
        raise Unavailable(
            "objects.removal_in_doubt",
            "The object store was asked to remove an older blob of the same bytes, and has not said that it is done.",
            hint="send the file again in two minutes; jobs try again by themselves",
            retry_after_s=30,
        )


async def mark_wrong(session: AsyncSession, sha256: bytes) -> None:
    """The store gives other bytes than were put, again and again: an upload of the right ones is to write them anew."""
    await session.execute(_MARK_WRONG, {"sha256": sha256})


@asynccontextmanager
async def opened(
    objects: Objects, spool_folder: Path, sha256: bytes, size_bytes: int
) -> AsyncIterator[bytes | BinaryIO]:
    """A blob to be read: its bytes, or where it is large a nameless file with them, so that memory stays small."""
    if size_bytes <= _IN_MEMORY_BYTES:
        yield await objects.get(sha256)
        return
    with nameless_file(spool_folder) as file:
        with telling_full_disk(spool_folder):
            await objects.copy_to(sha256, file)
        yield file


async def sweep(sessions: Sessions, objects: Objects, *, grace_s: int, sure_s: float = _SURE_S) -> int:
    """Remove orphans; how many. sure_s: how long after it was taken the lock on a hash counts as held.

    A blob is spared while it is young (its row may still be on its way), while a row refers to it, or while an
    upload that found it standing has said that it is wanted. The lock on its hash is the one that such an upload takes.
    What the store is asked to remove stands in `blob_removals` until it has answered. Takes two connections at a time.
    """
    async with transaction(sessions) as session:
        await session.execute(text("delete from blob_intents where until < now()"))
        await session.execute(_FORGET_REMOVALS, {"doubt_s": REMOVAL_DOUBT_S})
        await session.execute(text("delete from kept_embeddings where created_at < now() - interval '1 day'"))
        await session.execute(_DELETE_UNUSED_FILES, {"grace_s": grace_s})
    removed = 0
    oldest = utc_now() - timedelta(seconds=grace_s)
    async for some in _older(objects, oldest):
        for sha256 in await _unwanted(sessions, some):
            removed += await _remove_if_orphan(sessions, objects, sha256, oldest, sure_s)
    if removed:
        log.info("blobs.removed", count=removed)
    return removed


async def is_wanted(sessions: Sessions, sha256: bytes) -> bool:
    """Whether a row refers to this blob at this moment, or an upload has said that it will."""
    async with transaction(sessions) as session:
        return bool(await session.scalar(_IS_WANTED, {"sha256": sha256}))


async def _older(objects: Objects, oldest: datetime) -> AsyncIterator[list[bytes]]:
    """The hashes of the blobs that were last written before, some at a time."""
    some: list[bytes] = []
    async for sha256, _size, modified in objects.list():
        if modified < oldest:
            some.append(sha256)
        if len(some) == _ASKED_AT_ONCE:
            yield some
            some = []
    yield some


async def _unwanted(sessions: Sessions, some: list[bytes]) -> Sequence[bytes]:
    """Those of them that nothing refers to at this moment. Almost all are wanted: asked one by one they would take hours."""
    async with transaction(sessions) as session:
        return (await session.scalars(_UNWANTED, {"some": some})).all()


async def _remove_if_orphan(
    sessions: Sessions, objects: Objects, sha256: bytes, oldest: datetime, sure_s: float
) -> bool:
    async with transaction(sessions) as session:
        await session.execute(_LOCK, {"sha256": sha256})
        if await session.scalar(_IS_WANTED, {"sha256": sha256}):
            return False
        held_since = time.monotonic()
        # Since the listing another sweep may have removed it, and an upload put it there anew.
        modified = await objects.modified_at(sha256)
        if modified is None or modified >= oldest:
            return False
        # Under the lock, on purpose: an upload that finds this blob waits for it here. And noted before the clock is
        # asked: whoever gets the lock, should it be lost meanwhile, finds the note.
        was_in_doubt = await _note_removal(sessions, sha256)
        crash_points.reach("before_blob_delete")
        # Halted here for long, it may have lost the lock, and an upload may have been acknowledged.
        is_sure = time.monotonic() - held_since <= sure_s
        if is_sure:
            await objects.delete(sha256)
            crash_points.reach("after_blob_delete")
        if not was_in_doubt:
            await session.execute(_FORGET_REMOVAL, {"sha256": sha256})
        return is_sure


async def _note_removal(sessions: Sessions, sha256: bytes) -> bool:
    """Say, for all to see, that a removal is asked for; whether an earlier one is in doubt still."""
    async with transaction(sessions) as session:
        return not await session.scalar(_NOTE_REMOVAL, {"sha256": sha256})


_LOCK = text("select pg_advisory_xact_lock(hashtextextended(encode(cast(:sha256 as bytea), 'hex'), 7355002))")

_INTEND = text("""
insert into blob_intents (sha256, until) values (:sha256, now() + interval '1 hour')
on conflict (sha256) do update set until = excluded.until
""")

_HAS_PROBLEM = text("select exists (select 1 from blob_checks where sha256 = :sha256 and problem is not null)")

_MARK_WRONG = text("""
insert into blob_checks (sha256, checked_at, problem, found_at) values (:sha256, clock_timestamp(), 'wrong', now())
on conflict (sha256) do update set checked_at = excluded.checked_at, problem = 'wrong', found_at = excluded.found_at
""")

_CONFIRM = text("""
with whole as (
    update blob_checks set problem = null, found_at = null, checked_at = clock_timestamp()
    where sha256 = any(cast(:hashes as bytea[])) and problem is not null
)
select exists (
    select 1 from blob_removals
    where sha256 = any(cast(:hashes as bytea[])) and asked_at > clock_timestamp() - make_interval(secs => :doubt_s)
)
""")

_NOTE_REMOVAL = text("""
insert into blob_removals (sha256, asked_at) values (:sha256, clock_timestamp())
on conflict (sha256) do update set asked_at = excluded.asked_at
returning xmax = 0
""")

_FORGET_REMOVAL = text("delete from blob_removals where sha256 = :sha256")

_FORGET_REMOVALS = text("""
delete from blob_removals where asked_at < clock_timestamp() - make_interval(secs => :doubt_s)
""")

_WANTED = """
       exists (select 1 from files where files.sha256 = {sha256})
    or exists (select 1 from versions where text_sha256 = {sha256})
    or exists (select 1 from blob_intents where blob_intents.sha256 = {sha256} and until > now())
"""
_IS_WANTED = text("select " + _WANTED.format(sha256=":sha256"))
_UNWANTED = text(
    "select each from unnest(cast(:some as bytea[])) as each where not (" + _WANTED.format(sha256="each") + ")"
)

_DELETE_UNUSED_FILES = text("""
delete from files
where created_at < now() - make_interval(secs => :grace_s)
  and not exists (select 1 from versions where versions.file_id = files.id)
  and not exists (select 1 from kept_files where kept_files.file_id = files.id)
  and not exists (select 1 from upload_parts where upload_parts.file_id = files.id)
""")

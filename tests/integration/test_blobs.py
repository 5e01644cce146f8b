"""The blob sweep removes orphans, and only those."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from io import BytesIO
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from tests.integration.uploads import until_waiting

from drystone.access.service import Principal
from drystone.adapters.objects import Objects, StoredObject
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Unavailable
from drystone.documents import blobs, queries


class _Between(Objects):
    """A store that lets something happen after it has listed its blobs, and before it removes one."""

    after_listing: Callable[[], Awaitable[None]] | None = None
    before_removing: Callable[[], Awaitable[None]] | None = None

    async def list(self, first_byte: int | None = None) -> AsyncGenerator[StoredObject]:
        found = [each async for each in super().list(first_byte)]
        if self.after_listing is not None:
            await self.after_listing()
        for each in found:
            yield each

    async def delete(self, sha256: bytes) -> None:
        if self.before_removing is not None:
            await self.before_removing()
        await super().delete(sha256)


@pytest.fixture
def objects(tmp_path: Path) -> _Between:
    opened = _Between.open_folder(tmp_path)
    assert isinstance(opened, _Between)
    return opened


def _age(folder: Path) -> None:
    """Let two hours pass for every blob there is."""
    then = time.time() - 7200
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


async def _put(objects: Objects, body: bytes) -> bytes:
    sha256 = hashlib.sha256(body).digest()
    await objects.put(sha256, body)
    return sha256


async def test_an_old_orphan_is_removed_and_a_young_one_kept(
    sessions: Sessions, objects: Objects, tmp_path: Path
) -> None:
    orphan = await _put(objects, b"nobody wants me")

    assert await blobs.sweep(sessions, objects, grace_s=3600) == 0
    _age(tmp_path)
    assert await blobs.sweep(sessions, objects, grace_s=3600) == 1
    assert not await objects.exists(orphan)


async def test_a_blob_that_stood_already_is_spared_once_somebody_wants_it(
    sessions: Sessions, objects: Objects, tmp_path: Path
) -> None:
    body = b"here before"
    sha256 = await _put(objects, body)
    _age(tmp_path)
    await blobs.keep(sessions, objects, sha256, BytesIO(body))

    assert await blobs.sweep(sessions, objects, grace_s=3600) == 0
    async with transaction(sessions) as session:
        await session.execute(text("update blob_intents set until = now() - interval '1 s'"))
    assert await blobs.sweep(sessions, objects, grace_s=3600) == 1


class _Slow(Objects):
    """A store that takes its time to say how old a blob is."""

    async def modified_at(self, sha256: bytes) -> datetime | None:
        await asyncio.to_thread(time.sleep, 0.05)
        return await super().modified_at(sha256)


async def test_who_may_have_lost_the_lock_meanwhile_removes_nothing(sessions: Sessions, tmp_path: Path) -> None:
    slow = _Slow.open_folder(tmp_path)
    orphan = await _put(slow, b"nobody wants me, perhaps")
    _age(tmp_path)

    assert await blobs.sweep(sessions, slow, grace_s=3600, sure_s=0.01) == 0
    assert await slow.exists(orphan)
    assert await blobs.sweep(sessions, slow, grace_s=3600) == 1


async def test_files_and_texts_of_live_documents_are_never_removed_and_those_of_deleted_ones_are(
    client: httpx.AsyncClient,
    work: Callable[[], Awaitable[None]],
    sessions: Sessions,
    collection: str,
    objects: Objects,
    tmp_path: Path,
) -> None:
    body = b"The heron stands.\r\n"
    sent = await client.post("/api/v1/documents", files={"file": ("a.txt", body)}, data={"collection": collection})
    await work()
    both = {await _put(objects, body), await _put(objects, b"The heron stands.")}
    _age(tmp_path)

    while_alive = await blobs.sweep(sessions, objects, grace_s=3600)
    await client.delete(sent.headers["location"])
    await work()
    async with transaction(sessions) as session:
        await session.execute(text("update files set created_at = now() - interval '2 hours'"))
        await session.execute(text("delete from blob_intents"))
    after = await blobs.sweep(sessions, objects, grace_s=3600)

    assert (while_alive, after) == (0, len(both))


async def test_an_upload_of_the_bytes_that_are_being_removed_waits_and_puts_them_there_again(
    sessions: Sessions, objects: _Between, tmp_path: Path
) -> None:
    body = b"removed and wanted"
    sha256 = await _put(objects, body)
    _age(tmp_path)
    uploads: list[asyncio.Task[None]] = []

    async def upload_meanwhile() -> None:
        uploads.append(asyncio.create_task(blobs.keep(sessions, objects, sha256, BytesIO(body))))
        await until_waiting(sessions)

    objects.before_removing = upload_meanwhile
    removed = await blobs.sweep(sessions, objects, grace_s=3600)
    await uploads[0]

    assert removed == 1
    assert await objects.get(sha256) == body


class _Late(Objects):
    """A store that does not answer a removal in time, and may carry it out later."""

    is_late = True

    async def delete(self, sha256: bytes) -> None:
        if self.is_late:
            raise Unavailable("objects.unavailable", "There is no usable answer.", hint="wait")
        await super().delete(sha256)

    async def carry_out(self, sha256: bytes) -> None:
        await super().delete(sha256)


@pytest.fixture
def late(tmp_path: Path) -> _Late:
    opened = _Late.open_folder(tmp_path)
    assert isinstance(opened, _Late)
    return opened


async def test_bytes_whose_removal_was_not_answered_are_acknowledged_when_it_can_no_longer_come(
    sessions: Sessions, late: _Late, tmp_path: Path
) -> None:
    body = b"removed, perhaps"
    sha256 = await _put(late, body)
    _age(tmp_path)
    with pytest.raises(Unavailable):
        await blobs.sweep(sessions, late, grace_s=3600)

    with pytest.raises(Unavailable) as there:
        await blobs.keep(sessions, late, sha256, body)
    await late.carry_out(sha256)
    with pytest.raises(Unavailable) as anew:
        await blobs.keep(sessions, late, sha256, body)
    await _pass_doubt(sessions)
    await blobs.keep(sessions, late, sha256, body)

    assert there.value.code == anew.value.code == "objects.removal_in_doubt"
    assert await late.get(sha256) == body


async def test_an_answered_removal_leaves_no_doubt_but_that_of_an_earlier_one(
    sessions: Sessions, late: _Late, tmp_path: Path
) -> None:
    body = b"removed at the second try"
    sha256 = await _put(late, body)
    other = await _put(late, b"removed at the first")
    _age(tmp_path)
    with pytest.raises(Unavailable):
        await blobs.sweep(sessions, late, grace_s=3600)
    late.is_late = False

    assert await blobs.sweep(sessions, late, grace_s=3600) == 2

    async with transaction(sessions) as session:
        in_doubt = list(await session.scalars(text("select sha256 from blob_removals")))
    assert len(in_doubt) == 1
    assert in_doubt[0] in (sha256, other)
    await _pass_doubt(sessions)
    assert await blobs.sweep(sessions, late, grace_s=3600) == 0
    async with transaction(sessions) as session:
        assert await session.scalar(text("select count(*) from blob_removals")) == 0


async def _pass_doubt(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        await session.execute(
            text("update blob_removals set asked_at = asked_at - make_interval(secs => :seconds)"),
            {"seconds": blobs.REMOVAL_DOUBT_S},
        )


async def test_a_blob_put_anew_since_the_listing_is_not_taken_for_the_old_one(
    sessions: Sessions, objects: _Between, tmp_path: Path
) -> None:
    body = b"removed by another sweep, then uploaded"
    sha256 = await _put(objects, body)
    _age(tmp_path)

    async def another_sweep_and_an_upload() -> None:
        assert await blobs.sweep(sessions, Objects.open_folder(tmp_path), grace_s=3600) == 1
        await blobs.keep(sessions, objects, sha256, BytesIO(body))

    objects.after_listing = another_sweep_and_an_upload
    removed = await blobs.sweep(sessions, objects, grace_s=3600)

    assert removed == 0
    assert await objects.get(sha256) == body


async def test_a_damaged_blob_written_again_is_wanted_like_one_that_stood(
    sessions: Sessions, objects: _Between, tmp_path: Path
) -> None:
    body = b"once only half of it was there"
    sha256 = hashlib.sha256(body).digest()
    await objects.put(sha256, body[:10])
    await blobs.keep(sessions, objects, sha256, BytesIO(body))
    _age(tmp_path)

    assert await blobs.sweep(sessions, objects, grace_s=3600) == 0
    assert await objects.get(sha256) == body


async def test_two_sweeps_at_once_remove_each_orphan_once_and_nothing_else(
    sessions: Sessions, objects: Objects, tmp_path: Path
) -> None:
    for number in range(30):
        await _put(objects, f"orphan {number}".encode())
    wanted = await _put(objects, b"wanted")
    _age(tmp_path)
    await blobs.keep(sessions, objects, wanted, b"wanted")
    stores = [Objects.open_folder(tmp_path) for _ in range(2)]
    removed = await asyncio.gather(*(blobs.sweep(sessions, store, grace_s=3600) for store in stores))

    assert sum(removed) == 30
    assert [each.sha256 async for each in objects.list()] == [wanted]


async def test_an_unused_file_that_an_upload_refers_to_again_is_not_removed_under_it(
    sessions: Sessions, objects: Objects, principal: Principal
) -> None:
    async def refer(session: AsyncSession) -> UUID:
        return await queries.file_id(
            session, principal.workspace_id, sha256=b"\1" * 32, size_bytes=1, media_type="text/plain"
        )

    async with transaction(sessions) as session:
        file_id = await refer(session)
        await session.execute(text("update files set created_at = now() - interval '2 hours'"))
    async with transaction(sessions) as upload:
        assert await refer(upload) == file_id
        sweeping = asyncio.create_task(blobs.sweep(sessions, objects, grace_s=3600))
        await until_waiting(sessions)
    await sweeping

    async with transaction(sessions) as session:
        assert await session.scalar(text("select id from files")) == file_id


@pytest.mark.parametrize(("size", "in_memory"), [(1000, True), (17 * 1024 * 1024, False)])
async def test_a_large_blob_is_read_from_a_file_and_a_small_one_from_memory(
    tmp_path: Path, size: int, in_memory: bool
) -> None:
    objects = Objects.open_folder(tmp_path / "objects")
    body = os.urandom(size)
    sha256 = await _put(objects, body)

    async with blobs.opened(objects, tmp_path / "spool", sha256, size) as opened:
        if isinstance(opened, bytes):
            found = opened
        else:
            opened.seek(0)
            found = opened.read()

    assert (found == body, isinstance(opened, bytes)) == (True, in_memory)
    assert in_memory or list((tmp_path / "spool").iterdir()) == []

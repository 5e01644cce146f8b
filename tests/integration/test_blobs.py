"""The blob sweep removes orphans, and only those."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from drystone.adapters.objects import Objects, StoredObject
from drystone.core.clock import utc_now
from drystone.core.db import Sessions, transaction
from drystone.documents import blobs


class _Aged(Objects):
    """A store whose blobs all look two hours old: a real one cannot be told to forget when it wrote something."""

    async def list(self, first_byte: int | None = None) -> AsyncGenerator[StoredObject]:
        async for sha256, size, _ in super().list(first_byte):
            yield StoredObject(sha256, size, utc_now() - timedelta(hours=2))


@pytest.fixture
def aged(tmp_path: Path) -> Objects:
    return _Aged.open_folder(tmp_path)


async def _put(objects: Objects, body: bytes) -> bytes:
    sha256 = hashlib.sha256(body).digest()
    await objects.put(sha256, body)
    return sha256


async def test_an_old_orphan_is_removed_and_a_young_one_kept(sessions: Sessions, aged: Objects, tmp_path: Path) -> None:
    orphan = await _put(aged, b"nobody wants me")
    young = Objects.open_folder(tmp_path)

    assert await blobs.sweep(sessions, young, grace_s=3600) == 0
    assert await blobs.sweep(sessions, aged, grace_s=3600) == 1
    assert not await aged.exists(orphan)


async def test_a_blob_that_stood_already_is_spared_once_somebody_wants_it(sessions: Sessions, aged: Objects) -> None:
    body = b"here before"
    sha256 = await _put(aged, body)
    await blobs.keep(sessions, aged, sha256, BytesIO(body))

    assert await blobs.sweep(sessions, aged, grace_s=3600) == 0
    async with transaction(sessions) as session:
        await session.execute(text("update blob_intents set until = now() - interval '1 s'"))
    assert await blobs.sweep(sessions, aged, grace_s=3600) == 1


async def test_files_and_texts_of_live_documents_are_never_removed_and_those_of_deleted_ones_are(
    client: httpx.AsyncClient,
    work: Callable[[], Awaitable[None]],
    sessions: Sessions,
    collection: str,
    aged: Objects,
) -> None:
    body = b"The heron stands.\r\n"
    sent = await client.post("/api/v1/documents", files={"file": ("a.txt", body)}, data={"collection": collection})
    await work()
    both = {await _put(aged, body), await _put(aged, b"The heron stands.")}

    while_alive = await blobs.sweep(sessions, aged, grace_s=3600)
    await client.delete(sent.headers["location"])
    await work()
    async with transaction(sessions) as session:
        await session.execute(text("update files set created_at = now() - interval '2 hours'"))
        await session.execute(text("delete from blob_intents"))
    after = await blobs.sweep(sessions, aged, grace_s=3600)

    assert (while_alive, after) == (0, len(both))

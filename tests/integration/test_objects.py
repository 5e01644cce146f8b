"""The object store keeps one contract: on a folder, on SeaweedFS, and on MinIO where there is one."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
from tests.faults.network import Network

from drystone.adapters.objects import Objects
from drystone.core.errors import NotFound, Unavailable
from drystone.core.settings import S3Settings, Settings

MEGABYTE = 1024 * 1024


def sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def random_body(size: int) -> bytes:
    """Bytes that no other test has stored."""
    return os.urandom(size)


@pytest.fixture(params=["folder", "seaweedfs", "minio"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "folder":
        return Objects.open_folder(tmp_path / "objects")
    if request.param == "minio":
        return Objects.open_s3(request.getfixturevalue("minio"))
    settings: Settings = request.getfixturevalue("settings")
    return Objects.open_s3(settings.s3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.mark.parametrize("size", [0, 1, 100_000, 20 * MEGABYTE + 7], ids=["empty", "one byte", "small", "in parts"])
async def test_what_was_put_comes_back(objects: Objects, size: int) -> None:
    body = random_body(size)

    await objects.put(sha256(body), body)

    assert await objects.get(sha256(body)) == body
    assert await objects.size(sha256(body)) == size


@pytest.mark.parametrize("size", [1_000, 9 * MEGABYTE], ids=["small", "in parts"])
async def test_only_the_first_put_is_new(objects: Objects, size: int) -> None:
    body = random_body(size)

    answers = [await objects.put(sha256(body), body) for _ in range(3)]

    assert answers == [True, False, False]


async def test_of_many_racers_exactly_one_is_told_new(objects: Objects) -> None:
    body = random_body(5_000)

    answers = await asyncio.gather(*(objects.put(sha256(body), body) for _ in range(16)))

    assert sorted(answers) == [False] * 15 + [True]
    assert await objects.get(sha256(body)) == body


@pytest.mark.parametrize("size", [10_000, 9 * MEGABYTE], ids=["small", "in parts"])
async def test_paths_and_files_are_read_from_their_start(objects: Objects, tmp_path: Path, size: int) -> None:
    from_path, from_file = random_body(size), random_body(size)
    (tmp_path / "spool").write_bytes(from_path)
    file = io.BytesIO(from_file)
    file.seek(size // 2)

    await objects.put(sha256(from_path), tmp_path / "spool")
    await objects.put(sha256(from_file), file)

    assert await objects.get(sha256(from_path)) == from_path
    assert await objects.get(sha256(from_file)) == from_file


async def test_a_large_file_is_put_and_streamed_in_little_memory(objects: Objects, tmp_path: Path) -> None:
    size = 96 * MEGABYTE
    spool = tmp_path / "spool"
    digest = hashlib.sha256()
    with spool.open("wb") as file:
        for _ in range(size // MEGABYTE):
            block = random_body(MEGABYTE)
            digest.update(block)
            file.write(block)
    memory = asyncio.create_task(most_added_memory())

    await objects.put(digest.digest(), spool)
    received = 0
    async for chunk in objects.stream(digest.digest()):
        received += len(chunk)

    memory.cancel()
    assert received == size
    assert await memory < size / 2


async def most_added_memory() -> int:
    """Bytes this process grew by at most, until it is cancelled."""
    process = psutil.Process()
    before: int = process.memory_info().rss
    most = before
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.005)
    return most - before


async def test_a_stream_has_all_bytes_in_order(objects: Objects) -> None:
    body = random_body(3 * MEGABYTE + 11)
    await objects.put(sha256(body), body)

    chunks = [chunk async for chunk in objects.stream(sha256(body), chunk_size=MEGABYTE)]

    assert b"".join(chunks) == body
    assert len(chunks) >= 3


async def test_wrong_bytes_are_not_handed_out(objects: Objects) -> None:
    named = sha256(random_body(100))
    await objects.put(named, random_body(3 * MEGABYTE))

    with pytest.raises(Unavailable) as got:
        await objects.get(named)
    received: list[bytes] = []
    with pytest.raises(Unavailable) as streamed:
        await collect(objects.stream(named, chunk_size=MEGABYTE), received)

    assert got.value.code == streamed.value.code == "objects.corrupt"
    assert sum(map(len, received)) < 3 * MEGABYTE
    await objects.delete(named)


async def collect(chunks: AsyncIterator[bytes], received: list[bytes]) -> None:
    async for chunk in chunks:
        received.append(chunk)


async def test_a_blob_of_another_size_is_written_again(objects: Objects) -> None:
    body = random_body(1_000)
    await objects.put(sha256(body), body[:600])

    assert not await objects.put(sha256(body), body)  # it was there, if only in part

    assert await objects.get(sha256(body)) == body


async def test_a_deleted_blob_is_gone_and_deleting_twice_is_harmless(objects: Objects) -> None:
    body = random_body(10)
    await objects.put(sha256(body), body)
    assert await objects.exists(sha256(body))

    await objects.delete(sha256(body))
    await objects.delete(sha256(body))

    assert not await objects.exists(sha256(body))


async def test_a_missing_blob_is_not_found(objects: Objects) -> None:
    missing = sha256(random_body(10))

    for ask in (objects.get, objects.size):
        with pytest.raises(NotFound) as caught:
            await ask(missing)
        assert caught.value.code == "objects.not_found"
    with pytest.raises(NotFound):
        await anext(aiter(objects.stream(missing)))
    assert not await objects.exists(missing)


async def test_a_listing_tells_hash_size_and_age(objects: Objects) -> None:
    bodies = [random_body(size) for size in (1, 20, 300)]
    for body in bodies:
        await objects.put(sha256(body), body)

    listed = {stored.sha256: stored async for stored in objects.list()}

    for body in bodies:
        stored = listed[sha256(body)]
        assert stored.size_bytes == len(body)
        assert abs(time.time() - stored.modified_at.timestamp()) < 60


async def test_foreign_files_are_not_listed(folder: Path) -> None:
    objects = Objects.open_folder(folder)
    (folder / "sha256" / "ab").mkdir(parents=True)
    (folder / "sha256" / "ab" / "notes.txt").write_text("not ours")

    assert [stored async for stored in objects.list()] == []


async def test_a_key_of_the_wrong_length_is_a_programming_error(objects: Objects) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        await objects.get(b"short")


async def test_a_healthy_store_passes_the_check(objects: Objects) -> None:
    await objects.check()


async def test_a_missing_bucket_is_told(s3: S3Settings) -> None:
    objects = Objects.open_s3(s3.model_copy(update={"bucket": "no-such-bucket"}))

    with pytest.raises(Unavailable) as caught:
        await objects.check()

    assert caught.value.code == "objects.no_bucket"


async def test_a_wrong_secret_is_denied(s3: S3Settings) -> None:
    wrong = type(s3.secret_access_key)("not-the-secret-of-this-store")
    objects = Objects.open_s3(s3.model_copy(update={"secret_access_key": wrong}))

    with pytest.raises(Unavailable) as caught:
        await objects.check()

    assert caught.value.code == "objects.denied"
    assert "not-the-secret" not in f"{caught.value} {caught.value.values}"


async def test_what_the_shell_says_about_amazon_and_proxies_is_not_heard(
    s3: S3Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a token of somebody's own account")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    body = random_body(100)
    objects = Objects.open_s3(s3)

    await objects.put(sha256(body), body)

    assert await objects.get(sha256(body)) == body


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never says a word, as a stopped process does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.mark.parametrize("fault", ["silent_port", "closed_port"])
async def test_a_dead_store_is_unavailable_within_five_seconds(request: pytest.FixtureRequest, fault: str) -> None:
    endpoint = f"http://127.0.0.1:{request.getfixturevalue(fault)}"
    objects = Objects.open_s3(
        S3Settings.model_validate({"S3_ENDPOINT_URL": endpoint, "S3_SECRET_ACCESS_KEY": "a-secret-of-tests-only"})
    )
    body = random_body(100)
    calls = [
        objects.put(sha256(body), body),
        objects.put(sha256(body), io.BytesIO(body)),
        objects.get(sha256(body)),
        objects.size(sha256(body)),
        objects.delete(sha256(body)),
        objects.check(),
    ]

    started = time.monotonic()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    took_s = time.monotonic() - started

    for answer in answers:
        assert isinstance(answer, Unavailable)
        assert answer.code == "objects.unavailable"
        assert answer.values["retry_after_s"] > 0
    assert took_s < 5


@pytest.mark.parametrize("size", [2_000, 12_000_000])
async def test_bytes_that_change_on_their_way_to_the_store_are_refused(settings: Settings, size: int) -> None:
    body = random_body(size)
    with Network() as network:
        network.proxy.target_port = settings.s3.parts.port
        behind = settings.s3.model_copy(update={"endpoint_url": f"http://127.0.0.1:{network.proxy.port}"})
        objects = Objects.open_s3(behind)

        network.proxy.disturbance = "wrong requests"
        with pytest.raises(Unavailable):
            await objects.put(sha256(body), body)
        network.proxy.disturbance = ""

        assert network.proxy.disturbed["wrong requests"] > 0
        assert await objects.put(sha256(body), body)
        assert await objects.get(sha256(body)) == body

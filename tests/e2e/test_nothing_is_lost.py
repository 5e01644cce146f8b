"""Kill a part of a running stack while documents are being ingested, mend nothing by hand, lose nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.e2e.conftest import Stack

COUNT = int(os.environ.get("DRYSTONE_FAULT_DOCUMENTS", "60"))
PASSAGE = "The wall of field {n} stands without mortar since {year}. " * 12


def _kill_worker(stack: Stack) -> str:
    pid = stack.status()["worker"]["pid"]
    os.kill(pid, signal.SIGKILL)
    return f"worker {pid}"


def _kill_a_pool_process(stack: Stack) -> str:
    pool = psutil.Process(stack.status()["worker"]["pid"]).children()
    child = next(process for process in pool if "spawn_main" in " ".join(process.cmdline()))
    child.kill()
    return f"pool process {child.pid}"


def _kill_redis_and_wipe_its_data(stack: Stack) -> str:
    before = _redis_run_id(stack)
    pid = stack.status()["redis"]["pid"]
    for entry in (stack.settings.general.data_dir / "redis").iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
    os.kill(pid, signal.SIGKILL)
    _until(lambda: _redis_run_id(stack) not in (None, before), "Redis to come back anew")
    return f"redis {pid}"


def _kill_postgres(stack: Stack) -> str:
    pid = stack.status()["postgres"]["pid"]
    os.kill(pid, signal.SIGKILL)
    return f"postgres {pid}"


def _kill_object_store(stack: Stack) -> str:
    pid = stack.status()["objects"]["pid"]
    os.kill(pid, signal.SIGKILL)
    return f"objects {pid}"


FAULTS: list[Callable[[Stack], str]] = [
    _kill_worker,
    _kill_a_pool_process,
    _kill_redis_and_wipe_its_data,
    _kill_postgres,
    _kill_object_store,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.removeprefix("_"))
async def test_every_acknowledged_document_becomes_ready_with_one_set_of_chunks(
    up: Stack, fault: Callable[[Stack], str]
) -> None:
    collection = fault.__name__.strip("_").replace("_", "-")
    async with up.client() as client:
        sending = asyncio.create_task(_send_all(client, collection))
        await _until_ready(client, collection, COUNT // 5)
        await asyncio.to_thread(fault, up)
        acknowledged = await sending
        seconds = await _until_ready(client, collection, COUNT, timeout_s=180)
        quote = (await client.post("/api/v1/search", json={"query": "field 7", "collection": collection})).json()

    assert len(set(acknowledged)) == COUNT
    assert seconds < 180
    assert quote["hits"]
    await _check_invariants(up, collection)
    await asyncio.to_thread(up.run, "verify")  # among others: a message still wakes a worker


async def _send_all(client: httpx.AsyncClient, collection: str) -> list[str]:
    """Upload as a careful client does: again after a 503 or a lost connection. The ids of all acknowledged."""
    gate = asyncio.Semaphore(4)

    async def send(number: int) -> str:
        body = PASSAGE.format(n=number, year=1000 + number).encode()
        deadline = time.monotonic() + 120
        while True:
            try:
                async with gate:
                    answer = await client.post(
                        "/api/v1/documents",
                        files={"file": (f"{number}.txt", body)},
                        data={"collection": collection, "external_id": str(number)},
                    )
                if answer.status_code in (200, 202):
                    return str(answer.json()["document"]["id"])
                assert answer.status_code == 503, answer.text
                assert answer.headers["retry-after"]
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, "the API did not come back"
            await asyncio.sleep(0.5)

    return await asyncio.gather(*(send(number) for number in range(COUNT)))


async def _until_ready(client: httpx.AsyncClient, collection: str, count: int, *, timeout_s: float = 120) -> float:
    """Wait until so many documents are ready; the seconds it took. Fails at once when one has failed."""
    started = time.monotonic()
    seen: Any = None
    while time.monotonic() - started < timeout_s:
        try:
            answer = await client.get(f"/api/v1/collections/{collection}")
            if answer.status_code == 200:
                seen = answer.json()["documents"]
                assert seen["failed"] == 0
                if seen["ready"] >= count:
                    return time.monotonic() - started
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.2)
    raise AssertionError(f"not {count} ready within {timeout_s} s: {seen}")


async def _check_invariants(stack: Stack, collection: str) -> None:
    """Ordinals 0…n-1 once, each with words and a vector, of the attempt that ended the job; nothing without a version."""
    connection = await asyncpg.connect(stack.settings.database.url.get_secret_value())
    wrong = await connection.fetch(
        """
        select d.external_id, v.chunk_count, count(c.id) as chunks, count(distinct c.ordinal) as ordinals,
               count(l.chunk_id) as words, count(e.chunk_id) as vectors, v.attempt, j.attempt as job_attempt, j.state
        from documents d
        join collections k on k.id = d.collection_id and k.name = $1
        join versions v on v.id = d.current_version_id
        join jobs j on j.subject_id = v.id
        left join chunks c on c.document_id = d.id
        left join lexical l on l.chunk_id = c.id
        left join vectors_1 e on e.chunk_id = c.id
        group by d.id, v.id, j.id
        having count(c.id) <> v.chunk_count or count(distinct c.ordinal) <> v.chunk_count or max(c.ordinal) <> v.chunk_count - 1
            or count(l.chunk_id) <> v.chunk_count or count(e.chunk_id) <> v.chunk_count
            or v.attempt <> j.attempt or j.state <> 'done' or bool_or(c.version_id <> v.id)
        """,
        collection,
    )
    strays = await connection.fetchval(
        "select count(*) from chunks c left join documents d on d.current_version_id = c.version_id where d.id is null"
    )
    await connection.close()
    assert [dict(row) for row in wrong] == []
    assert strays == 0


def _redis_run_id(stack: Stack) -> str | None:
    try:
        with Redis.from_url(stack.settings.redis.url.get_secret_value(), decode_responses=True) as redis:
            return str(redis.info("server")["run_id"])
    except RedisError:
        return None


def _until(holds: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.1)


def test_status_tells_of_the_restarts(up: Stack) -> None:
    restarts = {name: row["restarts"] for name, row in up.status().items()}

    assert all(restarts[name] >= 1 for name in ("postgres", "redis", "objects")), restarts


def test_after_down_nothing_is_left_running(up: Stack) -> None:
    def ours() -> list[psutil.Process]:
        return [p for p in psutil.process_iter() if _folder_of(p) == up.folder or _mentions(p, up.folder)]

    assert ours()
    up.run("down")

    assert ours() == []


def _folder_of(process: psutil.Process) -> Path | None:
    try:
        return Path(process.cwd())
    except (psutil.Error, OSError):
        return None


def _mentions(process: psutil.Process, folder: Path) -> bool:
    try:
        return str(folder) in " ".join(process.cmdline())
    except (psutil.Error, OSError):
        return False

"""Receiving at scale: large, lying, slow and broken uploads to a real web process; no room, no quota, no hang."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import text
from tests.keys import make_key

from drystone.access import quotas
from drystone.access import service as access
from drystone.access.service import Limits
from drystone.core import settings as core_settings
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Unavailable
from drystone.core.settings import Settings
from drystone.web import create_app

ROOT = Path(__file__).parent.parent.parent
MEGABYTE = 1024 * 1024
LARGE_BYTES = int(os.environ.get("LARGE_UPLOAD_BYTES", 192 * MEGABYTE))


@pytest.fixture(scope="module")
def web(environment: dict[str, str]) -> Iterator[psutil.Popen]:
    """A web process of its own, as the Procfile starts it, on the test's servers."""
    command = [sys.executable, "-m", "uvicorn", "--factory", "drystone.web:create_app", "--port"]
    with psutil.Popen(
        [*command, environment["API_PORT"], "--no-access-log", "--log-level", "warning"],
        cwd=ROOT,
        env={**os.environ, **environment, "MAX_UPLOAD_BYTES": str(4 * 1024 * MEGABYTE)},
    ) as process:
        yield process
        process.terminate()


@pytest.fixture
async def http(web: psutil.Popen, settings: Settings, sessions: Sessions) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {settings.api.key.get_secret_value()}"}
    url = f"http://127.0.0.1:{settings.api.port}"
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120, trust_env=False) as client:
        async with asyncio.timeout(150):
            while not await _is_up(client):
                await asyncio.sleep(0.1)
        yield client


async def _is_up(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health/live")).is_success
    except httpx.TransportError:
        return False


async def blocks(size: int) -> AsyncIterator[bytes]:
    """So many bytes that are no file of any kind after their head says PDF; each block differs."""
    yield b"%PDF-1.7\n" + b"0" * (MEGABYTE - 9)
    for number in range(1, size // MEGABYTE):
        yield number.to_bytes(8, "big") * (MEGABYTE // 8)


async def test_a_large_upload_takes_no_memory_and_leaves_no_file(
    http: httpx.AsyncClient, web: psutil.Popen, settings: Settings, collection: str
) -> None:
    digest = hashlib.sha256()
    async for block in blocks(LARGE_BYTES):
        digest.update(block)
    warm = await http.post(
        "/api/v1/documents", params={"name": "w.pdf", "collection": collection}, content=blocks(24 * MEGABYTE)
    )
    assert warm.status_code == 202, warm.text
    before, most = web.memory_info().rss, asyncio.create_task(_most_memory(web))

    sent = await http.post(
        "/api/v1/documents", params={"name": "large.pdf", "collection": collection}, content=blocks(LARGE_BYTES)
    )

    most.cancel()
    assert sent.status_code == 202, sent.text
    document = sent.json()["document"]
    assert (document["size_bytes"], document["sha256"]) == (LARGE_BYTES, digest.hexdigest())
    assert await most - before < 30 * MEGABYTE
    assert list((settings.general.data_dir / "spool").iterdir()) == []


async def _most_memory(process: psutil.Popen) -> int:
    """The most that a process held, until this is cancelled."""
    most = 0
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.01)
    return most


async def test_a_file_alone_in_the_body_is_received_like_a_form(http: httpx.AsyncClient, collection: str) -> None:
    query = {"name": "a.txt", "collection": collection, "external_id": "x", "attributes": '{"year": 1962}'}

    alone = await http.post("/api/v1/documents", params=query, content=b"The heron stands.")
    file = (query.pop("name"), b"The heron stands.")
    as_form = await http.post("/api/v1/documents", files={"file": file}, data=query)

    assert (alone.status_code, as_form.status_code) == (202, 200)
    assert alone.json()["document"]["id"] == as_form.json()["document"]["id"]
    assert alone.json()["document"]["attributes"] == {"year": 1962}


def _spools(process: psutil.Popen) -> int:
    """Nameless spool files that a process holds open."""
    links = []
    for fd in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(str(fd.readlink()))
    return sum("/spool/" in link for link in links)


def _form(body: bytes, *, end: bytes = b"\r\n--b--\r\n") -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n' + body + end


_LYING: dict[str, tuple[list[str], bytes, set[int]]] = {
    "shorter than the body": (["Content-Length: 120"], _form(b"x" * 500), {400, 422}),
    "negative": (["Content-Length: -5"], _form(b"x"), {400}),
    "huge": (["Content-Length: 99999999999"], _form(b"x"), {413}),
    "beyond all numbers": (["Content-Length: " + "9" * 40], _form(b"x"), {400}),
    "no number": (["Content-Length: many"], _form(b"x"), {400}),
    "two of them": (["Content-Length: 10", "Content-Length: 200"], _form(b"x"), {400}),
    "absent": ([], _form(b"x"), {400, 411, 422}),
    "beside chunked": (["Content-Length: 5", "Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n", {400, 422}),
    "a chunk that lies": (["Transfer-Encoding: chunked"], b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n", {400}),
    "chunks that are no numbers": (["Transfer-Encoding: chunked"], b"xyz\r\nhello\r\n0\r\n\r\n", {400}),
    "form without end": (["Content-Length: 90"], _form(b"x" * 30, end=b"")[:90].ljust(90, b"x"), {400, 422}),
}


@pytest.mark.parametrize("case", _LYING)
async def test_a_lying_length_is_refused_and_keeps_nothing(
    http: httpx.AsyncClient, settings: Settings, sessions: Sessions, case: str
) -> None:
    lines, body, expected = _LYING[case]

    status = await _raw(settings, lines, body)

    assert status in expected
    assert await _documents(sessions) == 0
    assert (await http.get("/health/live")).status_code == 200


async def test_chunks_with_garbage_behind_them_are_received_or_refused_and_the_garbage_is_not_kept(
    http: httpx.AsyncClient, settings: Settings, sessions: Sessions
) -> None:
    form = _form(b"The heron stands.")
    body = f"{len(form):x}\r\n".encode() + form + b"\r\n0\r\n\r\n\x00\xffgarbage"

    status = await _raw(settings, ["Transfer-Encoding: chunked"], body)

    assert status in (202, 400)  # 400 where the garbage came in one packet with the end
    assert (await http.get("/health/live")).status_code == 200
    async with transaction(sessions) as session:
        sizes = (await session.scalars(text("select size_bytes from files"))).all()
    assert set(sizes) <= {17}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_a_client_that_leaves_midway_leaves_nothing_behind(
    http: httpx.AsyncClient, web: psutil.Popen, settings: Settings, sessions: Sessions
) -> None:
    seen = 0
    for _ in range(3):
        async with _connection(settings, [f"Content-Length: {500 * MEGABYTE}"]) as (_, writer):
            writer.write(_form(b"x" * 3 * MEGABYTE, end=b""))
            await writer.drain()
            async with asyncio.timeout(20):
                while not (now := _spools(web)):
                    await asyncio.sleep(0.01)
            seen += now

    async with asyncio.timeout(20):
        while _spools(web):
            await asyncio.sleep(0.05)
    assert seen >= 3
    assert await _documents(sessions) == 0
    assert list((settings.general.data_dir / "spool").iterdir()) == []


async def test_who_sends_nothing_or_next_to_nothing_is_told_so(
    settings: Settings, sessions: Sessions, collection: str
) -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield b"begun"
        await asyncio.Event().wait()

    async def dripping() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.05)

    params = {"name": "a.txt", "collection": collection}
    async with _app(settings, idle_s=0.2) as client:
        answers = [await client.post("/api/v1/documents", params=params, content=body()) for body in (silent, dripping)]

    assert [(a.status_code, a.json()["code"]) for a in answers] == [(408, "request.too_slow")] * 2
    assert "nothing came" in answers[0].json()["detail"]
    assert "bytes in" in answers[1].json()["detail"]
    assert await _documents(sessions) == 0


async def _raw(settings: Settings, lines: list[str], body: bytes) -> int:
    """The status of an upload that is sent byte for byte."""
    async with asyncio.timeout(20), _connection(settings, lines) as (reader, writer):
        writer.write(body)
        answer = await reader.readline()
    return int(answer.split()[1])


@asynccontextmanager
async def _connection(
    settings: Settings, lines: list[str]
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", settings.api.port)
    head = [
        "POST /api/v1/documents HTTP/1.1",
        "Host: drystone",
        f"Authorization: Bearer {settings.api.key.get_secret_value()}",
        "Content-Type: multipart/form-data; boundary=b",
        *lines,
    ]
    writer.write("\r\n".join([*head, "", ""]).encode())
    try:
        yield reader, writer
    finally:
        writer.close()


async def _documents(sessions: Sessions) -> int:
    async with transaction(sessions) as session:
        return int(await session.scalar(text("select count(*) from documents")) or 0)


@asynccontextmanager
async def _app(settings: Settings, **receiving: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The application with other limits."""
    changed = settings.model_copy(update={"receiving": settings.receiving.model_copy(update=receiving)})
    app = create_app(changed)
    async with app.router.lifespan_context(app):
        headers = {"Authorization": f"Bearer {settings.api.key.get_secret_value()}"}
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://drystone", headers=headers) as client:
            yield client


async def _send(client: httpx.AsyncClient, collection: str, body: bytes = b"x", **headers: str) -> httpx.Response:
    return await client.post(
        "/api/v1/documents", params={"name": "a.txt", "collection": collection}, content=body, headers=headers
    )


async def test_a_full_queue_puts_uploads_off_and_takes_them_again_once_it_is_worked_off(
    settings: Settings, sessions: Sessions, collection: str, work: Callable[[], Awaitable[None]]
) -> None:
    async with _app(settings, queue_max_depth=2) as client:
        for body in (b"one", b"two"):
            assert (await _send(client, collection, body)).status_code == 202
        async with asyncio.timeout(5):  # the depth is remembered for a second
            while (refused := await _send(client, collection, os.urandom(8).hex().encode())).status_code == 202:
                await asyncio.sleep(0.05)
        read = await client.get("/api/v1/documents")
        await work()
        async with asyncio.timeout(5):
            while (taken := await _send(client, collection, b"four")).status_code == 503:
                await asyncio.sleep(0.05)

    assert (refused.status_code, refused.json()["code"]) == (503, "queue.full")
    assert int(refused.headers["retry-after"]) > 0
    assert read.status_code == 200
    assert taken.status_code == 202


async def test_a_queue_that_stands_still_puts_uploads_off(
    settings: Settings, sessions: Sessions, collection: str
) -> None:
    async with _app(settings, queue_max_age_s=5) as client:
        await _send(client, collection, b"one")
        async with transaction(sessions) as session:
            await session.execute(text("update jobs set run_after = now() - interval '1 minute'"))
    async with _app(settings, queue_max_age_s=5) as client:
        refused = await _send(client, collection, b"two")

    assert (refused.status_code, refused.json()["code"]) == (503, "queue.slow")


async def test_calls_that_others_do_not_take_put_no_upload_off(
    settings: Settings, sessions: Sessions, collection: str
) -> None:
    async with _app(settings, queue_max_age_s=5, queue_max_depth=2) as client:
        made = await client.post("/api/v1/webhooks", json={"url": "http://127.0.0.1:1/"})
        for _ in range(3):
            await client.post(f"/api/v1/webhooks/{made.json()['id']}/test")
        async with transaction(sessions) as session:
            due = "update jobs set run_after = now() - interval '1 minute' where kind = 'webhooks.deliver' returning id"
            waiting = len((await session.execute(text(due))).all())
    async with _app(settings, queue_max_age_s=5, queue_max_depth=2) as client:
        taken = await _send(client, collection, b"one")

    assert (waiting, taken.status_code) == (3, 202)


async def test_a_disk_with_little_space_refuses_uploads_but_reads_and_deletes(
    settings: Settings, client: httpx.AsyncClient, collection: str
) -> None:
    there = await _send(client, collection, b"there before")
    async with _app(settings, disk_min_free_bytes=10**15) as tight:
        refused = await _send(tight, collection, b"more")
        observed = await tight.post("/api/v1/observations", json=[])
        read = await tight.get(there.headers["location"])
        deleted = await tight.delete(there.headers["location"])

    assert (refused.status_code, refused.json()["code"]) == (507, "storage.low")
    assert (observed.status_code, observed.json()["code"]) == (507, "storage.low")
    assert int(refused.headers["retry-after"]) > 0
    assert (read.status_code, deleted.status_code) == (200, 204)


async def test_a_database_without_space_is_told_as_that(sessions: Sessions) -> None:
    with pytest.raises(Unavailable) as raised:
        async with transaction(sessions) as session:
            await session.execute(text("do $$ begin raise exception 'full' using errcode = '53100'; end $$"))

    assert (raised.value.code, raised.value.values["status"]) == ("database.full", 507)


@pytest.fixture
async def key(client: httpx.AsyncClient, owner: Sessions) -> str:
    """A key of its own."""
    return await make_key(owner, scopes=("read", "write"))


async def _limit(client: httpx.AsyncClient, key: str, **limits: int) -> None:
    answer = await client.put(f"/api/v1/keys/{key.split('.')[0]}/limits", json=limits)
    assert answer.status_code == 200, answer.text


async def test_parallel_uploads_do_not_exceed_a_keys_quota_together(
    client: httpx.AsyncClient, key: str, collection: str, sessions: Sessions
) -> None:
    await _send(client, collection, b"makes the collection")
    await _limit(client, key, documents_per_day=5)
    headers = {"Authorization": f"Bearer {key}"}

    answers = await asyncio.gather(
        *(_send(client, collection, f"document {i:02}".encode(), **headers) for i in range(12))
    )
    used = (await client.get("/api/v1/usage", headers=headers)).json()

    assert sorted(a.status_code for a in answers) == [202] * 5 + [429] * 7
    refused = next(a for a in answers if a.status_code == 429)
    assert refused.json()["code"] == "quota.exceeded"
    assert "5 of 5 documents and 55 bytes so far" in refused.json()["detail"]
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert refused.headers["ratelimit-policy"] == '"documents";q=5;w=86400'
    assert refused.headers["ratelimit"].startswith('"documents";r=0;t=')
    assert used["documents"] == {"used": 5, "limit": 5}
    assert await _documents(sessions) == 6


async def test_bytes_are_counted_and_bytes_that_were_there_are_not(
    client: httpx.AsyncClient, key: str, collection: str
) -> None:
    await _send(client, collection, b"makes the collection")
    await _limit(client, key, bytes_per_day=100)
    headers = {"Authorization": f"Bearer {key}"}

    answers = [
        await _send(client, collection, body, **headers) for body in (b"a" * 60, b"a" * 60, b"b" * 41, b"b" * 40)
    ]

    assert [a.status_code for a in answers] == [202, 429, 429, 202]


async def test_what_no_day_has_room_for_is_told_so_and_not_to_come_back(
    client: httpx.AsyncClient, key: str, collection: str
) -> None:
    await _limit(client, key, documents_per_day=7, bytes_per_day=100)

    answer = await _send(client, collection, b"a" * 2000, Authorization=f"Bearer {key}")

    assert (answer.status_code, answer.json()["code"]) == (403, "quota.too_small")
    assert (
        "may upload 7 documents and 100 bytes a day; this request has documents: 1, bytes: " in answer.json()["detail"]
    )
    assert "retry-after" not in answer.headers


async def test_limits_of_the_settings_hold_where_a_key_has_none(
    settings: Settings, sessions: Sessions, collection: str
) -> None:
    async with _app(settings, documents_per_day=1) as client:
        answers = [await _send(client, collection, body) for body in (b"one", b"two")]

    assert [a.status_code for a in answers] == [202, 429]


async def test_yesterdays_uploads_do_not_count(sessions: Sessions, principal: access.Principal) -> None:
    limited = access.Principal(
        principal.workspace_id, principal.actor, principal.scopes, limits=Limits(documents_per_day=1)
    )
    async with transaction(sessions) as session:
        await quotas.count(session, limited, 10)
        await session.execute(text("update upload_usage set day = day - 1"))

    async with transaction(sessions) as session:
        await quotas.count(session, limited, 10)
        assert (await quotas.usage(session, limited)).documents == 1


async def test_only_an_admin_sets_limits(client: httpx.AsyncClient, key: str) -> None:
    prefix = key.split(".")[0]

    by_itself = await client.put(
        f"/api/v1/keys/{prefix}/limits", json={"bytes_per_day": 1}, headers={"Authorization": f"Bearer {key}"}
    )
    unknown = await client.put("/api/v1/keys/nobody/limits", json={})

    assert (by_itself.status_code, unknown.status_code) == (403, 404)


async def test_a_limit_that_is_not_named_stays(client: httpx.AsyncClient, key: str) -> None:
    url = f"/api/v1/keys/{key.split('.')[0]}/limits"

    answers = [
        (await client.put(url, json=json)).json()
        for json in ({"documents_per_day": 5}, {"bytes_per_day": 100}, {}, {"documents_per_day": None})
    ]

    assert [(a["documents_per_day"], a["bytes_per_day"]) for a in answers] == [
        (5, None),
        (5, 100),
        (5, 100),
        (None, 100),
    ]


def test_limits_are_settings() -> None:
    assert core_settings.variables()["UPLOAD_BYTES_PER_DAY"][0] == "receiving"

"""What a connection may send before anybody has looked at it, over real sockets: heads too large, too many headers, too slow."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from drystone.core.settings import Settings
from drystone.http import connections
from drystone.http.connections import MOST_HEAD_BYTES, MOST_HEADERS, MOST_WAITING
from drystone.web import create_app


@pytest.fixture(scope="module")
def port(settings: Settings) -> Iterator[int]:
    """A web server whose connections are what the Procfile says."""
    config = uvicorn.Config(
        create_app(settings), log_level="critical", ws="none", http="drystone.http.connections:Protocol"
    )
    server = uvicorn.Server(config)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield bound.getsockname()[1]
        server.should_exit = server.force_exit = True
        thread.join()


def _head(*lines: str) -> bytes:
    return "\r\n".join(["GET /health/live HTTP/1.1", "Host: drystone", "Connection: close", *lines, "", ""]).encode()


async def _said(port: int, *parts: bytes) -> tuple[int, dict[str, Any]]:
    """The answer to what is sent part by part, and that the connection was closed after it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
    except ConnectionError:
        pass  # it answered before all was sent
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


async def test_a_head_within_the_limits_is_answered(port: int) -> None:
    many = [f"X-{number}: a" for number in range(MOST_HEADERS - 2)]
    large = f"X-Large: {'a' * (MOST_HEAD_BYTES - 200)}"

    whole = [await _said(port, _head(*lines)) for lines in (many, [large])]
    in_parts = await _said(
        port, *(_head(large)[start : start + 4096] for start in range(0, MOST_HEAD_BYTES + 4096, 4096))
    )

    assert [*whole, in_parts] == [(200, {"status": "ok"})] * 3


@pytest.mark.parametrize(
    "sent",
    [
        [_head(*(f"X-{number}: a" for number in range(MOST_HEADERS - 1)))],
        [_head(f"X-Large: {'a' * MOST_HEAD_BYTES}")],
        [_head(*(f"X-{number}: {'a' * 1000}" for number in range(70)))],
        [f"GET /{'a' * MOST_HEAD_BYTES} HTTP/1.1\r\n\r\n".encode()],
        [b"GET / HTTP/1.1\r\nX-Endless: ", *[b"a" * 1024] * 64],
    ],
    ids=["many headers", "a large one", "many large ones", "a long path", "one without an end"],
)
async def test_a_head_beyond_them_is_refused(port: int, sent: list[bytes]) -> None:
    status, problem = await _said(port, *sent)

    assert (status, problem["code"]) == (431, "request.head_too_large")


_KEPT = _head().replace(b"Connection: close\r\n", b"")
_CHUNKED = _KEPT.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")


async def test_the_second_head_of_a_connection_has_the_same_limits(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_KEPT)
    async with asyncio.timeout(30):
        first = await reader.readuntil(b'{"status":"ok"}')
        writer.write(b"GET /" + b"a" * MOST_HEAD_BYTES)
        second = await reader.read()
    writer.close()

    assert first.startswith(b"HTTP/1.1 200")
    assert second.startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    "sent",
    [
        [_KEPT * (MOST_WAITING * 1000)],
        [_CHUNKED, b"X-Trailer: ", *[b"a" * 65536] * 512],
        [_CHUNKED.replace(b"\r\n0\r\n", b"\r\n1;"), *[b"a" * 65536] * 512],
    ],
    ids=["requests", "a trailer", "an extension of a chunk"],
)
async def test_what_follows_a_head_without_end_closes_the_connection(port: int, sent: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        for part in sent:
            writer.write(part)
            await writer.drain()
    answer = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(30):
            answer = await reader.read()
    writer.close()

    assert answer.count(b"HTTP/1.1 200") <= MOST_WAITING + 1


async def test_who_sends_what_is_no_request_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_KEPT)
    async with asyncio.timeout(30):
        await reader.readuntil(b'{"status":"ok"}')
        writer.write(b"\r\n")
        rest = await reader.read()
    writer.close()

    assert rest == b""


async def test_web_may_have_as_many_connections_as_the_system_allows(port: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # of this process, in which that web runs

    assert hard == resource.RLIM_INFINITY or soft >= min(hard, 65_536)


async def test_a_body_in_many_small_pieces_is_taken(port: int, settings: Settings) -> None:
    body = b'{"query": "' + b"a" * 3000 + b'", "collection": "none"}'
    head = (
        f"POST /api/v1/search HTTP/1.1\r\nHost: drystone\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {settings.api.key.get_secret_value()}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    pieces = [f"1;{'x' * 40}\r\n".encode() + body[at : at + 1] + b"\r\n" for at in range(len(body))]

    status, problem = await _said(port, head.encode(), *pieces, b"0\r\n\r\n")

    assert (status, problem["code"]) == (404, "collection.not_found")


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nX-Slow: ", _head().replace(b"Connection: close\r\n", b"")])
async def test_who_sends_the_head_slowly_is_cut_off(port: int, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    drips = [sent, b"G"] if sent.endswith(b"\r\n\r\n") else [sent]

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for drip in drips:
        writer.write(drip)
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()

    assert b"HTTP/1.1 408" in answer
    assert b"request.too_slow" in answer


async def test_what_is_no_http_is_told_so_as_every_error(port: int) -> None:
    status, problem = await _said(port, b"\x16\x03\x01 no TLS here\r\n\r\n")

    assert (status, problem["code"]) == (400, "request.not_http")

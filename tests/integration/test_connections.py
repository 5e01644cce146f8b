"""What a connection may send before anybody has looked at it, over real sockets: heads too large, too many headers, too slow."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from drystone.api import connections
from drystone.api.connections import MOST_HEAD_BYTES, MOST_HEADERS
from drystone.core.settings import Settings
from drystone.web import create_app


@pytest.fixture(scope="module")
def port(settings: Settings) -> Iterator[int]:
    """A web server whose connections are what the Procfile says."""
    config = uvicorn.Config(
        create_app(settings), log_level="critical", ws="none", http="drystone.api.connections:Protocol"
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
        [_head() + b"GET /" + b"a" * MOST_HEAD_BYTES],
    ],
    ids=["many headers", "a large one", "many large ones", "a long path", "one without an end", "the second request"],
)
async def test_a_head_beyond_them_is_refused(port: int, sent: list[bytes]) -> None:
    if sent[0].startswith(_head()):
        sent = [sent[0].replace(b"Connection: close\r\n", b"", 1)]
        status, problem = await _last(port, sent[0])
    else:
        status, problem = await _said(port, *sent)

    assert (status, problem["code"]) == (431, "request.head_too_large")


async def _last(port: int, sent: bytes) -> tuple[int, dict[str, Any]]:
    """The last of several answers on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    head, _, body = answer[answer.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


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

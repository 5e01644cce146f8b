"""A real local server that answers as a test says, and misbehaves on order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    line: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Answer:
    """What the server says: a status, headers and a body, or a way of failing."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    fault: str = ""  # "hang up", "silence", "trickle"


Script = Callable[[Request], Answer | Awaitable[Answer]]


class Endpoint:
    """A server that answers each request by the next script; the last one stays."""

    def __init__(self, *scripts: Script) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.scripts = list(scripts)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Endpoint]:
        talks: set[asyncio.Task[Any]] = set()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task
            talks.add(task)
            try:
                await self._talk(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        try:
            yield self
        finally:
            server.close()
            for task in talks:
                task.cancel()
            await asyncio.gather(*talks, return_exceptions=True)
            await server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        request = Request(head[0], headers, body)
        self.requests.append(request)
        given = (self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0])(request)
        answer = given if isinstance(given, Answer) else await given
        if answer.fault == "hang up":
            return
        if answer.fault == "silence":
            await asyncio.Event().wait()
        lines = [f"HTTP/1.1 {answer.status} Said", f"Content-Length: {len(answer.body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        for byte in answer.body if answer.fault == "trickle" else b"":
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        writer.write(answer.body)
        await writer.drain()

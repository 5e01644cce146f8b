"""What stands between our processes and others: a TCP proxy that disturbs on order, and an embedding endpoint.

Both are real servers on 127.0.0.1 in a thread of their own; what they disturb they count, which is the proof of a fault.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import threading
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Literal, Self

DIMENSION = 16
Disturbance = Literal["", "down", "slow", "truncated", "wrong answers", "wrong requests"]
Misbehaviour = Literal["", "down", "silent", "nan", "zero", "wrong dimension", "wrong number"]
_SLOW_S = 2.0


class Network:
    """The thread and loop in which both run."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self.proxy = Proxy()
        self.embedder = Embedder()
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self.proxy.port = self._run(self._listen(self.proxy.talk))
        self.embedder.port = self._run(self._listen(self.embedder.talk))
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self, talk: Any) -> int:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        talks = asyncio.all_tasks() - {asyncio.current_task()}
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


class Proxy:
    """Passes bytes between clients and the server at `target_port`, disturbed as `disturbance` says.

    disturbed: how often each kind was done. passed: connections made.
    """

    def __init__(self) -> None:
        self.port = 0
        self.target_port = 0
        self.disturbance: Disturbance = ""
        self.disturbed: Counter[str] = Counter()
        self.passed = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.disturbance == "down":
            self.disturbed["down"] += 1
            writer.transport.abort()
            return
        try:
            answers, requests = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        self.passed += 1
        try:
            await asyncio.gather(self._pass(reader, requests, "requests"), self._pass(answers, writer, "answers"))
        except asyncio.CancelledError:
            requests.transport.abort()
            writer.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: str) -> None:
        try:
            while part := await source.read(65536):
                passed = await self._disturb(part, direction)
                sink.write(passed)
                await sink.drain()
                if len(passed) < len(part):
                    return
        except (OSError, EOFError):
            pass
        finally:
            sink.close()

    async def _disturb(self, part: bytes, direction: str) -> bytes:
        """What is passed on instead; when it is shorter, nothing follows. Raises EOFError to cut the connection at once."""
        if self.disturbance == "down":
            self.disturbed["down"] += 1
            raise EOFError
        if self.disturbance == "slow" and direction == "answers":
            self.disturbed["slow"] += 1
            await asyncio.sleep(_SLOW_S)
        body_at = part.find(b"\r\n\r\n") + 4
        has_body = 4 <= body_at < len(part)
        if self.disturbance == "truncated" and direction == "answers" and has_body:
            self.disturbed["truncated"] += 1
            return part[: body_at + (len(part) - body_at) // 2]
        if self.disturbance == f"wrong {direction}" and (has_body or body_at < 4):
            self.disturbed[self.disturbance] += 1
            return part[:-1] + bytes([part[-1] ^ 1])
        return part


class Embedder:
    """Speaks OpenAI's `POST /v1/embeddings`; the same text always gets the same vector of length 1."""

    def __init__(self) -> None:
        self.port = 0
        self.misbehaviour: Misbehaviour = ""
        self.misbehaved: Counter[str] = Counter()
        self.texts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
                request = json.loads(await reader.readexactly(length))
                if self.misbehaviour in ("down", "silent"):
                    self.misbehaved[self.misbehaviour] += 1
                    await asyncio.sleep(5 if self.misbehaviour == "silent" else 0)
                    return
                body = json.dumps(self._answer(request["input"])).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _answer(self, texts: list[str]) -> dict[str, Any]:
        self.texts += len(texts)
        vectors = [_vector(text) for text in texts]
        if self.misbehaviour:
            self.misbehaved[self.misbehaviour] += 1
            vectors = _spoilt(vectors, self.misbehaviour)
        return {"object": "list", "data": [{"index": i, "embedding": each} for i, each in enumerate(vectors)]}


def _spoilt(vectors: list[list[float]], how: str) -> list[list[float]]:
    if how == "nan":
        return [[math.nan, *vector[1:]] for vector in vectors]
    if how == "zero":
        return [[0.0] * DIMENSION for _ in vectors]
    if how == "wrong dimension":
        return [vector[1:] for vector in vectors]
    return vectors[1:]


def _vector(text: str) -> list[float]:
    digest = hashlib.sha256(text.encode()).digest()
    numbers = [byte - 127.5 for byte in digest[:DIMENSION]]
    length = math.sqrt(sum(number * number for number in numbers))
    return [number / length for number in numbers]

"""A real local server that speaks OpenAI's chat completions as a test says, and misbehaves on order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.serving import served


def delta(text: str) -> bytes:
    """One part of a streamed answer."""
    return _data({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})


def finish(reason: str = "stop") -> bytes:
    """The part that says why the answer ends, and the end."""
    return _data({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}) + b"data: [DONE]\n\n"


def line(text: str, *cites: tuple[int, str]) -> str:
    """A sentence as the model is asked for it."""
    cited = [{"passage": passage, "quote": quote} for passage, quote in cites]
    return json.dumps({"text": text, "cites": cited}, ensure_ascii=False) + "\n"


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def spoken(text: str, *, size: int = 7, reason: str = "stop") -> Iterator[bytes]:
    """A whole answer, a few characters a part."""
    for start in range(0, len(text), size):
        yield delta(text[start : start + size])
    yield finish(reason)


async def forever() -> None:
    """Says nothing any more."""
    await asyncio.Event().wait()


@dataclass
class Model:
    """What plays the model. parts: what it says next; a coroutine function among them is awaited, an exception raised.

    requests: what it was asked. media_type: of a stream. url: for ANSWER_URL.
    """

    url: str = ""
    parts: Callable[[], Sequence[Any]] = lambda: [finish()]
    answers: list[Response] = field(default_factory=list)
    media_type: str = "text/event-stream"
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    left: int = 0  # callers that had gone before the end

    def says(self, text: str, **how: Any) -> None:
        """Answer so from now on."""
        self.parts = lambda: list(spoken(text, **how))
        self.answers.clear()

    async def _answer(self, request: Request) -> Response:
        self.requests.append(await request.json())
        self.headers.append(dict(request.headers))
        if self.answers:
            return self.answers.pop(0)
        return StreamingResponse(self._said(), media_type=self.media_type)

    async def _said(self) -> AsyncIterator[bytes]:
        try:
            for part in self.parts():
                if isinstance(part, bytes):
                    yield part
                else:
                    await part()
        except asyncio.CancelledError:
            self.left += 1
            raise


@contextmanager
def model() -> Iterator[Model]:
    """A model on a port of its own, while the block runs."""
    playing = Model()
    app = Starlette(routes=[Route("/v1/chat/completions", playing._answer, methods=["POST"])])
    with served(app) as address:
        playing.url = f"{address}/v1"
        yield playing

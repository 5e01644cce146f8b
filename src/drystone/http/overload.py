"""How many requests a process works on at once. One more is refused at once: answered late, none would help anybody.

Who only waits is not counted: for a body that is still on its way, as a stream, or for a document to be ready.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drystone.core.turnstile import busy
from drystone.http import problems

# Who asks whether the process lives should be told.
_UNCOUNTED = "/health"


class _Load:
    """How many requests are worked on."""

    def __init__(self) -> None:
        self.working = 0


_here: ContextVar[_Load | None] = ContextVar("load", default=None)


class OverloadMiddleware:
    """Answers 503 `server.busy` to requests of which there are too many."""

    def __init__(self, app: ASGIApp, *, at_once: int) -> None:
        self._app = app
        self._at_once = at_once
        self._load = _Load()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_UNCOUNTED):
            await self._app(scope, receive, send)
            return
        if self._load.working >= self._at_once:
            error = busy("requests", f"{self._load.working} requests are being answered")
            await (await problems.answer(Request(scope), error))(scope, receive, send)
            return
        load = self._load

        async def receive_resting() -> Message:
            with _resting(load):
                return await receive()

        token = _here.set(load)
        load.working += 1
        try:
            await self._app(scope, receive_resting, send)
        finally:
            load.working -= 1
            _here.reset(token)


@contextmanager
def resting() -> Iterator[None]:
    """The request that is answered here only waits in this block."""
    load = _here.get()
    if load is None:
        yield
        return
    with _resting(load):
        yield


@contextmanager
def _resting(load: _Load) -> Iterator[None]:
    load.working -= 1
    try:
        yield
    finally:
        load.working += 1

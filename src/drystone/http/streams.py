"""Server-Sent Events over HTTP: what a listener is told, in what order, and when a stream ends.

First the events since Last-Event-ID or, without one, a snapshot of the present state; then each event as it happens.
While it waits a stream holds no transaction and no connection.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from drystone.access import keys
from drystone.access.service import Principal
from drystone.core.db import Sessions, transaction
from drystone.core.errors import DrystoneError
from drystone.core.logging import get_logger
from drystone.jobs import events
from drystone.jobs.events import Position
from drystone.jobs.feed import Cut, Feed, Listener, Told

HEARTBEAT_S = 15.0
# Then the stream is closed, and the client comes back with the last id.
LONGEST_S = 600.0
# A client that takes nothing for so long is cut off.
SEND_S = 20.0
# How often it is asked whether the key may still listen.
_KEY_ASKED_S = 10.0
_RETRY_MS = 2000
_PAGE = 500

MEDIA_TYPE = "text/event-stream"
T = TypeVar("T")
log = get_logger("api.streams")


@dataclass(frozen=True)
class Subject:
    """What a stream is about.

    state: the present state as JSON, and whether it is final: then a stream that does not follow ends.
    finals: kinds of events after which it ends. tick: called when nothing happens and after other events; may be None.
    """

    scope: events.Scope
    state: Callable[[AsyncSession], Awaitable[tuple[dict[str, Any], bool]]]
    finals: Collection[str] = ()
    tick: Callable[[AsyncSession], Awaitable[object]] | None = None


class EventStream(Response):
    """An answer that is sent as it comes. Ends when the client leaves, or takes nothing for too long."""

    media_type = MEDIA_TYPE

    def __init__(self, parts: AsyncGenerator[str]) -> None:
        self._parts = parts
        self.status_code, self.background, self.body = 200, None, b""
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        # A stream has no length.
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending, leaving = asyncio.create_task(self._send_all(send)), asyncio.create_task(left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async with aclosing(self._parts) as parts:  # also where the client leaves while a part is on its way
                async for part in parts:
                    async with asyncio.timeout(SEND_S):
                        await send({"type": "http.response.body", "body": part.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (TimeoutError, OSError) as exc:
            log.info("stream.cut", reason=type(exc).__name__)
        except Exception:  # the answer has begun: all that is left is to close it, and the client comes back
            log.exception("stream.failed")


async def left(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def until_left(request: Request, work: Coroutine[Any, Any, T]) -> T | Response:
    """What the work comes to; given up where the client leaves before. Who waits for another server is not counted as work."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(left(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        log.info("request.left")
        return Response(status_code=499)  # nobody reads it
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def open_stream(
    feed: Feed, sessions: Sessions, caller: Principal, subject: Subject, *, last_id: str | None, follow: bool
) -> EventStream:
    """The answer of a route. Whatever can be refused is refused here, before the first byte."""
    listening = feed.listen(caller.workspace_id, caller.actor, subject.scope)
    listener = await listening.__aenter__()

    async def parts() -> AsyncGenerator[str]:
        try:
            async for part in _Stream(sessions, caller, listener, subject, follow).parts(last_id):
                yield part
        except (Cut, DrystoneError) as exc:
            log.info("stream.cut", reason=type(exc).__name__)
        finally:
            await listening.__aexit__(None, None, None)

    return EventStream(parts())


@dataclass(frozen=True)
class _Stream:
    sessions: Sessions
    caller: Principal
    listener: Listener
    subject: Subject
    follow: bool

    async def parts(self, last_id: str | None) -> AsyncIterator[str]:
        """Everything from the first line to the last."""
        yield f"retry: {_RETRY_MS}\n\n"
        start = await self.listener.joined()
        position = self._resumable(last_id, start)
        if position is None:
            if last_id:
                yield line_of(
                    "reset",
                    {
                        "reason": "the last event id is too old, unknown, or from before a restore; the present state follows"
                    },
                )
        else:
            kind = ""
            async for told in self._missed(position, start):
                kind = told.row.kind
                yield self._event(told)
            if kind in self.subject.finals and not self.follow:
                yield _end()
                return
        state, is_final = await self._state()
        if position is None or is_final:
            yield line_of("snapshot", state, start.token())
        if is_final and not self.follow:
            yield _end()
            return
        async for part in self._live():
            yield part

    async def _live(self) -> AsyncIterator[str]:
        until = time.monotonic() + LONGEST_S
        ask_at = time.monotonic() + _KEY_ASKED_S
        while (left_s := until - time.monotonic()) > 0:
            told = await self.listener.next(min(HEARTBEAT_S, left_s))
            if time.monotonic() > ask_at:
                await self._check_key()
                ask_at = time.monotonic() + _KEY_ASKED_S
            if told is None:
                yield ": still here\n\n"
            elif self._may_tell(told.row):
                yield self._event(told)
                if told.row.kind in self.subject.finals and not self.follow:
                    yield _end()
                    return
            if self.subject.tick is not None and self.listener.is_empty():
                async with transaction(self.sessions) as session:
                    await self.subject.tick(session)

    def _may_tell(self, row: Row[Any]) -> bool:
        """A batch may hold documents of collections that are not the caller's."""
        return row.collection_id is None or self.caller.may_see(row.collection_id)

    def _event(self, told: Told) -> str:
        said = events.message(told.row)
        if self.caller.collection_ids is not None and told.row.collection_id is None:
            said["data"].pop("documents", None)  # counts of all of a batch
        return line_of(told.row.kind, said, told.position.token())

    async def _check_key(self) -> None:
        """Raise Cut when the key was revoked, has expired or may see something else now: whoever comes back is told."""
        async with transaction(self.sessions) as session:
            if not await keys.is_valid(session, self.caller):
                raise Cut("the key has changed")

    def _resumable(self, last_id: str | None, start: Position) -> Position | None:
        position = Position.parse(last_id) if last_id else None
        is_usable = position is not None and not position.is_expired() and position.is_before(start)
        return position if is_usable else None

    async def _missed(self, position: Position, start: Position) -> AsyncIterator[Told]:
        """What happened between the position and the listener's joining, page by page: the client sets the pace."""
        steps = [position, position.until(start)]
        for step in steps:
            while True:
                await self._check_key()
                async with transaction(self.sessions) as session:
                    rows = await events.changes(session, self.subject.scope, step, limit=_PAGE)
                for row in rows:
                    step = step.after(row)  # noqa: PLW2901  it is where we stand
                    if self._may_tell(row):
                        yield Told(row, step)
                if len(rows) < _PAGE:
                    break

    async def _state(self) -> tuple[dict[str, Any], bool]:
        async with transaction(self.sessions) as session:
            return await self.subject.state(session)


def _end() -> str:
    return line_of("end", {"reason": "nothing more will happen; ?follow=true keeps the stream open"})


def line_of(kind: str, data: dict[str, Any], token: str | None = None) -> str:
    head = "" if token is None else f"id: {token}\n"
    return f"{head}event: {kind}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"

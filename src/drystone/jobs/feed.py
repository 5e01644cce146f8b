"""The feed: one reader of new events for a whole web process, and who listens to it.

It asks PostgreSQL five times a second, and only while somebody listens. Nothing is held while waiting: no transaction,
no connection. Who reads too slowly is cut off, and comes back with the position it had reached.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.engine import Row

from drystone.core.db import Sessions, transaction
from drystone.core.errors import Denied, Unavailable
from drystone.core.logging import get_logger
from drystone.jobs import events
from drystone.jobs.events import Position, Scope

# Between two looks. An event is seen after half of it on the average.
LOOK_S = 0.2
# Listeners of one process, and of one key there.
MAX_LISTENERS, MAX_LISTENERS_PER_ACTOR = 1000, 100
# Events that wait for one listener, and that one look hands out; more and the listeners read them from the table.
_MAX_WAITING, _MAX_AT_ONCE = 1000, 5000

log = get_logger("jobs.feed")


class Cut(Exception):
    """The listener was too slow, too much happened at once, or the database is another: it asks from its last position."""


@dataclass(frozen=True)
class Told:
    """One event, and the position of who has read it."""

    row: Row[Any]
    position: Position


@dataclass(eq=False)
class Listener:
    """Gets every event of its scope that `since` did not see."""

    workspace_id: UUID
    actor: str
    scope: Scope
    since: Position | None = None
    _joined: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: asyncio.Queue[Told | None] = field(default_factory=lambda: asyncio.Queue(_MAX_WAITING))
    _is_cut: bool = False

    async def next(self, timeout_s: float) -> Told | None:
        """The next event; None when there is none for timeout_s. Raises Cut when one could not be kept for us."""
        try:
            async with asyncio.timeout(timeout_s):
                told = await self._waiting.get()
        except TimeoutError:
            return None
        if self._is_cut or told is None:
            raise Cut
        return told

    def is_empty(self) -> bool:
        """Whether every event so far was taken."""
        return self._waiting.empty()

    def join(self, since: Position) -> None:
        """Begin to get events."""
        self.since = since
        self._joined.set()

    async def joined(self) -> Position:
        """Where the events begin that it gets; waits until it has joined."""
        await self._joined.wait()
        assert self.since is not None
        return self.since

    def offer(self, told: Told) -> None:
        """Hand over an event, unless it is of another scope or there is no room for it."""
        if not self._is_cut and self.workspace_id == told.row.workspace_id and self.scope.covers(told.row):
            if self._waiting.full():
                self.cut()
            else:
                self._waiting.put_nowait(told)

    def cut(self) -> None:
        """Hand over nothing more."""
        self._is_cut = True
        if self._waiting.empty():
            self._waiting.put_nowait(None)  # who waits is told at once


class Feed:
    """Made once for each web process."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._here: Position | None = None
        self._listening: set[Listener] = set()
        self._joining: set[Listener] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False

    @asynccontextmanager
    async def listen(self, workspace_id: UUID, actor: str, scope: Scope) -> AsyncIterator[Listener]:
        """A listener that has joined. Raises Denied when there are too many, Unavailable when PostgreSQL is away."""
        self._check_room(actor)
        listener = Listener(workspace_id, actor, scope)
        self._joining.add(listener)
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look_and_look())
        try:
            async with asyncio.timeout(5):
                await listener.joined()
            yield listener
        except TimeoutError as exc:
            if listener.since is not None:
                raise
            raise Unavailable("database.unavailable", "PostgreSQL cannot be reached.", retry_after_s=2) from exc
        finally:
            self._joining.discard(listener)
            self._listening.discard(listener)

    def cut_all(self) -> None:
        """The process is told to stop: every listener reads on elsewhere, and no new one is let in."""
        self._is_closing = True
        for listener in self._listening:
            listener.cut()

    async def aclose(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _check_room(self, actor: str) -> None:
        if self._is_closing:
            raise Unavailable("events.closing", "This process is about to stop.", hint="come back in a moment")
        open_now = Counter(listener.actor for listener in self._listening | self._joining)
        if open_now.total() >= MAX_LISTENERS or open_now[actor] >= MAX_LISTENERS_PER_ACTOR:
            raise Denied(
                "events.too_many_streams",
                f"There are {open_now[actor]} open streams of this key; {MAX_LISTENERS_PER_ACTOR} are allowed, and "
                f"{MAX_LISTENERS} in all.",
                hint="close some, or watch a collection or a batch instead of each document",
                status=429,
                retry_after_s=5,
            )

    async def _look_and_look(self) -> None:
        while self._listening or self._joining:
            self._wake.clear()
            try:
                await self._look()
            except Unavailable as exc:
                log.warning("feed.unavailable", code=exc.code)
            except Exception:  # whatever it was, the listeners are still there
                log.exception("feed.failed")
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _look(self) -> None:
        joining, workspaces = set(self._joining), {listener.workspace_id for listener in self._listening}
        async with transaction(self._sessions) as session:
            here = await events.present(session)
            step = self._here.until(here) if self._here is not None else here
            seen = await events.changes(session, list(workspaces), step, limit=_MAX_AT_ONCE + 1) if workspaces else []
        # From here on nothing waits: whoever listens has either been given all of this step, or joins after it.
        is_another_timeline = self._here is not None and not self._here.is_before(here)
        if is_another_timeline or len(seen) > _MAX_AT_ONCE:
            for listener in self._listening:
                listener.cut()
        else:
            self._hand_out(seen, step)
        self._here = here
        for listener in joining & self._joining:
            self._joining.discard(listener)
            self._listening.add(listener)
            listener.join(here)

    def _hand_out(self, seen: Any, step: Position) -> None:
        for row in seen:
            told = Told(row, step.after(row))
            for listener in self._listening:
                listener.offer(told)

"""Lets so many in at once. Who would wait for long is refused at once or soon, rather than answered when nobody cares any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from drystone.core import measures
from drystone.core.errors import Unavailable


class Turnstile:
    """For work that keeps cores busy: more of it at once makes all of it late. Made and used in one event loop.

    at_once: how many are inside. wait_s: how long one stands in line at most. what: of what there is too much, for the error.
    """

    def __init__(self, at_once: int, *, wait_s: float, what: str) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._wait_s = wait_s
        self._what = what

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Inside, once there is a place. Raises Unavailable `server.busy` when there is none in time."""
        try:
            async with asyncio.timeout(self._wait_s):
                await self._places.acquire()
        except TimeoutError as exc:
            raise busy(self._what, f"{self._what} have waited for their turn for {self._wait_s:g} s") from exc
        try:
            yield
        finally:
            self._places.release()


class Turnstiles:
    """A turnstile for each of many, while anybody is at it. most_waiting: at one; whoever comes then is refused at once."""

    def __init__(self, at_once: int, *, wait_s: float, most_waiting: int, what: str) -> None:
        self._at_once, self._wait_s = at_once, wait_s
        self._most = at_once + most_waiting
        self._what = what
        self._there: dict[Hashable, tuple[Turnstile, int]] = {}

    @asynccontextmanager
    async def turn(self, of: Hashable) -> AsyncIterator[None]:
        """Inside that of this one. Raises Unavailable `server.busy`."""
        turnstile, count = self._there.get(of) or (Turnstile(self._at_once, wait_s=self._wait_s, what=self._what), 0)
        if count >= self._most:
            raise busy(self._what, f"{count} {self._what} are waiting for the same already")
        self._there[of] = turnstile, count + 1
        try:
            async with turnstile.turn():
                yield
        finally:
            left = self._there[of][1] - 1
            if left:
                self._there[of] = turnstile, left
            else:
                del self._there[of]


def busy(what: str, why: str) -> Unavailable:
    """The error of a process of which more is asked than it can do. what: is counted."""
    measures.of(measures.LIMITED, what).inc()
    return Unavailable(
        "server.busy",
        f"More is asked at once than can be done: {why}.",
        hint="ask again in a moment, or less often; more web processes or cores help",
        retry_after_s=1,
    )

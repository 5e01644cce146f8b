"""Whose turn it is to use a process's core: while small documents are in hand, a large one keeps a tenth of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

# After each part of a large document small ones have the core for this many times as long as it took.
SHARE = 9.0


class Turns:
    """One holder at a time. Made and used in one event loop."""

    def __init__(self) -> None:
        self._core = asyncio.Lock()
        self._left = asyncio.Event()
        self._small_in_hand = 0
        self._rests_until = 0.0

    @contextmanager
    def small_in_hand(self) -> Iterator[None]:
        """Small documents are being worked on in this block, whether they use the core at this moment or not."""
        self._small_in_hand += 1
        try:
            yield
        finally:
            self._small_in_hand -= 1
            self._left.set()

    @asynccontextmanager
    async def small(self) -> AsyncIterator[None]:
        """A turn of about a second, for documents that are soon done."""
        async with self._core:
            yield

    @asynccontextmanager
    async def large(self) -> AsyncIterator[None]:
        """A turn of half a second for a part of a large document: when no small ones are in hand, or after its rest."""
        while self._small_in_hand > 0 and (rest_s := self._rests_until - time.monotonic()) > 0:
            self._left.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), rest_s)
        async with self._core:
            began = time.monotonic()
            try:
                yield
            finally:
                ended = time.monotonic()
                self._rests_until = ended + SHARE * (ended - began)

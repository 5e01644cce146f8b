"""Both Python clients, asked alike: what holds of one is to hold of the other."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

from drystone.client import AsyncClient, Client


class Asking:
    """A Client in a thread, or an AsyncClient."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    async def __call__(self, method: Callable[[Any], Any], *, came: Callable[[], object] = lambda: None) -> Any:
        """What a call gives; of an iterator a list. came: called whenever it gives one more."""
        if isinstance(self.client, Client):
            return await asyncio.to_thread(_all, method, self.client, came)
        given = method(self.client)
        if not inspect.isasyncgen(given):
            return await given
        found = []
        async for each in given:
            came()
            found.append(each)
        return found

    @asynccontextmanager
    async def left(self, events: Any) -> AsyncIterator[Any]:
        """The first of an iterator that is left when the block ends."""
        if isinstance(self.client, Client):
            yield await asyncio.to_thread(next, events)
            await asyncio.to_thread(events.close)
        else:
            async with aclosing(events):
                yield await anext(events)

    async def close(self) -> None:
        if isinstance(self.client, Client):
            self.client.close()
        else:
            await self.client.aclose()


def _all(method: Callable[[Any], Any], client: Client, came: Callable[[], object]) -> Any:
    given = method(client)
    if not inspect.isgenerator(given):
        return given
    found = []
    for each in given:
        came()
        found.append(each)
    return found

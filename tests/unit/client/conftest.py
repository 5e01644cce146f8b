"""Both clients, at a server that a test scripts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.asking import Asking
from tests.scripted import Scripted

from drystone.client import AsyncClient, Client, Retries

Open = Callable[..., tuple[Asking, Scripted]]
QUICK = Retries(for_s=5.0, first_s=0.001, longest_s=0.01)


@pytest.fixture(params=[Client, AsyncClient], ids=["sync", "async"])
async def opened(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Opens a client, of each kind in turn, at a server that gives these answers."""
    kind: Any = request.param
    async with AsyncExitStack() as stack:

        def open_(
            *answers: bytes, retries: Retries = QUICK, key: str = "ds_key", **options: Any
        ) -> tuple[Asking, Scripted]:
            server = stack.enter_context(Scripted(*answers).running())
            asking = Asking(kind(server.url, key, retries=retries, **options))
            stack.push_async_callback(asking.close)
            return asking, server

        yield open_

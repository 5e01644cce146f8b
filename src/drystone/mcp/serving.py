"""Has the protocol served within the web process: begun when somebody first asks, ended with the process.

What the SDK imports takes a while, and most processes are never asked. Nothing is kept between two requests, so whichever web
process a request comes to can answer it, and none has anything to lose when it ends.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

# `http.bodies` bounds what comes, and tells it as all errors are told.
_BOUNDED_BEFORE = 1 << 40


class Serving:
    """The SDK's manager of requests, in a task of its own: what it starts ends in the task that began it."""

    def __init__(self) -> None:
        self._end = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._manager: asyncio.Future[StreamableHTTPSessionManager] = asyncio.get_running_loop().create_future()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whose key was looked up."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        manager = await asyncio.shield(self._manager)
        # The parser leaves blanks at the end of a header's value, and the SDK compares some (RFC 9110, section 5.5).
        scope = {**scope, "headers": [(name, value.strip(b" \t")) for name, value in scope["headers"]]}
        with suppress(ClientDisconnect):  # whoever asked is gone, and nobody is left to be told
            await manager.handle_request(scope, receive, send)

    async def aclose(self) -> None:
        """End what is still being answered."""
        self._end.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        try:
            manager = await asyncio.to_thread(_make)
        except BaseException as exc:
            self._manager.set_exception(exc)
            raise
        async with manager.run():
            self._manager.set_result(manager)
            await self._end.wait()


def _make() -> StreamableHTTPSessionManager:
    """A manager that keeps no session and answers in JSON."""
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from drystone.mcp import server

    return StreamableHTTPSessionManager(
        server.make(), json_response=True, stateless=True, max_request_body_size=_BOUNDED_BEFORE
    )

"""How much of a body is taken before anybody has looked at it: nothing without a key that is right, some megabytes, within a minute.

Uploads are received by their own routes, under limits of their own.
"""

from __future__ import annotations

import asyncio
import time

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drystone.api import problems
from drystone.api.dependencies import bearer, draft_link, get_holder, get_principal, get_resources
from drystone.core.errors import DrystoneError

# The largest that is meant: ten thousand ids to delete, a hundred long questions.
MOST_BYTES = 8 << 20
LONGEST_S = 60.0
# Here the link of a draft stands in place of a key.
OF_LINK = "/api/v1/draft"


class BodyMiddleware:
    """Bounds what a route that takes JSON may be sent. A body without a key is as if it were empty: it is answered 401.

    FastAPI takes and reads a body before it asks any dependency, so a key is looked up here where a body comes with it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_upload(scope):
            await self._app(scope, receive, send)
            return
        body = _Body(receive)
        request = Request(scope)
        if _is_of_no_route(request):
            await self._app(scope, body.nothing, send)
            return
        if _has_key(scope) and _has_body(scope) and scope["path"].startswith("/api/"):
            try:
                await _ask(request)
            except DrystoneError as exc:
                await (await problems.answer(request, exc))(scope, receive, send)
                return
        await self._app(scope, body.receive if _has_key(scope) else body.nothing, send)


def _is_of_no_route(request: Request) -> bool:
    """Whether a method is not among those of a link's path: that is told to everybody, as without a body."""
    path = request.url.path
    return is_of_link(path) and request.method not in request.app.state.paths.methods(path)


async def _ask(request: Request) -> None:
    """Raise DrystoneError unless it shows a key, or where links are shown, a link."""
    if is_of_link(request.url.path):
        await get_holder(request, get_resources(request), await draft_link(request))
    else:
        await get_principal(request, get_resources(request), await bearer(request))


def is_of_link(path: str) -> bool:
    """Whether a path is for whoever holds the link of a draft."""
    return path == OF_LINK or path.startswith(f"{OF_LINK}/")


class _Body:
    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._until = time.monotonic() + LONGEST_S
        self._taken = 0
        self._is_whole = False

    async def receive(self) -> Message:
        """The next part. Raises HTTPException where it is too much or too slow."""
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._until - time.monotonic())):
                message = await self._receive()
        except TimeoutError as exc:
            raise HTTPException(408, f"The body was not whole after {LONGEST_S:.0f} s") from exc
        self._taken += len(message.get("body", b""))
        if self._taken > MOST_BYTES:
            raise HTTPException(413, f"The body is larger than {MOST_BYTES:,} bytes")
        self._is_whole = not message.get("more_body", False)
        return message

    async def nothing(self) -> Message:
        """No body at all; what is sent is left where it is."""
        if self._is_whole:
            return await self._receive()
        self._is_whole = True
        return {"type": "http.request", "body": b"", "more_body": False}


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") and value != b"0" for name, value in scope["headers"])


def _is_upload(scope: Scope) -> bool:
    path: str = scope["path"].rstrip("/")
    return (scope["method"] == "POST" and path in ("/api/v1/documents", "/api/v1/observations")) or (
        scope["method"] == "PUT" and path.startswith("/api/v1/documents/") and path.endswith("/content")
    )


def _has_key(scope: Scope) -> bool:
    return any(name == b"authorization" and value for name, value in scope["headers"])

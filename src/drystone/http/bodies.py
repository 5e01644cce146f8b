"""How much of a body is taken before anybody has looked at it: nothing without a key that is right, some megabytes, within a minute.

Uploads are received by their own routes, under limits of their own. Which those are, and who may ask, edges say.
"""

from __future__ import annotations

import asyncio
import time

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drystone.core.errors import DrystoneError
from drystone.http import problems
from drystone.http.edges import Edge, edge_of

# The largest that is meant: ten thousand ids to delete, a hundred long questions.
MOST_BYTES = 8 << 20
LONGEST_S = 60.0


class BodyMiddleware:
    """Bounds what a route that takes JSON may be sent. A body without a key is as if it were empty: it is answered 401.

    FastAPI takes and reads a body before it asks any dependency, so a key is looked up here where a body comes with it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (edge := edge_of(scope)).receives(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        body = _Body(receive)
        request = Request(scope)
        if edge.is_frank and _is_of_no_route(request):
            await self._app(scope, body.nothing, send)
            return
        if _has_key(scope) and _has_body(scope):
            try:
                await _identify(edge, request)
            except DrystoneError as exc:
                await (await problems.answer(request, exc))(scope, receive, send)
                return
        is_taken = _has_key(scope) or _is_small_form(scope, edge.form_bytes)
        await self._app(scope, body.receive if is_taken else body.nothing, send)


def _is_of_no_route(request: Request) -> bool:
    """Whether a method is not among those of its path: that is told to everybody here, as without a body."""
    return request.method not in request.app.state.paths.methods(request.url.path)


async def _identify(edge: Edge, request: Request) -> None:
    if edge.identify is not None:
        await edge.identify(request)


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


def _is_small_form(scope: Scope, most: int) -> bool:
    """Whether it is a form that says how small it is: no more than its edge takes from whoever shows no key."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    is_form = headers.get(b"content-type", b"").startswith(b"application/x-www-form-urlencoded")
    return is_form and length.isdigit() and int(length) <= most


def _has_key(scope: Scope) -> bool:
    return any(name == b"authorization" and value for name, value in scope["headers"])

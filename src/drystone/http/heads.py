"""Routes that are asked by HEAD as well as by GET, as browsers' and link checkers' habit is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute


class WithHead(APIRoute):
    """A route whose GET is answered to HEAD, too, by the same headers. The server leaves the body out."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **given: Any) -> None:
        super().__init__(path, endpoint, **given)
        if self.methods is not None and "GET" in self.methods:
            self.methods.add("HEAD")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            answer = await handle(request)
            if request.method == "HEAD" and isinstance(answer, StreamingResponse):
                answer.body_iterator = _nothing()  # else all of a file would be read for it
            return answer

        return handled


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""

"""/mcp: the protocol's one path. Keys, limits, log and numbers are those of the HTTP API."""

from __future__ import annotations

from typing import cast
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response
from starlette.types import Receive, Scope, Send

from drystone.core.errors import Denied
from drystone.http.dependencies import Caller, ResourcesOf
from drystone.mcp.serving import Serving

router = APIRouter(prefix="/mcp", tags=["mcp"])
_OF_THIS_MACHINE = frozenset(("localhost", "127.0.0.1", "::1"))


class _Answer(Response):
    """Whatever the SDK answers."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serving.answer(scope, receive, send)


async def check_origin(request: Request, resources: ResourcesOf) -> None:
    """Refuse what a page in a browser sends, unless it is of this machine or one that is allowed to.

    A page may have its own name lead to this machine (DNS rebinding); its origin tells. Programs send none.
    """
    origin = request.headers.get("origin")
    if origin is None or origin in resources.settings.api.mcp_origins.replace(" ", "").split(","):
        return
    try:
        host = urlsplit(origin).hostname
    except ValueError:
        host = None
    if host not in _OF_THIS_MACHINE:
        raise Denied(
            "mcp.origin",
            "Pages of this origin may not speak to this server.",
            hint="whoever runs the server may name the origin in MCP_ORIGINS",
            status=403,
        )


@router.post("", include_in_schema=False, dependencies=[Depends(check_origin)])
async def post(request: Request, _caller: Caller) -> Response:
    """One message of the protocol, and its answer."""
    return _Answer(cast(Serving, request.app.state.mcp))

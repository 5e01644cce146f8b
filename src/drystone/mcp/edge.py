"""How this edge tells what is refused before the protocol is spoken: as its errors are, so that clients show the sentence."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import JSONResponse

from drystone.http.edges import Edge, Told

# Source of the numbers: JSON-RPC 2.0, section 5.1. The SDK is not imported for them: nobody may ever ask.
_INVALID_REQUEST, _INTERNAL_ERROR = -32600, -32603


def tell(request: Request, told: Told) -> JSONResponse:
    """An error without an id: whose it is stands in a body that nobody has read."""
    error = {
        "code": _INTERNAL_ERROR if told.status >= 500 else _INVALID_REQUEST,
        "message": told.message + (f"\nhint: {told.hint}" if told.hint else ""),
        "data": {
            "code": told.code,
            "status": told.status,
            "request_id": getattr(request.state, "request_id", None),
        },
    }
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status_code=told.status, headers=told.headers)


EDGE = Edge(mount="/mcp", tell=tell, is_told_once=True)

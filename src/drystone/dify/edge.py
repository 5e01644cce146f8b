"""How this edge tells errors: as Dify's External Knowledge API has them, with a number and a sentence."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import JSONResponse

from drystone.http.dependencies import identify
from drystone.http.edges import Edge, Told

# Source: Dify's External Knowledge API. Of what it has no number for, the status is the number.
_NO_KEY, _WRONG_KEY, _NO_KNOWLEDGE = 1001, 1002, 2001
_NUMBERS = {
    "access.key_missing": _NO_KEY,
    "access.key_unknown": _WRONG_KEY,
    "access.scope_missing": _WRONG_KEY,
    "access.guessing": _WRONG_KEY,
    "collection.not_found": _NO_KNOWLEDGE,
}


def tell(_request: Request, told: Told) -> JSONResponse:
    """Number, and what to do: Dify shows the sentence to whoever asked."""
    wrong = [f"{each['pointer'] or '/'}: {each['detail']}" for each in told.errors or ()]
    sentence = " ".join([told.message, *wrong, *([f"Hint: {told.hint}"] if told.hint else [])])
    content = {"error_code": _NUMBERS.get(told.code, told.status), "error_msg": sentence}
    return JSONResponse(content, status_code=told.status, headers=told.headers)


EDGE = Edge(mount="/dify", identify=identify, tell=tell)

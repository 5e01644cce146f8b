"""What stands before the routes of this edge: who asks, and errors in OpenAI's envelope."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from drystone.http.dependencies import identify
from drystone.http.edges import Edge, Told

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
# Codes that programs know from OpenAI; all others are our own.
_CODES = {
    "access.key_missing": "invalid_api_key",
    "access.key_unknown": "invalid_api_key",
    "rate.exceeded": "rate_limit_exceeded",
    "quota.exceeded": "insufficient_quota",
    "request.no_such_path": "unknown_url",
}
# Until midnight no second try helps, and clients would make two.
_NOT_AGAIN = "quota.exceeded"
# OpenAI has one status for what cannot be accepted.
_BAD_REQUEST, _UNACCEPTABLE = 400, (415, 422)


def _tell(_request: Request, told: Told) -> Response:
    error = {
        "message": _message(told),
        "type": _type(told.status),
        "param": _param(told),
        "code": _CODES.get(told.code, told.code),
    }
    status = _BAD_REQUEST if told.status in _UNACCEPTABLE else told.status
    headers = dict(told.headers)
    if told.code == _NOT_AGAIN:
        headers["x-should-retry"] = "false"
    return JSONResponse({"error": error}, status_code=status, headers=headers)


def _type(status: int) -> str:
    return "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")


def _message(told: Told) -> str:
    """The sentence, what is wrong with each field, and the hint where it is not about the paths of the other edge."""
    fields = [each for each in told.errors or () if each["detail"] != told.message]
    said = [told.message, *(f"{_dotted(each['pointer'])}: {each['detail']}" for each in fields)]
    if told.hint and "/api/v1" not in told.hint and not fields:
        said.append(f"Hint: {told.hint}.")
    return " ".join(said)


def _param(told: Told) -> str | None:
    return _dotted(told.errors[0]["pointer"]) or None if told.errors else None


def _dotted(pointer: str) -> str:
    """A JSON pointer as OpenAI names fields: `files.0.attributes`."""
    return pointer.removeprefix("/").replace("/", ".").replace("~1", "/").replace("~0", "~")


EDGE = Edge(
    mount="/openai/v1",
    identify=identify,
    tell=_tell,
    uploads=(("POST", "/files"), ("POST", "/uploads/{part_upload_id}/parts")),
    described_in="docs/reference/openai.md",
)

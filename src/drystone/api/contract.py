"""What /openapi.json says of every route, beyond what FastAPI reads from its function: the statuses and headers that follow from
what a route takes, one form for all errors, and no `null` where nothing of the kind can be sent.

Programs that write clients from it are the readers; tests/integration/test_openapi.py holds the answers against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from drystone.http.problems import MEDIA_TYPE, TITLES, Problem

_METHODS = ("get", "put", "post", "delete", "patch")
_SUCCESS = {"200": "Done", "201": "Made", "202": "Taken: it goes on in the background", "204": "Done; there is no body"}
# Example codes, one for each status: what a reader of the description sees first.
_CODES = {
    "400": "request.bad_etag",
    "401": "access.key_unknown",
    "403": "access.scope_missing",
    "404": "document.not_found",
    "408": "request.too_slow",
    "409": "idempotency.in_flight",
    "412": "request.precondition_failed",
    "413": "document.too_large",
    "415": "document.unsupported_type",
    "422": "request.invalid",
    "428": "request.precondition_required",
    "429": "rate.exceeded",
    "503": "database.unavailable",
    "507": "objects.full",
}
_SECONDS = {"schema": {"type": "integer", "minimum": 0}, "description": "Seconds until it is worth another try."}
_HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "schema": {"type": "string"},
        "description": "Names this request in the log of web and in the audit.",
    },
    "Retry-After": _SECONDS,
    "WWW-Authenticate": {"schema": {"type": "string", "const": "Bearer"}},
    "Location": {"schema": {"type": "string", "format": "uri-reference"}, "description": "Where it is now."},
    "ETag": {"schema": {"type": "string"}, "description": "The state that was shown, for If-Match and If-None-Match."},
    "Idempotent-Replayed": {
        "schema": {"type": "string", "const": "true"},
        "description": "The answer of the first time, told again.",
    },
    "Preference-Applied": {
        "schema": {"type": "string"},
        "description": "How long `Prefer: wait=N` let it wait at most.",
    },
    "Content-Disposition": {"schema": {"type": "string"}, "description": "Always an attachment (RFC 6266)."},
}


def install(app: FastAPI) -> None:
    """Have the application describe itself so."""
    describe = app.openapi
    is_whole = False

    def openapi() -> dict[str, Any]:
        nonlocal is_whole
        spec = describe()
        if not is_whole:
            complete(spec)
            is_whole = True
        return spec

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the schema


def complete(spec: dict[str, Any]) -> None:
    """Add to a description what holds for all its routes."""
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = spec["components"]["schemas"]
    schemas |= problem.pop("$defs") | {"Problem": problem}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    spec["components"]["headers"] = _HEADERS
    for methods in spec["paths"].values():
        for method in _METHODS:
            if method in methods:
                _complete(methods[method])


def _complete(operation: dict[str, Any]) -> None:
    parameters, answers = operation.get("parameters", []), operation["responses"]
    for parameter in parameters:
        parameter["schema"] = _without_null(parameter["schema"])
    for status in _statuses(operation):
        answers.setdefault(status, {})
    for status, answer in answers.items():
        _complete_answer(operation, status, answer)
    operation["responses"] = dict(sorted(answers.items()))


def _statuses(operation: dict[str, Any]) -> set[str]:
    """What may be answered because of what the route takes."""
    names = {parameter["name"] for parameter in operation.get("parameters", [])}
    found = {"401", "403", "422", "429", "503", "507"} if operation.get("security") else set()
    if "requestBody" in operation:
        found |= {"400", "408", "413"}
    if "If-Match" in names:
        found |= {"400", "412"}
    if "Idempotency-Key" in names:
        found |= {"409"}
    return found


def _complete_answer(operation: dict[str, Any], status: str, answer: dict[str, Any]) -> None:
    if answer.get("description") in (None, "Successful Response"):
        answer["description"] = _SUCCESS.get(status) or TITLES.get(int(status), "Done")
    if status >= "400" and "content" not in answer:
        example = {
            "type": f"urn:drystone:problem:{_CODES[status]}",
            "title": TITLES[int(status)],
            "status": int(status),
            "detail": "What happened, in a sentence.",
            "code": _CODES[status],
            "hint": "what to do next",
            "request_id": "1c0c7d0a6d4c4b1c9e8f0f7d6a5b4c3d",
        }
        schema = {"$ref": "#/components/schemas/Problem"}
        answer["content"] = {MEDIA_TYPE: {"schema": schema, "example": example}}
    headers = answer.setdefault("headers", {})
    for name in ("X-Request-ID", *_headers(operation, status)):
        headers.setdefault(name, {"$ref": f"#/components/headers/{name}"})


def _headers(operation: dict[str, Any], status: str) -> Iterator[str]:
    names = {parameter["name"] for parameter in operation.get("parameters", [])}
    if status in ("429", "503", "507"):
        yield "Retry-After"
    if status == "401":
        yield "WWW-Authenticate"
    if status in ("304", "412"):
        yield "ETag"
    if status < "300" and "If-Match" in names and status != "204":
        yield "ETag"
    if status in ("201", "202") and "Idempotency-Key" in names and operation["tags"] != ["embedding"]:
        yield "Location"
    if status < "300" and "Idempotency-Key" in names:
        yield "Idempotent-Replayed"
    if status < "300" and "Prefer" in names:
        yield "Preference-Applied"


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is there or is left out: nobody can send null in a header or a query."""
    choices = schema.get("anyOf", [])
    rest = [choice for choice in choices if choice != {"type": "null"}]
    if len(rest) == len(choices):
        return schema
    kept = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**rest[0], **kept} if len(rest) == 1 else {**kept, "anyOf": rest}

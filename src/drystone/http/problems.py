"""Errors as `application/problem+json` (RFC 9457), with a stable type, a request id and field pointers; or as an edge tells them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, get_args
from uuid import uuid4

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from drystone.core.errors import Conflict, Denied, DrystoneError, Invalid, NotFound, Unavailable, pointer_to
from drystone.core.logging import get_logger
from drystone.documents.filters import EXAMPLE
from drystone.http.edges import Told, edge_of

log = get_logger("api.problems")

MEDIA_TYPE = "application/problem+json"
_STATUS = ((NotFound, 404), (Conflict, 409), (Invalid, 422), (Denied, 403), (Unavailable, 503))
_STATUS_OF_CODE = {
    "document.unsupported_type": 415,
    "document.legacy_office": 415,
    "document.wrong_type": 415,
    "document.too_large": 413,
}
TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Too slow",
    409: "Conflict",
    412: "Precondition failed",
    413: "Too large",
    415: "Unsupported media type",
    422: "Not acceptable",
    428: "Precondition required",
    429: "Too many",
    500: "Internal error",
    503: "Unavailable",
    507: "No space",
}


class FieldError(BaseModel):
    """What is wrong with one field.

    pointer: a JSON pointer into the body, empty for the whole of it; fields of forms, parameters and headers have one
    as if they stood there.
    """

    pointer: str
    detail: str
    code: str | None = Field(None, description="Of this error, where several different ones are told at once.")
    hint: str | None = Field(None, description="What to do about this one.")
    kind: str | None = Field(None, description="Of what in the catalogue it would break.")
    key: str | None = Field(None, description="The one that it would break.")
    base: Any = Field(None, description="Of a draft: what stood there when it was begun. Left out: nothing.")
    ours: Any = Field(None, description="What the draft would have there. Left out: nothing.")
    theirs: Any = Field(None, description="What the catalogue has there by now. Left out: nothing.")


class Problem(BaseModel):
    """An error as RFC 9457 describes it."""

    type: str = Field(
        description="Stable: `urn:drystone:problem:<code>`.", examples=["urn:drystone:problem:document.not_found"]
    )
    title: str
    status: int
    detail: str = Field(description="What happened, in a sentence.")
    code: str = Field(examples=["document.not_found"])
    hint: str | None = Field(None, description="What to do next.")
    request_id: str | None = None
    errors: list[FieldError] | None = None


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer with, for OpenAPI; what follows from what it takes is added by `contract`."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": TITLES[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in sorted({422, *statuses})  # 422 is said here lest FastAPI describes it in a form of its own
    }


def install(app: FastAPI) -> None:
    """Answer every error of the application in this one form."""
    app.add_exception_handler(DrystoneError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_anything)


def _tell(request: Request, told: Told) -> Response:
    """The answer, in the form of the edge that was asked."""
    return (edge_of(request.scope).tell or as_problem)(request, told)


def as_problem(request: Request, told: Told) -> Response:
    """The answer as RFC 9457 describes it."""
    return JSONResponse(_content(request, told), status_code=told.status, headers=told.headers, media_type=MEDIA_TYPE)


def content_of(request: Request, exc: DrystoneError) -> dict[str, Any]:
    """The same of an error that comes when an answer has begun: for the end of a stream."""
    return _content(request, Told(status_of(exc), exc.code, exc.message, exc.hint))


def _content(request: Request, told: Told) -> dict[str, Any]:
    content = {
        "type": f"urn:drystone:problem:{told.code}",
        "title": TITLES.get(told.status, "Error"),
        "status": told.status,
        "detail": told.message,
        "code": told.code,
        "hint": told.hint,
        "request_id": getattr(request.state, "request_id", None),
        "errors": told.errors,
        **told.more,
    }
    return {name: value for name, value in content.items() if value is not None}


def status_of(exc: DrystoneError) -> int:
    """The HTTP status that tells an error of this kind."""
    by_kind = next((status for kind, status in _STATUS if isinstance(exc, kind)), 500)
    return int(exc.values.get("status", _STATUS_OF_CODE.get(exc.code, by_kind)))


async def _of_ours(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, DrystoneError)
    status = status_of(exc)
    headers = dict(exc.values.get("headers", {}))
    if status == 503 or "retry_after_s" in exc.values:
        headers["Retry-After"] = str(exc.values.get("retry_after_s", 2))
    if exc.values.get("etag"):
        headers["ETag"] = str(exc.values["etag"])
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    pointer = exc.values.get("pointer")
    errors = exc.values.get("errors") or ([{"pointer": pointer, "detail": exc.message}] if pointer else None)
    more = {"supported": exc.values.get("supported")}
    return _tell(request, Told(status, exc.code, exc.message, exc.hint, errors, headers, more))


async def answer(request: Request, exc: DrystoneError) -> Response:
    """The answer that tells an error of ours, for who stands before the routes."""
    return await _of_ours(request, exc)


async def _of_validation(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    first = exc.errors()[0]
    if first["type"] == "json_invalid":
        return await _of_ours(request, _not_json(exc.body, first["loc"][-1], first["ctx"]["error"]))
    if isinstance(exc.body, bytes):  # read as what it is only where its type says JSON
        return await _of_ours(request, _not_sent_as_json(request))
    errors = told(exc, _body_of(request))
    names = ", ".join(error["pointer"] or "the body" for error in errors)
    error = Invalid(
        "request.invalid",
        f"The request is not acceptable: {names}.",
        hint="`errors` names each field with what is wrong with it",
        errors=errors,
    )
    return await _of_ours(request, error)


def told(exc: RequestValidationError, body: Any) -> list[dict[str, str]]:
    """Each field once. body: the type of it. Of a union whose choices were all tried, what is wrong with the right one, if one is, else with each."""
    by_pointer: dict[str, list[Mapping[str, Any]]] = {}
    for error in exc.errors():
        by_pointer.setdefault(_pointer(error, exc.body), []).append(error)
    told = []
    for pointer, found in by_pointer.items():
        of_right_type = [error for error in found if not error["type"].endswith(("_type", "_parsing"))]
        said = dict.fromkeys(_sentence(error, body) for error in of_right_type or found)
        told.append({"pointer": pointer, "detail": "; or: ".join(said)})
    return told


def _sentence(error: Mapping[str, Any], body: Any) -> str:
    said: str = error["msg"].removeprefix("Value error, ")
    if error["type"] == "union_tag_not_found" and error["ctx"]["discriminator"] == "'type'":
        return f"A filter has a type: eq, ne, gt, gte, lt, lte, in, nin, and, or. For example {EXAMPLE}"
    if error["type"] in ("too_short", "too_long") and isinstance(error["input"], str):
        return _of_length(error["type"], error["ctx"])
    if error["type"] != "extra_forbidden":
        return said
    place, *path = error["loc"]
    known = _fields(body, path[:-1]) if place == "body" else []
    return "There is no such field" + (f"; there are: {', '.join(known)}" if known else ".")


def _of_length(kind: str, context: Mapping[str, Any]) -> str:
    """pydantic counts the characters of a text that was looked at before as items."""
    if kind == "too_short":
        least = context["min_length"]
        return "Must not be empty." if least == 1 else f"Must have {least} characters or more."
    return f"Must have {context['max_length']} characters at most, not {context['actual_length']}."


def _body_of(request: Request) -> Any:
    field = getattr(request.scope.get("route"), "body_field", None)
    return getattr(getattr(field, "field_info", None), "annotation", None)


def _fields(body: Any, path: Sequence[str | int]) -> list[str]:
    """The names that are taken at a place of the body; none where that is no object of its own."""
    models = _models(body)
    for part in path:
        if isinstance(part, int):
            continue  # of a list: its items are what it was annotated with
        inner = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        # Else the name of one choice of a union, by what its models say of themselves.
        chosen = [each for each in models if any(part in get_args(i.annotation) for i in each.model_fields.values())]
        models = [each for annotation in inner for each in _models(annotation)] or chosen or models
    return [info.alias or name for model in models[:1] for name, info in model.model_fields.items()]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models in an annotation: of a list, a union, or one that may be null."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for inner in get_args(annotation) for each in _models(inner)]


def _not_json(body: str, place: int, what: str) -> Invalid:
    line, column = body.count("\n", 0, place) + 1, place - body.rfind("\n", 0, place)
    return Invalid(
        "request.not_json",
        f"The body is not valid JSON: {what}, line {line}, column {column}.",
        hint="look there for quotes, commas and brackets",
    )


def _not_sent_as_json(request: Request) -> Invalid:
    sent_as = request.headers.get("content-type") or "something without a type"
    return Invalid(
        "request.not_sent_as_json",
        f"The body was sent as {sent_as}, and only JSON is taken here.",
        hint="if it is JSON, say so: curl -H 'Content-Type: application/json'",
    )


def _pointer(error: Mapping[str, Any], body: Any) -> str:
    """Where the error is; pydantic's names for the choices of a union are left out, since no body holds them."""
    place, *path = error["loc"]
    if place != "body":
        return pointer_to(*path)
    parts, here = [], body
    for number, part in enumerate(path, start=1):
        if (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int)):
            here = here[part]
        elif number < len(path) or error["type"] != "missing":
            continue
        parts.append(part)
    return pointer_to(*parts)


async def _of_http(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    if exc.status_code == 400 and (why := _why_unread(request, exc.__cause__)):
        return await _of_ours(request, Invalid("request.unreadable_json", f"The body cannot be read as JSON: {why}."))
    headers = dict(exc.headers or {})
    if exc.status_code == 405 and (methods := request.app.state.paths.methods(request.url.path)):
        headers["Allow"] = ", ".join(methods)  # Starlette tells those of the first function with this path only
    return await _of_ours(request, _refusal(request, exc, status=exc.status_code, headers=headers))


def _why_unread(request: Request, cause: BaseException | None) -> str:
    """Why FastAPI could not read a body of JSON whose form may be right; empty where it was something else."""
    if "json" not in request.headers.get("content-type", ""):
        return ""
    if isinstance(cause, UnicodeDecodeError):
        return f"byte {cause.start + 1} is no UTF-8"
    if isinstance(cause, RecursionError):
        return "it is nested too deep"
    if isinstance(cause, ValueError):
        return f"it holds a number of more than {sys.get_int_max_str_digits():,} digits"
    return ""


def _refusal(request: Request, exc: HTTPException, **values: Any) -> DrystoneError:
    path, described_in = request.url.path, edge_of(request.scope).described_in
    if exc.status_code == 404:
        return NotFound(
            "request.no_such_path",
            f"There is no path {path}.",
            hint=f"{described_in} lists the paths there are",
            **values,
        )
    if exc.status_code == 405:
        return Invalid(
            "request.method_not_allowed",
            f"{request.method} is no method of {path}.",
            hint=f"{described_in} lists the methods of each path",
            **values,
        )
    return Invalid("request.refused", f"It cannot be taken: {exc.detail}", hint="check how it is sent", **values)


async def _of_anything(request: Request, exc: Exception) -> Response:
    error_id = uuid4().hex[:12]
    log.error("request.internal_error", error_id=error_id, path=request.url.path, exc_info=exc)
    hint = "the log of web tells more under this id; please report it"
    return _tell(request, Told(500, "internal.error", f"A fault of ours, id {error_id}.", hint))

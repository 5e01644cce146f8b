"""What all rooms of the client send their requests by: repeated as they may be, read into models, page after page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid4

from drystone.client.answers import content_of, understood
from drystone.client.errors import StillPending
from drystone.client.models import Model
from drystone.client.retrying import Retries, answered
from drystone.client.steps import Emit, Flow, Many, Pause, Request, Send

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
M = TypeVar("M", bound=Model)
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.1, 2.0
PAGE_LIMIT = 1000  # the most that the API gives at once


class Told:
    """What flows need to know of the client they are of."""

    def __init__(self, url: str, retries: Retries) -> None:
        self.url = url
        self.retries = retries


class Room:
    """A part of the API."""

    _driver: Any

    @property
    def _told(self) -> Told:
        told: Told = self._driver.told
        return told

    def _send(self, request: Request) -> Flow[httpx.Response]:
        return (yield from answered(Send(request), self._told.retries, url=self._told.url))

    def _read(self, request: Request, reading: Callable[[dict[str, Any]], T]) -> Flow[T]:
        """What `reading` makes of the object that the answer is."""
        response = yield from self._send(request)
        with understood(response):
            return reading(content_of(response))

    def _one(self, request: Request, kind: type[M]) -> Flow[M]:
        response = yield from self._send(request)
        with understood(response):
            return kind.model_validate(content_of(response) | _tag(response, kind))

    def _all(self, request: Request, kind: type[M], name: str = "items") -> Flow[list[M]]:
        """The list that the answer has under this name."""
        return (yield from self._read(request, lambda answer: _each(answer[name], kind)))

    def _get(self, path: str, kind: type[M], /, **params: Any) -> Flow[M]:
        return (yield from self._one(read(path, **params), kind))

    def _until(
        self, place: str, id: str | UUID, kind: type[M], is_over: Callable[[M], bool], *, timeout_s: float
    ) -> Flow[M]:
        """The one of this id in a place, looked at again and again until it is over. Raises StillPending after timeout_s."""
        path = f"{place}/{part(id)}"
        deadline, look_s = time.monotonic() + timeout_s, _FIRST_LOOK_S
        while True:
            found = yield from self._get(path, kind)
            if is_over(found):
                return found
            if time.monotonic() + look_s > deadline:
                raise StillPending(str(id), f"{path} is still being worked on after {timeout_s:g} s.")
            yield Pause(look_s)
            look_s = min(look_s * 1.5, _LONGEST_LOOK_S)

    def _pages(self, path: str, kind: type[M], /, *, page: int | None = None, **params: Any) -> Many[M]:
        """Item after item of all pages."""
        cursor: str | None = None
        while True:
            request = read(path, **params, limit=page or PAGE_LIMIT, cursor=cursor)
            items, cursor = yield from self._read(
                request, lambda answer: (_each(answer["items"], kind), answer.get("next_cursor"))
            )
            for item in items:
                yield Emit(item)
            if cursor is None:
                return


def read(path: str, /, **params: Any) -> Request:
    """A GET. Parameters that are None are left out; those of Python's words get their own (`from_`)."""
    return Request("GET", path, params={name.rstrip("_"): value for name, value in params.items()}, is_repeatable=True)


def change(
    method: str,
    path: str,
    json: Any = None,
    *,
    key: str | None = None,
    if_match: str | None = None,
    params: Mapping[str, Any] | None = None,
    **rest: Any,
) -> Request:
    """A request with an idempotency key, so that it is done once however often it is sent."""
    headers = {"Idempotency-Key": key or uuid4().hex, **matching(if_match), **rest.pop("headers", {})}
    return Request(method, path, params=params or {}, json=json, headers=headers, is_repeatable=True, **rest)


def delete(path: str, /, *, if_match: str | None = None, **params: Any) -> Request:
    return Request("DELETE", path, params=params, headers=matching(if_match), is_repeatable=True, answer="nothing")


def matching(if_match: str | None) -> dict[str, str]:
    return {} if if_match is None else {"If-Match": if_match}


def part(value: object) -> str:
    """One part of a path. Raises ValueError for what would make it another path."""
    said = str(value)
    if said in ("", ".", ".."):
        raise ValueError(f"{said!r} is no id and no name.")
    return quote(said, safe="")


def given(**values: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def as_json(value: Any) -> str | None:
    """A parameter that is JSON."""
    return None if value is None else json.dumps(value)


def _each(items: Any, kind: type[M]) -> list[M]:
    return [kind.model_validate(item) for item in items]


def _tag(response: httpx.Response, kind: type[Model]) -> dict[str, Any]:
    return {"etag": response.headers.get("ETag")} if "etag" in kind.model_fields else {}

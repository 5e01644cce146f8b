"""Around every request: an id, security headers, and one line in the log."""

from __future__ import annotations

import re
import time
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drystone.access.service import Principal
from drystone.core import measures, tracing
from drystone.core.logging import bind, get_logger, unbind
from drystone.http.edges import edge_of

log = get_logger("api.requests")

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# A whole key where its prefix belongs.
_SECRET = re.compile(r"\.[A-Za-z0-9_-]{32,}")
_QUIET_PATHS = ("/health",)
# What says nothing of these itself is no page: a browser shows it nowhere within another, runs nothing of it and tells nobody of it.
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
]
_NO_STORE = (b"cache-control", b"no-store")


class RequestMiddleware:
    """Gives the request an id (the caller's X-Request-ID where it is sane), answers with it, logs what was answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        bind(request_id=request_id)
        with tracing.request(_method(scope), scope["headers"]) as span:
            await self._answer(scope, receive, send, request_id, span)
        # Where it was left by an exception, those who log that further out still know it.
        unbind("request_id")

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, request_id: str, span: tracing.Answered | None
    ) -> None:
        started, status = time.perf_counter(), 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                headers.append((b"x-request-id", request_id.encode()))
                said = {name for name, _ in headers}
                headers += [each for each in _HEADERS if each[0] not in said]
                headers += [_NO_STORE] if edge_of(scope).is_told_once else []
            await send(message)

        measures.HTTP_IN_FLIGHT.inc()
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            measures.HTTP_IN_FLIGHT.dec()
            _measure(scope, status, time.perf_counter() - started)
            if span is not None:
                span.tell(_template(scope), status, request_id)
            if not scope["path"].startswith(_QUIET_PATHS):
                took_ms = round((time.perf_counter() - started) * 1000, 1)
                path = _SECRET.sub(".***", scope["path"])
                log.info(
                    "http.request", method=scope["method"], path=path, status=status, took_ms=took_ms, **_asker(scope)
                )


def _asker(scope: Scope) -> dict[str, str]:
    """Who asked, as the audit names keys, and from where; whoever showed no right key is nobody."""
    principal: Principal | None = scope["state"].get("principal")
    client: tuple[str, int] | None = scope.get("client")
    return ({"actor": principal.actor} if principal else {}) | ({"address": client[0]} if client else {})


def _measure(scope: Scope, status: int, seconds: float) -> None:
    """Count the request by what the code calls it: a path, or a method that somebody made up, would be without number."""
    method = _method(scope)
    route = _template(scope)
    measures.of(measures.HTTP_REQUESTS, method, route, f"{status // 100}xx").inc()
    measures.of(measures.HTTP_SECONDS, method, route).observe(seconds)


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in measures.METHODS else measures.OTHER


def _template(scope: Scope) -> str:
    """The route's path with its parameters' names. A route within a router knows only its own part of it."""
    found: str | None = getattr(scope.get("route"), "path", None)
    if found is None:
        return "none"
    mount = edge_of(scope).mount
    return found if found.startswith(mount) else mount + found


def _request_id(scope: Scope) -> str:
    given = dict(scope["headers"]).get(b"x-request-id", b"")
    return given.decode() if _SANE_ID.fullmatch(given) else uuid4().hex

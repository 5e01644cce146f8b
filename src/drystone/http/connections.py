"""Connections of the web server: how large the head of a request may be, how long it may take to come, and what may come after it.

uvicorn bounds none of it with httptools: who sends headers or trailers without end, or thousands of requests at once, fills its memory; who
sends them slowly keeps a connection for ever. The Procfile names `Protocol` as uvicorn's HTTP protocol. Bodies are bounded by `bodies` and `upload`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Of the request line and all headers together, and how many headers.
MOST_HEAD_BYTES = 64 * 1024
MOST_HEADERS = 100
# From the first byte of a request, or from the beginning of a connection, to the end of the head.
HEAD_S = 20.0
# Requests of one connection that came before those before them were answered.
MOST_WAITING = 16

# Each connection is a descriptor.
_MOST_DESCRIPTORS = 65_536

_SAID = {
    400: ("request.not_http", "This is no HTTP request."),
    408: ("request.too_slow", f"The head of the request was not whole after {HEAD_S:.0f} s."),
    431: (
        "request.head_too_large",
        f"The request line and headers may have {MOST_HEAD_BYTES:,} bytes and {MOST_HEADERS} headers.",
    ),
}


def raise_limit() -> None:
    """Let this process have as many connections as the system allows it; most start with a limit of 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS has another one beside it
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Protocol(HttpToolsProtocol):
    """One connection. What is refused here is answered in the form of every error, and closed."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._is_head = True
        self._head_bytes = 0
        self._raw_bytes = 0
        self._has_body = False
        self._refused_as = 400
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_head, self._has_body = self._is_head, False
        super().data_received(data)
        if was_head == self._is_head and not self._has_body:
            self._raw_bytes += len(data)  # of a line without an end, in a head or a trailer, the parser tells nothing
            if self._raw_bytes > MOST_HEAD_BYTES:
                self._refuse(431)
        if not self._is_head and self._timer is None and self._is_answered():
            # What came is no request of its own, and has stopped uvicorn's clock.
            self._timer = self.loop.call_later(HEAD_S, self.transport.close)

    def on_body(self, body: bytes) -> None:
        self._has_body, self._raw_bytes = True, 0
        super().on_body(body)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_head:
            self._refuse_head()  # a trailer: nobody here reads any
        self._count(len(name) + len(value) + 4)
        if len(self.headers) >= MOST_HEADERS:
            self._refuse_head()
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_head = False
        self._stop_timer()
        self._raw_bytes = 0
        if len(self.pipeline) >= MOST_WAITING:
            self._refuse_head()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """The parser gave up, by itself or because of what was raised above."""
        self._refuse(self._refused_as)

    def _refuse(self, status: int) -> None:
        """Answer where nothing else is being answered; else the connection is closed without a word."""
        if self.cycle is None or (self._is_answered() and self._is_head):
            self._answer(status)
        else:
            self.transport.close()

    def _is_answered(self) -> bool:
        return self.cycle is not None and bool(self.cycle.response_complete) and not self.pipeline

    def _expect_head(self) -> None:
        self._stop_timer()
        self._is_head, self._head_bytes, self._raw_bytes, self._refused_as = True, 0, 0, 400
        self._timer = self.loop.call_later(HEAD_S, self._refuse, 408)

    def _count(self, size_bytes: int) -> None:
        self._head_bytes += size_bytes
        if self._head_bytes > MOST_HEAD_BYTES:
            self._refuse_head()

    def _refuse_head(self) -> None:
        self._refused_as = 431
        raise ValueError("the head is too large")  # the parser stops, and send_400_response is called

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _answer(self, status: int) -> None:
        if self.transport.is_closing():
            return
        code, detail = _SAID[status]
        title = HTTPStatus(status).phrase
        body = {
            "type": f"urn:drystone:problem:{code}",
            "title": title,
            "status": status,
            "detail": detail,
            "code": code,
        }
        content = json.dumps(body).encode()
        head = [
            f"HTTP/1.1 {status} {title}",
            "content-type: application/problem+json",
            f"content-length: {len(content)}",
        ]
        head += ["x-content-type-options: nosniff", "connection: close", "", ""]
        self.transport.write("\r\n".join(head).encode() + content)
        self.transport.close()

"""The worker's /metrics: what its main process and all its pool processes count, at a port of its own.

It asks nobody for leave and nobody for numbers: it answers while every server is away. What is read from servers the web
process tells.
"""

from __future__ import annotations

import contextlib
import hmac
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from drystone.core import measures
from drystone.core.logging import get_logger
from drystone.core.settings import MonitoringSettings
from drystone.worker import sharing

log = get_logger("worker.metrics")

# Who connects and says nothing is not waited for.
_SILENT_S = 5.0
_AT_ONCE = 8


class MetricsServer:
    """Serves from a thread until it is closed. shared: where the worker's processes count; None: this process alone."""

    def __init__(self, settings: MonitoringSettings, shared: Path | None) -> None:
        self._server = _Server((settings.worker_host, settings.worker_port), _Asked)
        self._server.token = settings.token.get_secret_value().encode()
        self._server.shared = shared
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def serving(settings: MonitoringSettings, shared: Path | None) -> Iterator[None]:
    """Serve within the block. A port that is taken costs the numbers and nothing else; without a token it stays closed."""
    if not settings.token.get_secret_value():
        yield
        return
    try:
        server = MetricsServer(settings, shared)
    except OSError as exc:
        log.warning("metrics.not_served", port=settings.worker_port, error=repr(exc))
        yield
        return
    server.start()
    try:
        yield
    finally:
        server.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    token: bytes
    shared: Path | None

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.turn = threading.Lock()
        self.places = threading.BoundedSemaphore(_AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if there is one to be had: who opens many connections takes no more than some."""
        if not self.places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("metrics.request_failed", exc_info=True)

    def numbers(self, accept: str) -> tuple[bytes, str]:
        with self.turn:
            if self.shared is not None:
                measures.fold_dead(self.shared, sharing.is_alive)
            return measures.expose(measures.build("worker"), accept=accept, shared=self.shared)


class _Asked(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SILENT_S
    server_version, sys_version = "drystone", ""

    def do_GET(self) -> None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        is_right = hmac.compare_digest(token.strip().encode(errors="surrogateescape"), self.server.token)
        if not is_right or scheme.lower() != "bearer":
            self._answer(HTTPStatus.UNAUTHORIZED, b'Send "Authorization: Bearer METRICS_TOKEN", the one in .env.\n')
        elif self.path.partition("?")[0] != "/metrics":
            self._answer(HTTPStatus.NOT_FOUND, b"There is /metrics here.\n")
        else:
            self._answer(HTTPStatus.OK, *self.server.numbers(self.headers.get("Accept", "")))

    def _answer(self, status: HTTPStatus, body: bytes, media_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        if status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a scrape every few seconds is no news."""

"""A trace from the request through its job to SQL, at a collector's door; and logs of which each line says whose it is.

Web and worker run as the Procfile starts them, on the test's servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sqlalchemy import text
from tests.integration.uploads import send

from drystone.core import crash_points, tracing
from drystone.core import settings as core_settings
from drystone.core.db import Sessions, transaction
from drystone.core.settings import Settings
from drystone.stack import ports

ROOT = Path(__file__).parent.parent.parent
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"
SECRET_WORD = "kingfisher"


@dataclass
class Collector:
    """What a collector was sent: (service, span), and with which headers."""

    spans: list[tuple[str, Any]] = field(default_factory=list)
    headers: list[str | None] = field(default_factory=list)

    def of(self, trace: str) -> list[tuple[str, Any]]:
        return [(service, span) for service, span in self.spans if span.trace_id.hex() == trace]


@dataclass
class Running:
    """Web and worker, with their logs in files and a collector that listens."""

    url: str
    collector: Collector
    folder: Path
    points: Path

    def lines(self, name: str) -> list[dict[str, Any]]:
        """What a process has logged. Raises where a line is no JSON."""
        return [json.loads(line) for line in (self.folder / f"{name}.log").read_text().splitlines()]


@pytest.fixture(scope="module")
def running(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("traced")
    collector, points = Collector(), folder / "points"
    points.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(collector))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = ports.find((0, 1))
    given = {
        **os.environ,
        **environment,
        "DRYSTONE_DATA_DIR": str(folder),
        "DRYSTONE_ROOT": str(ROOT),
        "DRYSTONE_CRASH_POINTS": str(points),
        "API_PORT": str(port),
        "WORKER_METRICS_PORT": str(port + 1),
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "INFO",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=of-a-test",
    }
    web = [
        "-m",
        "uvicorn",
        "--factory",
        "drystone.web:create_app",
        "--no-access-log",
        "--log-level",
        "warning",
        "--port",
    ]
    with contextlib.ExitStack() as held:
        for name, command in (("web", [*web, str(port)]), ("worker", ["-m", "drystone.cli.main", "worker"])):
            log = held.enter_context((folder / f"{name}.log").open("wb"))
            process = held.enter_context(
                psutil.Popen([sys.executable, *command], cwd=ROOT, env=given, stderr=log, stdout=log)
            )
            held.callback(process.wait, 120)
            held.callback(process.terminate)
        yield Running(f"http://127.0.0.1:{port}", collector, folder, points)
    server.shutdown()
    server.server_close()


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            collector.headers.append(self.headers.get("api-key"))
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                about = {each.key: each.value.string_value for each in group.resource.attributes}
                for scope in group.scope_spans:
                    collector.spans += [(about["service.name"], span) for span in scope.spans]
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@pytest.fixture
async def http(running: Running, settings: Settings, sessions: Sessions) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {settings.api.key.get_secret_value()}"}
    async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=60, trust_env=False) as client:
        await _until(lambda: _answers(running.url))
        yield client


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/health/ready", trust_env=False, timeout=10).status_code == 200
    return False


async def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not await asyncio.to_thread(is_so):
        assert time.monotonic() < deadline, "it never came to that"
        await asyncio.sleep(0.1)


async def test_a_trace_goes_from_the_caller_through_the_job_to_sql(
    running: Running, http: httpx.AsyncClient, collection: str
) -> None:
    sent = await send(
        http,
        collection,
        f"A {SECRET_WORD} on a wall.".encode(),
        headers={"traceparent": CALLER, "X-Request-ID": "mine"},
    )
    assert sent.status_code == 202
    job_id = sent.json()["job_id"]

    def is_there() -> bool:
        found = running.collector.of(TRACE)
        names = {span.name for _, span in found}
        return {"POST /api/v1/documents", "documents.ingest", "ingestion publish"} <= names

    await _until(is_there)
    found = running.collector.of(TRACE)
    by_id = {span.span_id: span for _, span in found}
    request = _one(found, "POST /api/v1/documents")
    job = _one(found, "documents.ingest")
    services = {service for service, _ in found}

    assert services == {"drystone-web", "drystone-worker"}
    assert request.parent_span_id.hex() == CALLER.split("-")[2]
    assert _attributes(request) >= {"http.route": "/api/v1/documents", "drystone.request_id": "mine"}.items()
    assert job.parent_span_id in by_id
    assert ("drystone.job_id", job_id) in _attributes(job)
    for name in ("ingestion parse", "ingestion embed", "model passages", "objects get", "objects put"):
        assert _leads_to(_one(found, name), by_id) == request.span_id, name
    statements = [(service, span) for service, span in found if "db.query.text" in dict(_attributes(span))]
    assert {service for service, _ in statements} == {"drystone-web", "drystone-worker"}
    assert {_leads_to(span, by_id) for _, span in statements} == {request.span_id}
    assert any(span.name == "INSERT" for _, span in statements)
    assert set(running.collector.headers) == {"of-a-test"}
    assert SECRET_WORD not in str(found)
    assert job_id not in str([span for _, span in statements])


async def test_documents_done_together_each_go_on_with_their_own_trace(
    running: Running, http: httpx.AsyncClient, collection: str
) -> None:
    traces = [f"{number:032x}" for number in range(0xA0, 0xA8)]
    await asyncio.gather(
        *(
            send(
                http,
                collection,
                f"Wall {trace}.".encode(),
                f"{trace}.txt",
                headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
            )
            for trace in traces
        )
    )
    await _until(
        lambda: all(any(span.name == "documents.ingest" for _, span in running.collector.of(trace)) for trace in traces)
    )
    for trace in traces:
        assert _one(running.collector.of(trace), "documents.ingest").parent_span_id


async def test_a_search_tells_its_stages(running: Running, http: httpx.AsyncClient, collection: str) -> None:
    await http.post("/api/v1/collections", json={"name": collection})
    trace = "b" * 32
    answer = await http.post(
        "/api/v1/search",
        json={"query": SECRET_WORD, "collection": collection},
        headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
    )
    assert answer.status_code == 200
    await _until(lambda: any(span.name == "POST /api/v1/search" for _, span in running.collector.of(trace)))
    found = running.collector.of(trace)

    assert {"search embed", "search words", "search vectors", "search fuse", "model queries"} <= {
        span.name for _, span in found
    }
    assert SECRET_WORD not in str(found)


async def test_each_line_of_the_log_says_whose_it_is(
    running: Running, http: httpx.AsyncClient, sessions: Sessions, collection: str
) -> None:
    crash_points.order(running.points, "before_commit", "fail")
    failed = await send(
        http, collection, b"Something else.", headers={"X-Request-ID": "the-failed-one", "Connection": "close"}
    )
    assert failed.status_code == 500
    crash_points.order(running.points, "after_parse", "fail")
    sent = await send(http, collection, b"Again something else.", headers={"traceparent": CALLER})
    job_id = sent.json()["job_id"]

    def told(name: str) -> list[str]:
        return [line["event"] for line in running.lines(name) if line.get("job_id") == job_id]

    await _until(lambda: "document.ready" in told("worker"))
    request = [line for line in running.lines("web") if line.get("request_id") == "the-failed-one"]
    job = [line for line in running.lines("worker") if line.get("job_id") == job_id]
    async with transaction(sessions) as session:
        assert await session.scalar(text("select count(*) from jobs where id = :id"), {"id": job_id}) == 1

    assert {"request.internal_error", "http.request"} <= {line["event"] for line in request}
    assert any("Exception in ASGI application" in line["event"] for line in request)
    assert {"job.internal_error", "job.given_back", "document.ready"} <= {line["event"] for line in job}
    assert {line["trace_id"] for line in job} == {TRACE}
    whose = {"request_id", "job_id", "job_ids"}
    of_requests = [line for line in running.lines("web") if line.get("source", "").startswith("api.")]
    of_jobs = [line for line in running.lines("worker") if line["event"].startswith(("document.", "job."))]
    assert of_requests
    assert [line for line in (*of_requests, *of_jobs) if not whose & line.keys()] == []


async def test_the_log_says_of_each_request_who_asked_and_from_where(running: Running, http: httpx.AsyncClient) -> None:
    secret = "s" * 43
    asked = {"of-a-key": {}, "of-a-stranger": {"Authorization": f"Bearer dsk_local.{secret}"}}
    for request_id, headers in asked.items():
        await http.get("/api/v1/documents", headers={"X-Request-ID": request_id, **headers})

    def told(request_id: str) -> list[dict[str, Any]]:
        lines = running.lines("web")
        return [line for line in lines if line["event"] == "http.request" and line.get("request_id") == request_id]

    await _until(lambda: all(map(told, asked)))
    (known,), (stranger,) = map(told, asked)

    assert (known["status"], known["actor"], known["address"]) == (200, "key:dsk_local", "127.0.0.1")
    assert (stranger["status"], stranger["address"], "actor" in stranger) == (401, "127.0.0.1", False)
    assert not [line for line in running.lines("web") if secret in str(line)]


def test_a_statements_shape_has_no_values() -> None:
    said = "select a1, $1 from t2\n  where b = 'O''Brien' and c = 42 and d > 1.5 limit 10"

    assert tracing.shape(said) == "select a1, $1 from t2 where b = ? and c = ? and d > ? limit ?"
    assert len(tracing.shape("select " + "x, " * 5000)) <= 2000


def test_without_an_endpoint_nothing_that_sends_traces_is_imported(environment: dict[str, str]) -> None:
    """The Redis client looks for OpenTelemetry's numbers by itself where they are installed; traces are ours."""
    code = (
        "import sys, drystone.web, drystone.worker.process; print([m for m in sys.modules if 'opentelemetry.exp' in m])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout

    assert said.strip() == "[]"


def test_without_the_packages_the_error_names_them(environment: dict[str, str]) -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from drystone.core import settings, tracing\n"
        "from drystone.core.errors import Unavailable\n"
        "try: tracing.start(settings.parse(__import__('os').environ).tracing, 'web')\n"
        "except Unavailable as exc: print(exc)"
    )
    given = {**os.environ, **environment, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=given)

    assert re.search(r"OTEL_EXPORTER_OTLP_ENDPOINT needs a package .*opentelemetry", said.stdout)
    assert "uv sync --inexact --group tracing" in said.stdout


def test_a_key_of_the_collector_must_fit_a_header(environment: dict[str, str]) -> None:
    with pytest.raises(core_settings.SettingsError, match="OTEL_EXPORTER_OTLP_HEADERS"):
        core_settings.parse(environment | {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=a\nb"})


def _one(found: list[tuple[str, Any]], name: str) -> Any:
    first, *_ = [span for _, span in found if span.name == name]
    return first


def _attributes(span: Any) -> set[tuple[str, str]]:
    return {(each.key, each.value.string_value or str(each.value.int_value)) for each in span.attributes}


def _leads_to(span: Any, by_id: dict[bytes, Any]) -> bytes:
    """The topmost span that it stands under."""
    while span.parent_span_id in by_id:
        span = by_id[span.parent_span_id]
    found: bytes = span.span_id
    return found

"""Traces: what a request and the jobs it made spent their time with, for a collector that speaks OTLP.

Nothing is imported and nothing done unless `start` was called with an endpoint. The only room that knows OpenTelemetry.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from drystone import __version__
from drystone.core.errors import Unavailable
from drystone.core.settings import TracingSettings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer
    from sqlalchemy.ext.asyncio import AsyncEngine

_LONGEST_STATEMENT = 2000
_SPACE, _TEXT, _NUMBER = re.compile(r"\s+"), re.compile(r"'(?:[^']|'')*'"), re.compile(r"(?<![\w$.:])\d+(?:\.\d+)?\b")

_tracer: Tracer | None = None
_provider: TracerProvider | None = None


def start(settings: TracingSettings, process: str) -> None:
    """Have spans of this process sent to the settings' endpoint, if there is one. process: web or worker.

    Raises Unavailable where the packages for it are not installed.
    """
    global _tracer, _provider  # noqa: PLW0603  set once by a process's entry point, used everywhere
    if not settings.endpoint or _tracer is not None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ModuleNotFoundError as exc:
        raise Unavailable(
            "tracing.no_packages",
            f"OTEL_EXPORTER_OTLP_ENDPOINT needs a package that is not installed: {exc.name}.",
            hint="./drystone installs it; without that: uv sync --inexact --group tracing, or the extra drystone[tracing]",
        ) from exc
    about = {"service.name": f"drystone-{process}", "service.version": __version__}
    _provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.ratio)), resource=Resource(about), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter(
        endpoint=f"{settings.endpoint}/v1/traces", headers=_headers(settings.headers.get_secret_value())
    )
    _provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    _tracer = _provider.get_tracer("drystone", __version__)


def stop() -> None:
    """Send what is left, and no more."""
    global _tracer, _provider
    provider, _tracer, _provider = _provider, None, None
    if provider is not None:
        provider.force_flush(2000)
        provider.shutdown()


def is_on() -> bool:
    return _tracer is not None


@contextmanager
def span(name: str, **attributes: str | int) -> Iterator[None]:
    """A part of whatever is under way."""
    if _tracer is None:
        yield
        return
    with _opened(_tracer, name, attributes=_dotted(attributes)):
        yield


@contextmanager
def request(method: str, headers: Sequence[tuple[bytes, bytes]]) -> Iterator[Answered | None]:
    """A request from outside; it goes on with the caller's trace where that names one."""
    if _tracer is None:
        yield None
        return
    from opentelemetry.trace import SpanKind

    given = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers if name in _CARRIED}
    with _opened(_tracer, method, context=_extract(given), kind=SpanKind.SERVER) as current:
        yield Answered(current, method)


class Answered:
    """A request's span, which learns at its end what it was."""

    def __init__(self, current: Span, method: str) -> None:
        self._span = current
        self._method = method

    def tell(self, route: str, status: int, request_id: str) -> None:
        from opentelemetry.trace import StatusCode

        self._span.update_name(f"{self._method} {route}")
        self._span.set_attributes(
            {
                "http.request.method": self._method,
                "http.route": route,
                "http.response.status_code": status,
                "drystone.request_id": request_id,
            }
        )
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)


def parent() -> str | None:
    """Where a job that is made now belongs, as W3C's traceparent; None where nothing is traced or this is not."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def jobs(kind: str, parents: Mapping[str, str | None]) -> Iterator[Callable[[str, str], None]]:
    """Jobs that a worker does together: id -> the traceparent it was made under. Each has a span that goes on with that trace.

    What is done for all of them stands below the first, to which the others link. Gives a function to tell that one failed,
    by its id, and why.
    """
    if _tracer is None:
        yield lambda _job_id, _code: None
        return
    from opentelemetry import trace
    from opentelemetry.trace import Link, SpanKind, StatusCode

    spans: dict[str, Span] = {}
    for job_id, made_under in parents.items():
        first = next(iter(spans.values()), None)
        spans[job_id] = _tracer.start_span(
            kind,
            context=_extract({"traceparent": made_under} if made_under else {}),
            kind=SpanKind.CONSUMER,
            links=[Link(first.get_span_context())] if first else [],
            attributes={"drystone.job_id": job_id, "drystone.together": len(parents)},
        )
    try:
        first = next(iter(spans.values()))
        with trace.use_span(first, record_exception=False, set_status_on_exception=False):
            yield lambda job_id, code: spans[job_id].set_status(StatusCode.ERROR, code)
    finally:
        for each in spans.values():
            each.end()


def ids() -> dict[str, str]:
    """trace_id and span_id of what is under way, for the log; nothing where nothing is traced."""
    if _tracer is None:
        return {}
    from opentelemetry import trace

    found = trace.get_current_span().get_span_context()
    return {"trace_id": f"{found.trace_id:032x}", "span_id": f"{found.span_id:016x}"} if found.is_valid else {}


def watch(engine: AsyncEngine) -> None:
    """A span for each statement of this engine: its shape, never a value."""
    if _tracer is None:
        return
    from sqlalchemy import event

    event.listen(engine.sync_engine, "before_cursor_execute", _begin_statement)
    event.listen(engine.sync_engine, "after_cursor_execute", _end_statement)
    event.listen(engine.sync_engine, "handle_error", _fail_statement)


def shape(statement: str) -> str:
    """A statement without its values, on one line and cut."""
    plain = _NUMBER.sub("?", _TEXT.sub("?", statement[: 2 * _LONGEST_STATEMENT]))
    return _SPACE.sub(" ", plain).strip()[:_LONGEST_STATEMENT]


def _begin_statement(_connection: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool) -> None:
    context._drystone_began_ns = time.time_ns()


def _end_statement(_connection: Any, _cursor: Any, statement: str, _values: Any, context: Any, _many: bool) -> None:
    _note_statement(statement, context, failed=False)


def _fail_statement(context: Any) -> None:
    if context.statement is not None:
        _note_statement(context.statement, context.execution_context, failed=True)


def _note_statement(statement: str, context: Any, *, failed: bool) -> None:
    """Made when it has ended, so that nothing is left open whatever becomes of the connection."""
    began_ns = getattr(context, "_drystone_began_ns", None)
    if _tracer is None or began_ns is None:
        return
    from opentelemetry import trace
    from opentelemetry.trace import SpanKind, StatusCode

    if not trace.get_current_span().is_recording():
        return  # what nobody asked for, such as the sweep, is no trace of its own
    told = shape(statement)
    operation = told.partition(" ")[0].upper()
    made = _tracer.start_span(
        operation,
        kind=SpanKind.CLIENT,
        start_time=began_ns,
        attributes={"db.system.name": "postgresql", "db.operation.name": operation, "db.query.text": told},
    )
    if failed:
        made.set_status(StatusCode.ERROR)
    made.end()


@contextmanager
def _opened(tracer: Tracer, name: str, **given: Any) -> Iterator[Span]:
    """A span that tells of an exception its kind and no more: messages hold values."""
    from opentelemetry.trace import StatusCode

    with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False, **given) as current:
        try:
            yield current
        except BaseException as exc:
            current.set_status(StatusCode.ERROR, getattr(exc, "code", None) or type(exc).__name__)
            raise


_CARRIED = (b"traceparent", b"tracestate")


def _extract(carrier: Mapping[str, str]) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(carrier, context=Context())


def _headers(text: str) -> dict[str, str]:
    pairs = (each.partition("=") for each in text.split(",") if each.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _dotted(attributes: Mapping[str, str | int]) -> dict[str, str | int]:
    return {f"drystone.{name}": value for name, value in attributes.items()}

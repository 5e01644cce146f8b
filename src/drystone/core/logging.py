"""Structured logs: an event name and fields, to stderr; request and job ids come from context variables.

Contents of documents and secrets are never logged.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Literal

import structlog

from drystone.core import tracing
from drystone.core.controls import is_steering

bind = structlog.contextvars.bind_contextvars
unbind = structlog.contextvars.unbind_contextvars
bound = structlog.contextvars.bound_contextvars

# Whoever brings a handler and a form of his own: a line among ours that is no JSON.
_SELF_WILLED = ("uvicorn", "uvicorn.error", "uvicorn.access", "celery", "celery.task", "multiprocessing")


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose events carry `source=name` and whatever `bind` has set in this context."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(source=name)
    return logger


def configure(level: str, log_format: Literal["console", "json"]) -> None:
    """Send our own events and those of the standard library through one renderer to stderr. Idempotent."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if log_format == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()  # which escapes all that is not ASCII
    else:
        console = structlog.dev.ConsoleRenderer(
            colors=False, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
        renderer = _harmless(console)
    structlog.configure(
        processors=[
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _SELF_WILLED:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    of_asyncio = logging.getLogger("asyncio")
    of_asyncio.filters[:] = [_OncePerSecond()]
    for noisy in (
        "httpx",
        "httpcore",
        "asyncio",
        "celery.worker.strategy",
        "celery.app.trace",
        "multiprocessing",
        "drystone.core.db._MeasuredPool",
        "uvicorn.access",  # our own line of each request leaves secrets out that stand where they do not belong
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class _OncePerSecond(logging.Filter):
    """Lets a record through when the one before is a second old: asyncio says at every try that there are no descriptors left."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if "out of system resource" not in record.getMessage():
            return True
        now = time.monotonic()
        is_due = now >= self._next
        if is_due:
            self._next = now + 1.0
        return is_due


def _harmless(renderer: structlog.typing.Processor) -> structlog.typing.Processor:
    """Lines that steer no terminal, whatever strangers had put into a field. Line ends stay: a traceback has many."""

    def render(logger: object, method: str, event: structlog.typing.EventDict) -> str:
        line = str(renderer(logger, method, event))
        if line.isprintable():
            return line
        return "".join(c.encode("unicode_escape").decode() if c != "\n" and is_steering(c) else c for c in line)

    return render


def _add_trace(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event.update(tracing.ids())
    return event

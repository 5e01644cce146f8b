"""What this process counts and times, for /metrics: every name there is, with its meaning and its labels.

The only room that knows prometheus_client. A label's values come from the code or from `bounded`, never from whoever asks or
uploads: no ids, no names, no paths.
"""

from __future__ import annotations

import asyncio
import functools
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from drystone import __version__
from drystone.core import tracing

# Label values that are no word of the code: so many of each label, and the rest is one.
_MOST_VALUES, OTHER = 200, "other"
_CODE = re.compile(r"[a-z_]{1,40}\.[a-z_]{1,60}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# Seconds: of what a person waits for, and of what may take minutes.
_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

REGISTRY = CollectorRegistry()
# When each series began is told by nobody's question here, and doubles them.
disable_created_metrics()


@dataclass(frozen=True)
class About:
    """A metric as the reference shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


_counted: list[About] = []


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    _counted.append(About(name, "counter", labels, meaning))
    return Counter(name, meaning, labels, registry=REGISTRY)


def _histogram(name: str, meaning: str, *labels: str, buckets: Sequence[float] = _QUICK) -> Histogram:
    _counted.append(About(name, "histogram", labels, meaning))
    return Histogram(name, meaning, labels, registry=REGISTRY, buckets=buckets)


def _gauge(name: str, meaning: str, *labels: str) -> Gauge:
    _counted.append(About(name, "gauge", labels, meaning))
    return Gauge(name, meaning, labels, registry=REGISTRY, multiprocess_mode="livesum")


# --- HTTP ---
HTTP_REQUESTS = _counter(
    "drystone_http_requests_total", "Requests answered, by the route's template.", "method", "route", "status"
)
HTTP_SECONDS = _histogram(
    "drystone_http_request_seconds", "From a request to the end of its answer; streams too.", "method", "route"
)
HTTP_IN_FLIGHT = _gauge("drystone_http_requests_in_flight", "Requests that are being answered, open streams included.")

# --- ingestion ---
JOB_WAIT = _histogram(
    "drystone_job_wait_seconds", "From when a job was due to when a worker took it.", "kind", buckets=_SLOW
)
JOB_ENDS = _counter(
    "drystone_job_ends_total",
    "Tries of jobs that ended: done, failed, given_back (tried again) or lost.",
    "kind",
    "outcome",
)
INGESTION_STAGE = _histogram(
    "drystone_ingestion_stage_seconds",
    "A stage of ingestion: fetch, parse and chunk of a document; embed and publish of those that go together.",
    "stage",
    buckets=_SLOW,
)
DOCUMENTS_ENDED = _counter(
    "drystone_documents_ended_total", "Versions that became ready or failed, with the reason.", "state", "reason"
)
DOCUMENT_BYTES = _counter("drystone_document_bytes_total", "Bytes of the files of versions that became ready.")
PASSAGES = _counter("drystone_passages_total", "Passages of versions that became ready.")
PARSER_ENDS = _counter(
    "drystone_parser_ends_total",
    "Parser processes that ended: ok, refused (the file is at fault), parse.died, or by which limit.",
    "end",
)

# --- search ---
SEARCH_SECONDS = _histogram("drystone_search_seconds", "Searches that were answered.", "mode")
SEARCH_STAGE = _histogram("drystone_search_stage_seconds", "A stage of a search that was answered.", "stage")

# --- answers ---
ANSWER_SECONDS = _histogram(
    "drystone_answer_seconds",
    "Answers by the mode asked for: answered, unsupported (no sentence was borne), none (nothing fits), or the error's code.",
    "mode",
    "outcome",
    buckets=_SLOW,
)
ANSWER_SENTENCES = _counter(
    "drystone_answer_sentences_total",
    "Sentences of answers, extractive or generated: supported or unsupported.",
    "mode",
    "support",
)

# --- what is asked of others ---
OBJECT_SECONDS = _histogram(
    "drystone_object_seconds", "Calls to the object store: ok, or the error's code.", "operation", "outcome"
)
MODEL_SECONDS = _histogram(
    "drystone_model_seconds",
    "Calls to a model (bundled, openai, rerank, chat) for passages, queries, pairs or answers.",
    "provider",
    "use",
    "outcome",
    buckets=_SLOW,
)
MODEL_TEXTS = _counter("drystone_model_texts_total", "Texts given to a model.", "provider", "use")
WEBHOOK_SECONDS = _histogram(
    "drystone_webhook_call_seconds", "Calls of webhooks: delivered, or the error's code.", "outcome"
)
DATABASE_CONNECTIONS = _gauge(
    "drystone_database_connections",
    "Connections of a pool: limit, in_use, and waiting: who asks for one at this moment.",
    "pool",
    "state",
)
DATABASE_WAIT = _histogram("drystone_database_wait_seconds", "How long a pool let ask for a connection.", "pool")

MCP_SECONDS = _histogram("drystone_mcp_call_seconds", "Calls of tools: ok, or the error's code.", "tool", "outcome")

# --- limits ---
LIMITED = _counter(
    "drystone_limited_total",
    "Requests refused because of a limit: pace, guessing_key, guessing; or of too many at once: requests, searches, answers, connections.",
    "limit",
)
LIMIT_CHECKS = _counter(
    "drystone_limit_checks_total", "Limits looked up in redis, or in the process while Redis is away.", "where"
)


_Measure = TypeVar("_Measure", Counter, Gauge, Histogram)


@functools.cache
def _child(measure: Counter | Gauge | Histogram, labels: tuple[str, ...]) -> Any:
    return measure.labels(*labels)


def of(measure: _Measure, *labels: str) -> _Measure:
    """The series with these labels. prometheus_client looks it up under a lock, which takes four times as long."""
    found: _Measure = _child(measure, labels)
    return found


@dataclass(frozen=True)
class Reading:
    """A number that is not counted but read from a server when somebody asks for the metrics."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()


QUEUE_JOBS = Reading(
    "drystone_queue_jobs", "Jobs that are due, later (to be tried again) or running.", ("kind", "state")
)
QUEUE_OLDEST = Reading("drystone_queue_oldest_seconds", "For how long the oldest due job has waited.", ("kind",))
LEASES = Reading("drystone_leases", "Jobs in hand: running, or expired and not yet given back.", ("state",))
WEBHOOKS_DISABLED = Reading("drystone_webhooks_disabled", "Webhooks that are disabled.")
DATABASE_BYTES = Reading("drystone_database_bytes", "Size of the database.")
DATABASE_BACKENDS = Reading(
    "drystone_database_backends", "Connections to PostgreSQL: those there are, and max.", ("state",)
)
TABLE_BYTES = Reading("drystone_table_bytes", "Size of a table with its indexes.", ("table",))
TABLE_ROWS = Reading(
    "drystone_table_rows", "Rows of a table by PostgreSQL's statistics: live, dead.", ("table", "state")
)
WORKERS = Reading("drystone_worker_processes", "Worker processes that said lately that they are alive.")
DISK_FREE = Reading("drystone_disk_free_bytes", "Free space on the disk of DRYSTONE_DATA_DIR, as the process sees it.")
READ_OK = Reading("drystone_reading_ok", "1 where the last reading of a source came in time, else 0.", ("source",))
BUILD = Reading("drystone_build_info", "Always 1; the labels tell what runs.", ("version", "python", "process"))

READINGS = (
    QUEUE_JOBS, QUEUE_OLDEST, LEASES, WEBHOOKS_DISABLED, DATABASE_BYTES, DATABASE_BACKENDS, TABLE_BYTES, TABLE_ROWS, WORKERS,
    DISK_FREE, READ_OK, BUILD,
)  # fmt: skip

# What was read: label values, in the order of the reading's labels -> the number.
Numbers = Mapping[tuple[str, ...], float]
Values = Mapping[Reading, Numbers]


def bounded(label: str, value: str) -> str:
    """The value, if it looks like a code of ours and is one of the first few hundred; else `other`."""
    seen = _seen.setdefault(label, set())
    if value in seen:
        return value
    if len(seen) >= _MOST_VALUES or not _CODE.fullmatch(value):
        return OTHER
    seen.add(value)
    return value


_seen: dict[str, set[str]] = {}


def reason(exc: BaseException) -> str:
    """What an exception is called in a label."""
    code = getattr(exc, "code", None)
    if isinstance(code, str):
        return bounded("reason", code)
    if isinstance(exc, TimeoutError):
        return "timeout"
    return "cancelled" if isinstance(exc, asyncio.CancelledError) else "internal"


@contextmanager
def ingestion_stage(stage: str) -> Iterator[None]:
    """Time a stage of ingestion, however it ends."""
    with tracing.span(f"ingestion {stage}"), of(INGESTION_STAGE, stage).time():
        yield


@contextmanager
def outcome_of(histogram: Histogram, *labels: str, ok: str = "ok") -> Iterator[None]:
    """Time a call; its last label is `ok`, or the code of the error that ended it."""
    began, outcome = time.perf_counter(), ok
    try:
        yield
    except BaseException as exc:
        outcome = reason(exc)
        raise
    finally:
        of(histogram, *labels, outcome).observe(time.perf_counter() - began)


def document_ready(*, passages: int, size_bytes: int) -> None:
    """Count a version that became searchable."""
    of(DOCUMENTS_ENDED, "ready", "none").inc()
    DOCUMENT_BYTES.inc(size_bytes)
    PASSAGES.inc(passages)


def document_failed(code: str) -> None:
    """Count a version that was given up."""
    of(DOCUMENTS_ENDED, "failed", bounded("reason", code)).inc()


def job_taken(kind: str, waited_s: float) -> None:
    """Count a job that a worker took."""
    of(JOB_WAIT, bounded("kind", kind)).observe(max(0.0, waited_s))


def job_ended(kind: str, outcome: str, count: int = 1) -> None:
    """Count tries that ended."""
    of(JOB_ENDS, bounded("kind", kind), outcome).inc(count)


@contextmanager
def parser_run() -> Iterator[None]:
    """Count how a parser process ended."""
    end = "ok"
    try:
        yield
    except BaseException as exc:
        end = reason(exc)
        raise
    finally:
        of(PARSER_ENDS, "refused" if end.startswith("document.") else end).inc()


@contextmanager
def model_call(provider: str, use: str, texts: int) -> Iterator[None]:
    """Time a call to a model and count what it was given."""
    of(MODEL_TEXTS, provider, use).inc(texts)
    with tracing.span(f"model {use}", provider=provider, texts=texts), outcome_of(MODEL_SECONDS, provider, use):
        yield


def build(process: str) -> Values:
    """What runs."""
    return {BUILD: {(__version__, platform.python_version(), process): 1.0}}


def expose(values: Values, *, accept: str = "", shared: Path | None = None) -> tuple[bytes, str]:
    """All numbers as text, and its media type. values: what was read. shared: where several processes keep what they count."""
    registry = CollectorRegistry()
    if shared is None:
        registry.register(_Of(REGISTRY.collect))
    else:
        MultiProcessCollector(registry, str(shared))
    ProcessCollector(registry=registry)
    registry.register(_Of(lambda: _families(values)))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class _Of:
    """A collector out of a function."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self.collect = collect


def _families(values: Values) -> Iterator[Metric]:
    for read, numbers in values.items():
        family = GaugeMetricFamily(read.name, read.meaning, labels=read.labels)
        for labels, number in numbers.items():
            family.add_metric(labels, number)
        yield family


# --- several processes, each with files of its own in one folder ---

# A process that has ended counts on: what it left is added to these.
_DEAD = 0
_PID = re.compile(r"(counter|histogram|gauge_livesum)_(\d+)\.db")


def fold_dead(folder: Path, is_alive: Callable[[int], bool]) -> None:
    """Add what ended processes counted to one file of each kind, so that no number falls and no file stays."""
    for path in sorted(folder.glob("*.db")):
        match = _PID.fullmatch(path.name)
        if match is None or int(match[2]) == _DEAD or is_alive(int(match[2])):
            continue
        if match[1] == "gauge_livesum":
            mark_process_dead(int(match[2]), str(folder))
            continue
        kept = MmapedDict(str(folder / f"{match[1]}_{_DEAD}.db"))
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):
            kept.write_value(key, kept.read_value(key)[0] + value, 0.0)
        kept.close()
        path.unlink()


def catalogue() -> list[About]:
    """Every metric there is, by name."""
    read = [About(each.name, "gauge", each.labels, each.meaning) for each in READINGS]
    return sorted([*_counted, *read], key=lambda about: about.name)

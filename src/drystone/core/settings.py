"""Every environment variable, typed and grouped. Nobody else reads the environment.

`.env.example` is written from this file (`drystone env example`); a test keeps them equal. The shell beats the file.
Nothing is loaded at import: an entry point calls `load()` and passes the parts on as constructor arguments.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args
from urllib.parse import unquote, urlsplit

from annotated_types import Ge, Le
from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from drystone.core import consistency
from drystone.core.errors import Invalid

PLACEHOLDER = re.compile(r"change-me(?:-[a-z0-9]+)*")
MIN_SECRET_LENGTH = 16
Port = Annotated[int, Ge(1), Le(65535)]


class SettingsError(Invalid):
    """One or more variables are missing or wrong; the message has a line for each, `problems` in values too: `NAME: why`."""


def _check_secret(value: str) -> None:
    if PLACEHOLDER.search(value):
        raise ValueError("still holds the placeholder of .env.example; set a random secret of its own")
    if len(value) < MIN_SECRET_LENGTH:
        raise ValueError(f"is too short: a secret needs at least {MIN_SECRET_LENGTH} characters")


def _secret(value: SecretStr) -> SecretStr:
    _check_secret(value.get_secret_value())
    return value


def _first_key(value: SecretStr) -> SecretStr:
    key = value.get_secret_value()
    if PLACEHOLDER.search(key):
        _check_secret(key)
    if not re.fullmatch(r"[A-Za-z0-9_]{4,32}\.[A-Za-z0-9_-]{32,}", key):
        make = "python3 -c 'import secrets; print(\"dsk_local.\" + secrets.token_urlsafe(32))'"
        raise ValueError(
            "must be prefix.secret, the prefix 4 to 32 letters, digits or _, the secret at least 32 letters, digits, _ or -;"
            f" this makes one: {make}"
        )
    return value


class _UrlParts:
    """Reads host, port, user and password out of a URL; never shows the password."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)

    @property
    def host(self) -> str:
        return self._parts.hostname or ""

    @property
    def port(self) -> int:
        return self._parts.port or 0

    @property
    def user(self) -> str:
        return unquote(self._parts.username or "")

    @property
    def password(self) -> str:
        return unquote(self._parts.password or "")

    @property
    def database(self) -> str:
        return unquote(self._parts.path.lstrip("/"))


def _url(*schemes: str, needs_password: bool, example: str) -> Any:
    def check(value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as exc:
            raise ValueError(f"is not a URL with a port from 1 to 65535, like {example}") from exc
        if parts.scheme not in schemes:
            raise ValueError(f"must start with {' or '.join(s + '://' for s in schemes)}, like {example}")
        if not parts.hostname:
            raise ValueError(f"names no host; it should look like {example}")
        if not port:
            raise ValueError(f"names no port; it should look like {example}")
        if needs_password:
            if not parts.password:
                raise ValueError(f"holds no password; it should look like {example}")
            _check_secret(unquote(parts.password))
        return value

    return AfterValidator(check)


PostgresUrl = Annotated[
    SecretStr, _url("postgresql", needs_password=True, example="postgresql://user:password@127.0.0.1:15432/drystone")
]
RedisUrl = Annotated[
    SecretStr, _url("redis", "rediss", needs_password=True, example="redis://:password@127.0.0.1:16379/0")
]
Secret = Annotated[SecretStr, AfterValidator(_secret)]


def _plain_http(value: str) -> str:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as exc:
        raise ValueError("is not a URL with a port from 1 to 65535, like http://127.0.0.1:18333") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL like http://127.0.0.1:18333")
    return value.rstrip("/")


HttpUrl = Annotated[str, AfterValidator(_plain_http)]


def _header_value(value: SecretStr) -> SecretStr:
    key = value.get_secret_value()
    if not key.isascii() or not key.isprintable():
        raise ValueError("holds characters that a header cannot carry; a key has letters, digits and signs of ASCII")
    return value


def _bucket(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value):
        raise ValueError("must be 3 to 63 lower-case letters, digits, dots or hyphens")
    return value


DATA_DIR = Path(".drystone")


# What a file with secrets must not allow: anything to others, writing to its group.
OTHERS = stat.S_IRWXO | stat.S_IWGRP


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class GeneralSettings(_Group):
    environment: Literal["development", "test", "production"] = Field(
        "development", alias="ENVIRONMENT", description="development, test or production."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", alias="LOG_LEVEL", description="DEBUG, INFO, WARNING or ERROR."
    )
    log_format: Literal["console", "json"] = Field(
        "console", alias="LOG_FORMAT", description="console for people, json for machines."
    )
    data_dir: Path = Field(
        DATA_DIR,
        alias="DRYSTONE_DATA_DIR",
        description="Where the servers keep their data, logs and process state. Relative to the project's folder.",
    )
    model_dir: Path = Field(
        Path(".drystone/models"),
        alias="DRYSTONE_MODEL_DIR",
        description="Where the prepared embedding model is cached. May be shared between stacks.",
    )
    crash_points: Path | None = Field(
        None,
        alias="DRYSTONE_CRASH_POINTS",
        description="For fault tests, refused unless ENVIRONMENT=test: a folder whose files make a process die at a point.",
    )


class ApiSettings(_Group):
    host: str = Field("127.0.0.1", alias="API_HOST", description="Address the HTTP API listens on.")
    port: Port = Field(8310, alias="API_PORT", description="Port of the HTTP API.")
    key: Annotated[SecretStr, AfterValidator(_first_key)] = Field(
        alias="DRYSTONE_API_KEY",
        description="The first API key: used by the command line and the tests. Stored as a hash in the database.",
        examples=["dsk_local.change-me-api-key"],
    )
    max_upload_bytes: Annotated[int, Ge(1)] = Field(
        2_147_483_648, alias="MAX_UPLOAD_BYTES", description="Largest file accepted, in bytes."
    )
    trusted_proxies: str = Field(
        "",
        alias="API_TRUSTED_PROXIES",
        description="Addresses of reverse proxies, divided by commas, whose X-Forwarded-For says who asks; empty: none.",
    )
    rate_per_s: Annotated[float, Ge(0)] = Field(
        300.0, alias="API_RATE_PER_S", description="Requests per second that each key may make, evenly; 0: no limit."
    )
    rate_burst: Annotated[int, Ge(1)] = Field(
        1000, alias="API_RATE_BURST", description="And so many at once after a pause."
    )
    at_once: Annotated[int, Ge(1)] = Field(
        100,
        alias="API_AT_ONCE",
        description="Requests that a web process works on at once; one more is answered 503. Who only waits is not counted.",
    )
    mcp_origins: str = Field(
        "",
        alias="MCP_ORIGINS",
        description="Origins of web pages that may speak to /mcp, divided by commas, as in https://chat.example; pages of this machine may.",
    )
    wrong_keys_per_minute: Annotated[int, Ge(1)] = Field(
        10,
        alias="API_WRONG_KEYS_PER_MINUTE",
        description="Wrong secrets of a key that one address may send in a minute before it is not heard; ten times that in all.",
    )


class ReceivingSettings(_Group):
    queue_max_depth: Annotated[int, Ge(1)] = Field(
        100_000,
        alias="QUEUE_MAX_DEPTH",
        description="Uploads are put off (503, Retry-After) while so many jobs wait; calls to webhooks do not count.",
    )
    queue_max_age_s: Annotated[int, Ge(0)] = Field(
        0, alias="QUEUE_MAX_AGE_S", description="And while the oldest due job waits for so many seconds; 0: never."
    )
    disk_min_free_bytes: Annotated[int, Ge(0)] = Field(
        536_870_912,
        alias="DISK_MIN_FREE_BYTES",
        description="Uploads are refused (507) while DRYSTONE_DATA_DIR's disk has less space left, in bytes.",
    )
    idle_s: Annotated[float, Ge(1)] = Field(
        30.0,
        alias="UPLOAD_IDLE_S",
        description="An upload that sends nothing for so many seconds, or less than 1000 bytes/s after them, is cut off.",
    )
    documents_per_day: Annotated[int, Ge(0)] = Field(
        0,
        alias="UPLOAD_DOCUMENTS_PER_DAY",
        description="Versions each API key may add between two midnights UTC; 0: no limit. A key's own limit goes first.",
    )
    bytes_per_day: Annotated[int, Ge(0)] = Field(0, alias="UPLOAD_BYTES_PER_DAY", description="The same for bytes.")
    scrub_days: Annotated[int, Ge(0)] = Field(
        30,
        alias="SCRUB_DAYS",
        description="Every blob is read and hashed again about once in so many days; 0: only when told to.",
    )


class DatabaseSettings(_Group):
    url: PostgresUrl = Field(
        alias="DATABASE_URL",
        description="PostgreSQL as the application role, which owns nothing. Port and names are those of the native server.",
        examples=["postgresql://drystone_app:change-me-app@127.0.0.1:15432/drystone"],
    )
    migration_url: PostgresUrl = Field(
        alias="MIGRATION_DATABASE_URL",
        description="The same database as the role that owns and migrates the schema.",
        examples=["postgresql://drystone_owner:change-me-owner@127.0.0.1:15432/drystone"],
    )
    superuser_password: Secret = Field(
        SecretStr(""),
        alias="POSTGRES_SUPERUSER_PASSWORD",
        description="Password of the superuser `postgres`: creates roles, database and extensions. External: may be empty.",
        examples=["change-me-superuser"],
    )
    pool_size: Annotated[int, Ge(1), Le(100)] = Field(
        5,
        alias="DATABASE_POOL_SIZE",
        description="Connections kept open per process; PostgreSQL's max_connections must exceed the sum over processes.",
    )
    sql_echo: bool = Field(False, alias="SQL_ECHO", description="true logs every SQL statement.")

    @cached_property
    def parts(self) -> _UrlParts:
        return _UrlParts(self.url.get_secret_value())

    @cached_property
    def migration_parts(self) -> _UrlParts:
        return _UrlParts(self.migration_url.get_secret_value())


class RedisSettings(_Group):
    url: RedisUrl = Field(
        alias="REDIS_URL",
        description="Redis or Valkey; port and password are those of the native server.",
        examples=["redis://:change-me-redis@127.0.0.1:16379/0"],
    )
    broker_url: RedisUrl = Field(
        alias="CELERY_BROKER_URL",
        description="Where Celery's messages travel. They are only nudges: losing them loses no work.",
        examples=["redis://:change-me-redis@127.0.0.1:16379/1"],
    )

    @cached_property
    def parts(self) -> _UrlParts:
        return _UrlParts(self.url.get_secret_value())

    @cached_property
    def broker_parts(self) -> _UrlParts:
        return _UrlParts(self.broker_url.get_secret_value())


class S3Settings(_Group):
    endpoint_url: HttpUrl = Field(
        alias="S3_ENDPOINT_URL",
        description="The S3 store; its port is the native server's.",
        examples=["http://127.0.0.1:18333"],
    )
    access_key_id: Annotated[str, Field(min_length=3)] = Field(
        "drystone", alias="S3_ACCESS_KEY_ID", description="Access key of the S3 store."
    )
    secret_access_key: Secret = Field(
        alias="S3_SECRET_ACCESS_KEY", description="Secret key of the S3 store.", examples=["change-me-s3"]
    )
    bucket: Annotated[str, AfterValidator(_bucket)] = Field(
        "drystone", alias="S3_BUCKET", description="The bucket that holds all blobs."
    )
    region: str = Field("us-east-1", alias="S3_REGION", description="Region used in request signatures.")

    @cached_property
    def parts(self) -> _UrlParts:
        return _UrlParts(self.endpoint_url)


class BackupSettings(_Group):
    s3_endpoint_url: Annotated[str, AfterValidator(lambda v: v and _plain_http(v))] = Field(
        "",
        alias="BACKUP_S3_ENDPOINT_URL",
        description="The S3 store that s3://bucket/prefix means in `drystone backup` and `restore`. Not the one that is backed up.",
    )
    s3_access_key_id: str = Field("", alias="BACKUP_S3_ACCESS_KEY_ID", description="Its access key.")
    s3_secret_access_key: SecretStr = Field(
        SecretStr(""), alias="BACKUP_S3_SECRET_ACCESS_KEY", description="Its secret key."
    )
    s3_region: str = Field("us-east-1", alias="BACKUP_S3_REGION", description="Its region, for signatures.")


class WorkerSettings(_Group):
    concurrency: Annotated[int, Ge(1), Le(64)] = Field(
        2, alias="WORKER_CONCURRENCY", description="Worker processes; each runs one job at a time on one core."
    )
    nice: Annotated[int, Ge(0), Le(19)] = Field(
        10,
        alias="WORKER_NICE",
        description="How far the worker stands back for web and searches where they share processors; 0: not at all. See nice(1).",
    )
    lease_s: Annotated[int, Ge(2)] = Field(
        30, alias="JOB_LEASE_S", description="Seconds a claimed job belongs to its worker without a heartbeat."
    )
    heartbeat_s: Annotated[int, Ge(1)] = Field(
        10, alias="JOB_HEARTBEAT_S", description="Seconds between heartbeats; at most half of JOB_LEASE_S."
    )
    sweep_s: Annotated[int, Ge(1)] = Field(
        5, alias="JOB_SWEEP_S", description="Seconds between looks for lost, due or expired jobs."
    )
    max_poison_tries: Annotated[int, Ge(1)] = Field(
        3,
        alias="JOB_MAX_POISON_TRIES",
        description="Times a job may break its worker before it is failed for good. A server being away does not count.",
    )
    blob_grace_s: Annotated[int, Ge(1)] = Field(
        3600,
        alias="BLOB_GRACE_S",
        description="Seconds a blob that nothing refers to is kept before it is removed; at least 60.",
    )


class SearchSettings(_Group):
    at_once: Annotated[int, Ge(1)] = Field(
        8,
        alias="SEARCH_AT_ONCE",
        description="Searches that a web process works on at once; others wait for two seconds, then are answered 503.",
    )
    cache_mb: Annotated[int, Ge(1)] = Field(
        64,
        alias="SEARCH_CACHE_MB",
        description="Megabytes of the keyword index that each web process may keep in memory.",
    )


class WebhookSettings(_Group):
    allow_private: bool = Field(
        False,
        alias="WEBHOOK_ALLOW_PRIVATE",
        description="true: webhooks may also call this machine and private networks. Leave it false where users are strangers.",
    )


class ObservationSettings(_Group):
    keep_months: Annotated[int, Ge(0), Le(12_000)] = Field(
        0,
        alias="OBSERVATIONS_KEEP_MONTHS",
        description="Months of observations that are kept, the present one among them; 0: all. What is older is not taken, either.",
    )
    detach: bool = Field(
        False,
        alias="OBSERVATIONS_DETACH",
        description="true: months that are no longer kept are detached, for you to move away, instead of dropped.",
    )


class EmbeddingSettings(_Group):
    provider: Literal["bundled", "openai"] = Field(
        "bundled",
        alias="EMBEDDING_PROVIDER",
        description="bundled (a small model in int8, on this machine) or openai (any OpenAI-compatible endpoint).",
    )
    url: Annotated[str, AfterValidator(lambda v: v and _plain_http(v))] = Field(
        "",
        alias="EMBEDDING_URL",
        description="For openai: the base URL, such as http://127.0.0.1:8080/v1; /embeddings is added.",
    )
    api_key: Annotated[SecretStr, AfterValidator(_header_value)] = Field(
        SecretStr(""), alias="EMBEDDING_API_KEY", description="For openai: the bearer key, if the endpoint wants one."
    )
    model: str = Field(
        "",
        alias="EMBEDDING_MODEL",
        description="For bundled: all-MiniLM-L6-v2 (English; also if empty) or multilingual-e5-small. For openai: the model's name.",
    )
    query_prefix: str = Field(
        "",
        alias="EMBEDDING_QUERY_PREFIX",
        description="For openai: what the model was trained to see before a question, such as 'query: ', with the space; quote it.",
    )
    passage_prefix: str = Field(
        "",
        alias="EMBEDDING_PASSAGE_PREFIX",
        description="For openai: the same before a passage. Another one counts as another model.",
    )
    dimension: Annotated[int, Ge(1), Le(4000)] = Field(
        384,
        alias="EMBEDDING_DIMENSION",
        description="Length of the model's vectors; an answer of another length is refused.",
    )
    batch_size: Annotated[int, Ge(1)] = Field(
        64, alias="EMBEDDING_BATCH_SIZE", description="For openai: texts per request."
    )
    timeout_s: Annotated[float, Ge(0.1)] = Field(
        30.0,
        alias="EMBEDDING_TIMEOUT_S",
        description="For openai: seconds to wait for an answer; a search waits 10 at most.",
    )
    threads: Annotated[int, Ge(1)] = Field(
        1,
        alias="EMBEDDING_THREADS",
        description="For bundled: threads per process. Two processes with one thread equal one with two.",
    )


if TYPE_CHECKING:

    class NextEmbeddingSettings(EmbeddingSettings):
        """A second model, for collections that change to it. `provider` is empty where there is none."""

else:

    def _next(name: str, field: FieldInfo) -> tuple[Any, FieldInfo]:
        """The same variable with NEXT_ before its name; without a provider there is no second model."""
        kind, default, end = Annotated[field.annotation, None, *field.metadata], field.default, ""
        if name == "provider":
            kind, default, end = Literal["", *get_args(field.annotation)], "", " Empty: there is none."
        text = f"As {field.alias}, of the model that collections are to change to.{end}"
        return kind, Field(default, alias=f"NEXT_{field.alias}", description=text)

    NextEmbeddingSettings = create_model(
        "NextEmbeddingSettings",
        __base__=EmbeddingSettings,
        **{name: _next(name, field) for name, field in EmbeddingSettings.model_fields.items()},
    )


class RerankSettings(_Group):
    url: Annotated[str, AfterValidator(lambda v: v and _plain_http(v))] = Field(
        "",
        alias="RERANK_URL",
        description="A server that reranks, such as http://127.0.0.1:8080; /rerank is added where it is missing. Empty: none.",
    )
    format: Literal["cohere", "tei"] = Field(
        "cohere",
        alias="RERANK_FORMAT",
        description="cohere (as do Jina, vLLM and most others), or tei (text-embeddings-inference).",
    )
    model: str = Field("", alias="RERANK_MODEL", description="For cohere: the model's name.")
    api_key: Annotated[SecretStr, AfterValidator(_header_value)] = Field(
        SecretStr(""), alias="RERANK_API_KEY", description="The bearer key, if the server wants one."
    )
    timeout_s: Annotated[float, Ge(0.1), Le(10)] = Field(
        5.0,
        alias="RERANK_TIMEOUT_S",
        description="Seconds a search waits for the reranker in all; then it answers without.",
    )
    depth: Annotated[int, Ge(1), Le(1000)] = Field(
        50, alias="RERANK_DEPTH", description="How many of the best passages are reranked; the others stay behind them."
    )


class AnswerSettings(_Group):
    url: Annotated[str, AfterValidator(lambda v: v and _plain_http(v))] = Field(
        "",
        alias="ANSWER_URL",
        description="A server that speaks OpenAI's chat completions, such as http://127.0.0.1:8000/v1. Empty: answers are sentences of the documents.",
    )
    model: str = Field("", alias="ANSWER_MODEL", description="The model's name there.")
    api_key: Annotated[SecretStr, AfterValidator(_header_value)] = Field(
        SecretStr(""), alias="ANSWER_API_KEY", description="The bearer key, if the server wants one."
    )
    timeout_s: Annotated[float, Ge(0.1), Le(600)] = Field(
        60.0, alias="ANSWER_TIMEOUT_S", description="Seconds that the model may take for an answer, with all tries."
    )
    max_tokens: Annotated[int, Ge(16), Le(32_768)] = Field(
        1024, alias="ANSWER_MAX_TOKENS", description="Longest answer, in the model's tokens."
    )
    tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens",
        alias="ANSWER_TOKENS_FIELD",
        description="How the server calls that; newer models of OpenAI take max_completion_tokens.",
    )
    temperature: Annotated[float, Ge(-1), Le(2)] = Field(
        0.0,
        alias="ANSWER_TEMPERATURE",
        description="0: always the likeliest word. -1: not sent, for models that refuse it.",
    )
    context_tokens: Annotated[int, Ge(256), Le(1_000_000)] = Field(
        4000,
        alias="ANSWER_CONTEXT_TOKENS",
        description="Tokens of passages that the model is shown, as the embedding model counts them.",
    )
    at_once: Annotated[int, Ge(1)] = Field(
        4,
        alias="ANSWER_AT_ONCE",
        description="Answers that a web process has models write at once; others wait for two seconds, then are answered 503.",
    )


class VectorSettings(_Group):
    store: Literal["pgvector", "qdrant"] = Field(
        "pgvector",
        alias="VECTOR_STORE",
        description="Where the graph of vectors is: pgvector (in PostgreSQL), or qdrant as well. docs/guides/qdrant.md",
    )
    qdrant_url: Annotated[str, AfterValidator(lambda v: v and _plain_http(v))] = Field(
        "", alias="QDRANT_URL", description="For qdrant: the server, such as http://127.0.0.1:6333."
    )
    qdrant_api_key: Annotated[SecretStr, AfterValidator(_header_value)] = Field(
        SecretStr(""), alias="QDRANT_API_KEY", description="For qdrant: the server's key, if it wants one."
    )
    qdrant_timeout_s: Annotated[float, Ge(0.1), Le(10)] = Field(
        2.0,
        alias="QDRANT_TIMEOUT_S",
        description="Seconds a search waits for each answer of Qdrant; then PostgreSQL is asked instead.",
    )


class MonitoringSettings(_Group):
    token: Secret = Field(
        SecretStr(""),
        alias="METRICS_TOKEN",
        description="What Prometheus shows to read /metrics, and opens nothing else. Empty: only an admin's key does.",
        examples=["change-me-metrics"],
    )
    worker_host: str = Field(
        "127.0.0.1", alias="WORKER_METRICS_HOST", description="Address the worker's /metrics listens on."
    )
    worker_port: Port = Field(
        8311,
        alias="WORKER_METRICS_PORT",
        description="Port of the worker's /metrics; without METRICS_TOKEN it is closed.",
    )
    prometheus_port: Port = Field(
        19090, alias="PROMETHEUS_PORT", description="For up --with metrics: port of Prometheus, on 127.0.0.1."
    )
    grafana_port: Port = Field(
        13000, alias="GRAFANA_PORT", description="For up --with metrics: port of Grafana, on 127.0.0.1."
    )


class TracingSettings(_Group):
    endpoint: Annotated[str, AfterValidator(lambda v: v and _plain_http(v))] = Field(
        "",
        alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="A collector that takes traces by OTLP over HTTP, such as http://127.0.0.1:4318; empty: no traces.",
    )
    headers: Annotated[SecretStr, AfterValidator(_header_value)] = Field(
        SecretStr(""),
        alias="OTEL_EXPORTER_OTLP_HEADERS",
        description="What it wants beside them, such as api-key=secret; several are divided by commas.",
    )
    ratio: Annotated[float, Ge(0), Le(1)] = Field(
        1.0,
        alias="OTEL_TRACES_SAMPLER_ARG",
        description="Which share of the requests is traced, unless their caller decides.",
    )


class ParsingSettings(_Group):
    memory_bytes: Annotated[int, Ge(64 * 1024 * 1024)] = Field(
        1_073_741_824, alias="PARSE_MEMORY_BYTES", description="Address space of a parser process, in bytes."
    )
    cpu_s: Annotated[int, Ge(1)] = Field(30, alias="PARSE_CPU_S", description="CPU seconds a parser may use.")
    wall_s: Annotated[int, Ge(1)] = Field(60, alias="PARSE_WALL_S", description="Seconds a parser may take.")
    max_text_bytes: Annotated[int, Ge(1)] = Field(
        20_000_000, alias="PARSE_MAX_TEXT_BYTES", description="Longest extracted text, in UTF-8 bytes."
    )


Provider = Literal["auto", "nix", "path", "wheel", "external"]


class StackSettings(_Group):
    postgres_provider: Provider = Field(
        "auto",
        alias="POSTGRES_PROVIDER",
        description="wheel, nix, path, or auto: the first of them that can do what is needed. external: start none.",
    )
    redis_provider: Provider = Field("auto", alias="REDIS_PROVIDER", description="The same for Redis.")
    s3_provider: Provider = Field("auto", alias="S3_PROVIDER", description="The same for the S3 store.")
    postgres_bin: str = Field(
        "", alias="POSTGRES_BIN", description="Folder with postgres and initdb; empty: as POSTGRES_PROVIDER says."
    )
    redis_bin: str = Field(
        "", alias="REDIS_BIN", description="A redis-server or valkey-server; empty: as REDIS_PROVIDER says."
    )
    s3_bin: str = Field(
        "", alias="S3_BIN", description="A weed (SeaweedFS) or minio program; empty: as S3_PROVIDER says."
    )


class Settings(BaseSettings):
    """Everything the environment may say, in groups. Build it with `load()`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    general: GeneralSettings
    api: ApiSettings
    receiving: ReceivingSettings
    database: DatabaseSettings
    redis: RedisSettings
    s3: S3Settings
    backup: BackupSettings
    worker: WorkerSettings
    search: SearchSettings
    webhooks: WebhookSettings
    observations: ObservationSettings
    embedding: EmbeddingSettings
    next_embedding: NextEmbeddingSettings
    rerank: RerankSettings
    answers: AnswerSettings
    vectors: VectorSettings
    parsing: ParsingSettings
    monitoring: MonitoringSettings
    tracing: TracingSettings
    stack: StackSettings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # load() merges file and shell itself: one rule, one place


def variables() -> dict[str, tuple[str, FieldInfo]]:
    """Every variable's name, with its group and field, in the order of `.env.example`."""
    found: dict[str, tuple[str, FieldInfo]] = {}
    for group, info in Settings.model_fields.items():
        model = cast(type[_Group], info.annotation)
        for field in model.model_fields.values():
            found[cast(str, field.alias)] = (group, field)
    return found


def read_environment(env_file: Path | None, shell: Mapping[str, str]) -> dict[str, str]:
    """What the file and the shell say together: name -> value. The shell beats the file; empty means not said."""
    try:
        from_file = dotenv_values(env_file, interpolate=False) if env_file and env_file.is_file() else {}
    except PermissionError as exc:
        raise unreadable(Path(exc.filename)) from exc
    merged = {name: value for name, value in from_file.items() if value}
    merged.update({name: value for name, value in shell.items() if value})
    return merged


def unreadable(path: Path) -> SettingsError:
    """That this user may not read an `.env`, and whose it is."""
    problem = f"{path} belongs to {owner_of(path)}, and {_account(os.geteuid())} may not read it"
    return SettingsError(
        "settings.unreadable",
        f"{problem}.",
        hint=f"run this as {owner_of(path)}, or make a checkout of your own",
        problems=[problem],
    )


def owner_of(path: Path) -> str:
    """The account whose file it is."""
    return _account(path.stat().st_uid)


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # as in a container: a number without a name
        return f"user {uid}"


def parse(environment: Mapping[str, str]) -> Settings:
    """Settings from a mapping of names to values. Raises SettingsError with a line for each wrong variable."""
    groups: dict[str, dict[str, Any]] = {group: {} for group in Settings.model_fields}
    for name, (group, _) in variables().items():
        if environment.get(name):
            groups[group][name] = environment[name]
    try:
        settings = Settings(**cast(Any, groups))
    except ValidationError as exc:
        raise SettingsError(
            "settings.invalid",
            "The settings are not usable:\n" + "\n".join(f"  {line}" for line in _explain(exc)),
            hint='set them in .env or in the shell; "drystone env create" writes a complete .env where there is none',
            problems=_explain(exc),
        ) from exc
    if problems := consistency.problems(settings):
        raise SettingsError(
            "settings.invalid",
            "The settings are not usable:\n" + "\n".join(f"  {line}" for line in problems),
            hint="set them in .env or in the shell",
            problems=problems,
        )
    return settings


def load(root: Path | None = None, shell: Mapping[str, str] | None = None) -> Settings:
    """Settings of the project in `root` (default: the current folder), from its `.env` and the shell.

    Relative folders in the result are made absolute against `root`.
    """
    root = (root or Path.cwd()).resolve()
    settings = parse(read_environment(root / ".env", os.environ if shell is None else shell))
    check_file(root / ".env", settings)
    return absolute(settings, root)


def check_file(path: Path, settings: Settings) -> None:
    """Raise SettingsError where others may read or change the secrets in `.env`, in production."""
    if settings.general.environment != "production" or not path.is_file() or not path.stat().st_mode & OTHERS:
        return
    problem = f".env: others on this machine may read or change it and the secrets in it (mode {stat.S_IMODE(path.stat().st_mode):04o})"
    raise SettingsError(
        "settings.readable",
        f"The settings are not safe:\n  {problem}",
        hint=f"chmod 600 '{path}'; with ENVIRONMENT=development it would only be a finding of doctor",
        problems=[problem],
    )


def absolute(settings: Settings, root: Path) -> Settings:
    """The same settings, with folders made absolute against `root`."""
    general = settings.general.model_copy(
        update={
            "data_dir": root / settings.general.data_dir,
            "model_dir": root / settings.general.model_dir,
            "crash_points": settings.general.crash_points and root / settings.general.crash_points,
        }
    )
    return settings.model_copy(update={"general": general})


def example() -> str:
    """The text of `.env.example`: every variable, with its meaning above it."""
    lines = [
        "# The contract between all processes; the first `drystone up` writes .env from it, with random secrets.",
        "# The shell beats the file. Allowed: KEY=letters, digits and _./:@%+,=-  or KEY='no quote or backslash inside'.",
    ]
    group_before = ""
    for name, (group, field) in variables().items():
        if group != group_before:
            lines += ["", f"# --- {group} ---"]
            group_before = group
        lines += [f"# {field.description}", f"{name}={example_value(field)}"]
    return "\n".join(lines) + "\n"


def example_value(field: FieldInfo) -> str:
    """What `.env.example` holds for a field: its example, else its default."""
    return as_text(field.examples[0] if field.examples else field.default) or "''"


def as_text(value: object) -> str:
    """A setting's value as it is written in the environment."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _explain(exc: ValidationError) -> list[str]:
    lines = []
    for error in exc.errors(include_input=False, include_url=False):
        name = str(error["loc"][1]) if len(error["loc"]) > 1 else str(error["loc"][0])
        problem = "is missing" if error["type"] == "missing" else error["msg"].removeprefix("Value error, ")
        lines.append(f"{name}: {problem[:1].lower()}{problem[1:]}")
    return lines

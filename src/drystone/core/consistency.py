"""What settings must be to each other, once each of them is well by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

if TYPE_CHECKING:
    from drystone.core.settings import DatabaseSettings, EmbeddingSettings, RedisSettings, Settings

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
# The models that set-up can build; the empty name means the first.
BUNDLED_MODELS = ("all-MiniLM-L6-v2", "multilingual-e5-small")
# A random secret of 16 hexadecimal digits has ten different ones on average, and fewer than seven once in 400.
MIN_VARIETY = 7
MIN_BLOB_GRACE_S = 60


def problems(settings: Settings) -> list[str]:
    """A line for each variable that is wrong beside the others: `NAME: why`. Each by itself was looked at before."""
    found = []
    if settings.worker.heartbeat_s * 2 > settings.worker.lease_s:
        found.append("JOB_HEARTBEAT_S: must be at most half of JOB_LEASE_S")
    if settings.general.environment != "test":
        found += _outside_tests(settings)
    if settings.general.environment == "production":
        found += _too_simple(settings)
    found += _of_model(settings.embedding)
    if settings.next_embedding.provider:
        found += _of_model(settings.next_embedding, "NEXT_")
    if settings.answers.url and not settings.answers.model:
        found.append("ANSWER_MODEL: is needed when ANSWER_URL is set")
    found += _two_credentials(settings)
    if settings.vectors.store == "qdrant" and not settings.vectors.qdrant_url:
        found.append("QDRANT_URL: is needed when VECTOR_STORE=qdrant")
    found += _of_servers(settings)
    if settings.database.parts.user == settings.database.migration_parts.user:
        found.append("DATABASE_URL: its role must not be the one of MIGRATION_DATABASE_URL; it should own nothing")
    return found


def _of_model(embedding: EmbeddingSettings, prefix: str = "") -> list[str]:
    """What is wrong with a model's variables, whose names begin with the prefix."""
    if embedding.provider == "openai":
        return [
            f"{prefix}{name}: is needed when {prefix}EMBEDDING_PROVIDER=openai"
            for name, value in (("EMBEDDING_URL", embedding.url), ("EMBEDDING_MODEL", embedding.model))
            if not value
        ]
    problems = []
    if embedding.model and embedding.model not in BUNDLED_MODELS:
        problems.append(f"{prefix}EMBEDDING_MODEL: bundled are {' and '.join(BUNDLED_MODELS)}")
    if embedding.dimension != 384:
        problems.append(f"{prefix}EMBEDDING_DIMENSION: the bundled models' vectors have 384 numbers")
    return problems


def _two_credentials(settings: Settings) -> list[str]:
    """Servers whose URL names a user beside a key: one header carries either, and the key would not be sent."""
    return [
        f"{prefix}URL: names a user, and {prefix}API_KEY is set: only one of them can be sent; take one away"
        for prefix, server in (
            ("EMBEDDING_", settings.embedding),
            ("NEXT_EMBEDDING_", settings.next_embedding),
            ("RERANK_", settings.rerank),
            ("ANSWER_", settings.answers),
        )
        if "@" in urlsplit(server.url).netloc and server.api_key.get_secret_value()
    ]


def _outside_tests(settings: Settings) -> list[str]:
    problems = []
    if settings.general.crash_points is not None:
        problems.append("DRYSTONE_CRASH_POINTS: is for fault tests; only with ENVIRONMENT=test")
    if settings.worker.blob_grace_s < MIN_BLOB_GRACE_S:
        problems.append(f"BLOB_GRACE_S: must be at least {MIN_BLOB_GRACE_S}: an upload may still be on its way")
    return problems


def secret_of(name: str, value: str) -> str:
    """The part of a value that must be hard to guess; empty when there is none."""
    if "://" in value:
        try:
            return unquote(urlsplit(value).password or "")
        except ValueError:
            return ""
    return value.partition(".")[2] or value if name == "DRYSTONE_API_KEY" else value


def _too_simple(settings: Settings) -> list[str]:
    """Secrets that are long enough and nearly all the same letter."""
    problems = []
    for group in type(settings).model_fields:
        part = getattr(settings, group)
        for attribute, field in type(part).model_fields.items():
            value = getattr(part, attribute)
            if not (isinstance(value, SecretStr) and field.examples and value.get_secret_value()):
                continue  # without an example it is for somebody else to make
            different = len(set(secret_of(str(field.alias), value.get_secret_value())))
            if different < MIN_VARIETY:
                problems.append(f"{field.alias}: its secret is made of only {different} different characters")
    return problems


def _of_servers(settings: Settings) -> list[str]:
    stack, problems = settings.stack, []
    for variable, host, provider_variable, provider in (
        ("DATABASE_URL", settings.database.parts.host, "POSTGRES_PROVIDER", stack.postgres_provider),
        ("REDIS_URL", settings.redis.parts.host, "REDIS_PROVIDER", stack.redis_provider),
        ("S3_ENDPOINT_URL", settings.s3.parts.host, "S3_PROVIDER", stack.s3_provider),
    ):
        if host not in LOCAL_HOSTS and provider not in ("auto", "external"):
            problems.append(
                f"{provider_variable}: {provider} starts a server on this machine, but {variable} names another"
            )
    if settings.database.parts.host in LOCAL_HOSTS and stack.postgres_provider != "external":
        problems += _of_our_postgres(settings.database)
    if settings.redis.parts.host in LOCAL_HOSTS and stack.redis_provider != "external":
        problems += _of_our_redis(settings.redis)
    return problems


def _of_our_postgres(database: DatabaseSettings) -> list[str]:
    app, owner, problems = database.parts, database.migration_parts, []
    if (app.host, app.port, app.database) != (owner.host, owner.port, owner.database):
        problems.append("MIGRATION_DATABASE_URL: must name the host, port and database of DATABASE_URL")
    if not database.superuser_password.get_secret_value():
        problems.append("POSTGRES_SUPERUSER_PASSWORD: is missing")
    return problems


def _of_our_redis(redis: RedisSettings) -> list[str]:
    own, broker = redis.parts, redis.broker_parts
    if broker.host in LOCAL_HOSTS and (broker.port, broker.password) != (own.port, own.password):
        return [
            "CELERY_BROKER_URL: must have the port and password of REDIS_URL, whose server is the one that is started"
        ]
    return []

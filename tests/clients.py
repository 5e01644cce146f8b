"""Plain clients of the servers that a stack runs, for tests that look behind our own adapters."""

from __future__ import annotations

import redis
from obstore.store import S3Store

from drystone.core.settings import Settings


def redis_client(settings: Settings) -> redis.Redis:
    """Redis, with the password of the settings."""
    return redis.Redis.from_url(settings.redis.url.get_secret_value())


def s3_store(settings: Settings) -> S3Store:
    """The bucket of the settings."""
    return S3Store(
        settings.s3.bucket,
        endpoint=settings.s3.endpoint_url,
        access_key_id=settings.s3.access_key_id,
        secret_access_key=settings.s3.secret_access_key.get_secret_value(),
        region=settings.s3.region,
        client_options={"allow_http": True},
    )

"""Plain clients of the servers that a stack runs, for tests that look behind our own adapters."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import redis
from obstore.store import S3Store

from drystone.core.settings import S3Settings, Settings


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


def put_policy(settings: S3Settings, statement: dict[str, Any] | None) -> httpx.Response:
    """Give the bucket a policy, or take it away: a call of S3 that obstore does not have, signed by hand (SigV4)."""
    method, body = ("DELETE", b"") if statement is None else ("PUT", b"")
    if statement is not None:
        body = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
    now, host = datetime.now(UTC), settings.endpoint_url.split("//")[1]
    day, hashed = f"{now:%Y%m%d}", hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": hashed, "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}"}
    names, scope = ";".join(headers), f"{day}/{settings.region}/s3/aws4_request"
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"{method}\n/{settings.bucket}\npolicy=\n{lines}\n{names}\n{hashed}"
    signed = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{settings.secret_access_key.get_secret_value()}".encode()
    for part in (*scope.split("/"), signed):
        key = hmac.digest(key, part.encode(), "sha256")
    said = f"AWS4-HMAC-SHA256 Credential={settings.access_key_id}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    url = f"{settings.endpoint_url}/{settings.bucket}?policy="
    return httpx.request(method, url, content=body, headers={**headers, "Authorization": said}, trust_env=False)

"""Signed URLs for the S3 store (AWS Signature Version 4, in the query): whoever holds one may make this one request.

obstore signs requests for whole objects only; the list of unfinished uploads and their end need a query of their own.
Source: "Authenticating Requests: Using Query Parameters", Amazon S3 API Reference.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote, urlsplit

from drystone.core.settings import S3Settings


def presign(
    settings: S3Settings,
    method: str,
    key: str,
    *,
    now: datetime,
    expires_s: int,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> str:
    """A URL for one request on `key` of the bucket ("" for the bucket itself), good for expires_s from now.

    headers: lower-case names; those that the request must carry with these very values.
    """
    endpoint = urlsplit(settings.endpoint_url)
    path = quote(f"{endpoint.path}/{settings.bucket}" + (f"/{key}" if key else ""))
    signed = {"host": endpoint.netloc, **(headers or {})}
    scope = f"{now:%Y%m%d}/{settings.region}/s3/aws4_request"
    asked = {
        **(query or {}),
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{settings.access_key_id}/{scope}",
        "X-Amz-Date": f"{now:%Y%m%dT%H%M%SZ}",
        "X-Amz-Expires": str(expires_s),
        "X-Amz-SignedHeaders": ";".join(sorted(signed)),
    }
    asked_text = "&".join(f"{quote(name, safe='')}={quote(asked[name], safe='')}" for name in sorted(asked))
    header_lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    request = "\n".join((method, path, asked_text, header_lines, asked["X-Amz-SignedHeaders"], "UNSIGNED-PAYLOAD"))
    request_hash = hashlib.sha256(request.encode()).hexdigest()
    to_sign = "\n".join(("AWS4-HMAC-SHA256", asked["X-Amz-Date"], scope, request_hash))
    signature = _hmac(_signing_key(settings, scope), to_sign).hex()
    return f"{endpoint.scheme}://{endpoint.netloc}{path}?{asked_text}&X-Amz-Signature={signature}"


def _signing_key(settings: S3Settings, scope: str) -> bytes:
    key = b"AWS4" + settings.secret_access_key.get_secret_value().encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, said: str) -> bytes:
    return hmac.new(key, said.encode(), hashlib.sha256).digest()

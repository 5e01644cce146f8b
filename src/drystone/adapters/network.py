"""What all clients of the network here agree on."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx


def is_loopback(host: str) -> bool:
    """Whether the host is this machine itself. Such a server is never behind the proxy of HTTP_PROXY."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class TooLarge(Exception):
    """An answer goes on beyond what any good one could have."""


async def post(client: httpx.AsyncClient, url: str, body: Any, *, most: int) -> httpx.Response:
    """The answer to a POST of JSON, read whole. Raises TooLarge where it has more than `most` bytes, packed or unpacked."""
    async with client.stream("POST", url, json=body, headers={"Accept-Encoding": "identity"}) as response:
        parts, size = [], 0
        async for part in response.aiter_bytes():
            size += len(part)
            if max(size, response.num_bytes_downloaded) > most:
                raise TooLarge(f"more than {most} bytes")
            parts.append(part)
    headers = {name: value for name, value in response.headers.items() if name != "content-encoding"}
    return httpx.Response(response.status_code, headers=headers, content=b"".join(parts), request=response.request)


def retry_after_s(header: str) -> float | None:
    """Seconds to wait that a Retry-After header names, 0 to 3600; None where it names none.

    Source: RFC 9110, section 10.2.3: a number of seconds, or a date.
    """
    try:
        seconds = float(header)
    except ValueError:
        try:
            at = parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, seconds), 3600.0) if seconds == seconds else None  # NaN parses as a float

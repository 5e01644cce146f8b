"""What all clients of the network here agree on."""

from __future__ import annotations

import base64
import ipaddress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

import httpx

from drystone.core.text import clean

# Characters of what a server said that an error tells.
_MOST_TOLD = 200
# A shorter value of a URL's query is a number or a switch, and stands in sentences for itself.
_LEAST_OF_QUERY = 8


def is_loopback(host: str) -> bool:
    """Whether the host is this machine itself. Such a server is never behind the proxy of HTTP_PROXY."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def without_secrets(url: str) -> str:
    """A URL as errors may tell it: no user, no password, no query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class Secrets:
    """What a server is sent that nobody else may see: the key, and user, password and query of the URL."""

    def __init__(self, url: str, api_key: str) -> None:
        found = {api_key, quote(api_key, safe=""), *_of_user(url), *_of_query(url)} - {""}
        self._forms = sorted(found, key=len, reverse=True)  # the whole before its parts

    def shortened(self, said: str) -> str:
        """What the server said, as an error may tell it: a line without any of that, which some servers repeat."""
        text = clean(said)
        for form in self._forms:
            text = text.replace(form, "***")
        return " ".join(text.split())[:_MOST_TOLD].rstrip(".")


def _of_user(url: str) -> set[str]:
    """User and password as they are written, as they are meant, and as Basic authentication sends them."""
    written = urlsplit(url).netloc.rpartition("@")[0]
    if not written:
        return set()
    user, _, password = (unquote(part) for part in written.partition(":"))
    meant = f"{user}:{password}"
    sent = base64.b64encode(meant.encode()).decode()
    found = {written, *written.split(":", 1), meant, user, password, sent, sent.rstrip("=")}
    return found | {quote(part, safe="") for part in (user, password)}


def _of_query(url: str) -> set[str]:
    query = urlsplit(url).query
    values = {value for _, value in parse_qsl(query) if len(value) >= _LEAST_OF_QUERY}
    return {query} | values | {quote(value, safe="") for value in values}


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

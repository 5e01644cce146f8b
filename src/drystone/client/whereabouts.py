"""Which stack is meant, and with which key: as given, else as the environment says."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Address and key of an API."""

    url: str
    api_key: str = field(repr=False)

    @classmethod
    def of(cls, url: str | None, api_key: str | None) -> Whereabouts:
        """White space around them, as files have it, is left out. Raises ValueError where one is missing, or is none."""
        address = (url if url is not None else os.environ.get("DRYSTONE_URL", "")).strip()
        key = (api_key if api_key is not None else os.environ.get("DRYSTONE_API_KEY", "")).strip()
        found = _checked(address).rstrip("/").removesuffix("/api/v1")
        if not key:
            raise ValueError("With which key? Give api_key, or set DRYSTONE_API_KEY; an empty one is none.")
        if not is_sendable(key) or " " in key:
            raise ValueError("This is no key: it has a space, a control character or a letter beyond ASCII within.")
        return cls(found, key)


def is_sendable(value: str) -> bool:
    """Whether it may be the value of a header (RFC 9110, 5.5): ASCII without control characters, and no space at its ends."""
    return value.isascii() and value.isprintable() and value == value.strip()


def _checked(address: str) -> str:
    if not address:
        raise ValueError("Which stack? Give url, or set DRYSTONE_URL, such as http://127.0.0.1:8000.")
    if "@" in address:  # not told: what stands before it is a password
        raise ValueError("An address has no user and no password in it: who asks is said by the key alone.")
    try:
        parts = urlsplit(address)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no number is its port, or a bracket stands alone
        is_one = False
    if not is_one:
        raise ValueError(
            f"{address!r} is no address of a stack, such as http://127.0.0.1:8000 or https://drystone.example."
        )
    return address

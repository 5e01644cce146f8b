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
        """Raises ValueError where one is missing, or is none."""
        found = (url if url is not None else os.environ.get("DRYSTONE_URL", "")).rstrip("/").removesuffix("/api/v1")
        key = api_key if api_key is not None else os.environ.get("DRYSTONE_API_KEY", "")
        if not found:
            raise ValueError("Which stack? Give url, or set DRYSTONE_URL, such as http://127.0.0.1:8000.")
        if urlsplit(found).scheme not in ("http", "https") or not urlsplit(found).hostname:
            raise ValueError(f"{found!r} is no address of a stack: it begins with http:// or https://.")
        if not key:
            raise ValueError("With which key? Give api_key, or set DRYSTONE_API_KEY; an empty one is none.")
        return cls(found, key)

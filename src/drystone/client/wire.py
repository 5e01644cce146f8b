"""Requests as httpx sends them: the same for both clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from drystone import __version__
from drystone.client.steps import Request
from drystone.client.whereabouts import is_sendable

if TYPE_CHECKING:
    import httpx

    from drystone.client.whereabouts import Whereabouts

_CONNECT_S, _UPLOAD_S = 5.0, 300.0


def options(where: Whereabouts, timeout_s: float) -> dict[str, Any]:
    """What a client of httpx is made with."""
    import httpx

    return {
        "base_url": f"{where.url}/api/v1",
        "timeout": httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
        # A proxy set for the internet has no way to this machine's own ports.
        "trust_env": not _is_here(where.url),
    }


def headers(where: Whereabouts) -> dict[str, str]:
    """What each request says."""
    return {"Authorization": f"Bearer {where.api_key}", "User-Agent": f"drystone-python/{__version__}"}


@contextmanager
def build(http: httpx.Client | httpx.AsyncClient, request: Request) -> Iterator[httpx.Request]:
    """The request, to be sent within the block: its file is open so long."""
    shared: dict[str, Any] = {
        "params": [(name, _text(each)) for name, value in request.params.items() for each in _each(value)],
        "headers": {name: _header(name, value) for name, value in request.headers.items()},
    }
    if request.timeout_s is not None or request.file is not None:
        import httpx

        shared["timeout"] = httpx.Timeout(
            request.timeout_s or max(_UPLOAD_S, http.timeout.read or 0.0), connect=http.timeout.connect
        )
    if request.file is not None:
        with request.file.opened() as body:
            # The type is left to the API, which looks at name and bytes: what this machine calls them differs from the next.
            files = {"file": (request.file.name, body, "application/octet-stream")}
            yield http.build_request(request.method, request.path, files=files, data=dict(request.fields), **shared)
    elif request.content is not None:
        yield http.build_request(request.method, request.path, content=request.content, **shared)
    else:
        yield http.build_request(request.method, request.path, json=request.json, **shared)


def _header(name: str, value: str) -> str:
    """The value. Raises ValueError, without it, where no header may say it."""
    if not is_sendable(value):
        raise ValueError(
            f"{name} cannot be sent: it has a control character, a space at an end or a letter beyond ASCII."
        )
    return value


def _each(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

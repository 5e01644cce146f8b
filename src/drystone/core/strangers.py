"""What the S3 store lets somebody do who has no key: it must be nothing. Asked when processes start, and by doctor."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from drystone.core.settings import S3Settings

_TIMEOUT_S = 2.0
_DENIED = (401, 403)


def allowed(settings: S3Settings, key: str) -> str | None:
    """What was answered to a request without a signature by anything but a denial; None: nothing was.

    key: of an object that is there: a store that shows objects but no lists says of others that they are denied.
    Raises OSError when the store does not answer.
    """
    asked = (("list its objects", "?list-type=2&max-keys=1"), ("read its objects", f"/{key}"))
    for what, path in asked:
        status = _status(settings, f"/{settings.bucket}{path}")
        if status >= 500:
            raise OSError(f"an unsigned request was answered with {status}")
        if status not in _DENIED:
            return f"{what} (HTTP {status})"
    return None


def _status(settings: S3Settings, path: str) -> int:
    parts = urlsplit(settings.endpoint_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except http.client.HTTPException as exc:
        raise OSError(f"no answer: {exc}") from exc
    finally:
        connection.close()

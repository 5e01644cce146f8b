"""Is a server ready? Each is asked in its own protocol for what we need of it, and must refuse who has no password."""

from __future__ import annotations

import asyncio
import http.client
import json
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from drystone.core import strangers
from drystone.core.errors import Unavailable
from drystone.core.settings import RedisSettings, S3Settings

TIMEOUT_S = 5.0


class NotYet(Exception):
    """The server does not answer as it should; asking again may help."""


class WrongPassword(Exception):
    """The server runs, but has another password than the settings say."""


@asynccontextmanager
async def postgres_session(**arguments: Any) -> AsyncIterator[Any]:
    """A connection. Raises NotYet while the server starts or recovers, WrongPassword when it refuses."""
    import asyncpg  # 0.3 s to import: the servers start meanwhile

    try:
        connection = await asyncpg.connect(timeout=TIMEOUT_S, command_timeout=60, **arguments)
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError) as exc:
        raise NotYet(f"no connection: {exc}") from exc
    except asyncpg.InvalidPasswordError as exc:
        raise WrongPassword(str(exc)) from exc
    except (asyncpg.ConnectionDoesNotExistError, asyncpg.InterfaceError) as exc:
        raise NotYet(f"the connection broke: {exc}") from exc
    try:
        yield connection
    finally:
        await connection.close(timeout=TIMEOUT_S)


async def postgres(url: str) -> None:
    """One statement that computes with a vector."""
    async with postgres_session(dsn=url) as connection:
        distance = await connection.fetchval("SELECT '[1,2,2]'::vector <-> '[1,2,5]'::vector")
    if distance != 3.0:
        raise Unavailable("stack.vector_wrong", f"pgvector computed a distance of {distance} instead of 3.")


def redis(settings: RedisSettings) -> None:
    """PING with the password; without it must be refused."""
    parts = settings.parts
    if settings.url.get_secret_value().startswith("rediss:"):
        return _redis_tls(settings)
    if not _redis_says(parts.host, parts.port, "PING").startswith("-NOAUTH"):
        raise Unavailable("stack.redis_open", "Redis answers without a password.", hint="set `requirepass`")
    user = [parts.user] if parts.user else []
    answer = _redis_says(parts.host, parts.port, " ".join(["AUTH", *user, parts.password]), "PING")
    if answer.startswith("-WRONGPASS"):
        raise WrongPassword(answer)
    if answer != "+PONG":
        raise NotYet(f"PING was answered with {answer[:80]!r}")
    return None


def _redis_says(host: str, port: int, *commands: str) -> str:
    """The answer to the last of some inline commands, or the first error."""
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S) as connection:
            stream = connection.makefile("rwb")
            for command in commands:
                stream.write(command.encode() + b"\r\n")
                stream.flush()
                answer = stream.readline().decode("utf-8", "replace").strip()
                if answer.startswith("-"):
                    break
    except OSError as exc:
        raise NotYet(f"no connection: {exc}") from exc
    return answer


def _redis_tls(settings: RedisSettings) -> None:
    import redis as client

    with client.Redis.from_url(settings.url.get_secret_value(), socket_timeout=TIMEOUT_S) as connection:
        try:
            connection.ping()
        except client.AuthenticationError as exc:
            raise WrongPassword(str(exc)) from exc
        except client.RedisError as exc:
            raise NotYet(str(exc)) from exc


def objects_refuse_strangers(settings: S3Settings) -> None:
    """A request without a signature must be refused, to read and to write."""
    for method, path in (("GET", "/"), ("PUT", f"/{settings.bucket}/stranger")):
        status = _http(method, settings.endpoint_url + path)
        if status >= 500:
            raise NotYet(f"an unsigned request was answered with {status}")
        if status not in (401, 403):
            raise Unavailable(
                "stack.objects_open",
                f"The S3 store at {settings.endpoint_url} answers requests without a signature (HTTP {status}).",
                hint="start it with credentials: whoever reaches the port can read and change everything",
            )


def objects_make_bucket(settings: S3Settings) -> None:
    """Create the bucket unless it is there."""
    status = _http("PUT", _bucket_url(settings, "PUT"))
    if status == 403:
        raise WrongPassword(f"the store refuses the keys of {settings.access_key_id}")
    if status not in (200, 409):  # 409: it exists
        raise NotYet(f"creating bucket {settings.bucket} was answered with {status}")


def objects(settings: S3Settings) -> str | None:
    """Write, read and delete a small object with signed requests. What of it a request without a signature may; None: nothing."""
    import obstore
    from obstore.exceptions import BaseError

    store = _store(settings, settings.bucket, virtual_hosted=False)
    key, content = f"drystone-probe/{secrets.token_hex(8)}", secrets.token_bytes(64)
    try:
        obstore.put(store, key, content)
        same = bytes(obstore.get(store, key).bytes()) == content
        found = strangers.allowed(settings, key)
        obstore.delete(store, key)
    except (BaseError, OSError) as exc:
        raise NotYet(f"an S3 put failed: {' '.join(str(exc).split())[:200]}") from exc
    if not same:
        raise Unavailable("stack.objects_wrong", "The S3 store gave back other bytes than it was given.")
    return found


def _bucket_url(settings: S3Settings, method: Literal["PUT"]) -> str:
    """A signed URL for the bucket itself. obstore signs objects only; to a store whose bucket is in the host name, the
    "object" at the endpoint's root is our bucket."""
    import obstore

    return obstore.sign(_store(settings, "any", virtual_hosted=True), method, settings.bucket, timedelta(seconds=60))


def _store(settings: S3Settings, bucket: str, *, virtual_hosted: bool) -> Any:
    from obstore.store import S3Store

    return S3Store(
        bucket,
        endpoint=settings.endpoint_url,
        access_key_id=settings.access_key_id,
        secret_access_key=settings.secret_access_key.get_secret_value(),
        region=settings.region,
        virtual_hosted_style_request=virtual_hosted,
        client_options={"allow_http": True, "timeout": timedelta(seconds=TIMEOUT_S)},
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=TIMEOUT_S)},
    )


def http_status(url: str, *, timeout_s: float = 2.0) -> int | None:
    """The status of a GET; None when nobody answers."""
    try:
        return _http("GET", url, timeout_s=timeout_s)
    except NotYet:
        return None


def health(url: str, *, timeout_s: float) -> tuple[int | None, str]:
    """The status of /health/ready, None when nobody answers; and what it says is not well, empty where it names nothing."""
    try:
        response, body = _http_response("GET", url, timeout_s=timeout_s)
    except NotYet:
        return None, ""
    try:
        return response.status, " ".join(check["detail"] for check in json.loads(body)["checks"] if not check["ok"])
    except (ValueError, LookupError, TypeError):  # another program answers there, or web in another way
        return response.status, ""


def http_date(url: str, *, timeout_s: float) -> float | None:
    """The Unix time in a server's Date header, cut to whole seconds; None when it sends none. Raises NotYet."""
    sent = _http_response("GET", url, timeout_s=timeout_s)[0].getheader("Date")
    try:
        return parsedate_to_datetime(sent).timestamp() if sent else None
    except ValueError:
        return None


def _http(method: str, url: str, *, timeout_s: float = TIMEOUT_S) -> int:
    return _http_response(method, url, timeout_s=timeout_s)[0].status


def _http_response(method: str, url: str, *, timeout_s: float) -> tuple[http.client.HTTPResponse, bytes]:
    # http.client: importing httpx costs more than the servers take to start.
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request(method, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body=b"")
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as exc:
        raise NotYet(f"no answer: {exc}") from exc
    finally:
        connection.close()
    return response, body


def run(probe: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run an asynchronous probe to its end, in a thread of its own: the caller may have an event loop running."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(lambda: asyncio.run(probe())).result()

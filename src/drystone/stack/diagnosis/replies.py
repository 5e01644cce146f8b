"""What running servers reply to doctor, each within two seconds: that they answer, what time they have, what they lack."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from drystone.core.errors import Unavailable
from drystone.core.settings import Settings
from drystone.stack import probes

TIMEOUT_S = 2.0
# An S3 store's Date header has whole seconds.
MAX_SKEW_S = 5.0


@dataclass(frozen=True)
class Reply:
    """What one server said. silent, refuses: why, if it does. skew_s: its clock minus ours, beyond what asking took.
    open_to: what the S3 store lets somebody without a key do.
    """

    name: str
    silent: str = ""
    refuses: str = ""
    skew_s: float = 0.0
    has_vector: bool = True
    open_to: str = ""


def ask(names: Iterable[str], settings: Settings) -> dict[str, Reply]:
    """Ask these servers, all at once; the replies by name."""

    async def ask_all() -> list[Reply]:
        return await asyncio.gather(*(_ask(name, settings) for name in names))

    return {reply.name: reply for reply in asyncio.run(ask_all())}


def skew_s(theirs: float, *, sent: float, received: float) -> float:
    """By how much a clock that said `theirs` between `sent` and `received` of ours must be ahead (or, below 0, behind)."""
    return theirs - received if theirs > received else min(0.0, theirs - sent)


async def _ask(name: str, settings: Settings) -> Reply:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _ASKING[name](settings)
    except TimeoutError:
        return Reply(name, silent=f"no answer within {TIMEOUT_S:g} s")
    except probes.NotYet as exc:
        return Reply(name, silent=str(exc))
    except probes.WrongPassword as exc:
        return Reply(name, refuses=str(exc))


async def _postgres(settings: Settings) -> Reply:
    import asyncpg

    try:
        async with probes.postgres_session(dsn=settings.database.url.get_secret_value()) as connection:
            sent = time.time()
            now = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
            received = time.time()
            has_vector = await connection.fetchval("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector')")
    except asyncpg.PostgresError as exc:  # no such database, no way in from this address, ...
        return Reply("postgres", refuses=str(exc))
    return Reply("postgres", skew_s=skew_s(now, sent=sent, received=received), has_vector=has_vector)


async def _redis(settings: Settings) -> Reply:
    from redis import exceptions
    from redis.asyncio import Redis

    try:
        async with Redis.from_url(settings.redis.url.get_secret_value()) as client:
            sent = time.time()
            seconds, microseconds = await client.time()
            received = time.time()
    except exceptions.AuthenticationError as exc:
        raise probes.WrongPassword(str(exc)) from exc
    except (exceptions.RedisError, OSError) as exc:
        raise probes.NotYet(str(exc)) from exc
    return Reply("redis", skew_s=skew_s(seconds + microseconds / 1e6, sent=sent, received=received))


async def _objects(settings: Settings) -> Reply:
    sent = time.time()
    date = await asyncio.to_thread(probes.http_date, settings.s3.endpoint_url, timeout_s=TIMEOUT_S)
    received = time.time()
    open_to = await asyncio.to_thread(_open_to, settings)
    if date is None:
        return Reply("objects", open_to=open_to)
    # It is cut to whole seconds: any moment of that second may be meant.
    skew = skew_s(min(date + 1, max(date, received)), sent=sent, received=received)
    return Reply("objects", skew_s=skew, open_to=open_to)


def _open_to(settings: Settings) -> str:
    try:
        return probes.objects(settings.s3) or ""
    except (probes.NotYet, Unavailable):
        return ""  # that it takes nothing is told elsewhere


_ASKING: dict[str, Callable[[Settings], Awaitable[Reply]]] = {
    "postgres": _postgres,
    "redis": _redis,
    "objects": _objects,
}

"""Which worker processes are alive: each renews a key of its own in Redis, which ends by itself when it does not."""

from __future__ import annotations

import os
import socket

from redis.asyncio import Redis

from drystone.core.settings import RedisSettings

RENEW_S = 3.0
_LASTS_S = 15
_PREFIX = "drystone:worker:"


def process_name() -> str:
    """`host:pid` of this process, as jobs carry it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def pid_here(name: str) -> int | None:
    """The pid in `host:pid`; None when the host is another one."""
    host, _, pid = name.rpartition(":")
    return int(pid) if host == socket.gethostname() else None


def is_dead(name: str) -> bool:
    """Whether `host:pid` names a process of this host that no longer exists."""
    pid = pid_here(name)
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def connect(settings: RedisSettings, *, timeout_s: float) -> Redis:
    """A client that gives up after `timeout_s`."""
    return Redis.from_url(
        settings.url.get_secret_value(),
        socket_timeout=timeout_s,
        socket_connect_timeout=min(2.0, timeout_s),
        decode_responses=True,
    )


async def renew(redis: Redis, name: str) -> None:
    """Say that this process is alive, for the next 15 seconds."""
    await redis.set(_PREFIX + name, "1", ex=_LASTS_S)


async def present(redis: Redis) -> list[str]:
    """The names of the processes that said so lately."""
    return [key.removeprefix(_PREFIX) async for key in redis.scan_iter(f"{_PREFIX}*", count=1000)]


async def forget_the_dead(redis: Redis) -> None:
    """Remove what processes of this host left behind, so that nobody counts on them until their keys end."""
    if dead := [_PREFIX + name for name in await present(redis) if is_dead(name)]:
        await redis.delete(*dead)

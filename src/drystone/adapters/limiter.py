"""How often something may happen, counted in Redis for all processes together, and in this process while Redis is away.

The generic cell rate algorithm: one number is kept for each name, the time at which all that happened so far would have
happened at the even pace. Source: ITU-T I.371; https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from cachetools import TTLCache
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from drystone.core import measures
from drystone.core.logging import get_logger
from drystone.core.settings import RedisSettings

log = get_logger("adapters.limiter")

# A request waits for no more than this to be counted; then Redis is not asked again for a while.
_ANSWER_S = 0.5
_CONNECTIONS = 8
_PAUSE_S = 5.0
# Names that one process keeps while Redis is away.
_MOST_NAMES, _LONGEST_S = 50_000, 3600.0


@dataclass(frozen=True)
class Rate:
    """interval_s: seconds between two at the even pace. burst: how many may come at once after a pause."""

    interval_s: float
    burst: int


class Limiter:
    """Counts by name. One a process."""

    def __init__(self, settings: RedisSettings) -> None:
        self._redis = Redis.from_pool(
            BlockingConnectionPool.from_url(
                settings.url.get_secret_value(),
                max_connections=_CONNECTIONS,
                timeout=_ANSWER_S,
                socket_timeout=_ANSWER_S,
                socket_connect_timeout=_ANSWER_S,
                retry=Retry(NoBackoff(), 0),
            )
        )
        self._script = self._redis.register_script(_GCRA)
        self._own = Buckets()
        self._away_until = 0.0

    async def wait_s(self, name: str, rate: Rate, *, take: bool = True, alone: Rate | None = None) -> float:
        """Take one, unless that is too early: seconds until it is not; 0 where it was taken.

        take: False only asks. alone: the rate in this process while Redis is away; None: the same.
        """
        if time.monotonic() >= self._away_until:
            try:
                given = [rate.interval_s, rate.burst, int(take)]
                wait_s = float(await self._script(keys=[f"drystone:rate:{name}"], args=given))
                measures.of(measures.LIMIT_CHECKS, "redis").inc()
                return wait_s
            except (RedisError, OSError) as exc:
                if time.monotonic() >= self._away_until:  # the first to notice
                    log.warning("limits.without_redis", error=repr(exc), pause_s=_PAUSE_S)
                self._away_until = time.monotonic() + _PAUSE_S
        measures.of(measures.LIMIT_CHECKS, "process").inc()
        return self._own.wait_s(name, alone or rate, take=take)

    async def aclose(self) -> None:
        await self._redis.aclose()


class Buckets:
    """The same in the memory of one process."""

    def __init__(self) -> None:
        self._due: TTLCache[str, float] = TTLCache(_MOST_NAMES, ttl=_LONGEST_S, timer=time.monotonic)

    def wait_s(self, name: str, rate: Rate, *, take: bool = True) -> float:
        """As `Limiter.wait_s`."""
        now = time.monotonic()
        due = max(self._due.get(name, now), now) + rate.interval_s
        wait_s = due - now - rate.interval_s * rate.burst
        if wait_s > 1e-9:
            return wait_s
        if take:
            self._due[name] = due
        return 0.0


# KEYS: the name. ARGV: interval in seconds, burst, 1 to take. Gives seconds to wait as text: numbers would lose their fraction.
_GCRA = """
local now = redis.call('time')
now = now[1] + now[2] / 1000000
local interval = tonumber(ARGV[1])
local due = math.max(tonumber(redis.call('get', KEYS[1]) or now), now) + interval
local wait = due - now - interval * tonumber(ARGV[2])
if wait > 0.000001 then
    return string.format('%.6f', wait)
end
if ARGV[3] == '1' then
    redis.call('set', KEYS[1], string.format('%.6f', due), 'PX', math.ceil((due - now) * 1000))
end
return '0'
"""

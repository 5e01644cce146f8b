"""How often a key may ask, and how often an address may be wrong about one. Who is refused is told when to come back."""

from __future__ import annotations

import hashlib
import ipaddress
import math

from cachetools import TTLCache

from drystone.access.service import Principal
from drystone.adapters.limiter import Limiter, Rate
from drystone.core import measures
from drystone.core.errors import Denied
from drystone.core.logging import get_logger
from drystone.core.settings import ApiSettings

log = get_logger("access.rates")

# While Redis is away the processes do not know of each other: after one wrong key the next is heard a minute later.
_ALONE = Rate(interval_s=60.0, burst=1)
# What reads the whole catalogue, by whoever holds a link.
_SLOW = Rate(interval_s=2.0, burst=20)
# Whoever has shown a right secret is not held up by others behind the same address who guess, or have an old one.
_KNOWN, _KNOWN_S = 10_000, 600.0


class Gate:
    """Asked at each request, before and after its key is looked up. One a process."""

    def __init__(self, limiter: Limiter, settings: ApiSettings) -> None:
        self._limiter = limiter
        self._pace = Rate(1 / settings.rate_per_s, settings.rate_burst) if settings.rate_per_s else None
        many = settings.wrong_keys_per_minute
        self._of_key, self._of_address = Rate(60 / many, many), Rate(6 / many, 10 * many)
        self._known: TTLCache[bytes, None] = TTLCache(_KNOWN, ttl=_KNOWN_S)

    async def admit(self, address: str, token: str) -> None:
        """Raise Denied `access.guessing` where this address was wrong about this key too often: it is not even looked up.

        The key, and not all keys: one program with an old secret must not keep the others on its machine out.
        """
        if _pair(address, token) in self._known:
            return
        wait_s = await self._limiter.wait_s(_guesses(address, token), self._of_key, take=False, alone=_ALONE)
        if wait_s > 0:
            log.warning("access.guessing", address=_network(address), prefix=_prefix(token))
            measures.of(measures.LIMITED, "guessing_key").inc()
            raise Denied(
                "access.guessing",
                "This address sent too many wrong secrets of this key: none is heard now, right or wrong.",
                hint=f"try again in {_whole(wait_s)} s; mend the program that sends the wrong one",
                status=429,
                retry_after_s=_whole(wait_s),
            )

    async def note_wrong(self, address: str, token: str) -> None:
        """A key was refused. Raises Denied `access.guessing` where this address was wrong about ten times as many, of any name."""
        self._known.pop(_pair(address, token), None)
        await self._limiter.wait_s(_guesses(address, token), self._of_key, alone=_ALONE)
        wait_s = await self._limiter.wait_s(f"wrong:{_network(address)}", self._of_address)
        if wait_s > 0:
            measures.of(measures.LIMITED, "guessing").inc()
            raise Denied(
                "access.guessing",
                "This address sent too many keys that are not known here.",
                hint=f"try again in {_whole(wait_s)} s",
                status=429,
                retry_after_s=_whole(wait_s),
            )

    def note_right(self, address: str, token: str) -> None:
        """A key was accepted."""
        self._known[_pair(address, token)] = None

    async def keep_pace(self, principal: Principal) -> None:
        """Count a request of this key. Raises Denied `rate.exceeded`."""
        if self._pace is None:
            return
        wait_s = await self._limiter.wait_s(principal.actor, self._pace)
        if wait_s > 0:
            measures.of(measures.LIMITED, "pace").inc()
            raise Denied(
                "rate.exceeded",
                "This key asks more often than it may.",
                hint=f"try again in {_whole(wait_s)} s; API_RATE_PER_S and API_RATE_BURST say how often it may",
                status=429,
                retry_after_s=_whole(wait_s),
            )

    async def keep_slow_pace(self, principal: Principal) -> None:
        """Count what takes long, of those who were given no key. Raises Denied `rate.exceeded`."""
        wait_s = await self._limiter.wait_s(f"slow:{principal.actor}", _SLOW)
        if wait_s > 0:
            measures.of(measures.LIMITED, "pace").inc()
            raise Denied(
                "rate.exceeded",
                "This link asks for what takes long more often than it may.",
                hint=f"try again in {_whole(wait_s)} s",
                status=429,
                retry_after_s=_whole(wait_s),
            )

    async def aclose(self) -> None:
        await self._limiter.aclose()


def _whole(wait_s: float) -> int:
    return max(1, math.ceil(wait_s))


def _pair(address: str, token: str) -> bytes:
    return hashlib.sha256(f"{address}\n{token}".encode(errors="surrogateescape")).digest()


def _guesses(address: str, token: str) -> str:
    return f"wrong:{_network(address)}:{_prefix(token)}"


def _prefix(token: str) -> str:
    return token.partition(".")[0][:64]


def _network(address: str) -> str:
    """One name for all addresses that a single guesser has: of IPv6 the first 64 bits."""
    try:
        given = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(given, ipaddress.IPv6Address):
        return str(given.ipv4_mapped or ipaddress.ip_network((given, 64), strict=False))
    return str(given)

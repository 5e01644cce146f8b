"""How often a key may ask and an address be wrong: counted in Redis for all processes, and in each while Redis is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest
from tests.keys import bearer, make_key

from drystone.access.rates import Gate
from drystone.adapters.limiter import Buckets, Limiter, Rate
from drystone.core.db import Sessions
from drystone.core.errors import Denied
from drystone.core.settings import Settings
from drystone.web import create_app

PATH = "/api/v1/collections"


@pytest.fixture
async def limiter(settings: Settings) -> AsyncIterator[Limiter]:
    opened = Limiter(settings.redis)
    yield opened
    await opened.aclose()


@pytest.fixture
async def lonely(settings: Settings) -> AsyncIterator[Limiter]:
    """A limiter whose Redis is away."""
    away = settings.redis.model_copy(update={"url": type(settings.redis.url)("redis://:x@127.0.0.1:9/0")})
    opened = Limiter(away)
    yield opened
    await opened.aclose()


def _with(settings: Settings, **api: float) -> Settings:
    return settings.model_copy(update={"api": settings.api.model_copy(update=api)})


async def _client(settings: Settings, address: str = "192.0.2.7") -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://drystone") as client:
            yield client


@pytest.fixture
async def strict(settings: Settings, sessions: Sessions) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a web process that hears three wrong secrets of a key, and three requests a minute of each."""
    number = uuid4().int
    address = f"10.{number % 256}.{number // 256 % 256}.{number // 65536 % 256}"
    async for client in _client(_with(settings, wrong_keys_per_minute=3, rate_per_s=1 / 60, rate_burst=3), address):
        yield client


async def test_a_burst_passes_and_then_one_after_each_interval(limiter: Limiter) -> None:
    name, rate = uuid4().hex, Rate(interval_s=0.2, burst=3)

    waits = [await limiter.wait_s(name, rate) for _ in range(5)]
    await asyncio.sleep(waits[-1])
    after = [await limiter.wait_s(name, rate) for _ in range(2)]

    assert waits[:3] == [0, 0, 0]
    assert all(0 < wait_s <= 0.2 for wait_s in waits[3:])
    assert after[0] == 0
    assert after[1] > 0


async def test_asking_takes_nothing(limiter: Limiter) -> None:
    name, rate = uuid4().hex, Rate(interval_s=60, burst=1)

    asked = [await limiter.wait_s(name, rate, take=False) for _ in range(3)]
    taken = await limiter.wait_s(name, rate)

    assert [*asked, taken] == [0, 0, 0, 0]
    assert 59 < await limiter.wait_s(name, rate, take=False) <= 60


async def test_processes_count_together(limiter: Limiter, settings: Settings) -> None:
    other, name, rate = Limiter(settings.redis), uuid4().hex, Rate(interval_s=60, burst=50)

    waits = await asyncio.gather(*(each.wait_s(name, rate) for each in (limiter, other) * 40))
    await other.aclose()

    assert waits.count(0.0) == 50


async def test_nothing_is_kept_longer_than_it_counts(limiter: Limiter) -> None:
    name = uuid4().hex
    for _ in range(3):
        await limiter.wait_s(name, Rate(interval_s=2, burst=10))

    assert 5000 < await limiter._redis.pttl(f"drystone:rate:{name}") <= 6000


def test_one_process_counts_as_redis_does() -> None:
    buckets, rate = Buckets(), Rate(interval_s=60, burst=2)

    waits = [buckets.wait_s("a", rate, take=take) for take in (False, True, True, True, False)]

    assert waits[:3] == [0, 0, 0]
    assert all(59 < wait_s <= 60 for wait_s in waits[3:])
    assert buckets.wait_s("b", rate) == 0


async def test_while_redis_is_away_each_process_counts_for_itself_and_does_not_wait_for_it(lonely: Limiter) -> None:
    name, rate = uuid4().hex, Rate(interval_s=60, burst=2)

    async with asyncio.timeout(2):
        waits = [await lonely.wait_s(name, rate) for _ in range(3)]
        alone = [await lonely.wait_s(f"{name}-b", rate, alone=Rate(60, 1)) for _ in range(2)]

    assert [wait_s > 0 for wait_s in waits] == [False, False, True]
    assert [wait_s > 0 for wait_s in alone] == [False, True]


async def test_a_key_that_asks_too_often_is_told_when_to_come_back(strict: httpx.AsyncClient, owner: Sessions) -> None:
    key, other = await make_key(owner), await make_key(owner)

    answers = [await strict.get(PATH, headers=bearer(key)) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].json()["code"] == "rate.exceeded"
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert (await strict.get(PATH, headers=bearer(other))).status_code == 200


async def test_whoever_guesses_a_secret_is_not_heard_even_when_right(
    strict: httpx.AsyncClient, owner: Sessions
) -> None:
    key, known = await make_key(owner), await make_key(owner)
    prefix = key.partition(".")[0]
    assert (await strict.get(PATH, headers=bearer(known))).status_code == 200

    wrong = [await strict.get(PATH, headers=bearer(f"{prefix}.{'x' * 43}")) for _ in range(4)]
    right = await strict.get(PATH, headers=bearer(key))

    assert [answer.status_code for answer in wrong] == [401, 401, 401, 429]
    assert (right.status_code, right.json()["code"]) == (429, "access.guessing")
    # Others behind the address are not held up: those known, and those with another key.
    assert (await strict.get(PATH, headers=bearer(known))).status_code == 200
    assert (await strict.get(PATH, headers=bearer(await make_key(owner)))).status_code == 200


async def test_a_secret_that_was_right_lately_goes_on_while_others_guess_it(
    strict: httpx.AsyncClient, owner: Sessions
) -> None:
    key = await make_key(owner)
    assert (await strict.get(PATH, headers=bearer(key))).status_code == 200
    for _ in range(4):
        await strict.get(PATH, headers=bearer(f"{key.partition('.')[0]}.{'x' * 43}"))

    assert (await strict.get(PATH, headers=bearer(key))).status_code == 200


async def test_whoever_tries_many_names_is_told_nothing_more_about_them(
    strict: httpx.AsyncClient, owner: Sessions
) -> None:
    answers = [await strict.get(PATH, headers=bearer(f"dsk_{number}.{'x' * 43}")) for number in range(31)]

    assert [answer.status_code for answer in answers] == [401] * 30 + [429]
    assert (await strict.get(PATH, headers=bearer(await make_key(owner)))).status_code == 200


async def test_while_redis_is_away_one_wrong_secret_closes_the_door(lonely: Limiter, settings: Settings) -> None:
    gate, address, key = Gate(lonely, settings.api), "192.0.2.1", "dsk_a.secret"
    await gate.admit(address, key)
    gate.note_right(address, key)
    await gate.admit(address, "dsk_a.wrong")
    await gate.note_wrong(address, "dsk_a.wrong")

    with pytest.raises(Denied, match="too many wrong secrets of this key"):
        await gate.admit(address, "dsk_a.another")

    await gate.admit(address, key)
    await gate.admit("192.0.2.2", "dsk_a.another")


@pytest.mark.parametrize(
    ("address", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.2"),
        ("unix", "unix", ""),
    ],
)
async def test_a_guesser_is_known_by_the_network_that_is_his(
    lonely: Limiter, settings: Settings, address: str, same: str, other: str
) -> None:
    gate = Gate(lonely, settings.api)
    await gate.note_wrong(address, "dsk_a.wrong")

    await gate.admit(other, "dsk_a.wrong")
    with pytest.raises(Denied):
        await gate.admit(same, "dsk_a.wrong")

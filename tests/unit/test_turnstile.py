"""How many are let in at once, and what is said to those who would wait for long."""

from __future__ import annotations

import asyncio

import pytest

from drystone.core.errors import Unavailable
from drystone.core.turnstile import Turnstile, Turnstiles


async def test_no_more_than_the_number_are_inside_and_all_get_in_that_have_the_patience() -> None:
    turnstile, inside, most = Turnstile(2, wait_s=30, what="things"), 0, 0

    async def enter() -> None:
        nonlocal inside, most
        async with turnstile.turn():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(enter() for _ in range(20)))

    assert (inside, most) == (0, 2)


async def test_who_waits_too_long_is_refused_and_keeps_no_place() -> None:
    turnstile = Turnstile(1, wait_s=0.01, what="searches")

    async with turnstile.turn():
        with pytest.raises(Unavailable) as caught:
            async with turnstile.turn():
                pytest.fail("there was no place")
    async with turnstile.turn():
        pass

    assert caught.value.code == "server.busy"
    assert caught.value.values["retry_after_s"] == 1
    assert "searches have waited" in caught.value.message


async def test_what_fails_inside_gives_its_place_back() -> None:
    turnstile = Turnstile(1, wait_s=0.01, what="searches")

    with pytest.raises(ZeroDivisionError):
        async with turnstile.turn():
            _ = 1 / 0

    async with turnstile.turn():
        pass


async def test_each_has_a_turnstile_of_its_own_and_so_many_wait_at_it() -> None:
    turnstiles = Turnstiles(1, wait_s=30, most_waiting=1, what="things")
    entered, leave = asyncio.Event(), asyncio.Event()

    async def stay() -> None:
        async with turnstiles.turn("a"):
            entered.set()
            await leave.wait()

    first, second = asyncio.create_task(stay()), asyncio.create_task(stay())
    await entered.wait()
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="waiting for the same"):
        async with turnstiles.turn("a"):
            pytest.fail("there was no place")
    async with turnstiles.turn("b"):
        leave.set()
    await asyncio.gather(first, second)
    async with turnstiles.turn("a"):
        pass

    assert turnstiles._there == {}

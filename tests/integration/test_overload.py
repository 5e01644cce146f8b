"""More requests than a process works on at once: refused at once, and those that only wait are not among them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlalchemy import text
from tests.numbers import Numbers

from drystone.core.db import Sessions, transaction
from drystone.core.settings import Settings
from drystone.web import create_app

A = "/api/v1"
AT_ONCE = 2


@pytest.fixture
async def narrow(settings: Settings, sessions: Sessions) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that works on two requests at once."""
    app = create_app(settings.model_copy(update={"api": settings.api.model_copy(update={"at_once": AT_ONCE})}))
    headers = {"Authorization": f"Bearer {settings.api.key.get_secret_value()}"}
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://drystone", headers=headers) as client:
            yield client


@asynccontextmanager
async def held(owner: Sessions) -> AsyncIterator[None]:
    """Whoever reads collections waits as long as this block lasts."""
    async with transaction(owner) as session:
        await session.execute(text("lock table collections in access exclusive mode"))
        yield


async def waiting(owner: Sessions, count: int) -> None:
    """Until so many wait for a lock."""
    asked = text("select count(*) from pg_locks where not granted")
    while True:
        async with transaction(owner) as session:
            if int(await session.scalar(asked) or 0) >= count:
                return


async def test_one_more_than_can_be_worked_on_is_refused_at_once(narrow: httpx.AsyncClient, owner: Sessions) -> None:
    async with held(owner):
        working = [asyncio.create_task(narrow.get(f"{A}/collections")) for _ in range(AT_ONCE)]
        await waiting(owner, AT_ONCE)
        refused = await narrow.get(f"{A}/documents")
        lives = await narrow.get("/health/live")
    answered = await asyncio.gather(*working)
    afterwards = await narrow.get(f"{A}/documents")
    told = await narrow.get("/metrics")

    assert (refused.status_code, refused.json()["code"]) == (503, "server.busy")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["x-request-id"]
    assert Numbers.of(told.text).sum("drystone_limited_total", limit="requests") >= 1
    assert [lives.status_code, afterwards.status_code, *(each.status_code for each in answered)] == [200] * 4


async def test_bodies_that_are_on_their_way_do_not_keep_others_out(narrow: httpx.AsyncClient) -> None:
    begun, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b'{"query": '
        begun.release()
        await go_on.wait()
        yield b'"wall"}'

    sending = []
    for _ in range(3 * AT_ONCE):  # one after the other: each key is looked up before its body is waited for
        sending.append(
            asyncio.create_task(
                narrow.post(f"{A}/search", content=slow(), headers={"Content-Type": "application/json"})
            )
        )
        await begun.acquire()
    meanwhile = await narrow.get(f"{A}/documents")
    go_on.set()
    await asyncio.gather(*sending)

    assert meanwhile.status_code == 200


async def test_who_waits_for_a_document_does_not_keep_others_out(narrow: httpx.AsyncClient, collection: str) -> None:
    """Nobody works on the jobs here, so these wait as long as they asked to."""

    async def send(number: int) -> httpx.Response:
        return await narrow.post(
            f"{A}/documents",
            files={"file": ("a.txt", f"Number {number}.".encode())},
            data={"collection": collection},
            headers={"Prefer": "wait=3"},
        )

    first = await asyncio.gather(*(send(number) for number in range(AT_ONCE)))
    waiting_ones = [asyncio.create_task(send(number)) for number in range(AT_ONCE)]
    while (await narrow.get(f"{A}/documents?collection={collection}")).status_code != 200:
        await asyncio.sleep(0)
    meanwhile = [await narrow.get(f"{A}/documents") for _ in range(5)]
    seen_waiting = not all(each.done() for each in waiting_ones)
    answers = await asyncio.gather(*waiting_ones)

    assert {each.status_code for each in [*first, *answers]} <= {200, 202, 503}
    assert [each.status_code for each in meanwhile] == [200] * 5
    assert seen_waiting

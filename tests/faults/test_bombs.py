"""Every bomb ends ready or explained; the parser and the worker live on, and other documents are ready meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from drystone.adapters.parsing import Parser
from drystone.core.settings import ParsingSettings
from tests.faults.bombs import BOMBS, Bomb, detonate, long_row

Work = Callable[[], Awaitable[None]]

_LIGHT = [bomb for bomb in BOMBS if not bomb.is_heavy]
_LATEST_S = 90


@pytest.fixture(scope="module")
async def parser() -> AsyncIterator[Parser]:
    parser = Parser(ParsingSettings())
    yield parser
    await parser.aclose()


@pytest.mark.parametrize("bomb", _LIGHT, ids=lambda bomb: bomb.name)
async def test_a_bomb_ends_ready_or_explained_and_the_parser_reads_on(parser: Parser, bomb: Bomb) -> None:
    outcome = await detonate(bomb, parser)

    assert outcome.code in bomb.codes
    assert outcome.took_s < _LATEST_S
    assert (await parser.parse(b"still here", "text/plain")).text == "still here"


async def test_nothing_invisible_gets_through(parser: Parser) -> None:
    hidden = next(bomb for bomb in BOMBS if bomb.file == "hidden.txt")

    text = (await parser.parse(hidden.build(), "text/plain")).text

    assert text.startswith("dry stone wall ")
    assert "dry stone  wall\n" in text
    assert all(char == "\n" or char.isprintable() for char in set(text))


async def _send(client: httpx.AsyncClient, collection: str, name: str, body: bytes, declared: str) -> httpx.Response:
    sent = await client.post(
        "/api/v1/documents", files={"file": (name, body, declared)}, data={"collection": collection}
    )
    assert sent.status_code < 500
    return sent


async def test_a_worker_takes_all_bombs_and_the_others_between_them(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    for number, bomb in enumerate(_LIGHT):
        sent = await _send(client, collection, bomb.file, bomb.build(), bomb.declared or "application/octet-stream")
        if sent.status_code != 202:
            assert sent.json()["code"] in bomb.codes, bomb.name
        await _send(client, collection, f"good {number}.txt", b"A good wall, number %d." % number, "text/plain")
    await work()
    await _send(client, collection, "last.txt", b"The last wall.", "text/plain")
    await work()

    documents = await _all(client, collection)
    states = {document["name"]: document["state"] for document in documents if document["archive"] is None}
    assert set(states.values()) == {"ready", "failed"}
    assert [name for name, state in states.items() if "good" in name and state != "ready"] == []
    assert states["last.txt"] == "ready"
    codes = {bomb.file: bomb.codes for bomb in _LIGHT}
    for document in documents:
        if document["archive"] is None and document["name"] in codes:
            code = document["error"]["code"] if document["error"] else "ready"
            assert code in codes[document["name"]], document["name"]
        assert document["error"] is None or document["error"]["hint"]


async def _all(client: httpx.AsyncClient, collection: str) -> list[dict[str, Any]]:
    page = await client.get("/api/v1/documents", params={"collection": collection, "limit": 1000})
    items: list[dict[str, Any]] = page.json()["items"]
    return items


async def test_a_long_document_does_not_hold_up_a_short_one(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    long = (await _send(client, collection, "row.csv", long_row(9_000), "text/csv")).json()["document"]["id"]
    short = (await _send(client, collection, "short.txt", b"A short wall.", "text/plain")).json()["document"]["id"]
    await work()

    at = {d["id"]: d["updated_at"] for d in await _all(client, collection) if d["state"] == "ready"}
    assert at[short] < at[long]

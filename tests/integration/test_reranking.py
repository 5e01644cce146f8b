"""A search that asks a reranker: a real one over HTTP, that answers as each test says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from tests.conftest import ROOT
from tests.endpoint import Answer, Endpoint, Request, Script

from drystone.core import settings as core_settings
from drystone.core.db import Sessions, transaction
from drystone.web import create_app

Work = Callable[[], Awaitable[None]]

# Of these "heron" finds all; how often it stands there and how long they are put them in this order.
BODIES = {
    "a": "heron heron heron",
    "b": "heron heron stone wall",
    "c": "heron stone wall gate arch",
    "d": "heron stone wall gate arch vault roof slate",
}
DEPTH = 3


def by_preference(*words: str) -> Callable[[Request], Answer]:
    """A reranker that loves texts which hold the first word most, then those with the second."""

    def answer(request: Request) -> Answer:
        found = [
            {
                "index": n,
                "relevance_score": max((10.0 - place for place, w in enumerate(words) if w in each), default=0),
            }
            for n, each in enumerate(request.body["documents"])
        ]
        return Answer(json.dumps({"results": found}).encode())

    return answer


def status(code: int, **headers: str) -> Script:
    return lambda request: Answer(b"{}", code, headers)


@pytest.fixture(scope="module")
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(by_preference())
    async with endpoint.running():
        yield endpoint


@pytest.fixture(scope="module")
async def reranking_app(endpoint: Endpoint, environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    configured = environment | {
        "RERANK_URL": endpoint.url,
        "RERANK_MODEL": "some-model",
        "RERANK_DEPTH": str(DEPTH),
        "RERANK_TIMEOUT_S": "1",
    }
    settings = core_settings.absolute(core_settings.parse(configured), ROOT)
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        headers = {"Authorization": f"Bearer {settings.api.key.get_secret_value()}"}
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://drystone", headers=headers) as client:
            yield client


@pytest.fixture
async def reranking(
    reranking_app: httpx.AsyncClient, endpoint: Endpoint, sessions: Sessions, work: Work, collection: str
) -> httpx.AsyncClient:
    """A client of a stack with a reranker and four documents; what was asked so far is forgotten."""
    for external_id, body in BODIES.items():
        sent = await reranking_app.post(
            "/api/v1/documents",
            files={"file": (f"{external_id}.md", f"# Title {external_id}\n\n{body}".encode())},
            data={"collection": collection, "external_id": external_id, "attributes": '{"kind": "note"}'},
        )
        assert sent.status_code == 202, sent.text
    await work()
    endpoint.requests.clear()
    endpoint.scripts[:] = [by_preference("gate", "wall")]
    return reranking_app


async def _search(client: httpx.AsyncClient, collection: str, **more: Any) -> dict[str, Any]:
    body = {"query": "heron", "collection": collection, "mode": "lexical"} | more
    answer = await client.post("/api/v1/search", json={k: v for k, v in body.items() if v is not None})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _order(answer: dict[str, Any]) -> list[str]:
    return [hit["document"]["external_id"] for hit in answer["hits"]]


async def test_the_best_are_put_in_the_rerankers_order_and_the_others_stay_behind(
    reranking: httpx.AsyncClient, endpoint: Endpoint, collection: str
) -> None:
    plain = await _search(reranking, collection, rerank=False)
    assert (_order(plain), plain["reranked"], plain["warnings"]) == (["a", "b", "c", "d"], False, [])
    assert endpoint.requests == []

    reranked = await _search(reranking, collection)

    assert (_order(reranked), reranked["reranked"], reranked["warnings"]) == (["c", "b", "a", "d"], True, [])
    assert [hit["rank"] for hit in reranked["hits"]] == [1, 2, 3, 4]
    assert [hit["scores"]["rerank"] for hit in reranked["hits"]] == [10, 9, 0, None]
    assert [hit["score"] for hit in reranked["hits"]] == [10, 9, 0, plain["hits"][3]["score"]]
    assert [hit["scores"]["lexical"] for hit in reranked["hits"]] == [
        plain["hits"][place]["scores"]["lexical"] for place in (2, 1, 0, 3)
    ]
    (request,) = endpoint.requests
    assert request.body == {
        "model": "some-model",
        "query": "heron",
        "documents": [f"Title {key}\n# Title {key}\n\n{BODIES[key]}" for key in "abc"],
        "top_n": 3,
    }


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
async def test_every_mode_is_reranked(reranking: httpx.AsyncClient, collection: str, mode: str) -> None:
    answer = await _search(reranking, collection, mode=mode, rerank=True)

    assert answer["reranked"]
    scores = [hit["scores"]["rerank"] for hit in answer["hits"]]
    assert scores[:DEPTH] == sorted(scores[:DEPTH], reverse=True)
    assert scores[DEPTH:] == [None]


async def test_the_explanation_says_how_many_were_reranked_and_how_long_it_took(
    reranking: httpx.AsyncClient, endpoint: Endpoint, collection: str
) -> None:
    told = (await _search(reranking, collection, explain=True))["explanation"]
    plain = (await _search(reranking, collection, explain=True, rerank=False))["explanation"]
    endpoint.scripts[:] = [status(503)]
    away = (await _search(reranking, collection, explain=True))["explanation"]

    assert (told["reranked_passages"], plain["reranked_passages"], away["reranked_passages"]) == (3, 0, 0)
    assert "rerank" in told["stages"]
    assert "rerank" not in plain["stages"]
    assert away["stages"]["rerank"] >= 100  # the pause before the second try


async def test_the_first_of_several_wordings_is_what_is_reranked_by(
    reranking: httpx.AsyncClient, endpoint: Endpoint, collection: str
) -> None:
    await _search(reranking, collection, query=None, queries=["wall of herons", "heron"])

    assert [request.body["query"] for request in endpoint.requests] == ["wall of herons"]


async def test_documents_are_chosen_after_reranking(
    reranking: httpx.AsyncClient, endpoint: Endpoint, work: Work, collection: str
) -> None:
    """Of a document with two passages the one is shown that the reranker likes better, not the one that was first."""
    long = "heron heron heron heron. " + "moss fern lake. " * 200 + "\n\n" + "heron gate. " + "reed sill path. " * 200
    for item in (await reranking.get("/api/v1/documents", params={"collection": collection})).json()["items"]:
        await reranking.delete(f"/api/v1/documents/{item['id']}")
    await reranking.post("/api/v1/documents", files={"file": ("l.txt", long.encode())}, data={"collection": collection})
    await work()
    endpoint.scripts[:] = [by_preference("gate")]

    plain = await _search(reranking, collection, max_per_document=1, rerank=False)
    reranked = await _search(reranking, collection, max_per_document=1)

    assert len(plain["hits"]) == len(reranked["hits"]) == 1
    assert "gate" not in plain["hits"][0]["quote"]
    assert "gate" in reranked["hits"][0]["quote"]


async def test_neighbours_are_joined_and_copies_left_out_in_the_rerankers_order(
    reranking_app: httpx.AsyncClient, endpoint: Endpoint, sessions: Sessions, work: Work, collection: str
) -> None:
    long = (
        "The heron waits. "
        + "moss fern lake. " * 40
        + "\n\n"
        + "A heron at the gate. "
        + "reed sill path. " * 39
        + "reed."
    )
    for name, body in {"long": long, "twin": long[: long.index("\n\n")] + "\n"}.items():
        sent = await reranking_app.post(
            "/api/v1/documents",
            files={"file": ("a.txt", body.encode())},
            data={"collection": collection, "external_id": name},
        )
        assert sent.status_code == 202
        await work()  # one after the other: of equals the first comes first
    endpoint.scripts[:] = [by_preference("gate", "waits")]

    answer = await _search(reranking_app, collection, explain=True, rerank=True, merge=True, diversity=0.1)

    (hit,) = [hit for hit in answer["hits"] if hit["merged"]]
    body = (await reranking_app.get(f"/api/v1/documents/{hit['document']['id']}/text")).text
    assert (hit["document"]["external_id"], hit["rank"], hit["score"]) == ("long", 1, 10)
    assert hit["quote"] == body[hit["start"] : hit["end"]] == body
    assert [each["document"]["external_id"] for each in hit["duplicates"]] == ["twin"]
    assert (answer["explanation"]["merged_passages"], answer["explanation"]["collapsed_passages"]) == (1, 1)


async def test_likes_are_not_reranked(reranking: httpx.AsyncClient, endpoint: Endpoint, collection: str) -> None:
    document = (await _search(reranking, collection, rerank=False))["hits"][0]["document"]["id"]

    answer = await _search(reranking, collection, query=None, like={"document_id": document})
    refused = await reranking.post(
        "/api/v1/search", json={"like": {"document_id": document}, "collection": collection, "rerank": True}
    )

    assert answer["hits"]
    assert (answer["reranked"], answer["warnings"]) == (False, [])
    assert (refused.status_code, refused.json()["code"]) == (422, "search.rerank_and_like")
    assert endpoint.requests == []


async def test_nothing_found_asks_nobody(reranking: httpx.AsyncClient, endpoint: Endpoint, collection: str) -> None:
    answer = await _search(reranking, collection, query="mortar", rerank=True)

    assert (answer["hits"], answer["reranked"], answer["warnings"]) == ([], False, [])
    assert endpoint.requests == []


@pytest.mark.parametrize(
    ("script", "code", "retry_after"),
    [
        (status(503), "rerank.busy", "2"),
        (status(429, **{"Retry-After": "60"}), "rerank.busy", "60"),
        (status(401), "rerank.denied", "2"),
        (status(404), "rerank.refused", "2"),
        (lambda request: Answer(b"[]"), "rerank.bad_answer", "2"),
        (lambda request: Answer(b"", fault="silence"), "rerank.unavailable", "2"),
        (lambda request: Answer(b"", fault="hang up"), "rerank.unavailable", "2"),
    ],
    ids=["503", "429", "401", "404", "bad answer", "silence", "hang up"],
)
async def test_a_reranker_that_is_away_is_done_without_and_said_or_is_a_503_where_it_is_demanded(
    reranking: httpx.AsyncClient, endpoint: Endpoint, collection: str, script: Script, code: str, retry_after: str
) -> None:
    endpoint.scripts[:] = [script]

    answer = await _search(reranking, collection)
    refused = await reranking.post("/api/v1/search", json={"query": "heron", "collection": collection, "rerank": True})

    assert _order(answer) == ["a", "b", "c", "d"]
    assert answer["reranked"] is False
    assert [each["code"] for each in answer["warnings"]] == [code]
    assert "reranker" in answer["warnings"][0]["detail"]
    assert all(hit["scores"]["rerank"] is None for hit in answer["hits"])
    assert (refused.status_code, refused.json()["code"]) == (503, code)
    assert refused.headers["Retry-After"] == retry_after


async def test_without_a_reranker_nothing_changes_and_demanding_one_is_refused(
    client: httpx.AsyncClient, reranking: httpx.AsyncClient, collection: str
) -> None:
    answer = await _search(client, collection)
    refused = await client.post("/api/v1/search", json={"query": "heron", "collection": collection, "rerank": True})

    assert (_order(answer), answer["reranked"], answer["warnings"]) == (["a", "b", "c", "d"], False, [])
    assert (refused.status_code, refused.json()["code"]) == (422, "search.no_reranker")
    assert "RERANK_URL" in refused.json()["hint"]
    assert refused.json()["errors"][0]["pointer"] == "/rerank"


async def test_no_transaction_is_open_while_the_reranker_is_asked(
    reranking: httpx.AsyncClient, endpoint: Endpoint, sessions: Sessions, collection: str
) -> None:
    seen: list[int] = []

    async def look(request: Request) -> Answer:
        async with transaction(sessions) as session:
            seen.append(int(await session.scalar(text(_OPEN_TRANSACTIONS)) or 0))
        return by_preference("gate")(request)

    endpoint.scripts[:] = [look]

    await _search(reranking, collection)

    assert seen == [0]


async def test_what_is_deleted_or_no_longer_passes_the_filter_meanwhile_is_not_shown(
    reranking: httpx.AsyncClient, endpoint: Endpoint, work: Work, collection: str
) -> None:
    ids = {
        hit["document"]["external_id"]: hit["document"]["id"]
        for hit in (await _search(reranking, collection, rerank=False))["hits"]
    }

    async def change(request: Request) -> Answer:
        deleted = await reranking.delete(f"/api/v1/documents/{ids['c']}")
        changed = await reranking.patch(
            f"/api/v1/documents/{ids['b']}",
            json={"attributes": {"kind": "letter"}},
            headers={"Content-Type": "application/merge-patch+json"},
        )
        assert (deleted.is_success, changed.is_success) == (True, True), changed.text
        return by_preference("gate", "wall")(request)

    endpoint.scripts[:] = [change]

    answer = await _search(
        reranking, collection, filter={"type": "eq", "key": "kind", "value": "note"}, max_per_document=1
    )

    assert (_order(answer), answer["reranked"]) == (["a", "d"], True)
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2]


async def test_passages_that_are_replaced_meanwhile_are_left_out(
    reranking: httpx.AsyncClient, endpoint: Endpoint, work: Work, collection: str
) -> None:
    async def replace(request: Request) -> Answer:
        await reranking.post(
            "/api/v1/documents",
            files={"file": ("c.md", b"# Title c\n\nnothing of that any more")},
            data={"collection": collection, "external_id": "c"},
        )
        await work()
        return by_preference("gate", "wall")(request)

    endpoint.scripts[:] = [replace]

    answer = await _search(reranking, collection)

    assert _order(answer) == ["b", "a", "d"]
    for hit in answer["hits"]:
        body = (await reranking.get(f"/api/v1/documents/{hit['document']['id']}/text")).text
        assert body[hit["start"] : hit["end"]] == hit["quote"]


# A role sees this of its own connections only, so it is the application's that must ask.
_OPEN_TRANSACTIONS = """
select count(*) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null
"""

"""Mentions over HTTP: an entity's passages, a document's entities, hits, filters and facets of searches."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import httpx
import pytest
from tests.integration.catalogues import A
from tests.integration.test_mentions import NO2, OZONE, name
from tests.integration.uploads import Work, send
from tests.keys import make_key

from drystone.core.db import Sessions

PAPERS = {
    "gas": "On NO2 in cities. Where NO2 is high, ozone is low.",
    "layer": "The ozone layer is thin.",
    "walls": "Walls of brick stand for long.",
}


@pytest.fixture
async def ids(client: httpx.AsyncClient, work: Work, collection: str) -> dict[str, str]:
    """The ids of three papers, by external_id, in order of their age; two entities are known."""
    await name(client, "no2", NO2)
    await name(client, "ozone", OZONE)
    found = {}
    for external_id, body in PAPERS.items():
        found[external_id] = (await send(client, collection, body.encode(), external_id=external_id)).json()[
            "document"
        ]["id"]
    await work()
    return found


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(f"{A}/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def asked(client: httpx.AsyncClient, collection: str, query: str, **more: Any) -> Any:
    answer = await client.post(f"{A}/search", json={"query": query, "collection": collection} | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def documents(answer: Any) -> list[str]:
    return [hit["document"]["external_id"] for hit in answer["hits"]]


async def test_an_entity_lists_its_passages_of_the_newest_document_first(
    client: httpx.AsyncClient, ids: dict[str, str], collection: str
) -> None:
    page = await get(client, "entities/ozone/passages")

    assert [item["document"]["external_id"] for item in page["items"]] == ["layer", "gas"]
    assert page["next_cursor"] is None
    for item in page["items"]:
        whole = (await client.get(f"{A}/documents/{item['document']['id']}/text")).text
        assert whole[item["start"] : item["end"]] == item["quote"]
        assert [whole[each["start"] : each["end"]] for each in item["mentions"]] == ["ozone"]
        assert item["document"]["collection"] == collection


async def test_passages_are_told_in_pages(client: httpx.AsyncClient, work: Work, collection: str) -> None:
    await name(client, "ozone", OZONE)
    for number in range(2):
        await send(
            client,
            collection,
            "\n\n".join(f"# Part {n}\n\n{'ozone is a gas ' * 60}" for n in range(3 + number)).encode(),
            name="a.md",
        )
    await send(client, f"{collection}-b", b"Ozone elsewhere.")
    await work()

    whole = await get(client, "entities/ozone/passages", collection=collection)
    found, cursor = [], None
    while True:
        page = await get(
            client, "entities/ozone/passages", collection=collection, limit=2, **({"cursor": cursor} if cursor else {})
        )
        found += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break

    assert found == whole["items"]
    assert len(found) >= 5
    places = [(item["document"]["id"], -item["start"]) for item in found]
    assert places == sorted(places, reverse=True)
    assert len((await get(client, "entities/ozone/passages"))["items"]) == len(found) + 1


async def test_a_document_lists_its_entities_with_counts(client: httpx.AsyncClient, ids: dict[str, str]) -> None:
    told = await get(client, f"documents/{ids['gas']}/entities")

    assert [(each["key"], each["mentions"], each["passages"]) for each in told["items"]] == [
        ("no2", 2, 1),
        ("ozone", 1, 1),
    ]
    assert told["total"] == 2
    assert (await get(client, f"documents/{ids['gas']}/entities", limit=1))["total"] == 2
    assert (await get(client, f"documents/{ids['walls']}/entities")) == {"items": [], "total": 0}


async def test_a_hit_tells_its_entities_when_asked(
    client: httpx.AsyncClient, ids: dict[str, str], collection: str
) -> None:
    answer = await asked(client, collection, "gas in cities", entities=True)

    by_document = {hit["document"]["external_id"]: hit for hit in answer["hits"]}
    assert by_document["walls"]["entities"] == []
    hit = by_document["gas"]
    spots = {
        each["key"]: [PAPERS["gas"][spot["start"] : spot["end"]] for spot in each["mentions"]]
        for each in hit["entities"]
    }
    assert spots == {"no2": ["NO2", "NO2"], "ozone": ["ozone"]}
    assert {each["label"] for each in hit["entities"]} == {"Nitrogen dioxide", "Ozone"}
    assert all(hit["entities"] is None for hit in (await asked(client, collection, "gas"))["hits"])


async def test_hits_that_are_merged_tell_the_entities_of_all_their_passages(
    client: httpx.AsyncClient, work: Work, collection: str
) -> None:
    await name(client, "no2", NO2)
    await name(client, "ozone", OZONE)
    body = f"# One\n\n{'walls of brick stand ' * 60} with ozone\n\n# Two\n\nNO2 {'walls of brick fall ' * 60}"
    await send(client, collection, body.encode(), name="a.md")
    await work()

    (hit,) = (await asked(client, collection, "walls of brick", entities=True, merge=True))["hits"]

    assert hit["merged"] is not None
    assert [each["key"] for each in hit["entities"]] == ["no2", "ozone"]


@pytest.mark.parametrize(
    ("filter_", "found"),
    [
        ({"type": "eq", "key": "$entity", "value": "no2"}, ["gas"]),
        ({"type": "in", "key": "$entity", "value": ["no2", "ozone"]}, ["gas", "layer"]),
        ({"type": "ne", "key": "$entity", "value": "no2"}, ["layer", "walls"]),
        ({"type": "nin", "key": "$entity", "value": ["no2", "ozone"]}, ["walls"]),
        ({"type": "eq", "key": "$entity", "value": "unknown"}, []),
        (
            {
                "type": "and",
                "filters": [
                    {"type": "eq", "key": "$entity", "value": "ozone"},
                    {"type": "ne", "key": "$entity", "value": "no2"},
                ],
            },
            ["layer"],
        ),
        (
            {
                "type": "or",
                "filters": [
                    {"type": "eq", "key": "$entity", "value": "no2"},
                    {"type": "eq", "key": "$external_id", "value": "walls"},
                ],
            },
            ["gas", "walls"],
        ),
    ],
)
async def test_a_filter_chooses_documents_that_mention_an_entity(
    client: httpx.AsyncClient, ids: dict[str, str], collection: str, filter_: Any, found: list[str]
) -> None:
    assert sorted(documents(await asked(client, collection, "ozone walls", filter=filter_))) == found


@pytest.mark.parametrize(
    ("filter_", "told"),
    [
        ({"type": "eq", "key": "$entity", "value": "NO2"}, {"'NO2'": "is it 'no2'?"}),
        ({"type": "ne", "key": "$entity", "value": "Nitrogen dioxide"}, {"'Nitrogen dioxide'": "is it 'no2'?"}),
        ({"type": "in", "key": "$entity", "value": ["no2", "ozon"]}, {"'ozon'": "is it 'ozone'?"}),
        ({"type": "eq", "key": "$entity", "value": "soot"}, {"'soot'": "drystone entities list"}),
        ({"type": "in", "key": "$entity", "value": ["no2", "ozone"]}, {}),
        ({"type": "eq", "key": "title", "value": "soot"}, {}),
    ],
)
async def test_a_filter_by_an_entity_that_there_is_not_is_warned_of_with_what_may_be_meant(
    client: httpx.AsyncClient, ids: dict[str, str], collection: str, filter_: Any, told: dict[str, str]
) -> None:
    warnings = (await asked(client, collection, "gas", filter=filter_))["warnings"]

    unknown = [each for each in warnings if each["code"] == "filter.unknown_entity"]
    assert len(unknown) == len(told)
    for each, (key, hint) in zip(unknown, told.items(), strict=True):
        assert key in each["detail"]
        assert hint in each["hint"]


async def test_a_deleted_entity_is_unknown_to_a_filter(
    client: httpx.AsyncClient, ids: dict[str, str], collection: str
) -> None:
    assert (await client.delete(f"{A}/entities/no2")).status_code == 204

    answer = await asked(client, collection, "gas", filter={"type": "eq", "key": "$entity", "value": "no2"})

    assert [each["code"] for each in answer["warnings"]] == ["filter.unknown_entity"]


async def test_what_mentions_an_entity_is_neither_more_nor_less(
    client: httpx.AsyncClient, ids: dict[str, str], collection: str
) -> None:
    filter_ = {"type": "gt", "key": "$entity", "value": "no2"}

    answer = await client.post(f"{A}/search", json={"query": "x", "collection": collection, "filter": filter_})

    assert answer.status_code == 422
    assert "eq, ne, in and nin" in answer.text


async def test_documents_are_listed_and_deleted_by_what_they_mention(
    client: httpx.AsyncClient, ids: dict[str, str], collection: str
) -> None:
    filter_ = {"type": "eq", "key": "$entity", "value": "no2"}

    listed = await get(client, "documents", collection=collection, filter=json.dumps(filter_))
    assert [each["external_id"] for each in listed["items"]] == ["gas"]
    chosen = {"collection": collection, "filter": filter_}
    deleted = (await client.post(f"{A}/documents/delete", json=chosen)).json()

    assert deleted["count"] == 1
    assert (await client.get(f"{A}/documents/{ids['gas']}")).status_code == 404
    assert [item["document"]["external_id"] for item in (await get(client, "entities/ozone/passages"))["items"]] == [
        "layer"
    ]


async def test_facets_count_the_entities_of_all_passages_found(
    client: httpx.AsyncClient, ids: dict[str, str], collection: str
) -> None:
    answer = await asked(client, collection, "ozone", limit=1, facets=["entity"])

    assert len(answer["hits"]) == 1
    told = [(each["key"], each["passages"], each["documents"]) for each in answer["facets"]["entity"]]
    assert told == [("ozone", 2, 2), ("no2", 1, 1)]
    assert (await asked(client, collection, "ozone"))["facets"] is None


async def test_an_entity_that_is_deleted_is_told_of_nowhere_at_once(
    client: httpx.AsyncClient, ids: dict[str, str], collection: str
) -> None:
    assert (await client.delete(f"{A}/entities/no2")).status_code == 204

    assert (await client.get(f"{A}/entities/no2/passages")).status_code == 404
    assert [each["key"] for each in (await get(client, f"documents/{ids['gas']}/entities"))["items"]] == ["ozone"]
    answer = await asked(client, collection, "ozone", entities=True, facets=["entity"])
    assert {each["key"] for hit in answer["hits"] for each in hit["entities"]} == {"ozone"}
    assert [each["key"] for each in answer["facets"]["entity"]] == ["ozone"]
    filter_ = {"type": "eq", "key": "$entity", "value": "no2"}
    assert documents(await asked(client, collection, "ozone", filter=filter_)) == []


async def test_a_key_confined_to_collections_sees_their_mentions_only(
    client: httpx.AsyncClient, ids: dict[str, str], work: Work, collection: str, owner: Sessions
) -> None:
    await send(client, f"{collection}-b", b"Ozone elsewhere.", external_id="other")
    await work()
    other = (await get(client, f"collections/{collection}-b"))["id"]
    confined = await make_key(owner, scopes=["read"], collection_ids=[UUID(other)])
    headers = {"Authorization": f"Bearer {confined}"}

    told = (await client.get(f"{A}/entities/ozone/passages", headers=headers)).json()

    assert [item["document"]["external_id"] for item in told["items"]] == ["other"]
    assert (await client.get(f"{A}/documents/{ids['gas']}/entities", headers=headers)).status_code == 404
    refused = await client.get(f"{A}/entities/ozone/passages", params={"collection": collection}, headers=headers)
    assert refused.status_code == 404


async def test_how_far_mentions_are_is_told(client: httpx.AsyncClient, work: Work, collection: str) -> None:
    async def state() -> tuple[str, int | None]:
        told = await get(client, "catalogue/mentions")
        return told["state"], told["passages"]

    assert await state() == ("none", None)
    await send(client, collection, b"Ozone.")
    await work()
    await name(client, "ozone", OZONE)
    assert await state() == ("waiting", None)
    await work()
    assert await state() == ("current", 1)
    await name(client, "ozone", OZONE | {"label": "O3"})
    assert await state() == ("waiting", 1)

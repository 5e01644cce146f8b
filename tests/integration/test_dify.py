"""/dify/retrieval, asked as Dify asks it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from tests.keys import bearer, make_key, make_workspace

from drystone.core.db import Sessions

PATH = "/dify/retrieval"


async def put(client: httpx.AsyncClient, work: Any, content: str, collection: str, **attributes: Any) -> str:
    data = {"collection": collection, "title": content.split()[0], "attributes": json.dumps(attributes)}
    sent = await client.post("/api/v1/documents", files={"file": ("a.txt", content.encode())}, data=data)
    assert sent.status_code == 202, sent.text
    await work()
    found: str = sent.json()["document"]["id"]
    return found


def asked(knowledge: str, query: str, *, top_k: int = 5, threshold: float = 0.0, **more: Any) -> dict[str, Any]:
    setting = {"top_k": top_k, "score_threshold": threshold}
    return {"knowledge_id": knowledge, "query": query, "retrieval_setting": setting, **more}


async def test_passages_come_as_records(client: httpx.AsyncClient, work: Any, collection: str) -> None:
    walls = await put(client, work, "Walls of dry stone stand without mortar.", collection, year=1962)
    await put(client, work, "Herons stand in shallow water.", collection, year=2001)

    answer = await client.post(PATH, json=asked(collection, "how do dry stone walls stand?", is_new="field"))
    one = await client.post(PATH, json=asked(collection, "how do dry stone walls stand?", top_k=1))
    like = await client.post(PATH, json=asked(collection, "how do dry stone walls stand?", threshold=0.5))
    none = await client.post(PATH, json=asked(collection, "quarterly revenue", threshold=0.9))

    assert answer.status_code == 200, answer.text
    records = answer.json()["records"]
    assert [list(each) for each in records] == [["content", "score", "title", "metadata"]] * 2
    first = records[0]
    assert (first["content"], first["title"]) == ("Walls of dry stone stand without mortar.", "Walls")
    assert {name: first["metadata"][name] for name in ("document_id", "year", "start", "end")} == {
        "document_id": walls,
        "year": 1962,
        "start": 0,
        "end": len(first["content"]),
    }
    assert all(0 <= each["score"] <= 1 for each in records)
    assert one.json()["records"] == [first]
    assert [each["title"] for each in like.json()["records"]] == ["Walls"]
    assert none.json() == {"records": []}


async def test_conditions_choose_documents(client: httpx.AsyncClient, work: Any, collection: str) -> None:
    await put(client, work, "Walls of old.", collection, year=1962, tag="a")
    await put(client, work, "Fences of today.", collection, year=2001, tag="b")

    async def titles(*conditions: dict[str, Any], operator: str = "and") -> list[str]:
        given = {"logical_operator": operator, "conditions": list(conditions)}
        answer = await client.post(PATH, json=asked(collection, "what stands?", metadata_condition=given))
        assert answer.status_code == 200, answer.text
        return sorted(each["title"] for each in answer.json()["records"])

    late = {"name": ["year"], "comparison_operator": "≥", "value": "2000"}
    a = {"name": "tag", "comparison_operator": "is", "value": "a"}
    assert await titles() == ["Fences", "Walls"]
    assert await titles(late) == ["Fences"]
    assert await titles(a) == ["Walls"]
    assert await titles(late, a) == []
    assert await titles(late, a, operator="or") == ["Fences", "Walls"]


@pytest.mark.parametrize(
    ("headers", "number", "status"),
    [
        ({}, 1001, 401),
        ({"Authorization": "Basic dTpw"}, 1001, 401),
        (bearer("nonsense"), 1002, 401),
    ],
)
async def test_without_a_right_key_there_is_a_number_for_it(
    client: httpx.AsyncClient, headers: dict[str, str], number: int, status: int
) -> None:
    taken = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(20):
            taken += 1
            yield b" " * (1 << 20)

    for sent in ({"json": asked("default", "a")}, {"content": body(), "headers": {"Content-Type": "application/json"}}):
        request = client.build_request("POST", PATH, **sent)
        del request.headers["authorization"]
        request.headers.update(headers)
        answer = await client.send(request)

        assert answer.status_code == status
        assert list(answer.json()) == ["error_code", "error_msg"]
        assert answer.json()["error_code"] == number
    assert taken == 0


async def test_keys_see_what_they_may(client: httpx.AsyncClient, work: Any, owner: Sessions, collection: str) -> None:
    await put(client, work, "The kingfisher dives.", collection)
    mine = (await client.post("/api/v1/collections", json={"name": f"mine-{collection}"})).json()
    its_id = (await client.get(f"/api/v1/collections/{collection}")).json()["id"]
    keys = {
        "confined": await make_key(owner, scopes=["read"], collection_ids=[UUID(its_id)]),
        "outsider": await make_key(owner, collection_ids=[UUID(mine["id"])]),
        "stranger": await make_key(owner, workspace_id=await make_workspace(owner)),
        "scopeless": await make_key(owner, scopes=[]),
    }

    said = {
        name: await client.post(PATH, json=asked(collection, "who dives?"), headers=bearer(key))
        for name, key in keys.items()
    }
    by_id = await client.post(PATH, json=asked(its_id, "who dives?"), headers=bearer(keys["confined"]))

    assert said["confined"].json()["records"][0]["content"] == "The kingfisher dives."
    assert by_id.json() == said["confined"].json()
    for name, number, status in (("outsider", 2001, 404), ("stranger", 2001, 404), ("scopeless", 1002, 403)):
        assert (said[name].json()["error_code"], said[name].status_code) == (number, status)
        assert "kingfisher" not in said[name].text


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({}, "/knowledge_id"),
        (asked("default", "a", top_k=0), "/retrieval_setting/top_k"),
        (asked("default", "a", top_k=101), "/retrieval_setting/top_k"),
        (asked("default", "a", threshold=2.0), "/retrieval_setting/score_threshold"),
        (asked("default", ""), "The query is empty"),
        (
            asked(
                "default",
                "a",
                metadata_condition={"conditions": [{"name": "a", "comparison_operator": "contains", "value": "b"}]},
            ),
            "there are is, ",
        ),
    ],
)
async def test_what_cannot_be_asked_is_told(client: httpx.AsyncClient, body: dict[str, Any], part: str) -> None:
    answer = await client.post(PATH, json=body)

    assert (answer.status_code, answer.json()["error_code"]) == (422, 422)
    assert part in answer.json()["error_msg"]


async def test_there_is_no_other_method_and_no_other_path(client: httpx.AsyncClient) -> None:
    got, lost = await client.get(PATH), await client.post("/dify/other")

    assert (got.status_code, got.headers["allow"], got.json()["error_code"]) == (405, "POST", 405)
    assert (lost.status_code, lost.json()["error_code"]) == (404, 404)

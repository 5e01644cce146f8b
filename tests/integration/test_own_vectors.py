"""Passages that come with their vectors: written by id, read, deleted, found by a vector; and what holds for them as documents."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import text
from tests.integration import bundles
from tests.keys import bearer, make_key
from tests.serving import served

from drystone import invariants, schema
from drystone.bundle.importing import Place
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Conflict, Invalid
from drystone.core.settings import Settings
from drystone.index import spaces
from drystone.index.vectors import PgGraph
from drystone.invariants import Limits
from drystone.resources import Resources
from drystone.search.queries import Scope
from drystone.web import create_app

A = "/api/v1"
ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT / "docs" / "guides" / "your-own-vectors.md"
DIMENSION = 6
LIMITS = Limits(lease_s=60, orphan_s=3600)


class Store:
    """A collection whose vectors callers bring."""

    def __init__(self, client: httpx.AsyncClient, name: str) -> None:
        self.client, self.name = client, name

    async def make(self, dimension: int = DIMENSION, **more: Any) -> dict[str, Any]:
        body = {"name": self.name, "vectors": {"source": "caller", "dimension": dimension}, **more}
        answer = await self.client.post(f"{A}/collections", json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def ask(self, method: str, path: str, body: Any, status: int = 200, **headers: str) -> Any:
        answer = await self.client.request(
            method, f"{A}/collections/{self.name}/passages{path}", json=body, headers=headers
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    async def put(self, *passages: dict[str, Any], status: int = 200, key: str | None = None) -> Any:
        headers = {"Idempotency-Key": key} if key else {}
        return await self.ask("PUT", "", {"passages": list(passages)}, status, **headers)

    async def get(self, *ids: str, **more: Any) -> list[dict[str, Any]]:
        return list((await self.ask("POST", "/get", {"ids": list(ids), **more}))["passages"])

    async def delete(self, *ids: str) -> int:
        return int((await self.ask("POST", "/delete", {"ids": list(ids)}))["deleted"])

    async def search(self, vector: list[float], **more: Any) -> list[dict[str, Any]]:
        return list((await self.ask("POST", "/search", {"vector": vector, **more}))["hits"])


@pytest.fixture
async def store(client: httpx.AsyncClient, collection: str) -> Store:
    store = Store(client, collection)
    await store.make()
    return store


def axis(number: int, *, length: float = 1.0) -> list[float]:
    return [length if at == number else 0.0 for at in range(DIMENSION)]


def passage(id: str, text: str, vector: list[float], **attributes: Any) -> dict[str, Any]:
    return {"id": id, "text": text, "vector": vector, "attributes": attributes}


async def test_a_collection_says_whose_its_vectors_are(client: httpx.AsyncClient, store: Store) -> None:
    shown = (await client.get(f"{A}/collections/{store.name}")).json()
    other = (await client.post(f"{A}/collections", json={"name": f"{store.name}-2"})).json()

    assert shown["vectors"] == {"source": "caller", "dimension": DIMENSION, "metric": "cosine"}
    assert other["vectors"] == {"source": "server", "dimension": 384, "metric": "cosine"}


async def test_passages_are_found_by_vector_the_moment_they_are_answered(store: Store) -> None:
    done = await store.put(passage("a", "Thin shells buckle.", axis(0), year=1960), passage("b", "Salt.", axis(1)))
    hits = await store.search([3.0, 4.0, 0, 0, 0, 0], with_vectors=True)

    assert done == {"passages": [{"id": "a", "is_new": True}, {"id": "b", "is_new": True}]}
    assert [(hit["id"], hit["text"]) for hit in hits] == [("b", "Salt."), ("a", "Thin shells buckle.")]
    assert [hit["score"] for hit in hits] == pytest.approx([0.8, 0.6], abs=1e-3)
    assert hits[1]["attributes"] == {"year": 1960}
    assert hits[0]["vector"] == axis(1)


async def test_no_score_is_beyond_a_cosine_s(store: Store) -> None:
    vectors = [np.random.default_rng(seed).normal(size=DIMENSION).tolist() for seed in range(20)]
    await store.put(*(passage(f"p{n}", "Text.", vector) for n, vector in enumerate(vectors)))

    for vector in vectors:
        assert (await store.search(vector, limit=1))[0]["score"] <= 1
        assert (await store.search([-number for number in vector], limit=20))[-1]["score"] >= -1


async def test_an_id_that_is_there_is_replaced(store: Store) -> None:
    await store.put(passage("a", "First.", axis(0), kind="old", more=1))
    done = await store.put(passage("a", "Second.", axis(1), kind="new"))

    assert done["passages"] == [{"id": "a", "is_new": False}]
    assert await store.get("a", with_vectors=True) == [
        {"id": "a", "text": "Second.", "attributes": {"kind": "new"}, "vector": axis(1)}
    ]
    hits = await store.search(axis(0))
    assert [(hit["id"], hit["text"]) for hit in hits] == [("a", "Second.")]
    assert hits[0]["score"] == pytest.approx(0.0, abs=1e-6)


async def test_ids_are_read_in_the_order_asked_and_deleted_at_once(store: Store) -> None:
    await store.put(*(passage(f"p{n}", f"Text {n}.", axis(n)) for n in range(4)))

    assert [each["id"] for each in await store.get("p2", "none", "p0", "p2")] == ["p2", "p0"]
    assert (await store.get("p2"))[0]["vector"] is None
    assert await store.delete("p2", "none", "p2") == 1
    assert await store.get("p2") == []
    assert {hit["id"] for hit in await store.search(axis(2))} == {"p0", "p1", "p3"}
    assert await store.delete("p2") == 0

    assert (await store.put(passage("p2", "Anew.", axis(2))))["passages"][0]["is_new"] is True
    assert (await store.search(axis(2), limit=1))[0]["text"] == "Anew."


async def test_a_filter_leaves_what_passes(store: Store) -> None:
    await store.put(*(passage(f"p{n}", f"Text {n}.", axis(n), year=1960 + n) for n in range(4)))

    hits = await store.search(axis(0), filter={"type": "gte", "key": "year", "value": 1962})

    assert {hit["id"] for hit in hits} == {"p2", "p3"}


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        ([1.0], "1 numbers"),
        ([1.0] * 7, "7 numbers"),
        ([0.0] * 6, "zero"),
        ([0.0, -0.0, 0, 0, 0, 0], "zero"),
    ],
)
async def test_a_bad_vector_is_named_and_nothing_is_written(store: Store, vector: list[float], said: str) -> None:
    told = await store.put(passage("a", "Good.", axis(0)), passage("b", "Bad.", vector), status=422)

    assert told["code"] == "passages.bad_vector"
    assert told["errors"][0]["pointer"] == "/passages/1/vector"
    assert said in told["errors"][0]["detail"]
    assert await store.get("a", "b") == []


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400, '"1"', "true", "null", "[1]"]
)
async def test_what_is_no_number_is_refused(client: httpx.AsyncClient, store: Store, number: str) -> None:
    """As bytes, since no writer of JSON writes these."""
    vector = f"[1, 0, 0, 0, 0, {number}]"
    for path, body in (
        ("", f'{{"passages": [{{"id": "a", "text": "A.", "vector": {vector}}}]}}'),
        ("/search", f'{{"vector": {vector}}}'),
    ):
        answer = await client.request(
            "POST" if path else "PUT",
            f"{A}/collections/{store.name}/passages{path}",
            content=body,
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == 422, answer.text
        assert "vector" in answer.text
    assert await store.get("a") == []


async def test_a_million_of_what_is_no_number_is_told_once(client: httpx.AsyncClient, store: Store) -> None:
    body = '{"passages": [{"id": "a", "text": "A.", "vector": [' + ",".join(["null"] * 1_000_000) + "]}]}"

    answer = await client.put(
        f"{A}/collections/{store.name}/passages", content=body, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 422
    assert len(answer.content) < 2000


@pytest.mark.parametrize("length", [1e-300, 5e-324, 1e-8, 1.0, 1e30, 1e308])
async def test_a_vector_of_any_length_has_its_direction_kept(store: Store, length: float) -> None:
    await store.put(passage("a", "A.", axis(2, length=length)))

    assert (await store.get("a", with_vectors=True))[0]["vector"] == axis(2)
    assert (await store.search(axis(2, length=length)))[0]["score"] == pytest.approx(1.0, abs=1e-3)


async def test_all_entries_are_looked_at_before_anything_is_written(store: Store) -> None:
    good = passage("a", "Good.", axis(0))
    for bad, code, pointer in (
        (passage("a", "Twice.", axis(1)), "passages.same_id", "/passages/1/id"),
        (passage("", "No id.", axis(1)), "passages.id", "/passages/1/id"),
        (passage("x" * 513, "Long id.", axis(1)), "passages.id", "/passages/1/id"),
        (passage("b", "", axis(1)), "passages.text", "/passages/1/text"),
        (passage("b", "x" * 32_001, axis(1)), "passages.text", "/passages/1/text"),
        (passage("b", "Deep.", axis(1), deep=_nested(20)), "document.attributes_too_deep", "/passages/1/attributes"),
    ):
        told = await store.put(good, bad, status=422)
        assert (told["code"], told["errors"][0]["pointer"]) == (code, pointer)
    for many in ([], [good] * 1001):
        assert (await store.put(*many, status=422))["code"] == "passages.count"
    assert await store.get("a") == []


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"in": value}
    return value


async def test_ids_and_texts_may_be_of_any_characters(store: Store) -> None:
    ids = ["a/b?c#d%20", "ключ", "with space", "🜂" * 200, "'; drop table documents; --", "\u202e rtl", "a\nb"]
    texts = [f"e\u0301 {each}\r\n\ttail  \ufeff" for each in ids]
    await store.put(*(passage(i, t, axis(n % 6)) for n, (i, t) in enumerate(zip(ids, texts, strict=True))))

    assert [(each["id"], each["text"]) for each in await store.get(*ids)] == list(zip(ids, texts, strict=True))
    assert await store.delete(*ids) == len(ids)


async def test_a_nul_or_half_a_surrogate_pair_is_refused(client: httpx.AsyncClient, store: Store) -> None:
    for one in ('{"id": "a\\u0000", "text": "A."', '{"id": "a", "text": "\\ud800"', '{"id": "a", "text": "A\\u0000"'):
        answer = await client.put(
            f"{A}/collections/{store.name}/passages",
            content='{"passages": [' + one + ', "vector": [1, 0, 0, 0, 0, 0]}]}',
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == 422, answer.text


async def test_a_collection_whose_vectors_are_made_here_takes_no_passages(
    client: httpx.AsyncClient, store: Store
) -> None:
    own = Store(client, f"{store.name}-own")
    await client.post(f"{A}/collections", json={"name": own.name})

    for method, path, body in (
        ("PUT", "", {"passages": [passage("a", "A.", axis(0))]}),
        ("POST", "/get", {"ids": ["a"]}),
        ("POST", "/delete", {"ids": ["a"]}),
        ("POST", "/search", {"vector": axis(0)}),
    ):
        assert (await own.ask(method, path, body, 409))["code"] == "collection.own_vectors"


async def test_the_kind_of_a_collection_is_checked_when_it_is_made(client: httpx.AsyncClient, collection: str) -> None:
    for vectors in (
        {"source": "caller"},
        {"source": "caller", "dimension": 0},
        {"source": "caller", "dimension": 4001},
        {"source": "caller", "dimension": True},
        {"source": "caller", "dimension": 6, "metric": "euclid"},
        {"source": "server", "dimension": 6},
        {"source": "caller", "dimension": 6, "more": 1},
    ):
        answer = await client.post(f"{A}/collections", json={"name": collection, "vectors": vectors})
        assert answer.status_code == 422, vectors
    assert (await client.get(f"{A}/collections/{collection}")).status_code == 404


async def test_files_are_refused_where_vectors_are_brought(client: httpx.AsyncClient, store: Store) -> None:
    await store.put(passage("a", "Salt is white.", axis(0)), passage("b", "Old.", axis(1)))
    await store.put(passage("b", "New.", axis(1)))
    listed = (await client.get(f"{A}/documents", params={"collection": store.name})).json()["items"]
    by_id = {each["external_id"]: each["id"] for each in listed}
    file = {"file": ("a.txt", b"Some words.")}

    sent = await client.post(f"{A}/documents", files=file, data={"collection": store.name})
    replaced = await client.put(f"{A}/documents/{by_id['a']}/content", files=file)
    restored = await client.post(f"{A}/documents/{by_id['b']}/versions/1/restore")
    begun = await client.post(
        f"{A}/uploads", json={"name": "a.txt", "size_bytes": 1, "sha256": "0" * 64, "collection": store.name}
    )
    started = await client.post(f"{A}/collections/{store.name}/embedding/start", json={})

    for answer in (sent, replaced, restored, begun):
        assert (answer.status_code, answer.json()["code"]) == (409, "collection.callers_vectors"), answer.text
    assert (started.status_code, started.json()["code"]) == (409, "embedding.callers_vectors")
    assert [each["text"] for each in await store.get("a", "b")] == ["Salt is white.", "New."]


async def test_a_passage_is_a_document(client: httpx.AsyncClient, store: Store) -> None:
    await store.put(passage("a", "Salt is white.", axis(0), kind="fact"))
    listed = (await client.get(f"{A}/documents", params={"collection": store.name})).json()["items"]
    document = listed[0]

    assert (document["external_id"], document["state"], document["attributes"]) == ("a", "ready", {"kind": "fact"})
    assert (await client.get(f"{A}/documents/{document['id']}/text")).text == "Salt is white."
    assert (await client.get(f"{A}/documents/{document['id']}/content")).content == b"Salt is white."
    assert (await client.delete(f"{A}/documents/{document['id']}")).status_code == 204
    assert await store.search(axis(0)) == []


async def test_what_is_as_it_was_makes_no_version(client: httpx.AsyncClient, store: Store) -> None:
    async def versions() -> int:
        listed = (await client.get(f"{A}/documents", params={"collection": store.name})).json()["items"]
        found = await client.get(f"{A}/documents/{listed[0]['id']}/versions")
        return len(found.json()["items"])

    first = passage("a", "Salt.", [1.0, 2, 3, 4, 5, 6], one=1)
    await store.put(first)
    await store.put(first)
    assert await versions() == 1
    await store.put(first | {"attributes": {"one": True}})
    assert await versions() == 1
    assert (await store.get("a"))[0]["attributes"] == {"one": True}
    await store.put(first | {"vector": axis(1)})
    assert await versions() == 2
    await store.put(first | {"text": "Pepper.", "vector": axis(1)})
    assert await versions() == 3


async def test_words_are_found_and_who_asks_is_told_that_words_were_all(
    client: httpx.AsyncClient, store: Store, work: Any
) -> None:
    await store.put(passage("a", "The kingfisher dives.", axis(0)), passage("b", "Salt is white.", axis(1)))
    other = f"{store.name}-files"
    await client.post(
        f"{A}/documents", files={"file": ("b.txt", b"A kingfisher eats fish.")}, data={"collection": other}
    )
    await work()

    alone = (await client.post(f"{A}/search", json={"query": "kingfishers", "collection": store.name})).json()
    both = await client.post(f"{A}/search", json={"query": "kingfishers", "collections": [store.name, other]})
    swapped = await client.post(f"{A}/search", json={"query": "kingfishers", "collections": [other, store.name]})

    assert [hit["document"]["external_id"] for hit in alone["hits"]] == ["a"]
    assert [each["code"] for each in alone["warnings"]] == ["search.by_words_alone"]
    for answer in (both.json(), swapped.json()):
        assert {hit["document"]["collection"] for hit in answer["hits"]} == {store.name, other}
        assert [each["code"] for each in answer["warnings"]] == ["search.by_words_alone"]
        by_home = {hit["document"]["collection"]: hit for hit in answer["hits"]}
        assert by_home[store.name]["scores"]["dense"] is None
        assert by_home[other]["scores"]["dense"] is not None


async def test_a_question_is_answered_from_passages_with_vectors_of_callers(
    client: httpx.AsyncClient, store: Store
) -> None:
    """No model here made their vectors: words find the passages, and that of new collections compares sentences."""
    await store.put(
        passage("a", "Thin shells buckle under little weight. Nobody was hurt.", axis(0)),
        passage("b", "Salt is mined below the lake.", axis(1)),
    )
    answer = await client.post(f"{A}/ask", json={"question": "why do thin shells buckle", "collection": store.name})

    assert answer.status_code == 200, answer.text
    assert [each["text"] for each in answer.json()["sentences"]] == ["Thin shells buckle under little weight."]


async def test_meaning_is_refused_where_no_model_could_tell_it(client: httpx.AsyncClient, store: Store) -> None:
    await store.put(passage("a", "The kingfisher dives.", axis(0)), passage("b", "A kingfisher.", axis(0)))
    other = Store(client, f"{store.name}-2")
    await other.make()
    await other.put(passage("a", "The kingfisher dives.", axis(0)))
    listed = (await client.get(f"{A}/documents", params={"collection": store.name})).json()["items"]
    document_id = next(each["id"] for each in listed if each["external_id"] == "a")
    like = {"like": {"document_id": document_id}}

    for body, status in (
        ({"query": "bird", "collection": store.name, "mode": "dense"}, 409),
        ({"query": "bird", "collection": store.name, "mode": "lexical"}, 200),
        ({"query": "bird", "collections": [store.name, other.name]}, 200),
        (like | {"collection": store.name}, 200),
        (like | {"collection": store.name, "mode": "dense"}, 200),
        (like | {"collection": other.name}, 409),
        (like | {"collections": [store.name, other.name]}, 409),
        (like | {"collections": [store.name, other.name], "mode": "lexical"}, 200),
    ):
        answer = await client.post(f"{A}/search", json=body)
        assert answer.status_code == status, (body, answer.text)
        if status == 409:
            assert answer.json()["code"] == "search.callers_vectors"
    found = (await client.post(f"{A}/search", json=like | {"collection": store.name, "mode": "dense"})).json()
    assert [hit["document"]["external_id"] for hit in found["hits"]] == ["b"]


async def test_collections_of_one_dimension_do_not_see_each_other(client: httpx.AsyncClient, store: Store) -> None:
    other = Store(client, f"{store.name}-2")
    await other.make()
    await store.put(passage("a", "Ours.", axis(0)))
    await other.put(passage("a", "Theirs.", axis(0)))

    assert [hit["text"] for hit in await store.search(axis(0))] == ["Ours."]
    assert await other.delete("a") == 1
    assert [hit["text"] for hit in await store.search(axis(0))] == ["Ours."]


async def test_the_same_request_under_one_key_is_done_once(store: Store) -> None:
    first = await store.put(passage("a", "A.", axis(0)), key="once")
    again = await store.put(passage("a", "A.", axis(0)), key="once")

    assert first == again == {"passages": [{"id": "a", "is_new": True}]}


async def test_racing_upserts_of_the_same_ids_leave_one_passage_of_each(
    client: httpx.AsyncClient, store: Store, resources: Resources
) -> None:
    """In opposite orders, with deletions in between: nobody waits in a circle, nothing is there twice."""
    ids = [f"p{n}" for n in range(20)]

    async def write(round_: int) -> None:
        order = ids if round_ % 2 else ids[::-1]
        await store.put(*(passage(i, f"Text {i} of {round_}.", axis((n + round_) % 6)) for n, i in enumerate(order)))

    await asyncio.gather(*(write(n) for n in range(8)), *(store.delete(*ids[n::3]) for n in range(3)))
    await write(9)

    found = await store.get(*ids)
    assert [each["text"] for each in found] == [f"Text {i} of 9." for i in ids]
    hits = await store.search(axis(0), limit=100)
    assert sorted(hit["id"] for hit in hits) == sorted(ids)
    verdict = await invariants.check(resources.sessions, resources.objects, LIMITS)
    assert verdict.holds, verdict.violations


async def test_the_invariants_of_documents_hold_after_purging(store: Store, resources: Resources, work: Any) -> None:
    await store.put(*(passage(f"p{n}", f"Text {n}.", axis(n % 6)) for n in range(30)))
    await store.put(*(passage(f"p{n}", f"Other {n}.", axis(n % 6)) for n in range(10)))
    await store.delete(*(f"p{n}" for n in range(5, 15)))
    await work()

    verdict = await invariants.check(resources.sessions, resources.objects, LIMITS)

    assert verdict.holds, verdict.violations
    assert len(await store.search(axis(0), limit=100)) == 20


async def test_one_of_a_thousand_that_is_bad_writes_none_and_a_thousand_good_ones_are_written(store: Store) -> None:
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(1000, DIMENSION)).tolist()
    given = [passage(f"p{n}", f"Text number {n}.", vector) for n, vector in enumerate(vectors)]

    await store.put(*given[:-1], given[-1] | {"vector": [0.0] * DIMENSION}, status=422)
    assert await store.get("p0", "p999") == []
    done = await store.put(*given)

    assert sum(each["is_new"] for each in done["passages"]) == 1000
    kept = np.array([each["vector"] for each in await store.get(*(f"p{n}" for n in range(1000)), with_vectors=True)])
    assert np.abs(np.linalg.norm(kept, axis=1) - 1).max() < 2e-3
    asked = rng.normal(size=DIMENSION)
    expected = np.argsort(-(kept @ asked))[:10].tolist()
    hits = await store.search(asked.tolist(), limit=10)
    assert len({hit["id"] for hit in hits} & {f"p{n}" for n in expected}) >= 9  # halves may swap the last
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


async def test_a_key_that_is_confined_stays_in_its_collections(
    client: httpx.AsyncClient, store: Store, owner: Sessions
) -> None:
    await store.put(passage("a", "A.", axis(0)))
    other = Store(client, f"{store.name}-2")
    made = await other.make()
    headers = bearer(await make_key(owner, collection_ids=[made["id"]]))

    assert (await store.ask("POST", "/search", {"vector": axis(0)}, 404, **headers))["code"] == "collection.not_found"
    await store.ask("PUT", "", {"passages": [passage("b", "B.", axis(0))]}, 404, **headers)
    done = await other.ask("PUT", "", {"passages": [passage("b", "B.", axis(0))]}, 200, **headers)
    assert done["passages"][0]["is_new"]


async def test_a_space_of_callers_is_made_as_one_of_a_model(owner: Sessions, sessions: Sessions) -> None:
    """The function in the migration and `spaces.ensure` say the same twice."""
    async with transaction(sessions) as session:
        await spaces.of_callers(session, 7, graph=True)
        await spaces.of_callers(session, 7, graph=True)
    async with transaction(owner) as session:
        ids = [await spaces.find(session, spaces.CALLERS, 7), await spaces.ensure(session, "a model", 7)]
        shapes = [await _shape(session, f"vectors_{number}") for number in ids]

    assert shapes[0] == shapes[1]
    assert len(shapes[0]) > 10


async def _shape(session: Any, table: str) -> list[str]:
    """Columns, indexes, constraints, policies and rights of a table, without its name."""
    rows = await session.scalars(
        text("""
        select 'column ' || attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull
        from pg_attribute where attrelid = to_regclass(:name) and attnum > 0
        union all select 'index ' || indexdef from pg_indexes where tablename = :name
        union all select 'constraint ' || pg_get_constraintdef(oid) from pg_constraint where conrelid = to_regclass(:name)
        union all select concat_ws(' ', 'policy', policyname, roles, cmd, qual, with_check) from pg_policies
            where tablename = :name
        union all select 'acl ' || coalesce(cast(relacl as text), '') || relrowsecurity || relforcerowsecurity || relowner
            from pg_class where oid = to_regclass(:name)
        """),
        {"name": table},
    )
    return sorted(row.replace(table, "TABLE") for row in rows)


async def test_vectors_travel_in_a_bundle(
    store: Store, place: Place, resources: Resources, sessions: Sessions, tmp_path: Path
) -> None:
    given = [passage(f"p{n}", f"Text {n}.", np.random.default_rng(n).normal(size=DIMENSION).tolist()) for n in range(9)]
    await store.put(*given)
    await store.put(given[0] | {"text": "Another text."})
    await store.delete("p8")
    ids = [f"p{n}" for n in range(9)]
    shown = (await store.client.get(f"{A}/documents", params={"collection": store.name})).json()["items"]
    nameless = next(each["id"] for each in shown if each["external_id"] == "p7")
    change = {"external_id": None, "title": "A title"}
    assert (await store.client.patch(f"{A}/documents/{nameless}", json=change)).status_code == 200
    before, hits = await store.get(*ids, with_vectors=True), await store.search(axis(0), limit=5)
    await bundles.written(place, tmp_path / "bundle")
    await bundles.begin_anew(place)

    done = await bundles.read(place, tmp_path / "bundle")
    again = await bundles.read(place, tmp_path / "bundle")

    assert (done.documents, done.waiting, again.already) == (8, 0, 8)
    assert len(before) == 7
    assert await store.get(*ids, with_vectors=True) == before
    assert await store.search(axis(0), limit=5) == hits
    await bundles.check_invariants(resources, sessions)


async def test_a_bundle_of_files_goes_into_no_collection_of_callers(
    client: httpx.AsyncClient, store: Store, place: Place, work: Any, tmp_path: Path
) -> None:
    name = f"{store.name}-files"
    await client.post(f"{A}/documents", files={"file": ("b.txt", b"A kingfisher.")}, data={"collection": name})
    await work()
    await bundles.written(place, tmp_path / "bundle", name)

    with pytest.raises(Conflict, match="brought by callers"):
        await bundles.read(place, tmp_path / "bundle", into=store.name)


async def test_passages_of_a_bundle_may_be_embedded_by_a_model_here(
    client: httpx.AsyncClient, store: Store, place: Place, work: Any, tmp_path: Path
) -> None:
    await store.put(passage("a", "The kingfisher dives.", axis(0)))
    own = f"{store.name}-own"
    await client.post(f"{A}/collections", json={"name": own})
    await bundles.written(place, tmp_path / "bundle", store.name)

    done = await bundles.read(place, tmp_path / "bundle", into=own)
    await work()

    assert (done.documents, done.waiting) == (1, 1)
    found = (await client.post(f"{A}/search", json={"query": "a bird", "collection": own, "mode": "dense"})).json()
    assert [hit["document"]["external_id"] for hit in found["hits"]] == ["a"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"state":"ready"', b'"state":"pending"'),
        (b'"parent_id":null,"member_path":null', b'"parent_id":null,"member_path":"a"'),
        (b'"external_id":"p1"', b'"external_id":"p0"'),
        (b'"external_id":"p1"', b'"external_id":"' + b"x" * 513 + b'"'),
        (b'"media_type":"text/plain"', b'"media_type":"text/html"'),
    ],
)
async def test_a_bundle_brings_nothing_that_no_caller_could_have_sent(
    store: Store, place: Place, tmp_path: Path, old: bytes, new: bytes
) -> None:
    await store.put(passage("p0", "Text.", axis(0)), passage("p1", "Other.", axis(1)))
    await bundles.written(place, tmp_path / "bundle")
    bundles.rewrite(tmp_path / "bundle", bundles.changed("documents.ndjson", old, new))
    await bundles.begin_anew(place)

    with pytest.raises(Invalid):
        await bundles.read(place, tmp_path / "bundle")


async def test_an_id_that_a_document_may_have_is_that_of_a_passage(store: Store) -> None:
    await store.put(passage("a", "Text.", axis(0)))
    document_id = (await store.client.get(f"{A}/documents", params={"collection": store.name})).json()["items"][0]["id"]
    renamed = await store.client.patch(f"{A}/documents/{document_id}", json={"external_id": "x" * 512})

    assert renamed.status_code == 200
    assert [each["text"] for each in await store.get("x" * 512)] == ["Text."]


async def test_passages_mention_what_the_catalogue_names(client: httpx.AsyncClient, store: Store) -> None:
    entity = {"type": "property", "label": "Kingfisher", "schema_definition": {"type": "string"}}
    assert (await client.put(f"{A}/entities/kingfisher", json=entity)).status_code == 201
    await store.put(passage("a", "The kingfisher dives.", axis(0)), passage("b", "Salt.", axis(1)))

    found = await store.search(axis(1), filter={"type": "eq", "key": "$entity", "value": "kingfisher"})
    assert [hit["id"] for hit in found] == ["a"]
    await store.put(passage("a", "The gannet dives.", axis(0)))
    assert await store.search(axis(1), filter={"type": "eq", "key": "$entity", "value": "kingfisher"}) == []


async def test_attributes_fit_the_schema_of_the_collection(client: httpx.AsyncClient, collection: str) -> None:
    number = {"type": "property", "label": "Year", "schema_definition": {"type": "integer"}}
    category = {"type": "category", "label": "Report", "schema_definition": {"properties": {"year": {}}}}
    for key, content in (("year", number), ("report", category)):
        assert (await client.put(f"{A}/entities/{key}", json=content)).status_code == 201
    store = Store(client, collection)
    await store.make(schema="category:report")

    told = await store.put(passage("a", "A.", axis(0), year=1960), passage("b", "B.", axis(1), year="old"), status=422)
    assert (told["code"], told["errors"][0]["pointer"]) == ("document.does_not_fit", "/passages/1/attributes/year")
    assert await store.get("a") == []
    await store.put(passage("a", "A.", axis(0), year=1960))
    told = await store.put(passage("a", "A.", axis(0), year="old"), status=422)
    assert told["code"] == "document.does_not_fit"
    assert (await store.get("a"))[0]["attributes"] == {"year": 1960}


async def test_passages_count_as_documents_of_the_day(store: Store, owner: Sessions) -> None:
    key = await make_key(owner)
    async with transaction(owner) as session:
        await session.execute(
            text("update api_keys set documents_per_day = 3 where prefix = :prefix"), {"prefix": key.partition(".")[0]}
        )
    given = [passage(f"p{n}", "Text.", axis(n)) for n in range(4)]

    told = await store.ask("PUT", "", {"passages": given}, 403, **bearer(key))
    assert told["code"] == "quota.too_small"
    assert "may upload 3 documents a day; this request has documents: 4, bytes: 20" in told["detail"]
    assert await store.get("p0") == []
    await store.ask("PUT", "", {"passages": given[:2]}, 200, **bearer(key))
    told = await store.ask("PUT", "", {"passages": given[2:]}, 429, **bearer(key))
    assert told["code"] == "quota.exceeded"
    await store.ask("PUT", "", {"passages": given[:3]}, 200, **bearer(key))
    await store.ask("PUT", "", {"passages": given[:3]}, 200, **bearer(key))  # as they are: nothing comes of it


async def test_each_change_is_told_once(store: Store, sessions: Sessions) -> None:
    await store.put(passage("a", "A.", axis(0)), passage("b", "B.", axis(1)))
    await store.put(passage("a", "A.", axis(0)), passage("b", "B.", axis(1), year=1))
    await store.put(passage("a", "Other.", axis(0)))

    told = "select kind, count(*) from events where kind like 'document.%' group by kind order by kind"
    assert await bundles.rows(sessions, told) == [("document.described", 1), ("document.ready", 3)]
    told = "select action, count(*) from audit where action like 'document.%' group by action order by action"
    assert await bundles.rows(sessions, told) == [
        ("document.create", 2),
        ("document.describe", 1),
        ("document.replace", 1),
    ]


async def test_an_answer_has_so_many_numbers_at_most(client: httpx.AsyncClient, collection: str) -> None:
    store = Store(client, collection)
    await store.make(4000)
    body = {"ids": [f"p{n}" for n in range(251)], "with_vectors": True}

    assert (await store.ask("POST", "/get", body, 422))["code"] == "passages.too_many_vectors"
    assert await store.get(*(f"p{n}" for n in range(1000))) == []


async def test_there_are_so_many_dimensions_at_most(owner: Sessions) -> None:
    async with owner.make() as session:
        await session.execute(
            text("""
            insert into embedding_spaces (model, dimension)
            select :model, number from generate_series(3000, 3031) as number on conflict do nothing
            """),
            {"model": spaces.CALLERS},
        )
        assert await spaces.of_callers(session, 3000, graph=True) == spaces.Space(spaces.CALLERS, 3000)
        with pytest.raises(Conflict, match="32 dimensions"):
            await spaces.of_callers(session, 3999, graph=True)
        await session.rollback()


async def test_a_space_of_callers_is_no_model_that_lacks(store: Store, sessions: Sessions) -> None:
    """`doctor` tells collections of models that are not configured."""
    async with transaction(sessions) as session:
        assert await spaces.not_among(session, []) == []


async def test_migrating_gives_spaces_of_callers_the_graph_that_they_lack(
    store: Store, owner: Sessions, settings: Settings
) -> None:
    async with transaction(owner) as session:
        space_id = await spaces.find(session, spaces.CALLERS, DIMENSION)
        assert await spaces.drop_graph(session, space_id)

    await schema.migrate(settings, ROOT)

    async with transaction(owner) as session:
        assert await spaces.has_graph(session, space_id)


async def test_a_walk_of_the_graph_finds_the_nearest_of_one_collection(store: Store, resources: Resources) -> None:
    """As many as are compared one by one elsewhere: the graph itself is asked."""
    rng = np.random.default_rng(11)
    vectors = rng.normal(size=(1000, DIMENSION))
    await store.put(*(passage(f"p{n}", "Text.", vector) for n, vector in enumerate(vectors.tolist())))
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    async with transaction(resources.sessions) as session:
        space_id = await spaces.find(session, spaces.CALLERS, DIMENSION)
        row = (await session.execute(text("select id from collections where name = :name"), {"name": store.name})).one()
        named = "select chunks.id, external_id from chunks join documents on documents.id = document_id"
        ids = {each.id: each.external_id for each in await session.execute(text(named))}
        recalls = []
        for asked in directions[rng.integers(0, 1000, 20)]:
            found, _ = await PgGraph().walk(session, space_id, Scope([row.id]), asked.astype(np.float32), depth=10)
            best = {f"p{n}" for n in np.argsort(-(directions @ asked))[:10].tolist()}
            recalls.append(len(best & {ids[each] for each in found.tolist()}) / 10)

    assert np.mean(recalls) >= 0.95


def test_the_guide_can_be_followed(client: httpx.AsyncClient, settings: Settings, tmp_path: Path) -> None:
    """Its commands, by bash and curl, against a server on a port of its own."""
    (block,) = re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    with served(create_app(settings)) as address:
        port = address.rpartition(":")[2]
        (tmp_path / ".env").write_text(f"DRYSTONE_API_KEY={settings.api.key.get_secret_value()}\nAPI_PORT={port}\n")
        done = subprocess.run(
            ["bash", "-euc", block.replace("curl ", "curl -sS --fail-with-body -w '\\n' ")],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 0, done.stdout + done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers[0]["vectors"]["dimension"] == 3
    assert [each["is_new"] for each in answers[1]["passages"]] == [True, True]
    assert [hit["id"] for hit in answers[2]["hits"]] == ["a-1"]

"""Filters: SQL and index keep what the language says, statements use the index, and no answer is short in silence."""

from __future__ import annotations

import json
import operator
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from pydantic import TypeAdapter
from sqlalchemy import text

from drystone.access.service import Principal
from drystone.core.db import Sessions, make_engine, make_sessions, transaction
from drystone.core.ids import new_id
from drystone.documents import collections, filters
from drystone.documents.filters import Comparison, Compound, Filter
from drystone.index import queries as index
from drystone.index.analysis import Analysed
from drystone.resources import SEARCH_PARAMETERS, Resources
from drystone.search import queries, service
from drystone.search.context import DEPTH
from drystone.search.queries import Scope
from drystone.search.schemas import Question

Work = Callable[[], Awaitable[None]]
_FILTER: TypeAdapter[Any] = TypeAdapter(Filter)
_ORDERS = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}

LONG = "x" * 300
VALUES: list[Any] = [
    *(0, 1, 1.0, -1, 1.5, -0.0, 0.1, 1e-310, 5e-324, 1e300, 1.7e308, -1.7e308, 2**53, 2**53 + 1, 10**400, 10**400 + 1),
    *("", "1", "a", "A", "b", "é", "z", "中", "😀", "2024-01-31", "2024-01-31T12:00:00Z", "true", "null"),
    *(LONG, LONG + "a", LONG + "b", True, False),
]
KEYS = ["year", "author", "a b", "é", "$ref", "x'; drop", "k" * 256]


def _holds(given: Comparison | Compound, attributes: dict[str, Any]) -> bool:
    """The language, in plain Python."""
    if isinstance(given, Compound):
        return (all if given.type == "and" else any)(_holds(part, attributes) for part in given.filters)
    key = given.key[1:] if given.key.startswith("$$") else given.key
    if given.type in ("ne", "nin"):
        return not _is_among(attributes, key, given.values if given.type == "nin" else [given.value])
    if given.type in ("eq", "in"):
        return _is_among(attributes, key, given.values if given.type == "in" else [given.value])
    held = attributes.get(key)
    return _kind(held) == _kind(given.value) and bool(_ORDERS[given.type](_exact(held), _exact(given.value)))


def _is_among(attributes: dict[str, Any], key: str, values: list[Any]) -> bool:
    return key in attributes and any(_same(attributes[key], value) for value in values)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return _kind(one) == _kind(other) and bool(_exact(one) == _exact(other))


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _exact(value: Any) -> Any:
    """A number as it is written in JSON: jsonb holds it whole."""
    return Decimal(json.dumps(value)) if _kind(value) == "number" else value


def _random_filter(chance: random.Random, depth: int = 0) -> dict[str, Any]:
    if depth < 3 and chance.random() < 0.5:
        parts = [_random_filter(chance, depth + 1) for _ in range(chance.randint(1, 3))]
        return {"type": chance.choice(["and", "or"]), "filters": parts}
    type_ = chance.choice(["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"])
    key = chance.choice([*KEYS, "absent"])
    value = chance.choice(VALUES)
    if type_ in ("in", "nin") and chance.random() < 0.9:
        value = chance.choices(VALUES, k=chance.randint(0, 4))
    elif type_ in ("eq", "ne") and chance.random() < 0.1:
        value = chance.choices(VALUES, k=2)
    return {"type": type_, "key": f"${key}" if key.startswith("$") else key, "value": value}


def _random_attributes(chance: random.Random) -> dict[str, Any]:
    kept = {key: chance.choice(VALUES) for key in KEYS if chance.random() < 0.6}
    if chance.random() < 0.3:
        kept[chance.choice(KEYS)] = chance.choice([None, {"year": 1}, [1], [], ["a", "1"], chance.choices(VALUES, k=2)])
    return kept


async def _home(sessions: Sessions, principal: Principal, resources: Resources, name: str) -> Any:
    async with transaction(sessions) as session:
        return await collections.create(session, principal, resources.space, name=name, language="english")


async def _add(sessions: Sessions, home: Any, attributes: list[dict[str, Any]]) -> list[UUID]:
    """Documents with these attributes, each with a version of one passage, without vectors."""
    rows = [
        {"file": str(new_id()), "document": str(new_id()), "version": str(new_id()), "attributes": each}
        for each in attributes
    ]
    async with transaction(sessions) as session:
        await session.execute(
            _ADD, {"rows": json.dumps(rows), "workspace_id": home.workspace_id, "collection_id": home.id}
        )
    return [UUID(str(row["document"])) for row in rows]


_ADD = text("""
with given as materialized (
    select * from jsonb_to_recordset(cast(:rows as jsonb)) as g (file uuid, document uuid, version uuid, attributes jsonb)
), files as (
    insert into files (id, workspace_id, sha256, size_bytes, media_type)
    select file, :workspace_id, uuid_send(file), 1, 'text/plain' from given
), documents as (
    insert into documents (id, workspace_id, collection_id, sha256, attributes, latest_version_id, current_version_id,
                           created_by, state)
    select document, :workspace_id, :collection_id, uuid_send(document), attributes, version, version, 'test', 'ready'
    from given
), versions as (
    insert into versions (id, workspace_id, document_id, number, file_id, state, chunk_count)
    select version, :workspace_id, document, 1, file, 'ready', 1 from given
)
insert into chunks (collection_id, document_id, version_id, ordinal, start_offset, end_offset, title_path, content_hash,
                    length, text)
select :collection_id, document, version, 0, 0, 5, '{}', '', 1, 'heron' from given
""")


async def test_sql_and_index_keep_what_the_language_says(
    sessions: Sessions, principal: Principal, resources: Resources, collection: str
) -> None:
    chance = random.Random(22)
    home = await _home(sessions, principal, resources, collection)
    attributes = [_random_attributes(chance) for _ in range(400)]
    ids = await _add(sessions, home, attributes)
    narrowed = 0
    async with transaction(sessions) as session:
        for _ in range(400):
            given = _FILTER.validate_python(asked := _random_filter(chance))
            expected = {id_ for id_, each in zip(ids, attributes, strict=True) if _holds(given, each)}
            parameters: dict[str, Any] = {"collection_ids": [home.id]}
            exact = filters.condition(given, parameters)
            more = filters.narrowing(given, parameters)
            narrowed += bool(more)
            for where in (exact, " and ".join([exact, *more])):
                found = await session.scalars(
                    text(
                        "select id from documents as document"
                        f" where collection_id = any(cast(:collection_ids as uuid[])) and {where}"
                    ),
                    parameters,
                )
                assert set(found) == expected, asked
    assert narrowed > 100


async def test_what_is_changed_or_gone_is_indexed_anew(
    sessions: Sessions, principal: Principal, resources: Resources, collection: str
) -> None:
    home = await _home(sessions, principal, resources, collection)
    one, other = await _add(sessions, home, [{"a": 1, "b": "x"}, {"a": 1}])

    async with transaction(sessions) as session:
        await session.execute(
            text("update documents set attributes = cast(:new as jsonb) where id = :id"),
            {"id": one, "new": '{"a": true, "c": null, "d": [1]}'},
        )
        await session.execute(text("update documents set deleted_at = now() where id = :id"), {"id": other})
        await session.execute(text("update documents set purged_at = now() where id = :id"), {"id": other})
        rows = await session.execute(text("select document_id, key, number, string, boolean from document_attributes"))

        assert rows.all() == [(one, "a", None, None, True)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "eq", "key": "number", "value": 7}, "ix_document_attributes_number"),
        ({"type": "in", "key": "number", "value": [7, 8.5]}, "ix_document_attributes_number"),
        ({"type": "lt", "key": "number", "value": 3}, "ix_document_attributes_number"),
        ({"type": "gte", "key": "number", "value": 4997}, "ix_document_attributes_number"),
        ({"type": "eq", "key": "string", "value": "s0007"}, "ix_document_attributes_string"),
        ({"type": "in", "key": "string", "value": ["s0007", "s0008"]}, "ix_document_attributes_string"),
        ({"type": "lte", "key": "string", "value": "s0003"}, "ix_document_attributes_string"),
        ({"type": "gt", "key": "string", "value": "s4997"}, "ix_document_attributes_string"),
        ({"type": "eq", "key": "rare", "value": True}, "ix_document_attributes_boolean"),
        ({"type": "lt", "key": "$created_at", "value": "2001-01-01"}, "ix_documents_collection_id_created_at"),
        ({"type": "eq", "key": "$external_id", "value": "e7"}, "uq_documents_collection_id_external_id"),
        (
            {
                "type": "or",
                "filters": [
                    {"type": "eq", "key": "number", "value": 7},
                    {
                        "type": "and",
                        "filters": [
                            {"type": "lt", "key": "string", "value": "s0003"},
                            {"type": "ne", "key": "rare", "value": True},
                        ],
                    },
                ],
            },
            "ix_document_attributes_number",
        ),
    ],
    ids=lambda value: f"{value['type']} {value.get('key', '')}" if isinstance(value, dict) else "",
)
async def test_what_few_pass_is_looked_up(
    sessions: Sessions,
    owner: Sessions,
    principal: Principal,
    resources: Resources,
    collection: str,
    given: dict[str, Any],
    expected: str,
) -> None:
    home = await _home(sessions, principal, resources, collection)
    attributes = [{"number": n, "string": f"s{n:04}", "rare": n < 5} for n in range(5000)]
    await _add(sessions, home, attributes)
    async with transaction(owner) as session:
        await session.execute(text("update documents set external_id = 'e' || cast(attributes -> 'number' as text)"))
        for table in ("documents", "versions", "chunks", "document_attributes"):
            await session.execute(text(f"analyze {table}"))
    scope = Scope([home.id], _FILTER.validate_python(given))

    async with transaction(sessions) as session:
        plan = await _plan(session, scope)

    assert expected in plan, plan
    assert "Seq Scan on documents" not in plan, plan


def _moments(chance: random.Random) -> list[tuple[str, datetime | None]]:
    """Strings, and the times that they are; None: they are none."""
    found: list[tuple[str, datetime | None]] = []
    for _ in range(150):
        zone = timezone(timedelta(minutes=chance.choice([0, 60, -330, 14 * 60, 765, -12 * 60])))
        moment = datetime(chance.choice([1, 1969, 2024, 2025]), 1, 2, tzinfo=UTC) + timedelta(
            days=chance.randrange(3), seconds=chance.randrange(86_400), microseconds=chance.choice([0, 1, 999_999])
        )
        said = moment.astimezone(zone).isoformat()
        found.append((chance.choice([said, said.replace("T", "t")]), moment))
        if zone.utcoffset(None) == timedelta(0):
            found.append((said.replace("+00:00", chance.choice(["Z", "z", ""])), moment))
        found.append((moment.date().isoformat(), datetime.combine(moment, datetime.min.time(), UTC)))
    found.append(("2024-01-01T00:00:00.1234567899Z", datetime(2024, 1, 1, 0, 0, 0, 123456, UTC)))
    found.append(("2024-01-01T10:00+02:00", datetime(2024, 1, 1, 8, tzinfo=UTC)))
    none = [
        "2024-02-30",
        "2024-13-01",
        "0000-01-01",
        "2024-1-1",
        "20240101",
        "2024-W01-1",
        "today",
        "",
        "2024-01-01T25:00:00Z",
    ]
    none += [
        "2024-01-01 BC",
        "2024-01-01T00:00:00+99:00",
        "2024-01-01T00:00:00Z and more",
        "x" * 300,
        "infinity",
        "２024-01-01",
    ]
    return found + [(each, None) for each in none]


async def test_days_and_moments_compare_as_the_times_that_they_are(
    sessions: Sessions, principal: Principal, resources: Resources, collection: str
) -> None:
    """SQL and index keep what Python says, whatever the way a time is written."""
    chance = random.Random(41)
    home = await _home(sessions, principal, resources, collection)
    held = _moments(chance)
    attributes: list[dict[str, Any]] = [{"at": said} for said, _ in held]
    ids = await _add(sessions, home, [*attributes, {"at": 2024}, {"at": ["2024-01-01"]}, {"at": True}, {}])
    times = dict(zip(ids, [*(time for _, time in held), *[None] * 4], strict=True))
    asked = [(said, time) for said, time in held if time is not None and "9Z" not in said]
    orders = _ORDERS | {"eq": operator.eq}
    async with transaction(sessions) as session:
        for _ in range(150):
            type_ = chance.choice([*orders, "ne", "in", "nin"])
            chosen = chance.sample(asked, k=3 if type_ in ("in", "nin") else 1)
            wanted = [time for _, time in chosen]
            if type_ in orders:
                passing = {each for each, time in times.items() if time is not None and orders[type_](time, wanted[0])}
            else:
                passing = {each for each, time in times.items() if (time in wanted) == (type_ == "in")}
            value: Any = [said for said, _ in chosen] if type_ in ("in", "nin") else chosen[0][0]
            given = Comparison.model_validate({"type": type_, "key": "at", "value": value}).of_times()
            parameters: dict[str, Any] = {"collection_ids": [home.id]}
            exact = filters.condition(given, parameters)
            more = filters.narrowing(given, parameters)
            for where in (exact, " and ".join([exact, *more])):
                found = await session.scalars(
                    text(
                        "select id from documents as document"
                        f" where collection_id = any(cast(:collection_ids as uuid[])) and {where}"
                    ),
                    parameters,
                )
                assert set(found) == passing, (type_, value)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("eq", "2024-03-01T12:00:00+02:00"),
        ("in", ["2024-03-01", "2024-03-02T01:00:00Z"]),
        ("lt", "2024-01-01T05:00:00Z"),
        ("gte", "2024-07-27"),
    ],
)
async def test_times_that_few_have_are_looked_up(
    sessions: Sessions,
    owner: Sessions,
    principal: Principal,
    resources: Resources,
    collection: str,
    type_: str,
    value: Any,
) -> None:
    home = await _home(sessions, principal, resources, collection)
    hours = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(5000)]
    await _add(sessions, home, [{"at": each.isoformat(), "other": f"s{n}"} for n, each in enumerate(hours)])
    async with transaction(owner) as session:
        for table in ("documents", "versions", "chunks", "document_attributes"):
            await session.execute(text(f"analyze {table}"))
    given = Comparison.model_validate({"type": type_, "key": "at", "value": value}).of_times()

    async with transaction(sessions) as session:
        plan = await _plan(session, Scope([home.id], given))

    assert "ix_document_attributes_time" in plan, plan
    assert "Seq Scan on documents" not in plan, plan


async def test_documents_under_a_schema_that_few_have_are_looked_up(
    sessions: Sessions, owner: Sessions, principal: Principal, resources: Resources, collection: str
) -> None:
    home = await _home(sessions, principal, resources, collection)
    ids = await _add(sessions, home, [{"n": n} for n in range(5000)])
    async with transaction(owner) as session:
        await session.execute(
            text(
                "update documents set schema_kind = 'category', schema_id = gen_random_uuid(), schema_sha256 = ''"
                " where id = any(:ids)"
            ),
            {"ids": ids[:2500]},
        )
        for table in ("documents", "versions", "chunks", "entities", "profiles"):
            await session.execute(text(f"analyze {table}"))
    given = Comparison(type="eq", key="$schema", value="category:report")

    async with transaction(sessions) as session:
        plan = await _plan(session, Scope([home.id], given))

    assert "ix_documents_schema_id" in plan, plan
    assert "Seq Scan on documents" not in plan, plan


async def _plan(session: Any, scope: Scope) -> str:
    parameters: dict[str, Any] = {"collection_ids": list(scope.collection_ids), "up_to": 10_000}
    where = scope.condition(parameters, narrowed=True)
    rows = await session.scalars(text("explain " + queries.COUNT.format(where=where)), parameters)
    return "\n".join(rows)


async def _found(client: httpx.AsyncClient, collection: str, **given: Any) -> set[str]:
    asked = {"query": "heron", "collection": collection, "filter": given, "mode": "lexical"}
    answer = await client.post("/api/v1/search", json=asked)
    assert answer.status_code == 200, answer.text
    return {hit["document"]["external_id"] for hit in answer.json()["hits"]}


async def test_documents_own_fields_are_keys(client: httpx.AsyncClient, work: Work, collection: str) -> None:
    began = datetime.now(UTC)
    for external_id, name, type_, body in (
        ("en", "bird.txt", "text/plain", "The heron stands in the reed by the lake and waits for a fish in the water."),
        (
            "de",
            "Vogel.md",
            "text/markdown",
            "Der Vogel heron steht im Schilf am See und wartet auf einen Fisch im Wasser.",
        ),
    ):
        sent = await client.post(
            "/api/v1/documents",
            files={"file": (name, body.encode(), type_)},
            data={"collection": collection, "external_id": external_id, "attributes": '{"$name": "own"}'},
        )
        assert sent.status_code == 202, sent.text
    await work()
    later = (began + timedelta(days=1)).isoformat()
    noon_elsewhere = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "+14:00"  # 14 hours ago

    for expected, type_, key, value in (
        ({"en"}, "eq", "$external_id", "en"),
        ({"de"}, "ne", "$external_id", "en"),
        ({"de"}, "eq", "$language", "de"),
        ({"en"}, "nin", "$language", ["de", "fr"]),
        ({"de"}, "in", "$media_type", ["text/markdown", "text/html"]),
        ({"de"}, "lt", "$name", "a"),
        ({"en"}, "eq", "$title", "bird.txt"),
        ({"en", "de"}, "eq", "$collection", collection),
        (set(), "ne", "$collection", collection),
        ({"en", "de"}, "gte", "$created_at", began.date().isoformat()),
        ({"en", "de"}, "gt", "$updated_at", noon_elsewhere),
        (set(), "gt", "$created_at", later),
        ({"en", "de"}, "lte", "$created_at", later),
        ({"en", "de"}, "eq", "$$name", "own"),
    ):
        assert await _found(client, collection, type=type_, key=key, value=value) == expected, (type_, key)
    both = [{"type": "eq", "key": "$language", "value": "de"}, {"type": "eq", "key": "$$name", "value": "own"}]
    chosen = {"collection": collection, "filter": {"type": "and", "filters": both}, "dry_run": True}
    told = await client.post("/api/v1/documents/delete", json=chosen)
    assert (told.status_code, told.json()["count"]) == (200, 1)
    for where in ({"collection": collection}, {}):
        listed = await client.get("/api/v1/documents", params=where | {"filter": json.dumps(chosen["filter"])})
        assert [each["external_id"] for each in listed.json()["items"]] == ["de"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"type": "eq", "key": "$lang", "value": "de"}, "there is no field $lang; there are $collection, $created_at"),
        ({"type": "gt", "key": "$created_at", "value": "yesterday"}, "$created_at is compared with a time in ISO 8601"),
        ({"type": "gt", "key": "$created_at", "value": 2024}, "$created_at is compared with a time in ISO 8601"),
        ({"type": "gt", "key": "$updated_at", "value": "0001-01-01T00:00+14:00"}, "in ISO 8601"),
        ({"type": "in", "key": "$language", "value": ["de", 5]}, "$language is compared with a code"),
        ({"type": "eq", "key": "$language", "value": ["de"]}, "only in and nin take a list"),
        ({"type": "gt", "key": "year", "value": [1]}, "gt takes one value"),
    ],
)
async def test_a_key_or_value_that_cannot_be_is_told(
    client: httpx.AsyncClient, given: dict[str, Any], said: str
) -> None:
    inner = {"type": "and", "filters": [given]}

    for path, body in (("search", {"query": "x"}), ("documents/delete", {"collection": "default", "dry_run": True})):
        answer = await client.post(f"/api/v1/{path}", json=body | {"filter": inner})
        assert answer.status_code == 422, answer.text
        assert said in answer.json()["errors"][0]["detail"]
        assert answer.json()["errors"][0]["pointer"] == "/filter/filters/0"
    listed = await client.get("/api/v1/documents", params={"filter": json.dumps(inner)})
    assert listed.status_code == 422
    assert said in listed.json()["errors"][0]["detail"]
    assert listed.json()["errors"][0]["pointer"] == "/filter"


async def test_what_passes_far_from_the_question_is_found_although_the_walk_gives_up(
    resources: Resources,
    sessions: Sessions,
    owner: Sessions,
    principal: Principal,
    collection: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queries, "EXACT_UP_TO", 100)
    question = (await resources.embedder.embed(["heron"]))[0]
    chance = np.random.default_rng(5)
    near, far = (
        side * question + chance.normal(size=(count, len(question))).astype(np.float32) * 0.05
        for side, count in ((1, 1200), (-1, 300))
    )
    held = np.concatenate([near, far])
    held /= np.linalg.norm(held, axis=1, keepdims=True)
    home = await _home(sessions, principal, resources, collection)
    async with transaction(owner) as session:  # so PostgreSQL takes them for empty
        for table in ("documents", "document_attributes", f"vectors_{home.space_id}"):
            await session.execute(text(f"analyze {table}"))
    ids = await _add(sessions, home, [{"far": place >= len(near)} for place in range(len(held))])
    async with transaction(sessions) as session:
        rows = await session.execute(text("select document_id, id from chunks"))
        chunk_ids = {row.document_id: row.id for row in rows}
        await index.add(
            session,
            home.space_id,
            [
                index.IndexedChunk(chunk_ids[id_], home.id, id_, "english", Analysed({}, 0), vector)
                for id_, vector in zip(ids, held, strict=True)
            ],
        )
    best = np.argsort(-(held[len(near) :] @ question))[:10] + len(near)
    given = Comparison(type="eq", key="far", value=True)

    async with _giving_up_after(resources, 200) as readers:
        async with transaction(readers) as session:
            walked, _ = await resources.searcher.graph.walk(
                session, home.space_id, Scope([home.id], given), question, depth=DEPTH
            )
        answer = await service.search(
            replace(resources.searcher, sessions=readers),
            principal,
            Question(queries=["heron"], collections=[collection], filter=given, mode="dense"),
        )

    assert len(walked) < DEPTH  # else this test would say nothing
    assert {hit.document.id for hit in answer.hits} == {ids[place] for place in best}
    assert (answer.exact, answer.truncated) == (True, False)


@asynccontextmanager
async def _giving_up_after(resources: Resources, tuples: int) -> AsyncIterator[Sessions]:
    """Sessions of a search whose walks look at about so many vectors at most."""
    engine = make_engine(
        resources.settings.database.url.get_secret_value(),
        pool_size=1,
        parameters={
            **SEARCH_PARAMETERS,
            "hnsw.ef_search": "20",
            "hnsw.max_scan_tuples": str(tuples),
            "enable_sort": "off",  # so few vectors would be sorted rather than walked
        },
    )
    try:
        yield make_sessions(engine.execution_options(isolation_level="REPEATABLE READ"))
    finally:
        await engine.dispose()

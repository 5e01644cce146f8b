"""Idempotency-Key: the same request gets the same answer, whatever happened to the first one."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from tests.integration.uploads import Work, count, put, send
from tests.keys import bearer, make_key

from drystone.access import idempotency
from drystone.access.idempotency import Kept
from drystone.access.service import Principal
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Conflict
from drystone.resources import Resources


def _key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


def _assert_same(first: httpx.Response, again: httpx.Response) -> None:
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert (again.status_code, again.content and again.json()) == (first.status_code, first.content and first.json())
    for name in ("location", "etag"):
        assert again.headers.get(name) == first.headers.get(name)


async def test_an_upload_repeated_under_its_key_is_answered_as_the_first_time_even_when_the_world_went_on(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    headers = _key()
    first = await send(client, collection, headers=headers)  # each form has a boundary of its own
    await work()
    again = await send(client, collection, headers=headers)

    assert first.status_code == 202
    _assert_same(first, again)
    await client.delete(first.headers["location"])
    _assert_same(first, await send(client, collection, headers=headers))
    assert await count(sessions, "select count(*) from documents") == 1


async def test_every_route_that_changes_something_remembers(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    sent = await send(client, collection)
    await work()
    path, document_id = sent.headers["location"], sent.json()["document"]["id"]

    async def twice(method: str, url: str, json: Any = None) -> httpx.Response:
        headers = _key()
        first = await client.request(method, url, json=json, headers=headers)
        assert first.is_success, first.text
        _assert_same(first, await client.request(method, url, json=json, headers=headers))
        return first

    made = await twice("POST", "/api/v1/collections", {"name": f"{collection}-2"})
    assert made.status_code == 201
    await twice("PATCH", f"/api/v1/collections/{collection}", {"description": "x"})
    await twice("PATCH", path, {"title": "New"})
    headers = _key()
    _assert_same(
        await put(client, document_id, b"Other.", headers=headers),
        await put(client, document_id, b"Other.", headers=headers),
    )
    await twice("POST", f"{path}/versions/1/restore")
    assert await count(sessions, "select count(*) from versions") == 3
    deleted = await twice("POST", "/api/v1/documents/delete", {"ids": [document_id]})
    assert deleted.json()["count"] == 1


async def test_all_that_makes_something_or_changes_documents_and_collections_takes_a_key(
    client: httpx.AsyncClient,
) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    lacking = [
        f"{method} {path}"
        for path, methods in paths.items()
        for method, route in methods.items()
        if method in ("post", "put", "patch")
        and ("201" in route["responses"] or path.startswith(("/api/v1/documents", "/api/v1/collections")))
        and "Idempotency-Key" not in [each["name"] for each in route.get("parameters", [])]
    ]

    assert set(lacking) == {  # which only read
        f"post /api/v1/collections/{{collection}}/{read}"
        for read in ("embedding/compare", "passages/get", "passages/search")
    }


async def test_the_key_of_another_request_is_refused(client: httpx.AsyncClient, collection: str) -> None:
    headers = _key()
    await send(client, collection, headers=headers)
    others = [
        await send(client, collection, b"Other bytes.", headers=headers),
        await send(client, collection, name="b.txt", headers=headers),
        await send(client, collection, title="Title", headers=headers),
        await send(client, f"{collection}-2", headers=headers),
        await send(client, collection, headers={**headers, "If-None-Match": "*"}),
        await client.post("/api/v1/collections", json={"name": "x"}, headers=headers),
    ]

    assert [(a.status_code, a.json()["code"]) for a in others] == [(422, "idempotency.key_reused")] * len(others)


async def test_of_many_at_once_one_works_and_the_others_wait_or_get_its_answer(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    headers = _key()
    body = {"name": collection}
    answers = await asyncio.gather(*(client.post("/api/v1/collections", json=body, headers=headers) for _ in range(12)))

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert sum(a.status_code == 201 and "idempotent-replayed" not in a.headers for a in answers) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["code"] == "idempotency.in_flight"
            assert 1 <= int(answer.headers["retry-after"]) <= idempotency.LOCK_S
    assert (await client.post("/api/v1/collections", json=body, headers=headers)).status_code == 201


async def _dead_process(sessions: Sessions, principal: Principal, key: str, body: bytes) -> Any:
    """Take a key for POST /collections with this body, as a process does that is killed before its commit."""
    content = hashlib.sha256(b"application/json\n" + body).digest()
    said = "\n".join(
        ["POST", "/api/v1/collections", "", "admin read write", "all", "if-match: ", "if-none-match: ", "prefer: "]
    )
    async with transaction(sessions) as session:
        return await idempotency.take(session, principal, key, hashlib.sha256(said.encode() + b"\n" + content).digest())


async def test_the_key_of_a_process_that_died_before_its_commit_is_free_after_its_lock(
    client: httpx.AsyncClient, collection: str, sessions: Sessions, principal: Principal
) -> None:
    key, body = uuid4().hex, b'{"name": "%s"}' % collection.encode()
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    token = await _dead_process(sessions, principal, key, body)
    locked = await client.post("/api/v1/collections", content=body, headers=headers)
    async with transaction(sessions) as session:
        await session.execute(text("update idempotency_keys set locked_until = now() - interval '1 s'"))
    free = await client.post("/api/v1/collections", content=body, headers=headers)

    assert (locked.status_code, locked.json()["code"]) == (409, "idempotency.in_flight")
    assert (free.status_code, "idempotent-replayed" in free.headers) == (201, False)
    with pytest.raises(Conflict, match="taken over"):  # it was not dead, only slow: it must not commit
        async with transaction(sessions) as session:
            await idempotency.remember(session, token, Kept(201, {}, None))


async def test_a_reply_lost_after_the_commit_is_found_by_the_retry(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    headers = _key()
    first = await send(client, collection, headers=headers)  # the process dies here; the client has seen nothing
    async with transaction(sessions) as session:
        kept = (await session.execute(text("select response_status, locked_until from idempotency_keys"))).one()
    again = await send(client, collection, headers=headers)

    assert tuple(kept) == (202, None)
    assert again.json()["document"]["id"] == first.json()["document"]["id"]
    assert await count(sessions, "select count(*) from jobs where kind = 'documents.ingest'") == 1


async def test_a_refusal_is_not_remembered(client: httpx.AsyncClient, collection: str, sessions: Sessions) -> None:
    headers = _key()
    refused = [
        await client.post("/api/v1/collections", json={"name": "a b"}, headers=headers),
        await client.post("/api/v1/collections", json={"nome": "a"}, headers=headers),
        await send(client, collection, b"", headers=headers),
        await send(client, collection, b"PK\x03\x04 rest", name="drawing.vsdx", headers=headers),
        await client.patch("/api/v1/collections/none", json={"description": "x"}, headers=headers),
    ]

    assert all(400 <= answer.status_code < 500 for answer in refused)
    assert await count(sessions, "select count(*) from idempotency_keys") == 0
    assert (await send(client, collection, headers=headers)).status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 256, "ä", "tab\there"])
async def test_a_key_that_is_none_is_refused(client: httpx.AsyncClient, collection: str, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answers = [
        await client.post("/api/v1/collections", json={"name": collection}, headers=headers),  # type: ignore[arg-type]  # raw bytes, as clients may send
        await send(client, collection, headers=headers),  # type: ignore[arg-type]  # the same
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(422, "request.invalid")] * 2


async def test_two_keys_are_refused(client: httpx.AsyncClient, collection: str) -> None:
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    answers = [
        await client.post("/api/v1/collections", json={"name": collection}, headers=headers),
        await client.post("/api/v1/documents", files={"file": ("a.txt", b"Some words.")}, headers=headers),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(422, "idempotency.many_keys")] * 2


async def test_two_callers_may_use_one_key(client: httpx.AsyncClient, collection: str, owner: Sessions) -> None:
    headers = _key()
    mine = await client.post("/api/v1/collections", json={"name": collection}, headers=headers)
    theirs = await client.post(
        "/api/v1/collections",
        json={"name": f"{collection}-2"},
        headers=headers | bearer(await make_key(owner)),
    )

    assert (mine.status_code, theirs.status_code) == (201, 201)


async def test_a_key_is_forgotten_after_a_day(
    client: httpx.AsyncClient, collection: str, sessions: Sessions, resources: Resources
) -> None:
    headers = _key()
    await send(client, collection, headers=headers)
    async with transaction(sessions) as session:
        kept_for = await session.scalar(text("select expires_at - created_at from idempotency_keys"))
        assert await idempotency.forget_expired(session) == 0
        await session.execute(text("update idempotency_keys set expires_at = now() - interval '1 s'"))
    other = await send(client, collection, b"Other bytes.", headers=headers)

    assert 86_390 < kept_for.total_seconds() < 86_410
    assert other.status_code == 202, "an expired key may name another request, swept or not"
    async with transaction(sessions) as session:
        await session.execute(text("update idempotency_keys set expires_at = now() - interval '1 s'"))
        assert await idempotency.forget_expired(session) == 1

"""Deleting: one, many by ids or filter, a whole collection; asked first, done at once, never undone by a race."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text
from tests.integration.uploads import Work, count, search, send

from drystone.access import service as access
from drystone.access.service import Principal
from drystone.core.db import Sessions, transaction
from drystone.core.errors import NotFound
from drystone.documents import collections, deleting, queries
from drystone.documents.deleting import Selection
from drystone.resources import Resources

PATH = "/api/v1/documents/delete"

# Test ids must be the same in every process.
SOME_ID = "00000000-0000-4000-8000-000000000000"


async def _fill(client: httpx.AsyncClient, collection: str, years: range) -> list[str]:
    """A document for each year; their ids."""
    ids = []
    for year in years:
        sent = await send(
            client, collection, f"A heron of {year}.".encode(), attributes=f'{{"year": {year}}}', title=f"Y{year}"
        )
        ids.append(sent.json()["document"]["id"])
    return ids


async def _delete(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_dry_run_tells_what_the_real_one_then_does(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    ids = await _fill(client, collection, range(1960, 1964))
    await work()
    chosen = {"collection": collection, "filter": {"type": "lt", "key": "year", "value": 1962}}
    asked = await _delete(client, chosen | {"dry_run": True})
    still_there = await search(client, collection, "heron")
    done = await _delete(client, chosen | {"expect": asked["count"]})
    left = await search(client, collection, "heron")

    assert (asked["dry_run"], asked["count"]) == (True, 2)
    assert [(each["id"], each["title"]) for each in asked["sample"]] == [(ids[0], "Y1960"), (ids[1], "Y1961")]
    assert len(still_there) == 4
    assert (done["dry_run"], done["count"], done["missing"]) == (False, 2, [])
    assert sorted(left) == ["A heron of 1962.", "A heron of 1963."], "at once, before the purge"
    await work()
    assert await count(sessions, "select count(*) from chunks") == 2
    assert await count(sessions, "select count(*) from lexical_chunks") == 2, "the words of what is left are left"


async def test_each_document_gets_a_note_an_audit_row_and_an_event_and_each_collection_one_job(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    ids = await _fill(client, collection, range(1960, 1963)) + await _fill(client, f"{collection}-2", range(1960, 1962))
    done = await _delete(client, {"ids": ids})

    assert done["count"] == 5
    for table, where in (
        ("deletions", "subject_kind = 'document'"),
        ("audit", "action = 'document.delete' and before_sha256 is not null and request_id is not null"),
        ("events", "kind = 'document.deleted' and collection_id is not null"),
    ):
        async with transaction(sessions) as session:
            found = (await session.scalars(text(f"select subject_id from {table} where {where}"))).all()
        assert sorted(map(str, found)) == sorted(ids), table
    assert await count(sessions, "select count(*) from jobs where kind like '%purge%'") == 2


async def test_ids_that_are_not_there_are_named_and_the_others_deleted(
    client: httpx.AsyncClient, collection: str
) -> None:
    ids = await _fill(client, collection, range(1960, 1962))
    unknown = str(uuid4())
    first = await _delete(client, {"ids": [ids[0], unknown, ids[0]]})
    second = await _delete(client, {"ids": ids})

    assert (first["count"], first["missing"]) == (1, [unknown])
    assert (second["count"], second["missing"]) == (1, [ids[0]])


async def test_another_number_than_expected_deletes_nothing(client: httpx.AsyncClient, collection: str) -> None:
    await _fill(client, collection, range(1960, 1963))
    refused = await client.post(PATH, json={"collection": collection, "expect": 2})

    assert (refused.status_code, refused.json()["code"]) == (409, "documents.count_differs")
    assert (await _delete(client, {"collection": collection, "dry_run": True}))["count"] == 3


async def test_a_state_chooses_what_failed(client: httpx.AsyncClient, collection: str, work: Work) -> None:
    await send(client, collection, b"Words.")
    await send(client, collection, b" \n")
    await work()

    assert (await _delete(client, {"collection": collection, "state": "failed"}))["count"] == 1
    left = (await client.get("/api/v1/documents", params={"collection": collection})).json()["items"]
    assert [document["state"] for document in left] == ["ready"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "documents.no_selection"),
        ({"filter": {"type": "eq", "key": "a", "value": 1}}, "documents.no_selection"),
        ({"ids": [SOME_ID], "collection": "x"}, "documents.no_selection"),
        ({"ids": [SOME_ID], "state": "failed"}, "documents.ids_and_filter"),
        ({"ids": []}, "request.invalid"),
        ({"ids": ["x"]}, "request.invalid"),
        ({"ids": [SOME_ID] * 10_001}, "request.invalid"),
        ({"collection": "x", "filter": {"type": "like", "key": "a", "value": 1}}, "request.invalid"),
        ({"collection": "x", "expect": -1}, "request.invalid"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_selection_that_says_too_little_or_too_much_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any], code: str
) -> None:
    for more in ({}, {"dry_run": True}):
        answer = await client.post(PATH, json=body | more)
        assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_ten_thousand_ids_are_one_request(client: httpx.AsyncClient, collection: str, sessions: Sessions) -> None:
    ids = await _fill(client, collection, range(1960, 1961))
    done = await _delete(client, {"ids": ids + [str(uuid4()) for _ in range(9_999)]})

    assert (done["count"], len(done["missing"])) == (1, 9_999)


async def test_deletes_that_overlap_delete_each_document_once(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    ids = await _fill(client, collection, range(1900, 1912))
    answers = await asyncio.gather(
        *(_delete(client, {"ids": ids}) for _ in range(3)),
        *(_delete(client, {"ids": ids[::-1]}) for _ in range(2)),
        _delete(client, {"collection": collection}),
    )

    assert sum(answer["count"] for answer in answers) == 12
    assert await count(sessions, "select count(*) from deletions") == 12


async def test_a_key_sees_and_deletes_only_in_its_own_collections(
    client: httpx.AsyncClient, collection: str, resources: Resources, principal: Principal
) -> None:
    mine = await _fill(client, collection, range(1960, 1962))
    others = await _fill(client, f"{collection}-2", range(1960, 1962))
    async with transaction(resources.sessions) as session:
        home = await collections.get(session, principal, collection)
    confined = access.Principal(
        principal.workspace_id, "key:confined", frozenset({"read", "write"}), frozenset({home.id})
    )
    async with transaction(resources.sessions) as session:
        asked = Selection(ids=[*map(UUID, mine), *map(UUID, others)])
        found = await deleting.delete_selection(session, resources.nudger, confined, asked)
        with pytest.raises(NotFound):
            await deleting.preview(session, confined, Selection(collection=f"{collection}-2"))

    assert (found.count, sorted(map(str, found.missing))) == (2, sorted(others))


async def test_the_members_of_a_deleted_archive_go_with_it(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    ids = await _fill(client, collection, range(1960, 1964))
    await work()
    async with transaction(sessions) as session:
        await session.execute(
            text("update documents set parent_id = :parent, member_path = title where id = any(:members)"),
            {"parent": UUID(ids[0]), "members": [UUID(each) for each in ids[1:3]]},
        )
    asked = await _delete(client, {"ids": [ids[0]], "dry_run": True})
    assert (await client.delete(f"/api/v1/documents/{ids[0]}")).status_code == 204
    await work()

    assert asked["count"] == 3
    assert await search(client, collection, "heron") == ["A heron of 1963."]
    assert await count(sessions, "select count(*) from chunks") == 1


async def test_a_delete_while_a_document_is_worked_on_stays(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    ids = await _fill(client, collection, range(1960, 1980))
    _, done = await asyncio.gather(work(), _delete(client, {"collection": collection}))
    await work()

    assert done["count"] == len(ids)
    assert await search(client, collection, "heron") == []
    for table in ("chunks", "lexical_chunks", "versions"):
        assert await count(sessions, f"select count(*) from {table}") == 0, table
    assert await count(sessions, "select count(*) from jobs where state <> 'done'") == 0


async def test_a_deleted_collection_leaves_notes_of_itself_and_of_each_document(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    await _fill(client, collection, range(1960, 1963))
    await client.delete(f"/api/v1/collections/{collection}")

    assert await count(sessions, "select count(*) from deletions where subject_kind = 'document'") == 3
    assert await count(sessions, "select count(*) from deletions where subject_kind = 'collection'") == 1
    assert await count(sessions, "select count(*) from audit where action = 'document.delete'") == 3
    assert await count(sessions, "select count(*) from events where kind = 'document.deleted'") == 3


async def test_a_dry_run_leaves_its_idempotency_key_free(client: httpx.AsyncClient, collection: str) -> None:
    ids = await _fill(client, collection, range(1960, 1961))
    headers = {"Idempotency-Key": uuid4().hex}
    answers = [
        await client.post(PATH, json={"ids": ids, "dry_run": dry_run}, headers=headers)
        for dry_run in (True, True, False, False)
    ]

    assert [(answer.status_code, answer.json()["count"]) for answer in answers] == [(200, 1)] * 4
    assert ["idempotent-replayed" in answer.headers for answer in answers] == [False, False, False, True]


async def test_a_purge_takes_many_small_documents_at_once_and_large_ones_one_by_one(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    ids = await _fill(client, collection, range(1960, 1966))
    await work()
    async with transaction(sessions) as session:
        home = await session.scalar(text("select id from collections"))
        await session.execute(text("update versions set chunk_count = 1500"))
        await session.execute(text("update documents set deleted_at = now()"))

        async def hidden(limit: int, chunks: int) -> list[str]:
            return [str(each) for each in await queries.hidden_documents(session, home, limit=limit, chunks=chunks)]

        assert await hidden(4, 1_000_000) == ids[:4]
        assert await hidden(100, 2_000) == ids[:2]
        assert await hidden(100, 1) == ids[:1]

"""Versions: made, listed, read, restored; the old one serves until the new one is ready; what is said of a document."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text
from tests.integration.uploads import Work, count, put, search, send, until_waiting

from drystone.core.db import Sessions, transaction
from drystone.documents import blobs, queries
from drystone.resources import Resources

HERON, KINGFISHER, OSPREY = b"The heron stands.", b"The kingfisher dives.", b"The osprey circles."


async def _versions(client: httpx.AsyncClient, document_id: str) -> list[dict[str, Any]]:
    answer = await client.get(f"/api/v1/documents/{document_id}/versions")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def _document(client: httpx.AsyncClient, document_id: str) -> dict[str, Any]:
    document: dict[str, Any] = (await client.get(f"/api/v1/documents/{document_id}")).json()
    return document


async def test_a_version_put_under_the_documents_id_takes_over_when_it_is_ready(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    first = (await send(client, collection, HERON)).json()["document"]
    await work()
    sent = await put(client, first["id"], KINGFISHER, title="Second")
    waiting = await _document(client, first["id"])
    found_waiting = await search(client, collection, "heron kingfisher")
    await work()
    ready = await _document(client, first["id"])

    assert (sent.status_code, sent.headers["location"]) == (202, f"/api/v1/documents/{first['id']}")
    assert (waiting["state"], waiting["version"], waiting["serving_version"]) == ("pending", 2, 1)
    assert found_waiting == [HERON.decode()]
    assert (ready["state"], ready["version"], ready["serving_version"], ready["title"]) == ("ready", 2, 2, "Second")
    assert await search(client, collection, "heron kingfisher") == [KINGFISHER.decode()]
    second, first_ = [
        each["id"] for each in (await client.get(f"/api/v1/documents/{first['id']}/versions")).json()["items"]
    ]
    assert (first["version_id"], first["serving_version_id"]) == (first_, None)
    assert (waiting["version_id"], waiting["serving_version_id"]) == (second, first_)
    assert (ready["version_id"], ready["serving_version_id"]) == (second, second)
    answer = await client.post("/api/v1/search", json={"query": "kingfisher", "collection": collection})
    assert [hit["document"]["version_id"] for hit in answer.json()["hits"]] == [second]


async def test_old_versions_stay_readable_whatever_the_blob_sweep_does(
    client: httpx.AsyncClient, collection: str, work: Work, resources: Resources
) -> None:
    document_id = (await send(client, collection, HERON + b"\r\n", external_id="bird")).json()["document"]["id"]
    await work()
    await send(client, collection, KINGFISHER, external_id="bird")
    await work()
    await blobs.sweep(resources.sessions, resources.objects, grace_s=0)

    path = f"/api/v1/documents/{document_id}/versions/1"
    assert (await client.get(f"{path}/content")).content == HERON + b"\r\n"
    assert (await client.get(f"{path}/text")).text == HERON.decode()
    newest, oldest = await _versions(client, document_id)
    assert (newest["number"], newest["is_current"], newest["is_newest"]) == (2, True, True)
    assert (oldest["number"], oldest["is_current"], oldest["is_newest"]) == (1, False, False)
    assert (await client.get(path)).json() == oldest
    assert oldest["ready_at"] >= oldest["created_at"]
    missing = await client.get(f"/api/v1/documents/{document_id}/versions/3")
    assert (missing.status_code, missing.json()["code"]) == (404, "version.not_found")


async def test_a_failed_newest_version_is_told_beside_the_one_that_serves(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    document_id = (await send(client, collection, HERON)).json()["document"]["id"]
    await work()
    await put(client, document_id, b" \n ")
    await work()
    document = await _document(client, document_id)
    newest, oldest = await _versions(client, document_id)
    no_text = await client.get(f"/api/v1/documents/{document_id}/versions/2/text")

    assert (document["state"], document["version"], document["serving_version"]) == ("failed", 2, 1)
    assert document["error"]["code"] == newest["error"]["code"] == "document.no_text"
    assert document["is_searchable"]
    assert (newest["is_current"], oldest["is_current"]) == (False, True)
    assert (no_text.status_code, no_text.json()["code"]) == (409, "version.no_text")
    assert await search(client, collection, "heron") == [HERON.decode()]
    again = await put(client, document_id, b" \n ")
    assert (again.status_code, again.json()["document"]["version"]) == (202, 3), "after a failure it is tried again"


async def test_an_old_version_restored_is_a_new_one_of_the_same_file(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    document_id = (await send(client, collection, HERON)).json()["document"]["id"]
    await work()
    await put(client, document_id, KINGFISHER)
    await work()
    path = f"/api/v1/documents/{document_id}/versions"
    restored = await client.post(f"{path}/1/restore")
    await work()
    again = await client.post(f"{path}/1/restore")

    assert (restored.status_code, restored.json()["document"]["version"]) == (202, 3)
    assert await search(client, collection, "heron kingfisher") == [HERON.decode()]
    assert (again.status_code, again.json()["already_there"]) == (200, True)
    assert [version["number"] for version in await _versions(client, document_id)] == [3, 2, 1]
    assert await count(sessions, "select count(*) from audit where details ->> 'restored' = '1'") == 1


async def test_a_files_name_belongs_to_its_version(client: httpx.AsyncClient, collection: str, work: Work) -> None:
    document_id = (await send(client, collection, HERON, name="heron.txt")).json()["document"]["id"]
    await work()
    path = f"/api/v1/documents/{document_id}"
    broken = {"file": ("locked.pdf", b"%PDF-1.4 this is none", "application/pdf")}
    await client.put(f"{path}/content", files=broken)
    await work()
    question = {"collection": collection, "query": "heron"}
    hit = (await client.post("/api/v1/search", json=question)).json()["hits"][0]["document"]
    failed = await _document(client, document_id)
    names = [(version["number"], version["name"]) for version in await _versions(client, document_id)]
    attached = [
        (await client.get(f"{path}/{which}")).headers["content-disposition"].rpartition("'")[2]
        for which in ("content", "versions/2/content", "versions/1/content")
    ]
    restored = (await client.post(f"{path}/versions/1/restore")).json()["document"]

    assert (failed["name"], failed["state"], failed["serving_version"]) == ("locked.pdf", "failed", 1)
    assert (hit["name"], hit["title"], hit["version"]) == ("heron.txt", "heron.txt", 1)
    assert names == [(2, "locked.pdf"), (1, "heron.txt")]
    assert attached == ["locked.pdf", "locked.pdf", "heron.txt"]
    assert (restored["name"], restored["title"], restored["state"]) == ("heron.txt", "heron.txt", "pending")
    assert (await _versions(client, document_id))[0]["name"] == "heron.txt"


async def test_the_bytes_of_the_first_version_after_the_second_are_a_third(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    for body in (HERON, KINGFISHER, HERON):
        sent = await send(client, collection, body, external_id="bird")
        await work()

    assert (sent.status_code, sent.json()["document"]["version"]) == (202, 3)
    assert await search(client, collection, "heron kingfisher") == [HERON.decode()]


async def test_uploads_of_other_bytes_under_one_external_id_at_once_are_all_versions_and_the_last_one_serves(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    bodies = [f"Bird number {number} sings.".encode() for number in range(8)]
    answers = await asyncio.gather(*(send(client, collection, body, external_id="bird") for body in bodies))
    await work()

    documents = [answer.json()["document"] for answer in answers]
    assert len({document["id"] for document in documents}) == 1
    assert sorted(document["version"] for document in documents) == list(range(1, 9))
    last = max(documents, key=lambda document: document["version"])
    now = await _document(client, last["id"])
    assert (now["version"], now["serving_version"], now["sha256"], now["state"]) == (8, 8, last["sha256"], "ready")
    assert await count(sessions, "select count(distinct version_id) from chunks") == 1


async def test_a_version_that_is_ready_after_its_successor_does_not_take_over(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    document_id = (await send(client, collection, HERON, external_id="bird")).json()["document"]["id"]
    await send(client, collection, KINGFISHER, external_id="bird")
    async with transaction(sessions) as session:  # the first version's job waits
        await session.execute(
            text("""
            update jobs set run_after = now() + interval '1 hour'
            where subject_id = (select id from versions where number = 1)
            """)
        )
    await work()
    async with transaction(sessions) as session:
        await session.execute(text("update jobs set run_after = now() where state = 'queued'"))
    await work()

    newest, oldest = await _versions(client, document_id)
    assert (newest["state"], newest["is_current"]) == ("ready", True)
    assert (oldest["state"], oldest["error"]["code"]) == ("failed", "version.superseded")
    assert (await _document(client, document_id))["state"] == "ready"
    assert await search(client, collection, "heron kingfisher") == [KINGFISHER.decode()]


async def test_a_document_without_external_id_cannot_become_a_second_of_the_same_bytes(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    first = (await send(client, collection, HERON)).json()["document"]["id"]
    second = (await send(client, collection, KINGFISHER)).json()["document"]["id"]
    refused = await put(client, second, HERON)

    assert (refused.status_code, refused.json()["code"]) == (409, "document.same_bytes")
    assert first in refused.json()["detail"]
    assert await count(sessions, "select count(*) from versions") == 2
    with_id = await client.patch(f"/api/v1/documents/{second}", json={"external_id": "mine"})
    assert with_id.status_code == 200
    assert (await put(client, second, HERON)).status_code == 202


async def test_a_new_version_stays_where_its_document_is(client: httpx.AsyncClient, collection: str) -> None:
    document_id = (await send(client, collection, HERON)).json()["document"]["id"]

    for fixed in ({"collection": "x"}, {"external_id": "x"}):
        refused = await put(client, document_id, KINGFISHER, headers=None, **fixed)
        assert (refused.status_code, refused.json()["code"]) == (422, "request.fixed_field")
    unknown = await put(client, "0199c0de-0000-7000-8000-000000000000", KINGFISHER)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "document.not_found")


async def test_versions_page_by_number(client: httpx.AsyncClient, collection: str) -> None:
    for number in range(5):
        sent = await send(client, collection, f"Bird {number}".encode(), external_id="bird")
    path = f"{sent.headers['location']}/versions"
    seen, cursor = [], None
    while True:
        params: dict[str, Any] = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(path, params=params)).json()
        seen += [item["number"] for item in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break

    assert seen == [5, 4, 3, 2, 1]
    assert (await client.get(path, params={"cursor": 2**40})).status_code == 422


async def test_a_merge_patch_changes_what_it_names_and_is_in_the_audit(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    sent = await send(client, collection, HERON, title="Old", attributes='{"year": 1960, "by": {"a": 1, "b": 2}}')
    path = sent.headers["location"]
    patched = await client.patch(
        path,
        json={"title": None, "external_id": "mine", "attributes": {"year": None, "by": {"a": 3}, "new": [1]}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    same = await client.patch(path, json={"external_id": "mine"})

    assert patched.status_code == 200, patched.text
    assert patched.json()["attributes"] == {"by": {"a": 3, "b": 2}, "new": [1]}
    assert (patched.json()["title"], patched.json()["external_id"]) == ("a.txt", "mine")
    assert same.headers["etag"] == patched.headers["etag"], "nothing changed, nothing is noted"
    assert await count(sessions, "select count(*) from audit where action = 'document.describe'") == 1
    assert await count(sessions, "select count(*) from events where kind = 'document.described'") == 1


@pytest.mark.parametrize(
    ("patch", "status", "code"),
    [
        ({"external_id": "taken"}, 409, "document.external_id_taken"),
        ({"external_id": ""}, 422, "request.invalid"),
        ({"name": "x"}, 422, "request.invalid"),
        ({"attributes": {"a": "x" * 65536}}, 422, "document.attributes_too_large"),
        ({"attributes": {f"a{n}": n for n in range(1001)}}, 422, "document.too_many_attributes"),
        ({"attributes": [1]}, 422, "request.invalid"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_patch_that_cannot_be_is_refused(
    client: httpx.AsyncClient, collection: str, patch: dict[str, Any], status: int, code: str
) -> None:
    await send(client, collection, HERON, external_id="taken")
    sent = await send(client, collection, KINGFISHER)
    answer = await client.patch(sent.headers["location"], json=patch)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await client.get(sent.headers["location"])).headers["etag"] == sent.headers["etag"]


@pytest.mark.parametrize("attributes", ['{"a": NaN}', '{"a": "\\u0000"}', '{"a": ' + "[" * 20 + "]" * 20 + "}"])
async def test_a_patch_whose_attributes_could_not_be_given_back_is_refused(
    client: httpx.AsyncClient, collection: str, attributes: str
) -> None:
    sent = await send(client, collection, HERON)
    answer = await client.patch(
        sent.headers["location"],
        content=f'{{"attributes": {attributes}}}',
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 422
    assert answer.json()["code"] in ("document.attributes_not_json", "document.attributes_too_deep")


async def test_a_collections_description_can_be_changed(client: httpx.AsyncClient, collection: str) -> None:
    await client.post("/api/v1/collections", json={"name": collection})
    changed = await client.patch(f"/api/v1/collections/{collection}", json={"description": "Birds"})

    assert (changed.status_code, changed.json()["description"]) == (200, "Birds")
    assert (await client.get(f"/api/v1/collections/{collection}")).json() == changed.json()
    assert (await client.patch("/api/v1/collections/none", json={"description": ""})).status_code == 404


async def test_who_waited_for_a_document_sees_the_version_that_was_published_meanwhile(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    """A publication of several waits for the first; the second gets a newer version, which is ready before it goes on."""
    bodies = {"first": OSPREY, "bird": HERON}
    sent = [await send(client, collection, body, external_id=name) for name, body in bodies.items()]
    first, bird = [UUID(answer.json()["document"]["id"]) for answer in sent]
    async with transaction(sessions) as publishing:
        async with transaction(sessions) as other:
            await queries.lock_document(other, first)
            waiting = asyncio.create_task(queries.lock_documents(publishing, [first, bird]))
            await until_waiting(sessions)
            await send(client, collection, KINGFISHER, external_id="bird")
            async with transaction(sessions) as session:  # `first` is nobody's to publish, its row is held
                await session.execute(
                    text("""
                    update jobs set run_after = now() + interval '1 hour'
                    where subject_id = (select latest_version_id from documents where id = :id)
                    """),
                    {"id": first},
                )
            await work()
        locked = await waiting

    assert (locked[first].current_number, locked[bird].current_number) == (None, 2)

"""ETag, If-Match, If-None-Match: nobody overwrites what they have not seen, nobody is sent what they have."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from tests.integration.uploads import Work, count, put, send

from drystone.core.db import Sessions


async def test_a_read_of_what_is_known_is_answered_304_without_a_body(
    client: httpx.AsyncClient, collection: str
) -> None:
    sent = await send(client, collection)
    for path in (
        sent.headers["location"],
        f"{sent.headers['location']}/content",
        f"{sent.headers['location']}/versions/1",
        f"{sent.headers['location']}/versions/1/content",
        f"/api/v1/collections/{collection}",
    ):
        tag = (await client.get(path)).headers["etag"]
        for given in (tag, f'"other", W/{tag}', "*"):
            known = await client.get(path, headers={"If-None-Match": given})
            assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", tag), (path, given)
            assert known.headers["x-request-id"]
        assert (await client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200


async def test_every_change_of_a_document_changes_its_tag(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    sent = await send(client, collection)
    path, tags = sent.headers["location"], [sent.headers["etag"]]
    await work()
    tags.append((await client.get(path)).headers["etag"])
    tags.append((await client.patch(path, json={"title": "New"})).headers["etag"])
    tags.append((await put(client, sent.json()["document"]["id"], b"Other words.")).headers["etag"])
    await work()
    tags.append((await client.get(path)).headers["etag"])

    assert len(set(tags)) == len(tags)
    assert all(tag.startswith('"') for tag in tags), "strong"


@pytest.mark.parametrize("given", ['"0"', "W/{tag}", '"a", "b"'])
async def test_a_change_under_another_tag_is_refused_with_the_present_one(
    client: httpx.AsyncClient, collection: str, work: Work, given: str, sessions: Sessions
) -> None:
    sent = await send(client, collection)
    await work()
    path, document_id = sent.headers["location"], sent.json()["document"]["id"]
    tag = (await client.get(path)).headers["etag"]
    headers = {"If-Match": given.format(tag=tag)}
    answers = [
        await client.patch(path, json={"title": "New"}, headers=headers),
        await put(client, document_id, b"Other words.", headers=headers),
        await client.post(f"{path}/versions/1/restore", headers=headers),
        await client.delete(path, headers=headers),
        await send(client, collection, headers=headers),
    ]

    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (412, "request.precondition_failed")
        assert answer.headers["etag"] == tag
    assert (await client.get(path)).headers["etag"] == tag, "nothing happened"
    assert await count(sessions, "select count(*) from versions") == 1


@pytest.mark.parametrize("given", ["{tag}", '"x", {tag}', "*", '"x",,{tag} ,'])
async def test_a_change_under_the_present_tag_is_made(client: httpx.AsyncClient, collection: str, given: str) -> None:
    sent = await send(client, collection)
    headers = {"If-Match": given.format(tag=sent.headers["etag"])}

    assert (await client.patch(sent.headers["location"], json={"title": "New"}, headers=headers)).status_code == 200


@pytest.mark.parametrize("given", ["7", '"a" "b"', '"a', "*, *", "W/*", ""])
async def test_what_is_no_entity_tag_is_refused(client: httpx.AsyncClient, collection: str, given: str) -> None:
    sent = await send(client, collection)
    for name in ("If-Match", "If-None-Match"):
        answer = await client.get(sent.headers["location"], headers={name: given})
        assert (answer.status_code, answer.json()["code"]) == (400, "request.bad_etag"), given


async def test_of_two_changes_under_one_tag_one_is_made(client: httpx.AsyncClient, collection: str) -> None:
    sent = await send(client, collection)
    headers = {"If-Match": sent.headers["etag"]}
    answers = await asyncio.gather(
        *(client.patch(sent.headers["location"], json={"title": f"{n}"}, headers=headers) for n in range(6))
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 5
    won = next(answer for answer in answers if answer.status_code == 200)
    assert {answer.headers["etag"] for answer in answers} == {won.headers["etag"]}


async def test_an_upload_only_if_nothing_is_there_makes_one_document_of_many(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    headers = {"If-None-Match": "*"}
    answers = await asyncio.gather(
        *(send(client, collection, f"Bird {n}.".encode(), external_id="bird", headers=headers) for n in range(6))
    )

    assert sorted(answer.status_code for answer in answers) == [202] + [412] * 5
    assert await count(sessions, "select count(*) from versions") == 1


async def test_an_upload_that_must_replace_something_needs_something(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    refused = await send(client, collection, external_id="bird", headers={"If-Match": "*"})

    assert (refused.status_code, refused.json()["code"]) == (412, "request.precondition_failed")
    assert "etag" not in refused.headers
    assert await count(sessions, "select count(*) from documents") == 0


async def test_a_condition_on_what_is_not_there_is_not_asked(client: httpx.AsyncClient, sessions: Sessions) -> None:
    path = "/api/v1/documents/0199c0de-0000-7000-8000-000000000000"

    assert (await client.patch(path, json={}, headers={"If-Match": '"1"'})).status_code == 404
    assert (await client.get(path, headers={"If-None-Match": "*"})).status_code == 404


async def test_a_collection_that_has_changed_since_it_was_seen_is_not_deleted(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    await send(client, collection, b"One.")
    await work()
    path = f"/api/v1/collections/{collection}"
    seen = (await client.get(path)).headers["etag"]
    await send(client, collection, b"Two.")
    refused = await client.delete(path, headers={"If-Match": seen})
    not_changed = await client.patch(path, json={"description": "x"}, headers={"If-Match": seen})
    deleted = await client.delete(path, headers={"If-Match": refused.headers["etag"]})

    assert [answer.status_code for answer in (refused, not_changed, deleted)] == [412, 412, 204]

"""Files as openai-python keeps, lists and deletes them; what their bytes are kept for; who sees them."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

import httpx
import openai
import pytest
from openai import OpenAI
from sqlalchemy import text
from tests.keys import bearer, make_key, make_workspace

from drystone.access.service import Principal
from drystone.core.db import Sessions, transaction
from drystone.documents import blobs, deletions, kept_files
from drystone.resources import Resources

A = "/openai/v1"
WORDS = b"The kingfisher dives for fish."


def test_a_file_is_kept_listed_read_and_deleted(asked: OpenAI) -> None:
    made = asked.files.create(file=("kingfisher.txt", WORDS), purpose="assistants")

    assert (made.bytes, made.filename, made.purpose, made.status) == (
        len(WORDS),
        "kingfisher.txt",
        "assistants",
        "processed",
    )
    assert made.id.startswith("file-")
    assert made.expires_at is None
    assert asked.files.retrieve(made.id) == made
    assert list(asked.files.list()) == [made]
    assert asked.files.content(made.id).content == WORDS
    assert asked.files.wait_for_processing(made.id) == made
    assert asked.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError) as caught:
        asked.files.retrieve(made.id)
    assert (caught.value.code, caught.value.type) == ("file.not_found", "invalid_request_error")


def test_files_are_listed_page_by_page_both_ways_and_by_purpose(asked: OpenAI) -> None:
    made = [
        asked.files.create(file=(f"{number}.txt", WORDS), purpose="assistants" if number % 2 else "user_data").id
        for number in range(5)
    ]

    assert len(set(made)) == 5, "the same bytes again are another file"
    assert [each.id for each in asked.files.list(limit=2)] == made[::-1]
    assert [each.id for each in asked.files.list(limit=2, order="asc")] == made
    assert [each.id for each in asked.files.list(purpose="assistants", order="asc")] == made[1::2]
    page = asked.files.list(limit=2, after=made[3])
    assert ([each.id for each in page.data], page.has_more) == ([made[2], made[1]], True)


@pytest.mark.parametrize(
    ("sent", "code", "param"),
    [
        ({"data": {}}, "file.bad_purpose", "purpose"),
        ({"data": {"purpose": "evals"}}, "file.bad_purpose", "purpose"),
        ({"data": {"purpose": "assistants", "colour": "red"}}, "request.unknown_field", "colour"),
        ({"data": {"purpose": "assistants", "expires_after[seconds]": "5000"}}, "file.bad_expiry", "expires_after"),
        (
            {
                "data": {
                    "purpose": "assistants",
                    "expires_after[anchor]": "created_at",
                    "expires_after[seconds]": "3599",
                }
            },
            "file.bad_expiry",
            "expires_after",
        ),
        ({"data": {"purpose": "assistants"}, "files": {"file": ("a.txt", b"")}}, "document.empty", "file"),
        ({"data": {"purpose": "assistants"}, "files": {"other": ("a.txt", b"a")}}, "request.unknown_field", "other"),
    ],
)
async def test_what_is_no_file_is_refused_with_the_reason(
    client: httpx.AsyncClient, sent: dict[str, Any], code: str, param: str
) -> None:
    answer = await client.post(f"{A}/files", **{"files": {"file": ("a.txt", WORDS)}} | sent)

    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"], error["type"]) == (code, param, "invalid_request_error")
    assert answer.headers["x-request-id"]


async def test_the_same_request_under_one_key_keeps_one_file(client: httpx.AsyncClient) -> None:
    sent: dict[str, Any] = {
        "files": {"file": ("a.txt", WORDS)},
        "data": {"purpose": "assistants"},
        "headers": {"Idempotency-Key": "once"},
    }

    first = await client.post(f"{A}/files", **sent)
    second = await client.post(f"{A}/files", **sent)

    assert (first.status_code, second.json()) == (200, first.json())
    assert second.headers["idempotent-replayed"] == "true"
    assert len((await client.get(f"{A}/files")).json()["data"]) == 1


async def test_the_bytes_of_a_kept_file_are_no_orphans_until_it_is_deleted(
    client: httpx.AsyncClient, resources: Resources, sessions: Sessions
) -> None:
    file_id = await _keep(client)
    digest = hashlib.sha256(WORDS).digest()
    await _make_old(sessions)

    await blobs.sweep(sessions, resources.objects, grace_s=0)
    assert (await client.get(f"{A}/files/{file_id}/content")).content == WORDS

    assert (await client.delete(f"{A}/files/{file_id}")).json() == {"id": file_id, "object": "file", "deleted": True}
    await _make_old(sessions)
    await blobs.sweep(sessions, resources.objects, grace_s=0)
    assert not await resources.objects.exists(digest)


async def test_what_cannot_be_read_is_kept_all_the_same(client: httpx.AsyncClient) -> None:
    body = bytes(range(256))

    file_id = await _keep(client, ("a.bin", body), purpose="vision")

    assert (await client.get(f"{A}/files/{file_id}/content")).content == body


async def test_a_file_ends_when_its_time_is_over(
    client: httpx.AsyncClient, resources: Resources, owner: Sessions
) -> None:
    made = await client.post(
        f"{A}/files",
        files={"file": ("a.txt", WORDS)},
        data={"purpose": "assistants", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"},
    )
    told = made.json()
    stays = await _keep(client)
    assert told["expires_at"] - told["created_at"] == 3600

    async with transaction(owner) as session:
        await session.execute(text("update kept_files set expires_at = now() where expires_at is not null"))
    gone = await client.get(f"{A}/files/{told['id']}")
    async with transaction(owner) as session:
        count = await kept_files.expire(session, resources.nudger)

    assert (gone.status_code, count) == (404, 1)
    assert [each["id"] for each in (await client.get(f"{A}/files")).json()["data"]] == [stays]


async def test_a_key_that_is_confined_sees_the_files_it_sent(client: httpx.AsyncClient, owner: Sessions) -> None:
    theirs = await _keep(client)
    home = (await client.post("/api/v1/collections", json={"name": "home"})).json()["id"]
    confined = bearer(await make_key(owner, collection_ids=[UUID(home)]))
    other = bearer(await make_key(owner, workspace_id=await make_workspace(owner)))

    mine = await _keep(client, headers=confined)

    assert [each["id"] for each in (await client.get(f"{A}/files", headers=confined)).json()["data"]] == [mine]
    for headers in (confined, other):
        for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            answer = await client.request(method, f"{A}/files/{theirs}{path}", headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "file.not_found")
    assert (await client.get(f"{A}/files/{mine}")).is_success


async def test_a_file_that_was_deleted_stays_deleted_after_a_restore(
    client: httpx.AsyncClient, sessions: Sessions, owner: Sessions, resources: Resources, tmp_path: Any
) -> None:
    file_id = await _keep(client)
    async with transaction(owner) as session:
        before = dict((await session.execute(text("select * from kept_files"))).mappings().one())
    await client.delete(f"{A}/files/{file_id}")
    log = tmp_path / "deletions.jsonl"
    await deletions.export(sessions, log)
    async with transaction(owner) as session:  # as an older backup would
        columns = ", ".join(before)
        values = ", ".join(f":{name}" for name in before)
        await session.execute(text(f"insert into kept_files ({columns}) values ({values})"), before)

    assert (await client.get(f"{A}/files/{file_id}")).is_success
    await deletions.replay(sessions, resources.nudger, log)

    assert (await client.get(f"{A}/files/{file_id}")).status_code == 404


async def test_a_file_counts_its_bytes_and_no_document(client: httpx.AsyncClient) -> None:
    await _keep(client)

    used = (await client.get("/api/v1/usage")).json()

    assert (used["documents"]["used"], used["bytes"]["used"]) == (0, len(WORDS))


async def test_whose_file_it_is_stands_in_the_audit(client: httpx.AsyncClient, principal: Principal) -> None:
    file_id = await _keep(client)
    await client.delete(f"{A}/files/{file_id}")

    entries = (await client.get("/api/v1/audit", params={"subject_kind": "file"})).json()["items"]

    assert sorted(each["action"] for each in entries) == ["file.create", "file.delete"]
    assert {each["actor"] for each in entries} == {principal.actor}


async def _keep(
    client: httpx.AsyncClient,
    file: tuple[str, bytes] = ("a.txt", WORDS),
    *,
    purpose: str = "assistants",
    headers: dict[str, str] | None = None,
) -> str:
    answer = await client.post(f"{A}/files", files={"file": file}, data={"purpose": purpose}, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def _make_old(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        await session.execute(text("update files set created_at = now() - interval '1 day'"))
        await session.execute(text("delete from blob_intents"))

"""What becomes of uploads: identity, versions, failures, deletes; through the HTTP API on real servers."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from drystone.access.service import Principal
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Unavailable
from drystone.documents import collections, queries
from drystone.resources import Resources

Work = Callable[[], Awaitable[None]]


async def _send(
    client: httpx.AsyncClient, collection: str, body: bytes = b"Some words to keep.", name: str = "a.txt", **data: Any
) -> httpx.Response:
    return await client.post("/api/v1/documents", files={"file": (name, body)}, data={"collection": collection} | data)


async def _search(client: httpx.AsyncClient, collection: str, query: str, **more: Any) -> list[dict[str, Any]]:
    answer = await client.post("/api/v1/search", json={"query": query, "collection": collection} | more)
    assert answer.status_code == 200, answer.text
    hits: list[dict[str, Any]] = answer.json()["hits"]
    return hits


async def _count(sessions: Sessions, sql: str) -> int:
    async with transaction(sessions) as session:
        return int(await session.scalar(text(sql)) or 0)


async def test_an_upload_is_accepted_with_its_place_and_its_job(client: httpx.AsyncClient, collection: str) -> None:
    sent = await _send(client, collection, title="A title", attributes='{"year": 1960}')

    assert sent.status_code == 202
    document = sent.json()["document"]
    assert sent.headers["location"] == f"/api/v1/documents/{document['id']}"
    assert (document["state"], document["title"], document["attributes"]) == ("pending", "A title", {"year": 1960})
    assert (document["media_type"], document["size_bytes"], document["version"]) == ("text/plain", 19, 1)
    job = (await client.get(f"/api/v1/jobs/{sent.json()['job_id']}")).json()
    assert job["kind"] == "documents.ingest"


async def test_the_same_bytes_again_are_told_to_be_there_already(client: httpx.AsyncClient, collection: str) -> None:
    first = await _send(client, collection, name="a.txt")
    second = await _send(client, collection, name="b.txt")

    assert (first.status_code, second.status_code) == (202, 200)
    assert second.json()["already_there"] is True
    assert second.json()["document"]["id"] == first.json()["document"]["id"]


async def test_equal_bytes_under_two_external_ids_are_two_documents_over_one_blob(
    client: httpx.AsyncClient, collection: str, sessions: Sessions, resources: Resources
) -> None:
    first = await _send(client, collection, external_id="one")
    second = await _send(client, collection, external_id="two")

    assert first.json()["document"]["id"] != second.json()["document"]["id"]
    assert await _count(sessions, "select count(*) from files") == 1
    assert await resources.objects.exists(bytes.fromhex(first.json()["document"]["sha256"]))


async def test_other_bytes_under_one_external_id_are_a_new_version_that_takes_over_when_ready(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    first = await _send(client, collection, b"The heron stands in the reeds.", external_id="bird")
    await work()
    second = await _send(client, collection, b"The kingfisher dives into the stream.", external_id="bird")
    while_pending = await _search(client, collection, "heron reeds")
    await work()
    after = await _search(client, collection, "heron reeds")

    assert second.json()["document"]["id"] == first.json()["document"]["id"]
    assert second.json()["document"]["version"] == 2
    assert "heron" in while_pending[0]["quote"], "the old version serves until the new one is ready"
    assert ["kingfisher" in hit["quote"] for hit in after] == [True]
    assert await _count(sessions, "select count(*) from chunks") == 1


async def test_a_file_without_text_fails_with_a_reason_and_the_same_bytes_are_tried_again(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    sent = await _send(client, collection, b" \n \n", name="blank.txt")
    await work()
    document = (await client.get(sent.headers["location"])).json()
    again = await _send(client, collection, b" \n \n", name="blank.txt")

    assert document["state"] == "failed"
    assert document["error"]["code"] == "document.no_text"
    assert document["error"]["message"]
    assert again.status_code == 202
    assert again.json()["document"]["version"] == 2


async def test_a_failing_new_version_leaves_the_old_one_searchable(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    await _send(client, collection, b"The heron stands in the reeds.", external_id="bird")
    await work()
    await _send(client, collection, b"\n\n\n", external_id="bird")
    await work()

    document = (await client.get("/api/v1/documents", params={"collection": collection})).json()["items"][0]
    assert (document["state"], document["is_searchable"]) == ("failed", True)
    assert len(await _search(client, collection, "heron")) == 1


async def test_a_deleted_document_is_out_of_search_before_its_chunks_are_gone(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    kept = await _send(client, collection, b"The heron stands in the reeds.", external_id="kept")
    gone = await _send(client, collection, b"The heron flies over the lake.", external_id="gone")
    await work()
    deleted = await client.delete(gone.headers["location"])
    chunks_before = await _count(sessions, "select count(*) from chunks")
    found = {mode: await _search(client, collection, "heron", mode=mode) for mode in ("hybrid", "dense", "lexical")}
    await work()

    assert deleted.status_code == 204
    assert chunks_before == 2
    for hits in found.values():
        assert [hit["document"]["id"] for hit in hits] == [kept.json()["document"]["id"]]
    assert (await client.get(gone.headers["location"])).status_code == 404
    assert await _count(sessions, "select count(*) from chunks") == 1
    assert await _count(sessions, "select count(*) from lexical_chunks") == 1
    assert await _count(sessions, "select count(*) from deletions") == 1


async def test_a_document_deleted_while_it_waits_never_appears(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    sent = await _send(client, collection)
    await client.delete(sent.headers["location"])
    await work()

    assert await _count(sessions, "select count(*) from chunks") == 0
    assert await _count(sessions, "select count(*) from jobs where state <> 'done'") == 0


async def test_a_deleted_collection_is_gone_with_everything_in_it(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    for number in range(3):
        await _send(client, collection, f"Heron number {number}.".encode())
    await work()
    deleted = await client.delete(f"/api/v1/collections/{collection}")
    after = await client.post("/api/v1/search", json={"query": "heron", "collection": collection})
    await work()

    assert deleted.status_code == 204
    assert after.status_code == 404
    for table in ("chunks", "versions", "lexical_chunks", "lexical_additions", "lexical_segments", "lexical_removals"):
        assert await _count(sessions, f"select count(*) from {table}") == 0, table
    again = await _send(client, collection)
    assert again.status_code == 202, "the name is free again"


async def test_content_and_text_come_back_as_they_were(client: httpx.AsyncClient, collection: str, work: Work) -> None:
    body = "Ein Stein, größer als der andere.\r\nÀ bientôt 🪨".encode()
    sent = await _send(client, collection, body, name="stein ü.txt")
    before = await client.get(sent.headers["location"] + "/text")
    await work()
    content = await client.get(sent.headers["location"] + "/content")
    words = await client.get(sent.headers["location"] + "/text")

    assert before.status_code == 409
    assert content.content == body
    assert content.headers["content-disposition"] == (
        "attachment; filename=\"stein _.txt\"; filename*=UTF-8''stein%20%C3%BC.txt"
    )
    assert content.headers["x-content-type-options"] == "nosniff"
    assert words.text == "Ein Stein, größer als der andere.\nÀ bientôt 🪨"


async def test_lists_page_by_cursor_in_the_order_of_making(client: httpx.AsyncClient, collection: str) -> None:
    ids = [(await _send(client, collection, f"number {n}".encode())).json()["document"]["id"] for n in range(5)]
    seen, cursor = [], None
    while True:
        params: dict[str, Any] = {"collection": collection, "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/api/v1/documents", params=params)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == ids


async def test_every_change_is_in_the_audit_trail_and_the_trail_cannot_be_changed(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    sent = await _send(client, collection)
    await client.delete(sent.headers["location"])
    async with transaction(sessions) as session:
        actions = list((await session.scalars(text("select action from audit order by id"))).all())

    assert actions == ["collection.create", "document.create", "document.delete"]
    for statement in ("update audit set actor = 'x'", "delete from audit"):
        with pytest.raises(Exception, match="permission denied"):
            async with transaction(sessions) as session:
                await session.execute(text(statement))


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("drawing.vsdx", b"PK\x03\x04 rest", 415, "document.unsupported_type"),
        ("old.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 512, 415, "document.legacy_office"),
        ("binary.txt", bytes(range(256)) * 20, 415, "document.unsupported_type"),
        ("kite.txt", b"%PDF-1.4", 415, "document.wrong_type"),
        ("empty.txt", b"", 422, "document.empty"),
    ],
)
async def test_what_cannot_be_read_is_refused_before_it_is_kept(
    client: httpx.AsyncClient, collection: str, sessions: Sessions, name: str, body: bytes, status: int, code: str
) -> None:
    sent = await _send(client, collection, body, name=name)

    assert (sent.status_code, sent.json()["code"]) == (status, code)
    assert sent.headers["content-type"] == "application/problem+json"
    assert await _count(sessions, "select count(*) from documents") == 0
    if status == 415:
        assert "text/plain" in sent.json()["supported"]


async def test_a_file_over_the_limit_is_refused_while_it_is_received(
    client: httpx.AsyncClient, settings: Any, collection: str
) -> None:
    sent_bytes = 0
    limit = settings.api.max_upload_bytes

    async def endless() -> Any:
        nonlocal sent_bytes
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        for _ in range(limit // 1_000_000 + 50):
            sent_bytes += 1_000_000
            yield b"a" * 1_000_000
        yield b"\r\n--x--\r\n"

    answer = await client.post(
        "/api/v1/documents", content=endless(), headers={"content-type": "multipart/form-data; boundary=x"}
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "document.too_large")


@pytest.mark.parametrize(
    "attributes", ["[1]", "{", '{"a": NaN}', '"text"', '{"a": "\\u0000"}', '{"a": ["\\ud800"]}', '{"\\u0000": 1}']
)
async def test_attributes_that_are_no_json_object_are_refused(
    client: httpx.AsyncClient, collection: str, attributes: str
) -> None:
    sent = await _send(client, collection, attributes=attributes)

    assert (sent.status_code, sent.json()["code"]) == (422, "document.attributes_not_json")


async def test_attributes_come_back_as_they_were_sent(client: httpx.AsyncClient, collection: str) -> None:
    given = {
        "a": r"\u0000",
        r"\u0000": [r"C:\u0000", {"b": "ü\u2028🍆"}],
        "n": 10**40,
        "x": -0.5,
        "t": True,
        "none": None,
    }

    sent = await _send(client, collection, attributes=json.dumps(given))

    assert sent.status_code == 202
    assert (await client.get(sent.headers["location"])).json()["attributes"] == given


async def test_a_title_has_one_rule_however_it_is_given(client: httpx.AsyncClient, collection: str) -> None:
    longest, longer = "t" * 2000, "t" * 2001
    kept = await _send(client, collection, title=longest)
    place = kept.headers["location"]
    file: dict[str, Any] = {"files": {"file": ("a.txt", b"Other words.")}}

    answers = [
        await _send(client, collection, b"More words.", title=longer),
        await client.post(f"/api/v1/documents?name=a.txt&title={longer}", content=b"More words."),
        await client.put(f"{place}/content", **file, data={"title": longer}),
        await client.patch(place, json={"title": longer}),
    ]

    assert (await client.get(place)).json()["title"] == longest
    assert [answer.status_code for answer in answers] == [422] * 4
    assert [answer.json()["code"] for answer in answers[:3]] == ["document.title_length"] * 3


@pytest.mark.parametrize("name", ["title", "external_id", "collection", "attributes"])
@pytest.mark.parametrize("value", [b"\xff\xfe caf\xe9", b"\xed\xa0\x80"])
async def test_a_field_that_is_not_utf8_is_refused_by_its_name(
    client: httpx.AsyncClient, name: str, value: bytes
) -> None:
    form = b"--x\r\ncontent-disposition: form-data; name=%b\r\n\r\n%b\r\n" % (name.encode(), value)
    form += b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n\r\nSome words.\r\n--x--\r\n'

    answers = [
        await client.post(
            "/api/v1/documents", content=form, headers={"content-type": "multipart/form-data; boundary=x"}
        ),
        await client.post(f"/api/v1/documents?name=a.txt&{name}={quote(value)}", content=b"Some words."),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(422, "request.bad_encoding")] * 2
    assert [answer.json()["errors"][0]["pointer"] for answer in answers] == [f"/{name}"] * 2


async def test_a_form_without_a_file_says_so(client: httpx.AsyncClient) -> None:
    not_a_form = await client.post("/api/v1/documents", json={"file": "x"})
    no_file = await client.post("/api/v1/documents", files={"title": (None, "x")})

    assert (not_a_form.status_code, not_a_form.json()["code"]) == (415, "request.not_multipart")
    assert (no_file.status_code, no_file.json()["code"]) == (422, "request.no_file")


async def test_jobs_can_be_listed_by_state(client: httpx.AsyncClient, collection: str, work: Work) -> None:
    await _send(client, collection, b"words")
    await work()
    await _send(client, collection, b"other words")

    queued = (await client.get("/api/v1/jobs", params={"state": "queued"})).json()["items"]
    done = (await client.get("/api/v1/jobs", params={"state": "done"})).json()["items"]
    assert (len(queued), len(done)) == (1, 1)
    assert json.dumps(done[0]["tries"]) == '{"poison": 0, "lost": 0, "transient": 0}'


async def test_a_collection_is_not_deleted_under_an_upload(
    resources: Resources, sessions: Sessions, principal: Principal
) -> None:
    async def delete() -> None:
        async with transaction(sessions) as session:
            await session.execute(text("set local lock_timeout = '100ms'"))
            await collections.delete(session, resources.nudger, principal, "held")

    async with transaction(sessions) as session:
        made = await collections.create(session, principal, resources.space, name="held", language="english")
    async with transaction(sessions) as upload:
        await queries.find_collection(upload, principal.workspace_id, "held", share=True)
        with pytest.raises(Unavailable, match="held what this needs"):
            await delete()

    async with transaction(sessions) as session:
        assert (await collections.get(session, principal, "held")).id == made.id


@pytest.mark.parametrize(
    ("name", "kept"),
    [('a"b.txt', 'a"b.txt'), ("a\r\nb.txt", "ab.txt"), ("a%20%2522.txt", "a%20%2522.txt"), ("ä%.txt", "ä%.txt")],
)
async def test_a_name_is_kept_as_it_was_before_a_form_was_made_of_it(
    client: httpx.AsyncClient, collection: str, name: str, kept: str
) -> None:
    answer = await client.post("/api/v1/documents", files={"file": (name, b"x")}, data={"collection": collection})

    assert answer.json()["document"]["name"] == kept


@pytest.mark.parametrize(
    "name",
    [
        'a".txt',
        "a\\b.txt",
        "a;filename=b.exe.txt",
        "ä€😀.txt",
        "%41%22.txt",
        "a'b*c.txt",
        ".txt",
        " a b .txt",
        "<script>.html",
    ],
)
async def test_a_download_is_an_attachment_under_its_name_whatever_that_is(
    client: httpx.AsyncClient, collection: str, name: str
) -> None:
    sent = await client.post(
        "/api/v1/documents", params={"name": name, "collection": collection}, content=f"Of {name}".encode()
    )
    kept = sent.json()["document"]["name"]

    answers = [await client.get(f"{sent.headers['location']}{end}/content") for end in ("", "/versions/1")]

    for answer in answers:
        said = answer.headers["content-disposition"]
        assert unquote(said.partition("filename*=UTF-8''")[2]) == kept
        assert re.fullmatch(r"""attachment; filename="[\w. -]*"; filename\*=UTF-8''[\w%.~-]*""", said, re.ASCII)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]


async def test_every_answer_of_bytes_or_text_keeps_browsers_from_guessing(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    raw = {
        path
        for path, methods in paths.items()
        for operation in methods.values()
        for status, answer in operation["responses"].items()
        if status < "300" and set(answer.get("content", ())) - {"application/json", "text/event-stream"}
    }

    nothing = [await client.get(path.replace("{document_id}", str(uuid4())).replace("{number}", "1")) for path in raw]

    assert {path.rpartition("/")[2] for path in raw} == {"content", "text", "graph", "metrics"}
    assert {answer.headers["x-content-type-options"] for answer in nothing} == {"nosniff"}

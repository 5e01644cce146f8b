"""Archives: every member a document, told apart by its path; through the HTTP API on real servers."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
from sqlalchemy import text

from drystone.core.db import Sessions, transaction

Work = Callable[[], Awaitable[None]]

_HERON = b"The heron stands in the reeds."
_FISHER = b"The kingfisher dives into the stream."


def _zip(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            info = zipfile.ZipInfo(name, (2026, 11, 21, 0, 0, 0))
            archive.writestr(info, body, zipfile.ZIP_DEFLATED)
    return out.getvalue()


async def _send(client: httpx.AsyncClient, collection: str, body: bytes, **data: str) -> dict[str, Any]:
    files = {"file": ("birds.zip", body, "application/zip")}
    sent = await client.post("/api/v1/documents", files=files, data={"collection": collection} | data)
    assert sent.status_code in (200, 202), sent.text
    document: dict[str, Any] = sent.json()["document"]
    return document


async def _members(client: httpx.AsyncClient, archive: str) -> dict[str, dict[str, Any]]:
    page = (await client.get("/api/v1/documents", params={"archive": archive, "limit": 1000})).json()
    return {item["archive"]["path"]: item for item in page["items"]}


async def _search(client: httpx.AsyncClient, collection: str, query: str) -> list[str]:
    answer = await client.post("/api/v1/search", json={"query": query, "collection": collection, "mode": "lexical"})
    return sorted(hit["document"]["name"] for hit in answer.json()["hits"])


async def test_each_member_is_a_document_that_can_be_found(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    body = _zip({"birds/heron.txt": _HERON, "birds/fisher.md": b"# Fisher\n\n" + _FISHER, "birds/": b""})
    archive = await _send(client, collection, body, attributes='{"year": 1960}')
    await work()

    members = await _members(client, archive["id"])
    assert sorted(members) == ["birds/fisher.md", "birds/heron.txt"]
    heron = members["birds/heron.txt"]
    assert (heron["state"], heron["name"], heron["attributes"]) == ("ready", "heron.txt", {"year": 1960})
    assert heron["archive"] == {"id": archive["id"], "path": "birds/heron.txt"}
    assert await _search(client, collection, "heron") == ["heron.txt"]
    parent = (await client.get(f"/api/v1/documents/{archive['id']}")).json()
    assert (parent["state"], parent["chunks"], parent["archive"]) == ("ready", 0, None)
    words = await client.get(f"/api/v1/documents/{archive['id']}/text")
    assert (words.status_code, words.json()["code"]) == (409, "document.is_archive")


async def test_a_member_that_cannot_be_taken_is_there_with_its_reason(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    link = zipfile.ZipInfo("link.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in {
            "good.txt": _HERON, "blank.txt": b" \n", "empty.txt": b"", "inner.zip": _zip({"a.txt": b"x"}),
            "photo.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "old.doc": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(64),
            "../up.txt": b"x", "__MACOSX/._good.txt": b"x", ".DS_Store": b"x",
        }.items():  # fmt: skip
            made.writestr(name, content)
        made.writestr(link, "/etc/passwd")
    archive = await _send(client, collection, out.getvalue())
    await work()

    members = await _members(client, archive["id"])
    async with transaction(sessions) as session:
        failed = (
            await session.execute(text("select subject_id, data from events where kind = 'document.failed'"))
        ).all()
    reasons = {path: member["error"] and member["error"]["code"] for path, member in members.items()}
    assert reasons == {
        "good.txt": None,
        "blank.txt": "document.no_text",
        "empty.txt": "document.empty",
        "inner.zip": "document.nested_archive",
        "photo.png": "document.unsupported_type",
        "old.doc": "document.legacy_office",
        "../up.txt": "document.unsafe_path",
        "link.txt": "document.no_file",
    }
    assert all(member["error"] is None or member["error"]["hint"] for member in members.values())
    told = {str(row.subject_id): {name: row.data.get(name) for name in ("code", "message", "hint")} for row in failed}
    assert told == {member["id"]: member["error"] for member in members.values() if member["error"]}


async def test_a_new_version_changes_adds_and_deletes_members_and_leaves_the_rest(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    first = await _send(
        client, collection, _zip({"a.txt": _HERON, "b.txt": b"stays", "c.txt": b"goes"}), external_id="x"
    )
    await work()
    before = await _members(client, first["id"])
    again = await _send(
        client, collection, _zip({"a.txt": _FISHER, "b.txt": b"stays", "d.txt": b"comes"}), external_id="x"
    )
    await work()
    after = await _members(client, first["id"])

    assert again["id"] == first["id"]
    assert {path: member["version"] for path, member in after.items()} == {"a.txt": 2, "b.txt": 1, "d.txt": 1}
    assert after["a.txt"]["id"] == before["a.txt"]["id"]
    assert after["b.txt"] == before["b.txt"]
    assert await _search(client, collection, "heron") == []
    assert await _search(client, collection, "kingfisher") == ["a.txt"]
    assert (await client.get(f"/api/v1/documents/{before['c.txt']['id']}")).status_code == 404


async def test_what_was_an_archive_and_is_a_file_now_has_no_members_and_the_other_way_round(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    archive = await _send(client, collection, _zip({"a.txt": _HERON}), external_id="x")
    await work()
    files = {"file": ("plain.txt", _FISHER)}
    await client.post("/api/v1/documents", files=files, data={"collection": collection, "external_id": "x"})
    await work()
    assert await _members(client, archive["id"]) == {}
    assert await _search(client, collection, "heron kingfisher") == ["plain.txt"]

    await _send(client, collection, _zip({"a.txt": _HERON}), external_id="x")
    await work()
    assert await _search(client, collection, "heron kingfisher") == ["a.txt"]
    async with transaction(sessions) as session:
        assert await session.scalar(text("select count(*) from chunks")) == 1


async def test_deleting_the_archive_deletes_its_members(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    archive = await _send(client, collection, _zip({"a.txt": _HERON, "b.txt": _FISHER}))
    await work()
    await client.delete(f"/api/v1/documents/{archive['id']}")
    found = await _search(client, collection, "heron")
    await work()

    assert found == []
    async with transaction(sessions) as session:
        assert await session.scalar(text("select count(*) from documents where deleted_at is null")) == 0
        assert await session.scalar(text("select count(*) from chunks")) == 0


async def test_unpacking_again_after_it_was_cut_short_changes_nothing(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    archive = await _send(client, collection, _zip({"a.txt": _HERON, "blank.txt": b" ", "photo.png": b"\x89PNG\0\0\1"}))
    await work()
    before = await _members(client, archive["id"])
    async with transaction(sessions) as session:
        await session.execute(
            text("update versions set state = 'pending' where document_id = :id"), {"id": archive["id"]}
        )
        await session.execute(
            text(
                "update jobs set state = 'queued' where subject_id in (select id from versions where document_id = :id)"
            ),
            {"id": archive["id"]},
        )
    await work()

    assert await _members(client, archive["id"]) == before
    assert (await client.get(f"/api/v1/documents/{archive['id']}")).json()["state"] == "ready"


async def test_an_archive_deleted_while_it_is_unpacked_leaves_no_member_behind(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    archive = await _send(client, collection, _zip({"a.txt": _HERON}))
    await work()
    await client.delete(f"/api/v1/documents/{archive['id']}")
    async with transaction(sessions) as session:  # as if it had been added while the delete was already running
        await session.execute(
            text("update documents set deleted_at = null where parent_id = :id"), {"id": archive["id"]}
        )
    await work()

    async with transaction(sessions) as session:
        assert (
            await session.scalar(text("select count(*) from documents where deleted_at is null or purged_at is null"))
            == 0
        )


async def test_a_bomb_fails_the_archive_and_adds_nothing(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    archive = await _send(client, collection, _zip({"a.txt": _HERON, "bomb.txt": b" " * 30_000_000}))
    await work()

    document = (await client.get(f"/api/v1/documents/{archive['id']}")).json()
    assert (document["state"], document["error"]["code"]) == ("failed", "document.unsafe_archive")
    assert await _members(client, archive["id"]) == {}


async def test_the_language_of_a_document_is_told(client: httpx.AsyncClient, collection: str, work: Work) -> None:
    words = "Eine Trockenmauer steht ohne Mörtel, und sie hält länger als mancher Beton. " * 3
    await client.post("/api/v1/documents", files={"file": ("m.txt", words.encode())}, data={"collection": collection})
    await client.post("/api/v1/documents", files={"file": ("n.txt", b"4711 0815")}, data={"collection": collection})
    await work()

    items = (await client.get("/api/v1/documents", params={"collection": collection})).json()["items"]
    assert [item["language"] for item in items] == ["de", None]

"""What was deleted is written beside the database, and deleted again in one that was restored."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from tests.integration.uploads import Work, count, search, send

from drystone.core.db import Sessions, transaction
from drystone.core.errors import Unavailable
from drystone.documents import deletions
from drystone.resources import Resources


def _subjects(path: Path) -> list[str]:
    return [json.loads(line)["subject_id"] for line in path.read_text().splitlines()]


async def _restore_before_deletions(sessions: Sessions) -> None:
    """Make the database what a backup from before the deletions would be."""
    async with transaction(sessions) as session:
        for statement in (
            "update documents set deleted_at = null, purged_at = null",
            "update collections set deleted_at = null",
            "delete from deletions",
            "delete from jobs where kind like '%purge%'",
        ):
            await session.execute(text(statement))


async def test_each_deletion_is_a_line_once(
    client: httpx.AsyncClient, collection: str, sessions: Sessions, tmp_path: Path
) -> None:
    path = tmp_path / "deletions.jsonl"
    sent = [await send(client, collection, f"Bird {n}.".encode(), external_id=f"ö-{n}") for n in range(3)]
    ids = [answer.json()["document"]["id"] for answer in sent]
    await client.delete(sent[0].headers["location"])
    first = await deletions.export(sessions, path)
    await client.post("/api/v1/documents/delete", json={"ids": ids})
    exporters = await asyncio.gather(*(deletions.export(sessions, path) for _ in range(3)))
    async with transaction(sessions) as session:
        kept = json.loads(path.read_text().splitlines()[0])
        actor = await session.scalar(text("select actor from deletions limit 1"))

    assert (first, sum(exporters)) == (1, 2)
    assert sorted(_subjects(path)) == sorted(ids)
    assert (kept["kind"], kept["external_id"], kept["actor"]) == ("document", "ö-0", actor)
    assert kept["sha256"] == sent[0].json()["document"]["sha256"]
    assert [json.loads(line)["subject_id"] async for line in deletions.every(sessions)] == _subjects(path)


async def test_a_deletion_that_could_not_be_written_is_written_later(
    client: httpx.AsyncClient, collection: str, sessions: Sessions, tmp_path: Path
) -> None:
    await client.delete((await send(client, collection)).headers["location"])
    with pytest.raises(Unavailable, match="cannot be written"):
        await deletions.export(sessions, tmp_path / "none" / "log")

    assert await deletions.export(sessions, tmp_path / "log") == 1


async def test_what_a_restored_database_still_has_is_deleted_again_and_nothing_else(
    client: httpx.AsyncClient, collection: str, work: Work, resources: Resources, sessions: Sessions, tmp_path: Path
) -> None:
    path = tmp_path / "deletions.jsonl"
    gone = await send(client, collection, b"The heron stands.", external_id="bird")
    await send(client, collection, b"The kingfisher dives.")
    await send(client, f"{collection}-2", b"The osprey circles.")
    await work()
    await client.delete(gone.headers["location"])
    await client.delete(f"/api/v1/collections/{collection}-2")
    await deletions.export(sessions, path)
    await _restore_before_deletions(sessions)
    restored = (await client.get(gone.headers["location"])).status_code

    first = await deletions.replay(sessions, resources.nudger, path)
    anew = await send(client, collection, b"The heron is back.", external_id="bird")
    again = await deletions.replay(sessions, resources.nudger, path)
    await work()

    assert (restored, first, again) == (200, 3, 0)
    assert (await client.get(gone.headers["location"])).status_code == 404
    assert (await client.get(f"/api/v1/collections/{collection}-2")).status_code == 404
    assert anew.status_code == 202, "the same external_id, another document"
    assert sorted(await search(client, collection, "heron kingfisher")) == [
        "The heron is back.",
        "The kingfisher dives.",
    ]
    assert await count(sessions, "select count(*) from audit where actor = 'deletion-log'") == 3
    assert await count(sessions, "select count(*) from deletions where actor = 'deletion-log'") == 3


async def test_what_was_taken_back_is_not_deleted_again(
    client: httpx.AsyncClient, collection: str, resources: Resources, sessions: Sessions, tmp_path: Path
) -> None:
    path = tmp_path / "deletions.jsonl"
    sent = await send(client, collection)
    await client.delete(sent.headers["location"])
    await deletions.export(sessions, path)
    deletions.undo(path, since="2020-01-01T00:00:00+00:00")
    await _restore_before_deletions(sessions)

    assert await deletions.replay(sessions, resources.nudger, path) == 0


async def test_a_log_of_many_deletions_is_replayed_in_batches(
    resources: Resources, sessions: Sessions, tmp_path: Path, client: httpx.AsyncClient, collection: str
) -> None:
    path = tmp_path / "deletions.jsonl"
    sent = await send(client, collection)
    ids = [str(uuid4()) for _ in range(2_500)] + [sent.json()["document"]["id"]]
    at = "2026-11-21T10:00:00+00:00"
    deletions.append(path, [json.dumps({"kind": "document", "subject_id": each, "at": at}) for each in ids])

    assert await deletions.replay(sessions, resources.nudger, path) == 1


async def test_a_line_that_cannot_be_read_keeps_none_from_being_applied(
    client: httpx.AsyncClient, collection: str, resources: Resources, sessions: Sessions, tmp_path: Path
) -> None:
    path = tmp_path / "deletions.jsonl"
    sent = await send(client, collection)
    at = "2026-11-21T10:00:00+00:00"
    subjects = ["nope", sent.json()["document"]["id"]]
    deletions.append(path, [json.dumps({"kind": "document", "subject_id": each, "at": at}) for each in subjects])

    assert await deletions.replay(sessions, resources.nudger, path) == 1

"""A scrub finds what is missing or wrong in the store, tells whose it is, and what was sent again is whole again."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import obstore
import pytest
from sqlalchemy import text
from tests.clients import s3_store

from drystone.core.db import Sessions, transaction
from drystone.core.settings import Settings
from drystone.documents import scrub
from drystone.resources import Resources
from drystone.worker.process import MAX_REFUSED_TRIES

Work = Callable[[], Awaitable[None]]
BODY = b"The heron stands in shallow water.\r\n"
TEXT = b"The heron stands in shallow water."


def _key(body: bytes) -> str:
    name = hashlib.sha256(body).hexdigest()
    return f"sha256/{name[:2]}/{name}"


async def _scrub(client: httpx.AsyncClient, work: Work, **order: Any) -> dict[str, Any]:
    started = await client.post("/api/v1/scrubs", json=order)
    assert started.status_code == 202, started.text
    await work()
    found: dict[str, Any] = (await client.get(started.headers["location"])).json()
    return found


async def _send(client: httpx.AsyncClient, collection: str, body: bytes = BODY) -> httpx.Response:
    return await client.post("/api/v1/documents", files={"file": ("a.txt", body)}, data={"collection": collection})


@pytest.fixture
async def document(client: httpx.AsyncClient, work: Work, collection: str) -> str:
    sent = await _send(client, collection)
    await work()
    return str(sent.json()["document"]["id"])


async def test_a_whole_store_has_no_problems(client: httpx.AsyncClient, work: Work, document: str) -> None:
    found = await _scrub(client, work)

    assert (found["state"], found["total"], found["checked"]) == ("done", 2, 2)
    assert found["size_bytes"] == len(BODY) + len(TEXT)
    assert found["problems"] == []


@pytest.mark.parametrize("fault", ["wrong", "missing"])
async def test_a_bad_file_is_told_with_its_document_and_repaired_by_sending_it_again(
    client: httpx.AsyncClient, work: Work, settings: Settings, collection: str, document: str, fault: str
) -> None:
    store = s3_store(settings)
    if fault == "wrong":
        obstore.put(store, _key(BODY), BODY.replace(b"heron", b"harom"))  # of the same length
    else:
        obstore.delete(store, _key(BODY))

    found = await _scrub(client, work, repair=True)
    problem = found["problems"][0]
    again = await _send(client, collection)
    after = await _scrub(client, work)

    assert (len(found["problems"]), found["repaired"]) == (1, 0)
    assert (problem["problem"], problem["document_id"], problem["is_text"]) == (fault, document, False)
    assert problem["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert (again.status_code, again.json()["document"]["id"]) == (200, document)
    assert after["problems"] == []
    assert (await client.get(f"/api/v1/documents/{document}/content")).content == BODY


@pytest.mark.parametrize(
    ("fault", "code"), [("wrong", "objects.corrupt"), ("cut", "objects.corrupt"), ("missing", "objects.missing")]
)
@pytest.mark.parametrize("times", [1, 100_000])
async def test_bytes_that_are_lost_or_wrong_are_a_problem_before_the_answer_begins(
    client: httpx.AsyncClient, settings: Settings, collection: str, fault: str, code: str, times: int
) -> None:
    body = BODY * times
    sent = await client.post("/api/v1/documents", files={"file": ("a.txt", body)}, data={"collection": collection})
    store, place = s3_store(settings), sent.headers["location"]
    if fault == "missing":
        obstore.delete(store, _key(body))
    else:
        obstore.put(store, _key(body), body[:-1] if fault == "cut" else b"x" + body[1:])

    answers = [await client.get(f"{place}/content"), await client.get(f"{place}/versions/1/content")]

    if fault == "wrong" and times > 1:  # the head is sent before the last megabyte was read; the body is cut off
        assert all(len(answer.content) < len(body) for answer in answers)
    else:
        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(503, code)] * 2
    await client.delete(place)


async def test_a_text_that_is_lost_is_a_problem_of_the_store(
    client: httpx.AsyncClient, settings: Settings, document: str
) -> None:
    obstore.delete(s3_store(settings), _key(TEXT))

    answer = await client.get(f"/api/v1/documents/{document}/text")

    assert (answer.status_code, answer.json()["code"]) == (503, "objects.missing")


async def test_a_document_whose_file_stays_wrong_fails_in_the_end_and_sending_it_again_mends_it(
    client: httpx.AsyncClient, work: Work, settings: Settings, collection: str, sessions: Sessions
) -> None:
    sent = (await _send(client, collection)).json()["document"]
    obstore.put(s3_store(settings), _key(BODY), BODY.replace(b"heron", b"harom"))
    states = []
    for _ in range(MAX_REFUSED_TRIES):
        await work()
        states.append((await client.get(f"/api/v1/documents/{sent['id']}")).json())
        async with transaction(sessions) as session:
            await session.execute(text("update jobs set run_after = now() where state = 'queued'"))
    await _send(client, collection)
    await work()
    mended = (await client.get(f"/api/v1/documents/{sent['id']}")).json()

    assert [each["state"] for each in states] == ["pending"] * (MAX_REFUSED_TRIES - 1) + ["failed"]
    assert states[-1]["error"]["code"] == "objects.corrupt"
    assert "upload the document again" in states[-1]["error"]["hint"]
    assert (mended["id"], mended["state"], mended["version"]) == (sent["id"], "ready", 2)
    assert (await client.get(f"/api/v1/documents/{sent['id']}/content")).content == BODY


async def test_a_byte_flipped_on_the_stores_disk_is_found_and_repaired(
    client: httpx.AsyncClient, work: Work, settings: Settings, collection: str
) -> None:
    body = b"%PDF-1.7\n" + os.urandom(5000)  # the store would compress a text
    sent: dict[str, Any] = {"files": {"file": ("a.pdf", body)}, "data": {"collection": collection}}
    await client.post("/api/v1/documents", **sent)
    assert _flip(settings.general.data_dir / "objects", body[:100]) > 0

    found = await _scrub(client, work)
    again = await client.post("/api/v1/documents", **sent)
    after = await _scrub(client, work)

    assert hashlib.sha256(body).hexdigest() in {p["sha256"] for p in found["problems"] if p["problem"] == "wrong"}
    assert again.is_success
    assert hashlib.sha256(body).hexdigest() not in {p["sha256"] for p in after["problems"]}


def _flip(folder: Path, start: bytes) -> int:
    """Change one byte behind this start in each of the store's files that holds it; how many there were."""
    flipped = 0
    for path in (each for each in folder.rglob("*.dat") if each.stat().st_size):
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as volume:
            if (found := volume.find(start)) >= 0:
                volume[found + 10] ^= 1
                flipped += 1
    return flipped


async def test_what_was_sent_again_is_no_problem_any_more_before_the_next_scrub(
    client: httpx.AsyncClient, work: Work, settings: Settings, collection: str, document: str
) -> None:
    obstore.delete(s3_store(settings), _key(BODY))
    await _scrub(client, work)

    await _send(client, collection)

    assert (await client.get("/api/v1/scrubs")).json() == {"items": []}


async def test_a_bad_text_is_made_again_from_its_file(
    client: httpx.AsyncClient, work: Work, settings: Settings, document: str
) -> None:
    obstore.put(s3_store(settings), _key(TEXT), TEXT[::-1])

    told = await _scrub(client, work)
    repaired = await _scrub(client, work, repair=True)

    assert [(p["problem"], p["is_text"]) for p in told["problems"]] == [("wrong", True)]
    assert (repaired["repaired"], repaired["problems"]) == (1, [])
    assert (await client.get(f"/api/v1/documents/{document}/text")).content == TEXT


async def test_a_sample_takes_what_was_not_checked_for_longest(
    client: httpx.AsyncClient, work: Work, sessions: Sessions, collection: str, document: str
) -> None:
    await _send(client, collection, b"Another one.")
    await work()
    first = await _scrub(client, work, sample=1)
    second = await _scrub(client, work, sample=2)
    async with transaction(sessions) as session:
        checked = await session.scalar(text("select count(*) from blob_checks"))

    assert [(s["total"], s["checked"]) for s in (first, second)] == [(1, 1), (2, 2)]
    assert checked == 3


async def test_a_deleted_documents_blobs_are_nobodys_problem(
    client: httpx.AsyncClient, work: Work, settings: Settings, document: str
) -> None:
    obstore.delete(s3_store(settings), _key(BODY))
    await _scrub(client, work)

    await client.delete(f"/api/v1/documents/{document}")

    assert (await client.get("/api/v1/scrubs")).json() == {"items": []}


async def test_the_hourly_share_is_ordered_once_and_only_while_something_is_due(
    client: httpx.AsyncClient, work: Work, sessions: Sessions, resources: Resources, document: str
) -> None:
    async def schedule() -> bool:
        async with transaction(sessions) as session:
            return await scrub.schedule(session, resources.nudger, days=30) is not None

    ordered = [await schedule(), await schedule()]
    await work()
    ordered.append(await schedule())
    await work()
    ordered.append(await schedule())
    async with transaction(sessions) as session:
        await session.execute(text("update blob_checks set checked_at = now() - interval '31 days'"))
    ordered.append(await schedule())

    assert ordered == [True, False, True, False, True]

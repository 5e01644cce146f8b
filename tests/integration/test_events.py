"""Streams of events over HTTP, of a real web process's application: what a client sees, in what order, and never twice."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import uvicorn
from sqlalchemy import text
from tests.keys import bearer, make_key

from drystone.access.service import default_workspace
from drystone.core.db import Sessions, transaction
from drystone.core.settings import Settings
from drystone.jobs import events
from drystone.jobs.events import Position
from drystone.resources import Resources
from drystone.web import create_app

Work = Callable[[], Awaitable[None]]
Told = tuple[str, dict[str, Any], str]


@pytest.fixture(scope="module")
def web(settings: Settings) -> Iterator[str]:
    """A web server on a port of its own: a stream needs a socket."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="critical", ws="none"))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()  # who comes before the server does waits for it
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/api/v1"
        server.should_exit = server.force_exit = True
        thread.join()


@pytest.fixture
async def api(web: str, settings: Settings, sessions: Sessions) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {settings.api.key.get_secret_value()}"}
    async with httpx.AsyncClient(base_url=web, headers=headers, timeout=20, trust_env=False) as client:
        yield client


@asynccontextmanager
async def _stream(api: httpx.AsyncClient, path: str, **headers: str) -> AsyncIterator[AsyncIterator[Told]]:
    async with api.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _events(answer)


async def _events(answer: httpx.Response) -> AsyncIterator[Told]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if line and name:
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], json.loads(fields["data"]), fields.get("id", "")
            fields = {}


async def _until(stream: AsyncIterator[Told], kind: str) -> list[Told]:
    seen = []
    async with asyncio.timeout(20):
        async for told in stream:
            seen.append(told)
            if told[0] == kind:
                break
    return seen


async def _send(api: httpx.AsyncClient, collection: str, body: bytes, **fields: str) -> dict[str, Any]:
    answer = await api.post("/documents", files={"file": ("a.txt", body)}, data={"collection": collection} | fields)
    assert answer.status_code in (200, 202), answer.text
    document: dict[str, Any] = answer.json()["document"]
    return document


async def test_a_document_is_watched_from_its_snapshot_to_its_end(
    api: httpx.AsyncClient, collection: str, work: Work
) -> None:
    document = await _send(api, collection, b"A dry stone wall.")
    async with _stream(api, f"/documents/{document['id']}/events") as stream:
        first = await anext(stream)
        await work()
        rest = await _until(stream, "end")

    assert first[0] == "snapshot"
    assert first[1]["document"]["state"] == "pending"
    assert [told[0] for told in rest] == ["document.ready", "end"]
    assert rest[0][1]["data"]["document_id"] == document["id"]
    assert rest[0][1]["data"]["chunks"] == 1


async def test_a_long_document_tells_how_far_it_has_come(
    api: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    words = "A dry stone wall stands without mortar, by the weight of its stones and the friction between them. " * 10
    body = "\n\n".join(f"# Chapter {n}\n\n{n}: {words}" for n in range(140)).encode()
    sent = await api.post("/documents", files={"file": ("a.md", body)}, data={"collection": collection})
    document = sent.json()["document"]
    await work()

    async with transaction(sessions) as session:
        told = list(
            await session.scalars(
                text("select data from events where kind = 'document.progress' and subject_id = :id order by id"),
                {"id": document["id"]},
            )
        )
    chunks = (await api.get(f"/documents/{document['id']}")).json()["chunks"]
    assert told, "so many passages take longer than a second"
    assert {(each["stage"], each["total"]) for each in told} == {("embedding", chunks)}
    assert [each["done"] for each in told] == sorted({each["done"] for each in told})
    assert 0 < told[-1]["done"] <= chunks


async def test_a_job_that_is_tried_again_is_told_on_its_document(
    api: httpx.AsyncClient, collection: str, work: Work, resources: Resources, sessions: Sessions
) -> None:
    body = b"A wall whose bytes are wrong."
    document = await _send(api, collection, body)
    sha256 = bytes.fromhex(document["sha256"])
    await resources.objects.delete(sha256)
    await resources.objects.put(sha256, body[::-1])
    await work()
    async with _stream(api, f"/documents/{document['id']}/events?last_event_id=") as stream:
        assert (await anext(stream))[0] == "snapshot"
    async with transaction(sessions) as session:
        told = (
            await session.execute(
                text("select data from events where kind = 'job.retrying' and subject_id = :id"), {"id": document["id"]}
            )
        ).scalar_one()

    assert told["reason"] == "objects.corrupt"
    assert told["wait_s"] > 0


async def test_who_comes_late_gets_the_end_at_once(api: httpx.AsyncClient, collection: str, work: Work) -> None:
    document = await _send(api, collection, b"\n\n")
    await work()

    async with _stream(api, f"/documents/{document['id']}/events") as stream:
        seen = await _until(stream, "end")

    assert [told[0] for told in seen] == ["snapshot", "end"]
    assert seen[0][1]["document"]["error"]["code"] == "document.no_text"


async def test_a_batch_tells_of_each_document_and_ends_with_the_counts(
    api: httpx.AsyncClient, collection: str, work: Work
) -> None:
    batch = (await api.post("/batches", json={"name": "three", "expected": 3})).json()
    async with _stream(api, f"/batches/{batch['id']}/events") as stream:
        first = await anext(stream)
        for number, body in enumerate((b"One.", b"Two.", b"\n\n")):
            await _send(api, collection, body, batch=batch["id"], external_id=str(number))
        await work()
        seen = await _until(stream, "end")

    assert first[1]["batch"]["documents"] == {"pending": 0, "ready": 0, "failed": 0, "deleted": 0}
    kinds = [told[0] for told in seen]
    assert sorted(kinds) == ["batch.done"] + ["document.failed"] + ["document.ready"] * 2 + [
        "document.received"
    ] * 3 + ["end"]
    assert kinds[-2:] == ["batch.done", "end"]
    assert seen[-2][1]["data"]["documents"] == {"ready": 2, "failed": 1}
    after = (await api.get(f"/batches/{batch['id']}")).json()
    assert after["documents"] == {"pending": 0, "ready": 2, "failed": 1, "deleted": 0}
    assert after["reasons"] == {"document.no_text": 1}
    assert after["done_at"]


async def test_a_batch_does_not_tell_of_documents_in_collections_that_are_not_the_callers(
    api: httpx.AsyncClient, collection: str, owner: Sessions, work: Work
) -> None:
    mine = (await api.post("/collections", json={"name": collection})).json()["id"]
    headers = bearer(await make_key(owner, collection_ids=[UUID(mine)]))
    batch = (await api.post("/batches", json={"expected": 2}, headers=headers)).json()["id"]

    async with _stream(api, f"/batches/{batch}/events", **headers) as stream:
        await anext(stream)
        await _send(api, f"{collection}-of-others", b"Others.", batch=batch, external_id="theirs")
        await _send(api, collection, b"Mine.", batch=batch, external_id="mine")
        await work()
        seen = await _until(stream, "end")
    async with _stream(api, f"/batches/{batch}/events", **headers) as stream:
        again = await anext(stream)

    told = [each[1]["data"].get("collection_id", mine) for each in seen if each[0].startswith("document.")]
    assert [each[0] for each in seen] == ["document.received", "document.ready", "batch.done", "end"]
    assert set(told) == {mine}
    assert "documents" not in seen[2][1]["data"], "counts of all"
    assert again[1]["batch"]["documents"] == {"pending": 0, "ready": 1, "failed": 0, "deleted": 0}


async def test_a_batch_is_not_done_while_a_document_waits_that_its_watcher_may_not_see(
    api: httpx.AsyncClient, collection: str, owner: Sessions, work: Work
) -> None:
    mine = (await api.post("/collections", json={"name": collection})).json()["id"]
    headers = bearer(await make_key(owner, collection_ids=[UUID(mine)]))
    batch = (await api.post("/batches", json={}, headers=headers)).json()["id"]
    await _send(api, collection, b"Mine.", batch=batch)
    await work()
    await _send(api, f"{collection}-of-others", b"Others.", batch=batch)

    changed = (await api.patch(f"/batches/{batch}", json={"expected": 1}, headers=headers)).json()
    await work()
    async with _stream(api, f"/batches/{batch}/events", **headers) as stream:
        snapshot = await anext(stream)

    assert changed["done_at"] is None
    assert changed["documents"] == {"pending": 0, "ready": 1, "failed": 0, "deleted": 0}
    assert snapshot[1]["batch"]["done_at"] is not None


async def test_a_batch_with_a_later_upload_is_open_again_and_expects_what_it_is_told(
    api: httpx.AsyncClient, collection: str, work: Work
) -> None:
    batch = (await api.post("/batches", json={"expected": 2})).json()
    await _send(api, collection, b"One.", batch=batch["id"])
    await work()
    waiting = (await api.get(f"/batches/{batch['id']}")).json()["done_at"]
    changed = (await api.patch(f"/batches/{batch['id']}", json={"expected": 1})).json()["done_at"]
    await _send(api, collection, b"Two.", batch=batch["id"])
    reopened = (await api.get(f"/batches/{batch['id']}")).json()["done_at"]

    assert (waiting, bool(changed), reopened) == (None, True, None)


async def test_a_client_that_was_cut_off_goes_on_after_its_last_event(
    api: httpx.AsyncClient, collection: str, work: Work
) -> None:
    await _send(api, collection, b"Zero.", external_id="0")
    async with _stream(api, f"/collections/{collection}/events") as stream:
        await anext(stream)
        for number in range(1, 5):
            await _send(api, collection, f"Number {number}.".encode(), external_id=str(number))
        seen = [await anext(stream) for _ in range(2)]
    last = seen[-1][2]
    await work()
    async with _stream(api, f"/collections/{collection}/events", **{"Last-Event-ID": last}) as stream:
        rest = [await anext(stream) for _ in range(7)]
    async with _stream(api, f"/collections/{collection}/events?last_event_id={rest[-1][2]}") as stream:
        await _send(api, collection, b"Last.", external_id="last")
        after = await anext(stream)

    assert [told[0] for told in seen] == ["document.received"] * 2
    assert [told[0] for told in rest] == ["document.received"] * 2 + ["document.ready"] * 5
    ids = [told[1]["data"]["document_id"] for told in seen + rest]
    assert len(set(ids[:4])) == 4, "nothing twice, nothing left out"
    assert after[0] == "document.received"


async def test_a_long_transaction_elsewhere_neither_delays_a_stream_nor_is_its_event_lost(
    api: httpx.AsyncClient, sessions: Sessions, collection: str
) -> None:
    await _send(api, collection, b"Zero.")
    collection_id = (await api.get(f"/collections/{collection}")).json()["id"]
    subject = uuid4()
    async with _stream(api, f"/collections/{collection}/events") as stream:
        await anext(stream)
        async with sessions.make() as slow:
            await slow.begin()
            workspace_id = await default_workspace(slow)
            await events.emit(slow, workspace_id, "test.late", "test", subject, collection_id=collection_id)
            async with transaction(sessions) as quick:
                await events.emit(quick, workspace_id, "test.early", "test", subject, collection_id=collection_id)
            early = await _until(stream, "test.early")
            await slow.commit()
        late = await _until(stream, "test.late")
    async with _stream(api, f"/collections/{collection}/events", **{"Last-Event-ID": early[-1][2]}) as stream:
        again = await anext(stream)

    assert [told[0] for told in early + late] == ["test.early", "test.late"]
    assert again[0] == "test.late", "what was uncommitted when the last event was read is told on return"


@pytest.mark.parametrize("last", ["nonsense", "9" * 9000, Position("", "1:1:", "1:1:", at=1).token()])
async def test_an_id_too_old_or_unknown_begins_anew(api: httpx.AsyncClient, collection: str, last: str) -> None:
    document = await _send(api, collection, b"A wall.")

    async with _stream(api, f"/documents/{document['id']}/events?last_event_id={last}") as stream:
        seen = await _until(stream, "snapshot")

    assert [told[0] for told in seen] == ["reset", "snapshot"]


@pytest.mark.parametrize("xid", [2**40, 2**40 + 7])
async def test_an_id_of_another_database_begins_anew(
    api: httpx.AsyncClient, collection: str, sessions: Sessions, xid: int
) -> None:
    document = await _send(api, collection, b"A wall.")
    async with transaction(sessions) as session:
        timeline = (await events.present(session)).timeline
    ahead = f"{xid}:{xid}:"

    async with _stream(
        api, f"/documents/{document['id']}/events", **{"Last-Event-ID": Position(timeline, ahead, ahead).token()}
    ) as stream:
        seen = await _until(stream, "snapshot")

    assert [told[0] for told in seen] == ["reset", "snapshot"]


async def test_an_id_from_before_a_restore_begins_anew(
    api: httpx.AsyncClient, collection: str, owner: Sessions
) -> None:
    await _send(api, collection, b"Zero.")
    path = f"/collections/{collection}/events"
    async with _stream(api, path) as stream:
        before = (await anext(stream))[2]
        async with transaction(owner) as session:
            await session.execute(text(events.RENEW_TIMELINE))
        rest = [told async for told in stream]
    await _send(api, collection, b"One.")
    async with _stream(api, path, **{"Last-Event-ID": before}) as stream:
        anew = [await anext(stream) for _ in range(2)]
    await _send(api, collection, b"Two.")
    async with _stream(api, path, **{"Last-Event-ID": anew[-1][2]}) as stream:
        resumed = await anext(stream)

    assert rest == [], "who listens is cut off"
    assert [told[0] for told in anew] == ["reset", "snapshot"]
    assert resumed[0] == "document.received"


async def test_streams_hold_no_connection_while_they_wait(
    api: httpx.AsyncClient, collection: str, settings: Settings
) -> None:
    document = await _send(api, collection, b"A wall.")
    opened = [_stream(api, f"/documents/{document['id']}/events") for _ in range(settings.database.pool_size * 4)]
    streams = [await stream.__aenter__() for stream in opened]
    for stream in streams:
        await anext(stream)

    answer = await api.get(f"/documents/{document['id']}")

    assert answer.status_code == 200
    for left in opened:
        await left.__aexit__(None, None, None)


@pytest.mark.parametrize("path", ["/documents/{}/events", "/batches/{}/events", "/collections/{}/events"])
async def test_what_is_not_there_cannot_be_watched(api: httpx.AsyncClient, path: str) -> None:
    assert (await api.get(path.format(uuid4()))).status_code == 404


async def test_an_upload_may_wait_for_what_becomes_of_it(api: httpx.AsyncClient, collection: str, work: Work) -> None:
    sending = asyncio.create_task(
        api.post(
            "/documents",
            files={"file": ("a.txt", b"A wall.")},
            data={"collection": collection},
            headers={"Prefer": "respond-async, wait=30"},
        )
    )
    while not (await api.get("/jobs")).json()["items"]:
        pass
    await work()
    answer = await sending

    assert (answer.status_code, answer.headers["preference-applied"]) == (201, "wait=30")
    assert answer.json()["document"]["state"] == "ready"


async def test_an_upload_that_waited_in_vain_is_accepted(api: httpx.AsyncClient, collection: str) -> None:
    answer = await api.post(
        "/documents",
        files={"file": ("a.txt", b"A wall.")},
        data={"collection": collection},
        headers={"Prefer": "wait=1"},
    )

    assert (answer.status_code, answer.json()["document"]["state"]) == (202, "pending")


async def test_old_events_are_swept_and_young_ones_stay(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        workspace_id = await default_workspace(session)
        for kind in ("old", "young"):
            await events.emit(session, workspace_id, kind, "test", uuid4())
        await session.execute(text("update events set at = now() - interval '8 days' where kind = 'old'"))
    async with transaction(sessions) as session:
        swept = await events.sweep(session)
        left = list(await session.scalars(text("select kind from events")))

    assert (swept, left) == (1, ["young"])

"""The Python clients against the API: the same of both."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.asking import Asking

from drystone.client import Conflict, Denied, DocumentFailed, Invalid, NotFound, StillPending

BIRDS = b"The kingfisher dives for fish from a branch above the river."
SHELLS = b"Thin shells buckle under pressure long before the material yields."


async def _while_working(work: Any, asked: Any) -> Any:
    """What a call gives that waits for the worker."""
    asking = asyncio.ensure_future(asked)
    while not asking.done():
        await work()
        await asyncio.sleep(0.02)
    return await asking


def _content_of(document_id: str) -> Callable[[Any], Any]:
    return lambda c: c.documents.content(document_id)


def _adding(text: str, name: str, **rest: Any) -> Callable[[Any], Any]:
    return lambda c: c.documents.add(text=text, name=name, **rest)


async def test_what_is_added_is_waited_for_found_read_and_deleted(ask: Asking, work: Any, tmp_path: Path) -> None:
    (tmp_path / "birds.txt").write_bytes(BIRDS)
    received = await _while_working(
        work,
        ask(
            lambda c: c.documents.add(
                tmp_path / "birds.txt", collection="notes", external_id="b", attributes={"year": 1962}, wait_s=60
            )
        ),
    )
    document = received.document

    assert (document.state, document.name, document.attributes) == ("ready", "birds.txt", {"year": 1962})
    assert document.is_searchable
    answer = await ask(
        lambda c: c.search(
            "Which bird catches fish?",
            collection="notes",
            filter={"type": "gte", "key": "year", "value": 1960},
            explain=True,
            highlight=True,
            neighbours=1,
            diversity=0,
            facets=["entity"],
            entities=True,
        )
    )
    (hit,) = answer.hits
    assert (hit.quote, hit.document.id, hit.document.external_id) == (BIRDS.decode(), document.id, "b")
    assert answer.explanation.passages == 1
    assert (await ask(lambda c: c.documents.text(document.id)))[hit.start : hit.end] == hit.quote
    assert await ask(lambda c: c.documents.content(document.id)) == BIRDS
    got = await ask(lambda c: c.documents.get(document.id))
    assert got.etag
    changed = await ask(lambda c: c.documents.update(document.id, {"title": "Birds"}, if_match=got.etag))
    assert changed.title == "Birds"
    with pytest.raises(Conflict) as caught:
        await ask(lambda c: c.documents.delete(document.id, if_match=got.etag))
    assert (caught.value.code, caught.value.status) == ("request.precondition_failed", 412)
    await ask(lambda c: c.documents.delete(document.id))
    with pytest.raises(NotFound) as gone:
        await ask(lambda c: c.documents.get(document.id))
    assert gone.value.code == "document.not_found"
    assert gone.value.request_id


async def test_files_come_as_paths_bytes_text_and_open_files(ask: Asking, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(BIRDS)
    started = io.BytesIO(b"not this " + SHELLS)
    started.seek(len(b"not this "))
    read_end, write_end = os.pipe()
    os.write(write_end, b"from a pipe")
    os.close(write_end)

    by_path = await ask(lambda c: c.documents.add(str(path)))
    by_bytes = await ask(lambda c: c.documents.add(SHELLS + b" Yes.", name="b.txt"))
    by_text = await ask(lambda c: c.documents.add(text="Ünicode, too", name="c.txt"))
    by_file = await ask(lambda c: c.documents.add(started, name="d.txt"))
    with os.fdopen(read_end, "rb") as pipe:
        by_pipe = await ask(lambda c: c.documents.add(pipe, name="e.txt"))

    received = (by_path, by_bytes, by_text, by_file, by_pipe)
    kept = [await ask(_content_of(each.document.id)) for each in received]
    assert kept == [BIRDS, SHELLS + b" Yes.", "Ünicode, too".encode(), SHELLS, b"from a pipe"]
    assert [each.document.name for each in received] == [f"{letter}.txt" for letter in "abcde"]


async def test_a_large_file_is_sent_without_being_held(ask: Asking, tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    with path.open("wb") as body:
        for number in range(200_000):
            body.write(b"%d: thin shells buckle\n" % number)

    received = await ask(lambda c: c.documents.add(path))

    assert received.document.size_bytes == path.stat().st_size


async def test_a_document_that_fails_says_why(ask: Asking, work: Any) -> None:
    with pytest.raises(DocumentFailed) as caught:
        await _while_working(work, ask(lambda c: c.documents.add(b" \n ", name="empty.txt", wait_s=60)))

    error = caught.value.document.error
    assert error is not None
    assert error.code == "document.no_text"
    (job,) = await ask(lambda c: c.jobs.list(state="failed"))
    assert job.document.id == caught.value.document.id


async def test_waiting_ends_when_it_is_to(ask: Asking) -> None:
    received = await ask(lambda c: c.documents.add(BIRDS, name="a.txt"))

    with pytest.raises(StillPending):
        await ask(lambda c: c.documents.wait(received.document.id, timeout_s=0.05))
    with pytest.raises(StillPending):
        await ask(lambda c: c.jobs.wait(received.job_id, timeout_s=0.05))


async def test_jobs_are_cancelled_retried_and_waited_for(ask: Asking, work: Any) -> None:
    received = await ask(lambda c: c.documents.add(BIRDS, name="a.txt"))

    cancelled = await ask(lambda c: c.jobs.cancel(received.job_id))
    retried = await ask(lambda c: c.jobs.retry(received.job_id))
    done = await _while_working(work, ask(lambda c: c.jobs.wait(received.job_id)))

    assert (cancelled.state, retried.state, done.state) == ("cancelled", "queued", "done")
    assert (await ask(lambda c: c.jobs.queue())).due == 0
    assert (await ask(lambda c: c.jobs.cancel_many(collection="default", dry_run=True))).jobs == 0


async def test_versions_are_listed_and_restored(ask: Asking, work: Any) -> None:
    first = await ask(lambda c: c.documents.add(BIRDS, name="a.txt", external_id="x"))
    second = await ask(lambda c: c.documents.replace(first.document.id, SHELLS, name="b.txt"))
    await ask(lambda c: c.documents.restore(first.document.id, 1))
    await work()

    numbers = [(each.number, each.is_current) for each in await ask(lambda c: c.documents.versions(first.document.id))]

    assert second.document.version == 2
    assert numbers == [(3, True), (2, False), (1, False)]
    assert await ask(lambda c: c.documents.content(first.document.id, version=2)) == SHELLS
    assert (await ask(lambda c: c.documents.version(first.document.id, 1))).name == "a.txt"
    with pytest.raises(Conflict):
        await ask(lambda c: c.documents.add(b"other", name="a.txt", external_id="x", only_new=True))


async def test_all_pages_are_listed(ask: Asking) -> None:
    for number in range(5):
        await ask(_adding(f"Text {number}", f"{number}.txt"))

    listed = await ask(lambda c: c.documents.list(collection="default", page=2))

    assert [each.name for each in listed] == [f"{number}.txt" for number in range(5)]
    some = {"type": "in", "key": "$name", "value": ["1.txt", "3.txt"]}
    deleted = await ask(lambda c: c.documents.delete_many(collection="default", filter=some, expect=2))
    assert deleted.count == 2
    assert len(await ask(lambda c: c.documents.list(filter={"type": "ne", "key": "x", "value": 1}))) == 3


async def test_collections_are_made_changed_and_deleted(ask: Asking) -> None:
    made = await ask(lambda c: c.collections.create("papers", description="Ours"))
    changed = await ask(lambda c: c.collections.update("papers", description="Theirs", if_match=made.etag))

    assert (made.name, changed.description) == ("papers", "Theirs")
    assert [each.name for each in await ask(lambda c: c.collections.list())] == ["papers"]
    with pytest.raises(Conflict):
        await ask(lambda c: c.collections.create("papers"))
    await ask(lambda c: c.collections.delete("papers"))
    assert await ask(lambda c: c.collections.list()) == []


async def test_batches_are_waited_for_and_watched(ask: Asking, work: Any) -> None:
    batch = await ask(lambda c: c.batches.create("birds", expected=2))
    for number in range(2):
        await ask(_adding(f"Bird {number}", f"{number}.txt", batch=batch.id))

    done = await _while_working(work, ask(lambda c: c.batches.wait(batch.id)))
    events = await ask(lambda c: c.events.of_batch(batch.id))

    assert done.documents.ready == 2
    assert [each.type for each in events] == ["snapshot"]
    assert events[0].data["batch"]["id"] == batch.id


async def test_events_are_told_as_they_happen(ask: Asking, work: Any) -> None:
    received = await ask(lambda c: c.documents.add(BIRDS, name="a.txt"))

    is_open = threading.Event()
    asked = asyncio.ensure_future(ask(lambda c: c.events.of_document(received.document.id), came=is_open.set))
    while not is_open.is_set() and not asked.done():
        await asyncio.sleep(0.01)
    events = await _while_working(work, asked)

    assert [each.type for each in events][:: len(events) - 1] == ["snapshot", "document.ready"]
    assert events[-1].data["document_id"] == received.document.id
    assert events[-1].timestamp
    later = await ask(lambda c: c.events.of_document(received.document.id, last_id=events[0].id))
    assert (later[-1].type, later[-1].timestamp) == (events[-1].type, events[-1].timestamp)
    assert "snapshot" not in {each.type for each in later}


async def test_the_catalogue_is_put_and_read_and_observations_with_it(ask: Asking, work: Any) -> None:
    pump = await ask(lambda c: c.entities.put("pump-7", type="category", label="Pump 7", aliases={"en": ["P7"]}))
    applied = await ask(
        lambda c: c.catalogue.apply(
            [{"kind": "module", "key": "pumps", "content": {"label": "Pumps", "entities": ["pump-7"]}}], message="Ours"
        )
    )
    rows = [
        {"entity": "pump-7", "metric": "temperature", "observed_at": f"2026-05-01T0{hour}:00:00Z", "value": 20 + hour}
        for hour in range(4)
    ]
    (added,) = await ask(lambda c: c.observations.add([*rows, {**rows[0], "entity": "pump-8"}]))
    (again,) = await ask(lambda c: c.observations.add(rows))

    assert (pump.label, applied.changes[0].what) == ("Pump 7", "created")
    assert (await ask(lambda c: c.catalogue.get())).entities == 1
    assert [each.key for each in await ask(lambda c: c.entities.list(module="pumps"))] == ["pump-7"]
    assert [each.key for each in await ask(lambda c: c.catalogue.modules())] == ["pumps"]
    assert (added.inserted, added.refused, added.errors[0].code) == (4, 1, "observation.unknown_entity")
    assert again.unchanged == 4
    assert len(await ask(lambda c: c.observations.list(entity="pump-7", page=3))) == 4
    assert [each.value for each in await ask(lambda c: c.observations.latest(entity=["pump-7"]))] == [23.0]
    assert [each.metric for each in await ask(lambda c: c.observations.series())] == ["temperature"]
    days = await ask(
        lambda c: c.observations.buckets(entity="pump-7", bucket="PT2H", from_="2026-05-01", until="2026-05-01T04:00Z")
    )
    assert days.series[0].values == [20.5, 22.5]
    gone = await ask(lambda c: c.observations.delete("pump-7", from_="2026-05-01", until="2026-05-02"))
    assert gone.deleted == 4
    await ask(lambda c: c.documents.add(text="P7 was mended.", name="a.txt"))
    await work()
    (passage,) = await ask(lambda c: c.entities.passages("pump-7"))
    assert passage.quote == "P7 was mended."


async def test_a_question_is_answered_with_the_place_that_bears_it(ask: Asking, work: Any, tmp_path: Path) -> None:
    (tmp_path / "birds.txt").write_bytes(BIRDS)
    await _while_working(work, ask(lambda c: c.documents.add(tmp_path / "birds.txt", collection="notes", wait_s=60)))

    answer = await ask(lambda c: c.ask("What does the kingfisher dive for?", collection="notes", sentences=1))
    one_by_one = await ask(
        lambda c: c.ask_by_sentences("What does the kingfisher dive for?", collection="notes", sentences=1)
    )

    assert (answer.mode, answer.is_answered) == ("extractive", True)
    (sentence,) = answer.sentences
    (span,) = sentence.support
    text = await ask(lambda c: c.documents.text(span.document_id))
    assert text[span.start : span.end] == span.quote == sentence.text
    assert [each.text for each in one_by_one] == [sentence.text]
    with pytest.raises(Invalid) as caught:
        await ask(lambda c: c.ask_by_sentences("Which?", collection="notes", sentences=11))
    assert caught.value.code == "answer.out_of_range"


async def test_any_other_route_is_asked_by_its_path(ask: Asking) -> None:
    made = await ask(lambda c: c.request("POST", "/drafts", json={"title": "Ours"}, idempotency_key="once"))
    again = await ask(lambda c: c.request("POST", "/api/v1/drafts", json={"title": "Ours"}, idempotency_key="once"))
    listed = await ask(lambda c: c.request("GET", "/drafts", params={"limit": 5}))

    assert made.status_code == 201
    assert again.json()["id"] == made.json()["id"]
    assert len(listed.json()["items"]) == 1


async def test_refusals_are_told_with_their_fields(ask: Asking) -> None:
    with pytest.raises(Invalid) as caught:
        await ask(lambda c: c.search("a", limit="ten"))

    assert caught.value.code == "request.invalid"
    assert [each.pointer for each in caught.value.problems] == ["/limit"]
    assert "/limit" in str(caught.value)


@pytest.fixture
def stranger(url: str) -> Callable[[Any], Any]:
    return lambda kind: kind(url, "ds_nobody")


async def test_a_wrong_key_is_denied(ask: Asking, stranger: Callable[[Any], Any]) -> None:
    asking = Asking(stranger(type(ask.client)))

    with pytest.raises(Denied) as caught:
        await asking(lambda c: c.collections.list())

    assert caught.value.status == 401
    await asking.close()

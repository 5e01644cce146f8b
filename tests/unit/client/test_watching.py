"""Streams of events: read to the letter of the format, and taken up where they broke."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.asking import Asking
from tests.scripted import HANG_UP, Scripted, answer, problem
from tests.unit.client.conftest import Open

from drystone.client import AsyncClient, Broken, Client, NotFound, Retries, Unavailable
from drystone.client.watching import Lines

KIND = {"Content-Type": "text/event-stream"}


def _event(number: int, kind: str = "document.progress") -> bytes:
    said = {"type": kind, "timestamp": "2026-11-23T00:00:00Z", "data": {"done": number}}
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(said)}\n\n".encode()


END = b"event: end\ndata: {}\n\n"
SNAPSHOT = b'retry: 2000\n\nid: 0\nevent: snapshot\ndata: {"document": {"id": "d"}}\n\n'


def _stream(*parts: bytes, length: int = -1) -> bytes:
    body = b"".join(parts)
    return answer(200, body, KIND, length=length)


async def test_a_stream_that_breaks_goes_on_after_its_last_event(opened: Open) -> None:
    broken = _stream(SNAPSHOT, _event(1), b"id: 2\nevent: half", length=10_000)
    ask, server = opened(
        broken, HANG_UP, problem(503, "server.busy"), _stream(b": still here\n\n", _event(2)), _stream(_event(3), END)
    )

    events = await ask(lambda c: c.events.of_document("d"))

    assert [(each.id, each.type) for each in events] == [
        ("0", "snapshot"),
        ("1", "document.progress"),
        ("2", "document.progress"),
        ("3", "document.progress"),
    ]
    assert events[0].data == {"document": {"id": "d"}}
    assert events[3].data == {"done": 3}
    assert events[3].timestamp is not None
    assert [each.headers.get("last-event-id") for each in server.asked] == [None, "1", "1", "1", "2"]


async def test_a_stream_begins_after_the_event_that_is_named(opened: Open) -> None:
    ask, server = opened(_stream(_event(8), END))

    events = await ask(lambda c: c.events.of_batch("b", last_id="7", follow=True))

    assert [each.id for each in events] == ["8"]
    assert server.asked[0].headers["last-event-id"] == "7"
    assert server.asked[0].path == "/api/v1/batches/b/events?follow=true"


async def test_an_event_that_cannot_be_one_is_told(opened: Open) -> None:
    said = json.dumps({"timestamp": "soon", "data": {}}).encode()
    ask, server = opened(_stream(SNAPSHOT, b"event: document.ready\ndata: " + said + b"\n\n"))

    with pytest.raises(Broken):
        await ask(lambda c: c.events.of_document("d"))

    assert len(server.asked) == 1


async def test_a_stream_that_never_says_anything_is_given_up(opened: Open) -> None:
    ask, server = opened(_stream(), retries=Retries(for_s=0.2, first_s=0.01, longest_s=0.02))

    with pytest.raises(Unavailable):
        await ask(lambda c: c.events.of_collection("notes"))

    assert len(server.asked) > 2


@pytest.mark.parametrize("kind", [Client, AsyncClient], ids=["sync", "async"])
async def test_who_leaves_a_stream_closes_its_connection(kind: Any) -> None:
    endless = _stream(SNAPSHOT, _event(1), length=10_000)
    with Scripted(endless + b"\n" * 9_000).running() as server:
        client = kind(server.url, "ds_key")
        events = client.events.of_collection("notes")
        async with Asking(client).left(events) as first:
            assert first.type == "snapshot"
        pool = client._http._transport._pool

        assert pool.connections == []
        await Asking(client).close()


async def test_a_stream_of_nothing_there_is_refused(opened: Open) -> None:
    ask, server = opened(problem(404, "document.not_found"))

    with pytest.raises(NotFound):
        await ask(lambda c: c.events.of_document("d"))

    assert len(server.asked) == 1


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_read_however_they_are_cut(end: str, size: int) -> None:
    whole = f': hello{end}{end}id: 1{end}event: a{end}data: {{"x": "\u2028ü",{end}data: "y": 2}}{end}{end}event: b{end}data:{{}}{end}{end}'
    body = whole.encode() + b"\n"  # a last CR is held back until it is known to be no half
    lines = Lines()

    events = [event for at in range(0, len(body), size) for event in lines.feed(body[at : at + size])]

    assert [(each.id, each.type, each.data) for each in events] == [
        ("1", "a", {"x": "\u2028ü", "y": 2}),
        (None, "b", {}),
    ]


def test_what_has_no_data_is_no_event() -> None:
    assert list(Lines().feed(b"retry: 2000\n\nevent: x\n\nid: 5\n\n")) == []

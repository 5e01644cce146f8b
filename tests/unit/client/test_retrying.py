"""What is sent again, with what, and when it is given up."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.asking import Asking
from tests.scripted import HANG_UP, SILENCE, answer, as_json, problem
from tests.unit.client.conftest import QUICK, Open

from drystone.client import AsyncClient, Broken, Client, Conflict, FileChanged, NotFound, Retries, TooMany, Unavailable
from drystone.client.retrying import Patience

LIST = as_json({"items": []})
BUSY = problem(503, "server.busy", {"Retry-After": "0"})
BATCH = as_json(
    {
        "id": "b",
        "name": None,
        "expected": None,
        "created_at": "2026-11-23T00:00:00Z",
        "done_at": None,
        "documents": {"pending": 0, "ready": 0, "failed": 0, "deleted": 0},
        "reasons": {},
    }
)


def _adding(file: Any) -> Callable[[Any], Any]:
    return lambda c: c.documents.add(file, name="a.txt", attributes={"year": 1962})


def _making_a_batch(idempotency_key: str) -> Callable[[Any], Any]:
    return lambda c: c.batches.create(idempotency_key=idempotency_key)


@pytest.mark.parametrize(
    "first",
    [HANG_UP, BUSY, problem(429, "rate.exceeded"), problem(502, "x"), answer(504), answer(200, b"half", length=9)],
    ids=["hung up", "busy", "too often", "bad gateway", "no problem", "cut off"],
)
async def test_a_question_is_asked_again(opened: Open, first: bytes) -> None:
    ask, server = opened(first, LIST)

    assert await ask(lambda c: c.collections.list()) == []

    assert len(server.asked) == 2


async def test_what_makes_something_is_sent_again_with_the_same_key(opened: Open) -> None:
    ask, server = opened(HANG_UP, problem(409, "idempotency.in_flight", {"Retry-After": "0"}), BATCH)

    await ask(lambda c: c.batches.create("ours"))
    await ask(lambda c: c.batches.create("ours"))

    keys = [each.headers["idempotency-key"] for each in server.asked]
    assert keys[0] == keys[1] == keys[2] != keys[3]


async def test_what_may_not_be_sent_twice_is_not(opened: Open) -> None:
    ask, server = opened(HANG_UP, LIST)

    with pytest.raises(Unavailable) as caught:
        await ask(lambda c: c.request("POST", "/jobs/retry", json={"all": True}))

    assert (len(server.asked), caught.value.code, caught.value.status) == (1, "api.away", None)


async def test_what_was_certainly_not_heard_is_sent_again(opened: Open) -> None:
    ask, server = opened(problem(429, "rate.exceeded", {"Retry-After": "0"}), LIST)

    await ask(lambda c: c.request("POST", "/jobs/retry", json={"all": True}))

    assert len(server.asked) == 2


async def test_a_refusal_is_not_repeated(opened: Open) -> None:
    ask, server = opened(problem(409, "collection.exists"), LIST)

    with pytest.raises(Conflict) as caught:
        await ask(lambda c: c.collections.create("ours"))

    assert (len(server.asked), caught.value.code) == (1, "collection.exists")


async def test_a_fault_is_told_at_once(opened: Open) -> None:
    ask, server = opened(problem(500, "internal"), LIST)

    with pytest.raises(Broken):
        await ask(lambda c: c.collections.list())

    assert len(server.asked) == 1


async def test_what_is_gone_when_an_answer_was_lost_has_been_deleted(opened: Open) -> None:
    ask, _ = opened(HANG_UP, problem(404, "document.not_found"))

    await ask(lambda c: c.documents.delete("d"))

    with pytest.raises(NotFound):
        await ask(lambda c: c.documents.delete("d"))


async def test_what_a_stranger_does_not_find_was_not_deleted(opened: Open) -> None:
    ask, _ = opened(HANG_UP, answer(404, b"<html>", {"Content-Type": "text/html"}))

    with pytest.raises(NotFound) as caught:
        await ask(lambda c: c.documents.delete("d"))

    assert caught.value.code == "api.stranger"


async def test_a_wait_beyond_the_deadline_is_not_waited(opened: Open) -> None:
    ask, server = opened(problem(429, "quota.exceeded", {"Retry-After": "3600"}))

    with pytest.raises(TooMany) as caught:
        await ask(lambda c: c.collections.list())

    assert (len(server.asked), caught.value.retry_after_s) == (1, 3600.0)


async def test_a_server_that_stays_away_is_given_up_at_the_deadline(opened: Open) -> None:
    ask, server = opened(BUSY, retries=Retries(for_s=0.2, first_s=0.01, longest_s=0.02))

    with pytest.raises(Unavailable) as caught:
        await ask(lambda c: c.collections.list())

    assert len(server.asked) > 2
    assert caught.value.code == "server.busy"


async def test_with_no_retries_there_is_one_try(opened: Open) -> None:
    ask, server = opened(BUSY, LIST, retries=Retries(for_s=0))

    with pytest.raises(Unavailable):
        await ask(lambda c: c.collections.list())

    assert len(server.asked) == 1


@pytest.mark.parametrize("kind", [Client, AsyncClient], ids=["sync", "async"])
async def test_nobody_there_is_said_with_what_to_do(kind: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    ask = Asking(kind(f"http://127.0.0.1:{port}", "ds_key", retries=Retries(for_s=0)))

    with pytest.raises(Unavailable) as caught:
        await ask(lambda c: c.request("POST", "/drafts"))

    assert f"http://127.0.0.1:{port}" in caught.value.detail
    assert "DRYSTONE_URL" in str(caught.value.hint)
    await ask.close()


async def test_an_answer_that_does_not_come_is_given_up(opened: Open) -> None:
    ask, _ = opened(SILENCE, retries=Retries(for_s=0), timeout_s=0.3)

    with pytest.raises(Unavailable) as caught:
        await ask(lambda c: c.collections.list())

    assert "timeout_s" in str(caught.value.hint)


async def test_a_file_is_read_again_for_each_try(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"thin shells")
    opened_file = io.BytesIO(b"not thin shells")
    opened_file.seek(4)
    ask, server = opened(HANG_UP, BUSY, problem(404, "x"))

    for file in (path, b"thin shells", bytearray(b"thin shells"), memoryview(b"thin shells"), opened_file):
        server.answers = [HANG_UP, BUSY, problem(404, "x")]
        with pytest.raises(NotFound):
            await ask(_adding(file))

    assert len(server.asked) == 15
    assert all(each.body.count(b"\r\n\r\nthin shells\r\n") == 1 for each in server.asked)
    assert all(b'{"year": 1962}' in each.body for each in server.asked)
    assert len({each.headers["idempotency-key"] for each in server.asked}) == 5


async def test_a_pipe_is_sent_once(opened: Open) -> None:
    ask, server = opened(HANG_UP)
    read_end, write_end = os.pipe()
    os.write(write_end, b"thin shells")
    os.close(write_end)

    with os.fdopen(read_end, "rb") as pipe, pytest.raises(Unavailable):
        await ask(lambda c: c.documents.add(pipe, name="a.txt"))

    assert len(server.asked) == 1


async def test_a_file_that_grows_shorter_is_said_to(opened: Open, tmp_path: Path) -> None:
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return b""

    ask, _ = opened(LIST)

    with pytest.raises(FileChanged):
        await ask(lambda c: c.documents.add(Shrinking(b"thin shells"), name="a.txt"))


async def test_what_cannot_be_sent_is_not_tried_for_long(opened: Open) -> None:
    ask, server = opened(LIST)

    for odd in ("a\nb", "ä", " a"):
        with pytest.raises(ValueError, match="Idempotency-Key cannot be sent"):
            await ask(_making_a_batch(odd))
    with pytest.raises(httpx.LocalProtocolError):
        await ask(lambda c: c.request("GET", "/collections", headers={"X Odd": "a"}))

    assert server.asked == []


def test_pauses_grow_with_jitter_and_end_at_the_deadline() -> None:
    retries = Retries(for_s=3600.0, first_s=1.0, longest_s=4.0)
    patience = Patience(retries)

    pauses = [patience.pause_s() or 0.0 for _ in range(6)]

    spans = [1.0, 2.0, 4.0, 4.0, 4.0, 4.0]
    assert all(span / 2 <= pause <= span for span, pause in zip(spans, pauses, strict=True))
    assert len(set(pauses)) == 6
    assert 30.0 <= (patience.pause_s(30.0) or 0.0) <= 31.0
    assert Retries(for_s=0).begin().pause_s() is None
    assert QUICK.begin().pause_s(60.0) is None


def test_pauses_stay_what_they_are_after_hours_of_tries() -> None:
    patience = Retries(for_s=1e9, longest_s=8.0).begin()

    pauses = [patience.pause_s() or 0.0 for _ in range(2000)]

    assert all(4.0 <= pause <= 8.0 for pause in pauses[10:])

"""An answer as a stream tells it."""

from __future__ import annotations

import json

import pytest
from starlette.requests import Request

from drystone.answers.schemas import Ending, Sentence
from drystone.api.answers import event_of
from drystone.core.errors import Unavailable

REQUEST = Request({"type": "http", "headers": [], "state": {"request_id": "r-1"}})


@pytest.mark.parametrize(
    ("said", "kind", "is_last"),
    [
        (Sentence("It stands."), "sentence", False),
        (Ending("generated", 1, 0), "done", True),
        (Unavailable("chat.busy", "Busy."), "error", True),
    ],
)
def test_a_sentence_is_followed_by_others_and_an_ending_by_nothing(
    said: Sentence | Ending | Unavailable, kind: str, is_last: bool
) -> None:
    event, last = event_of(2, said, REQUEST)

    assert event.startswith(f"id: 2\nevent: {kind}\ndata: {{")
    assert last == is_last


def test_what_cannot_be_written_ends_the_stream_with_an_error() -> None:
    event, is_last = event_of(7, Sentence("half \ud83d"), REQUEST)

    number, kind, data = event.strip().split("\n")
    assert (number, kind, is_last) == ("id: 7", "event: error", True)
    assert json.loads(data.removeprefix("data: "))["code"] == "internal.error"

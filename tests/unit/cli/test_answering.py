"""How the command line reads the stream of an answer, from a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tests.serving import served

from drystone.cli.client import Client
from drystone.core.errors import Unavailable

PASSAGES: tuple[str, Any] = ("passages", {"passages": []})
BUSY: tuple[str, Any] = ("error", {"status": 503, "code": "chat.busy", "detail": "It is busy.", "hint": "ask again"})


def _told(*events: tuple[str, Any]) -> str:
    parts = [
        f"id: {n}\nevent: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
        for n, (kind, data) in enumerate(events, 1)
    ]
    return ": still here\n\n".join(parts)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Its server answers with the question, as the stream it is."""

    async def ask(request: Request) -> Response:
        return Response((await request.json())["question"], media_type="text/event-stream")

    with (
        served(Starlette(routes=[Route("/api/v1/ask", ask, methods=["POST"])])) as address,
        Client(address, "key") as opened,
    ):
        yield opened


def test_events_are_given_as_they_come(client: Client) -> None:
    events = [PASSAGES, ("sentence", {"text": "a: b\u2028c"}), ("done", {"supported": 1})]

    assert list(client.asked({"question": _told(*events)})) == events


@pytest.mark.parametrize(
    ("events", "code"), [((PASSAGES, BUSY), "chat.busy"), ((PASSAGES,), "api.away")], ids=["error", "no-end"]
)
def test_an_error_and_an_end_in_the_middle_are_raised(client: Client, events: Any, code: str) -> None:
    asked = client.asked({"question": _told(*events)})

    assert next(asked) == PASSAGES
    with pytest.raises(Unavailable) as raised:
        next(asked)
    assert raised.value.code == code

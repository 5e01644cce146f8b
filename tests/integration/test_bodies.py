"""What is taken of a body before anybody knows whose it is, and how much of it at most."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from drystone.http import bodies

SEARCH = "/api/v1/search"
JSON = {"Content-Type": "application/json"}


class Sent:
    """A body of many megabytes, and how many of it were asked for."""

    def __init__(self, megabytes: int) -> None:
        self.left = megabytes
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.left:
            self.left -= 1
            self.taken += 1
            yield b" " * (1 << 20)


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "access.key_missing"),
        ("Bearer dsk_nobody.made-up", "access.key_unknown"),
        ("Basic Zm9vOmJhcg==", "access.key_missing"),
    ],
)
async def test_without_a_right_key_nothing_of_a_body_is_taken(
    client: httpx.AsyncClient, authorization: str | None, code: str
) -> None:
    body = Sent(50)
    request = client.build_request("POST", SEARCH, content=aiter(body), headers=JSON)
    del request.headers["authorization"]
    if authorization:
        request.headers["authorization"] = authorization

    answer = await client.send(request)

    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert answer.headers["x-request-id"]
    assert body.taken == 0


async def test_a_body_of_json_has_a_largest_size(client: httpx.AsyncClient) -> None:
    body = Sent(50)

    answer = await client.post(SEARCH, content=aiter(body), headers=JSON)

    assert (answer.status_code, answer.json()["code"]) == (413, "request.refused")
    assert "8,388,608 bytes" in answer.json()["detail"]
    assert body.taken == 9


async def test_a_body_that_does_not_end_is_waited_for_no_longer_than_a_minute(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "LONGEST_S", 0.2)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    answer = await asyncio.wait_for(client.post(SEARCH, content=slow(), headers=JSON), 10)

    assert (answer.status_code, answer.json()["code"]) == (408, "request.refused")


async def test_uploads_have_limits_of_their_own(client: httpx.AsyncClient, collection: str) -> None:
    path = f"/api/v1/documents?collection={collection}&name=large.txt"
    headers = {"Content-Type": "application/octet-stream"}

    answer = await client.post(path, content=aiter(Sent(9)), headers=headers)

    assert answer.status_code == 202, answer.text

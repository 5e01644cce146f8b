"""Errors of this edge have OpenAI's envelope, also where no route has been reached; those of the others have theirs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from tests.keys import bearer, make_key

from drystone.core.db import Sessions
from drystone.core.settings import Settings
from drystone.http import bodies
from drystone.web import create_app

A = "/openai/v1"
JSON = {"Content-Type": "application/json"}


async def _megabytes(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * (1 << 20)


def _error(answer: httpx.Response) -> dict[str, Any]:
    told = answer.json()
    assert set(told) == {"error"}, told
    assert set(told["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    return dict(told["error"])


@pytest.mark.parametrize(
    ("method", "path", "given", "status", "type_", "code"),
    [
        ("GET", "/models", {"headers": {"Authorization": ""}}, 401, "authentication_error", "invalid_api_key"),
        (
            "POST",
            "/files",
            {"headers": {"Authorization": "Bearer x.y"}},
            401,
            "authentication_error",
            "invalid_api_key",
        ),
        ("GET", "/assistants", {}, 404, "invalid_request_error", "unknown_url"),
        ("PUT", "/models", {}, 405, "invalid_request_error", "request.method_not_allowed"),
        ("GET", "/files?colour=red", {}, 400, "invalid_request_error", "request.unknown_parameter"),
        ("GET", "/files?limit=0", {}, 400, "invalid_request_error", "request.invalid"),
        ("POST", "/embeddings", {"content": "{", "headers": JSON}, 400, "invalid_request_error", "request.not_json"),
        ("POST", "/files", {"json": {}}, 400, "invalid_request_error", "request.not_multipart"),
        ("GET", "/files/file-1", {}, 404, "invalid_request_error", "file.not_found"),
        ("GET", "/vector_stores/vs_1", {}, 404, "invalid_request_error", "vector_store.not_found"),
    ],
)
async def test_whatever_is_wrong_is_told_in_one_form(
    client: httpx.AsyncClient, method: str, path: str, given: dict[str, Any], status: int, type_: str, code: str
) -> None:
    answer = await client.request(method, A + path, **given)

    assert (answer.status_code, _error(answer)["type"], _error(answer)["code"]) == (status, type_, code)


async def test_a_body_that_is_too_large_is_refused_in_this_form_and_an_upload_is_no_such_body(
    client: httpx.AsyncClient,
) -> None:
    too_large = bodies.MOST_BYTES // (1 << 20) + 1

    answer = await client.post(f"{A}/embeddings", content=_megabytes(too_large), headers=JSON)
    upload = await client.post(
        f"{A}/files",
        files={"file": ("a.txt", b"a" * (too_large << 20))},
        data={"purpose": "assistants"},
    )

    assert (answer.status_code, _error(answer)["code"]) == (413, "request.refused")
    assert upload.json()["bytes"] == too_large << 20


async def test_who_may_not_is_told_so(client: httpx.AsyncClient, owner: Sessions) -> None:
    headers = bearer(await make_key(owner, scopes=["read"]))

    answer = await client.post(f"{A}/vector_stores", json={}, headers=headers)

    assert (answer.status_code, _error(answer)["type"]) == (403, "permission_error")


async def test_a_process_that_is_busy_says_so_in_the_form_of_whom_it_tells(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    none = settings.model_copy(update={"api": settings.api.model_copy(update={"at_once": 0})})
    transport = httpx.ASGITransport(create_app(none))

    async with httpx.AsyncClient(transport=transport, base_url="http://drystone") as busy:
        ours, native = await busy.get(f"{A}/models"), await busy.get("/api/v1/collections")

    assert (ours.status_code, _error(ours)["type"], _error(ours)["code"]) == (503, "server_error", "server.busy")
    assert ours.headers["retry-after"] == "1"
    assert native.json()["type"] == "urn:drystone:problem:server.busy"


async def test_used_up_quotas_are_not_tried_again(client: httpx.AsyncClient, owner: Sessions) -> None:
    token = await make_key(owner)
    await client.put(f"/api/v1/keys/{token.partition('.')[0]}/limits", json={"bytes_per_day": 1000})

    for body in (b"a" * 600, b"b" * 600):
        answer = await client.post(
            f"{A}/files", files={"file": ("a.txt", body)}, data={"purpose": "assistants"}, headers=bearer(token)
        )

    assert (answer.status_code, _error(answer)["code"]) == (429, "insufficient_quota")
    assert answer.headers["x-should-retry"] == "false"
    assert int(answer.headers["retry-after"]) > 0


async def test_requests_are_counted_by_their_route(client: httpx.AsyncClient) -> None:
    await client.get(f"{A}/vector_stores/vs_1/files/file-1")

    told = (await client.get("/metrics")).text

    assert f'route="{A}/vector_stores/{{vector_store_id}}/files/{{file_id}}"' in told
    assert A + A not in told


def test_openai_python_reads_what_is_wrong(asked: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        asked.vector_stores.create(metadata={"a": json.dumps(list(range(300)))})

    assert (caught.value.code, caught.value.type) == ("request.invalid", "invalid_request_error")
    assert "metadata.a" in caught.value.message
    assert caught.value.request_id

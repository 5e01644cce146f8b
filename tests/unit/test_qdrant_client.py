"""What goes over the wire to a Qdrant server, and what its refusals become: against a real local server with a script."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from tests.endpoint import Answer, Endpoint

from drystone.adapters.qdrant import open_qdrant
from drystone.core.errors import Unavailable
from drystone.core.settings import VectorSettings

KEY = "qk-a-key-that-must-not-be-told"
HOME = UUID("00000000-0000-7000-8000-000000000001")


def _settings(url: str) -> VectorSettings:
    return VectorSettings.model_validate({"VECTOR_STORE": "qdrant", "QDRANT_URL": url, "QDRANT_API_KEY": KEY})


def _said(result: Any, status: int = 200) -> Answer:
    body = {"result": result, "status": "ok", "time": 0.001}
    return Answer(json.dumps(body).encode(), status, {"Content-Type": "application/json"})


async def test_vectors_are_written_first_and_the_mark_after_them() -> None:
    done = {"operation_id": 1, "status": "completed"}
    async with Endpoint(lambda request: _said(done)).running() as server:
        store = open_qdrant(_settings(server.url), timeout_s=5)
        await store.put("g", [7, 8], [HOME, HOME], np.array([[1, 0], [0.5, 0.25]], np.float32), "m")
        await store.remove("g", [7])
        await store.aclose()

    written, marked, removed = server.requests
    assert written.line == "PUT /v1/collections/g/points?wait=true HTTP/1.1"
    assert written.headers["api-key"] == KEY
    payload = {"collection_id": str(HOME)}
    assert written.body["batch"] == {"ids": [7, 8], "vectors": [[1, 0], [0.5, 0.25]], "payloads": [payload, payload]}
    assert marked.body["batch"] == {"ids": [0], "vectors": [[1, 0]], "payloads": [{"mark": "m"}]}
    assert removed.line == "POST /v1/collections/g/points/delete?wait=true HTTP/1.1"
    assert removed.body["points"] == [7]


async def test_a_question_is_for_collections_and_its_answer_is_ids() -> None:
    points = [{"id": 8, "version": 1, "score": 0.9}, {"id": 7, "version": 1, "score": 0.8}]
    async with Endpoint(lambda request: _said({"points": points})).running() as server:
        store = open_qdrant(_settings(server.url), timeout_s=5)
        found = await store.nearest("g", [HOME], np.array([1, 0], np.float32), 500)
        await store.aclose()

    asked = server.requests[0].body
    assert found.tolist() == [8, 7]
    assert server.requests[0].line == "POST /v1/collections/g/points/query HTTP/1.1"
    assert (asked["query"], asked["limit"], asked["with_payload"]) == ({"nearest": [1, 0]}, 500, False)
    assert asked["params"]["hnsw_ef"] == 500
    assert asked["filter"]["must"][0]["key"] == "collection_id"
    assert asked["filter"]["must"][0]["match"] == {"any": [str(HOME)]}


@pytest.mark.parametrize(
    ("status", "code"), [(401, "denied"), (403, "denied"), (404, "no_graph"), (500, "refused"), (429, "refused")]
)
async def test_a_refusal_has_a_code_and_no_key(status: int, code: str) -> None:
    async with Endpoint(lambda request: _said({"error": KEY}, status)).running() as server:
        store = open_qdrant(_settings(server.url), timeout_s=5)
        with pytest.raises(Unavailable) as raised:
            await store.nearest("g", [HOME], np.array([1, 0], np.float32), 10)
        await store.aclose()

    assert raised.value.code == f"qdrant.{code}"
    assert KEY not in f"{raised.value} {raised.value.values}"


async def test_a_server_that_wants_to_be_left_alone_is_unavailable() -> None:
    busy = Answer(b"{}", 429, {"Content-Type": "application/json", "Retry-After": "3"})
    async with Endpoint(lambda request: busy).running() as server:
        store = open_qdrant(_settings(server.url), timeout_s=5)
        with pytest.raises(Unavailable) as raised:
            await store.nearest("g", [HOME], np.array([1, 0], np.float32), 10)
        await store.aclose()

    assert raised.value.code == "qdrant.refused"


@pytest.mark.parametrize("fault", ["hang up", "silence"])
async def test_no_answer_is_unavailable_in_time(fault: str) -> None:
    async with Endpoint(lambda request: Answer(fault=fault)).running() as server:
        store = open_qdrant(_settings(server.url), timeout_s=0.3)
        with pytest.raises(Unavailable) as raised:
            await store.nearest("g", [HOME], np.array([1, 0], np.float32), 10)
        await store.aclose()

    assert raised.value.code == "qdrant.unavailable"

"""The client of OpenAI-compatible endpoints, against a real local server that misbehaves on order."""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from tests.endpoint import Answer, Endpoint, Request, Script

from drystone.adapters.embedding.openai import OpenAIEmbedder
from drystone.core.errors import Invalid, Unavailable

KEY = "sk-a-key-that-must-not-be-told"


def texts_of(request: Request) -> list[str]:
    return list(request.body["input"])


def vector_of(text: str, dimension: int = 4) -> list[float]:
    """A vector that tells the text, not of unit length."""
    return [float(len(text)), 1.0, *[2.0] * (dimension - 2)]


def items(request: Request, dimension: int = 4) -> list[dict[str, Any]]:
    return [
        {"object": "embedding", "index": index, "embedding": vector_of(text, dimension)}
        for index, text in enumerate(texts_of(request))
    ]


def listing(data: Any) -> Answer:
    return Answer(json.dumps({"object": "list", "data": data}).encode())


def good(request: Request) -> Answer:
    return listing(items(request))


def status(code: int, message: str = "", **headers: str) -> Script:
    body = json.dumps({"error": {"message": message}}).encode() if message else b"<html>busy</html>"
    return lambda request: Answer(body, code, headers)


def fault(kind: str) -> Script:
    return lambda request: Answer(good(request).body, fault=kind)


Ask = Callable[..., Awaitable[np.ndarray]]


async def ask(endpoint: Endpoint, texts: list[str], *, timeout_s: float = 5.0, batch_size: int = 64) -> np.ndarray:
    async with endpoint.running():
        embedder = OpenAIEmbedder(endpoint.url, KEY, "some-model", 4, batch_size=batch_size, timeout_s=timeout_s)
        try:
            return await embedder.embed(texts)
        finally:
            await embedder.aclose()


def unit(text: str) -> np.ndarray:
    vector = np.array(vector_of(text))
    return vector / float(np.sqrt((vector**2).sum()))


def assert_rows(rows: np.ndarray, texts: list[str]) -> None:
    assert rows.dtype == np.float32
    assert rows.shape == (len(texts), 4)
    for row, text in zip(rows, texts, strict=True):
        np.testing.assert_allclose(row, unit(text), rtol=1e-6)


async def test_a_request_is_what_openai_documents_and_rows_are_made_unit() -> None:
    endpoint = Endpoint(good)

    rows = await ask(endpoint, ["a", "bbb"])

    assert_rows(rows, ["a", "bbb"])
    (request,) = endpoint.requests
    assert request.line == "POST /v1/embeddings HTTP/1.1"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {"model": "some-model", "input": ["a", "bbb"], "encoding_format": "float"}


async def test_a_proxy_of_the_shell_does_not_stand_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    assert_rows(await ask(Endpoint(good), ["a"]), ["a"])


async def test_the_index_orders_the_rows_not_the_place_in_the_answer() -> None:
    texts = ["a", "bb", "ccc", "dddd"]

    rows = await ask(Endpoint(lambda request: listing(items(request)[::-1])), texts)

    assert_rows(rows, texts)


async def test_base64_is_read_too() -> None:
    def in_base64(request: Request) -> Answer:
        packed = [
            item | {"embedding": base64.b64encode(np.array(item["embedding"], "<f4").tobytes()).decode()}
            for item in items(request)
        ]
        return listing(packed)

    assert_rows(await ask(Endpoint(in_base64), ["a", "bbb"]), ["a", "bbb"])


async def test_texts_go_in_batches_and_come_back_in_order() -> None:
    texts = ["x" * count for count in range(1, 8)]
    endpoint = Endpoint(good)

    rows = await ask(endpoint, texts, batch_size=3)

    assert_rows(rows, texts)
    assert [len(texts_of(request)) for request in endpoint.requests] == [3, 3, 1]


async def test_no_texts_ask_nobody() -> None:
    endpoint = Endpoint(good)

    assert (await ask(endpoint, [])).shape == (0, 4)
    assert endpoint.requests == []


async def test_a_broken_text_is_refused_before_anybody_is_asked() -> None:
    endpoint = Endpoint(good)

    with pytest.raises(Invalid):
        await ask(endpoint, ["fine", "\udc00"])

    assert endpoint.requests == []


@pytest.mark.parametrize(
    "first",
    [status(500), status(502), status(503), status(429), fault("hang up")],
    ids=["500", "502", "503", "429", "hang up"],
)
async def test_what_passes_is_tried_again(first: Script) -> None:
    endpoint = Endpoint(first, good)

    rows = await ask(endpoint, ["a"])

    assert_rows(rows, ["a"])
    assert len(endpoint.requests) == 2


async def test_retry_after_is_waited_for() -> None:
    started = time.monotonic()

    await ask(Endpoint(status(429, **{"Retry-After": "1"}), good), ["a"])

    assert time.monotonic() - started >= 1


async def test_a_long_retry_after_is_handed_to_the_caller_at_once() -> None:
    endpoint = Endpoint(status(429, **{"Retry-After": "120"}), good)

    with pytest.raises(Unavailable) as caught:
        await ask(endpoint, ["a"])

    assert caught.value.values["retry_after_s"] == 120
    assert len(endpoint.requests) == 1


async def test_a_retry_after_in_words_counts_as_none() -> None:
    endpoint = Endpoint(status(503, **{"Retry-After": "soon"}), good)

    assert_rows(await ask(endpoint, ["a"]), ["a"])


async def test_a_server_that_stays_broken_is_given_up_after_a_few_tries() -> None:
    endpoint = Endpoint(status(503, "no workers"))

    with pytest.raises(Unavailable) as caught:
        await ask(endpoint, ["a"], timeout_s=3)

    assert caught.value.code == "embedding.busy"
    assert "no workers" in caught.value.message
    assert 2 <= len(endpoint.requests) <= 4


@pytest.mark.parametrize("kind", ["silence", "trickle"])
async def test_a_server_that_does_not_finish_is_given_up(kind: str) -> None:
    started = time.monotonic()

    with pytest.raises(Unavailable) as caught:
        await ask(Endpoint(fault(kind)), ["a"], timeout_s=0.3)

    assert caught.value.code == "embedding.unavailable"
    assert "in time" in caught.value.message
    assert time.monotonic() - started < 20


async def test_a_question_is_given_up_sooner_than_a_passage_in_all_its_tries_together() -> None:
    endpoint = Endpoint(fault("silence"))
    async with endpoint.running():
        embedder = OpenAIEmbedder(endpoint.url, KEY, "some-model", 4, timeout_s=30, search_waits_s=0.3)
        with pytest.raises(Unavailable) as caught:
            await embedder.embed_queries(["a"])
        await embedder.aclose()

    assert caught.value.code == "embedding.unavailable"
    assert "in time" in caught.value.message


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    endpoint = Endpoint(good)
    async with endpoint.running():
        pass
    embedder = OpenAIEmbedder(endpoint.url, KEY, "some-model", 4, timeout_s=0.5)

    with pytest.raises(Unavailable) as caught:
        await embedder.embed(["a"])

    assert caught.value.code == "embedding.unavailable"
    await embedder.aclose()


async def test_user_and_query_of_the_url_are_never_told() -> None:
    embedder = OpenAIEmbedder(f"http://me:{KEY}@127.0.0.1:9/v1", "", "some-model", 4, timeout_s=0.5)

    with pytest.raises(Unavailable) as caught:
        await embedder.embed(["a"])

    assert KEY not in f"{caught.value} {caught.value.values} {caught.value.__cause__!r}"
    assert "http://127.0.0.1:9/v1/embeddings" in caught.value.message
    await embedder.aclose()


@pytest.mark.parametrize(
    ("code", "expected"),
    [(401, "embedding.denied"), (403, "embedding.denied"), (404, "embedding.refused"), (400, "embedding.refused")],
)
async def test_a_refusal_is_final_and_never_tells_the_key(code: int, expected: str) -> None:
    endpoint = Endpoint(status(code, f"cannot do that with {KEY}, sorry. {'x' * 140} {KEY}"))

    with pytest.raises(Unavailable) as caught:
        await ask(endpoint, ["a"])

    assert caught.value.code == expected
    assert KEY[:8] not in f"{caught.value} {caught.value.values}", "nor a part of it, where the message is cut"
    assert "status" not in caught.value.values, "which would become our own answer's"
    assert len(endpoint.requests) == 1


def with_vector(vector: Any) -> Script:
    """The first text's vector is this one, the others are good."""
    return lambda request: listing([items(request)[0] | {"embedding": vector}, *items(request)[1:]])


@pytest.mark.parametrize(
    "script",
    [
        lambda request: listing(items(request, dimension=5)),
        with_vector([1.0, 2.0, 3.0]),
        with_vector([]),
        with_vector([1.0, float("nan"), 1.0, 1.0]),
        with_vector([1.0, float("inf"), 1.0, 1.0]),
        with_vector([1e300, 1e300, 1e300, 1e300]),
        with_vector([0.0, 0.0, 0.0, 0.0]),
        with_vector([1.0, None, 1.0, 1.0]),
        with_vector([[1.0, 1.0, 1.0, 1.0]]),
        with_vector([1.0, [2.0], 1.0, 1.0]),
        with_vector("not base64!"),
        with_vector(base64.b64encode(b"12345").decode()),
        with_vector(base64.b64encode(np.full(4, np.nan, "<f4").tobytes()).decode()),
        with_vector({"0": 1.0}),
        lambda request: listing(items(request)[:1]),
        lambda request: listing(items(request) + items(request)[:1]),
        lambda request: listing([item | {"index": 0} for item in items(request)]),
        lambda request: listing([{"embedding": [1.0] * 4}, {"embedding": [1.0] * 4}]),
        lambda request: listing("none"),
        lambda request: Answer(b"[]"),
        lambda request: Answer(b"{}"),
        lambda request: Answer(b"<html>"),
        lambda request: Answer(b""),
        with_vector([10**400, 1.0, 1.0, 1.0]),
        lambda request: Answer(b"[" * 200_000),
        lambda request: Answer(b" " * 3_000_000 + good(request).body),
        lambda request: Answer(gzip.compress(b" " * 30_000_000), headers={"Content-Encoding": "gzip"}),
    ],
    ids=[
        "longer", "shorter", "empty", "nan", "inf", "overflow", "zeros", "null", "nested", "ragged", "not base64",
        "half a float", "nan in base64", "object", "too few", "too many", "one index twice", "no index", "no list",
        "a bare list", "no data", "html", "nothing", "integer too large", "too deep", "too long", "too long when unpacked",
    ],
)  # fmt: skip
async def test_an_answer_that_could_poison_the_index_is_refused(script: Script) -> None:
    with pytest.raises(Unavailable) as caught:
        await ask(Endpoint(script), ["a", "b"])

    assert caught.value.code == "embedding.bad_answer"


async def test_tokens_are_estimated_without_a_tokenizer() -> None:
    embedder = OpenAIEmbedder("http://127.0.0.1:9/v1", "", "some-model", 4)

    starts = embedder.token_starts("Boundary layers, 中文")

    # Boun|dary laye|rs|, 中|文
    assert starts.tolist() == [0, 4, 9, 13, 15, 17, 18]
    await embedder.aclose()


async def test_prefixes_go_before_passages_and_questions() -> None:
    endpoint = Endpoint(good)
    async with endpoint.running():
        embedder = OpenAIEmbedder(
            endpoint.url, KEY, "some-model", 4, model_id="known-as", query_prefix="query: ", passage_prefix="passage: "
        )
        await embedder.embed(["a wall"])
        await embedder.embed_queries(["which wall?"])
        await embedder.aclose()

    assert [texts_of(request) for request in endpoint.requests] == [["passage: a wall"], ["query: which wall?"]]
    assert [request.body["model"] for request in endpoint.requests] == ["some-model"] * 2
    assert embedder.model_id == "known-as"

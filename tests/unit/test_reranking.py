"""The client of servers that rerank, against a real local server that misbehaves on order."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs
from tests.endpoint import Answer, Endpoint, Request, Script

from drystone.adapters.reranking import Format, Reranker, endpoint_of, open_reranker
from drystone.core.errors import Unavailable
from drystone.core.settings import RerankSettings

KEY = "rk-a-key-that-must-not-be-told"


def score_of(text: str) -> float:
    return len(text) / 8


def cohere(request: Request) -> Answer:
    """As Cohere, Jina and vLLM answer: best first, with more than is needed."""
    scored = [{"index": n, "relevance_score": score_of(text)} for n, text in enumerate(request.body["documents"])]
    return said({"id": "r", "results": sorted(scored, key=lambda each: -each["relevance_score"])})


def tei(request: Request) -> Answer:
    """As text-embeddings-inference answers: a bare list, best first."""
    scored = [{"index": n, "score": score_of(text)} for n, text in enumerate(request.body["texts"])]
    return said(sorted(scored, key=lambda each: -each["score"]))


def said(body: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(json.dumps(body).encode(), status, headers)


def status(code: int, body: Any = None, **headers: str) -> Script:
    return lambda request: said({} if body is None else body, code, **headers)


def fault(kind: str) -> Script:
    return lambda request: Answer(cohere(request).body, fault=kind)


async def ask(
    endpoint: Endpoint,
    texts: list[str],
    *,
    query: str = "why",
    timeout_s: float = 5.0,
    format: Format = "cohere",
    path: str = "",
    model: str = "some-model",
) -> np.ndarray:
    async with endpoint.running():
        reranker = Reranker(endpoint.url + path, KEY, model, format=format, timeout_s=timeout_s)
        try:
            return await reranker.score(query, texts)
        finally:
            await reranker.aclose()


async def refusal(endpoint: Endpoint, texts: list[str], **more: Any) -> Unavailable:
    """What asking raises; nothing of it, nor of what is logged meanwhile, tells the key."""
    with capture_logs() as logs, pytest.raises(Unavailable) as caught:
        await ask(endpoint, texts, **more)
    assert KEY not in f"{caught.value!r} {caught.value} {caught.value.values} {caught.value.__cause__!r} {logs}"
    return caught.value


async def test_a_request_is_what_cohere_documents_and_scores_are_in_the_order_of_the_texts() -> None:
    endpoint = Endpoint(cohere)

    scores = await ask(endpoint, ["a", "bbbb", "cc"])

    assert scores.dtype == np.float64
    assert scores.tolist() == [0.125, 0.5, 0.25]
    (request,) = endpoint.requests
    assert request.line == "POST /v1/rerank HTTP/1.1"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {"model": "some-model", "query": "why", "documents": ["a", "bbbb", "cc"], "top_n": 3}


async def test_a_request_is_what_text_embeddings_inference_documents() -> None:
    endpoint = Endpoint(tei)

    scores = await ask(endpoint, ["a", "bbbb", "cc"], format="tei")

    assert scores.tolist() == [0.125, 0.5, 0.25]
    assert endpoint.requests[0].body == {"query": "why", "texts": ["a", "bbbb", "cc"], "truncate": True}


async def test_text_embeddings_inference_gets_no_more_texts_at_once_than_it_takes() -> None:
    endpoint = Endpoint(tei)
    texts = ["x" * count for count in range(70)]

    scores = await ask(endpoint, texts, format="tei")

    assert scores.tolist() == [score_of(text) for text in texts]
    assert [len(request.body["texts"]) for request in endpoint.requests] == [32, 32, 6]


async def test_either_answer_is_read_whichever_was_asked_for() -> None:
    bare = Endpoint(lambda request: said([{"index": 0, "score": 2}]))
    wrapped = Endpoint(lambda request: said({"results": [{"index": 0, "relevance_score": -3.5}]}))

    assert (await ask(bare, ["a"])).tolist() == [2.0]
    assert (await ask(wrapped, ["a"], format="tei")).tolist() == [-3.5]


async def test_no_model_is_named_where_none_is_set() -> None:
    endpoint = Endpoint(cohere)

    await ask(endpoint, ["a"], model="")

    assert "model" not in endpoint.requests[0].body


async def test_no_texts_ask_nobody() -> None:
    endpoint = Endpoint(cohere)

    assert (await ask(endpoint, [])).shape == (0,)
    assert endpoint.requests == []


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://h:8080", "http://h:8080/rerank"),
        ("http://h:8080/", "http://h:8080/rerank"),
        ("https://api.example.org/v2", "https://api.example.org/v2/rerank"),
        ("https://api.example.org/v2/rerank", "https://api.example.org/v2/rerank"),
        ("https://api.example.org/v2/rerank/", "https://api.example.org/v2/rerank"),
        ("https://api.example.org/v2?version=1", "https://api.example.org/v2/rerank?version=1"),
    ],
)
def test_the_url_may_end_in_rerank_or_not(url: str, endpoint: str) -> None:
    assert endpoint_of(url) == endpoint


async def test_a_full_url_is_called_as_it_is() -> None:
    endpoint = Endpoint(cohere)

    await ask(endpoint, ["a"], path="/rerank")

    assert endpoint.requests[0].line == "POST /v1/rerank HTTP/1.1"


async def test_a_proxy_of_the_shell_does_not_stand_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    assert (await ask(Endpoint(cohere), ["a"])).tolist() == [0.125]


@pytest.mark.parametrize(
    "first",
    [status(500), status(502), status(503), status(424), status(429), fault("hang up")],
    ids=["500", "502", "503", "424", "429", "hang up"],
)
async def test_what_passes_is_tried_once_more(first: Script) -> None:
    endpoint = Endpoint(first, cohere)

    assert (await ask(endpoint, ["a"])).tolist() == [0.125]
    assert len(endpoint.requests) == 2


async def test_a_server_that_stays_broken_is_given_up_after_the_second_try() -> None:
    endpoint = Endpoint(status(503, {"error": f"no workers for {KEY}"}))

    told = await refusal(endpoint, ["a"])

    assert told.code == "rerank.busy"
    assert "no workers for ***" in told.message
    assert len(endpoint.requests) == 2


async def test_a_retry_after_that_fits_is_waited_for() -> None:
    started = time.monotonic()

    await ask(Endpoint(status(429, **{"Retry-After": "1"}), cohere), ["a"])

    assert time.monotonic() - started >= 1


async def test_a_retry_after_beyond_the_timeout_is_handed_to_the_caller_at_once() -> None:
    endpoint = Endpoint(status(429, **{"Retry-After": "120"}), cohere)
    started = time.monotonic()

    told = await refusal(endpoint, ["a"])

    assert (told.code, told.values["retry_after_s"]) == ("rerank.busy", 120)
    assert len(endpoint.requests) == 1
    assert time.monotonic() - started < 60


async def test_a_retry_after_in_words_counts_as_none() -> None:
    assert (await ask(Endpoint(status(503, **{"Retry-After": "soon"}), cohere), ["a"])).tolist() == [0.125]


@pytest.mark.parametrize("kind", ["silence", "trickle"])
async def test_a_server_that_does_not_finish_is_given_up_when_the_time_is_over(kind: str) -> None:
    started = time.monotonic()

    told = await refusal(Endpoint(fault(kind)), ["a"], timeout_s=0.3)

    assert told.code == "rerank.unavailable"
    assert "in time" in told.message
    assert time.monotonic() - started < 20


async def test_the_time_is_for_all_requests_of_a_call_together() -> None:
    endpoint = Endpoint(tei, lambda request: Answer(tei(request).body, fault="silence"))
    started = time.monotonic()

    told = await refusal(endpoint, ["a"] * 40, format="tei", timeout_s=0.4)

    assert told.code == "rerank.unavailable"
    assert len(endpoint.requests) == 2
    assert time.monotonic() - started < 20


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    endpoint = Endpoint(cohere)
    async with endpoint.running():
        pass
    reranker = Reranker(endpoint.url, KEY, "some-model", format="cohere", timeout_s=2)

    with pytest.raises(Unavailable) as caught:
        await reranker.score("why", ["a"])

    assert caught.value.code == "rerank.unavailable"
    assert "RERANK_URL" in (caught.value.hint or "")
    await reranker.aclose()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (401, "rerank.denied"),
        (403, "rerank.denied"),
        (404, "rerank.refused"),
        (400, "rerank.refused"),
        (422, "rerank.refused"),
        (307, "rerank.refused"),
    ],
)
@pytest.mark.parametrize(
    "envelope",
    [
        lambda text: {"error": {"message": text}},
        lambda text: {"error": text, "error_type": "Validation"},
        lambda text: {"message": text},
        lambda text: {"detail": text},
        lambda text: {"detail": [{"msg": text}]},
        lambda text: [text],
        lambda text: {"message": "x" * 190 + text},
    ],
    ids=["openai", "tei", "cohere", "jina", "fastapi", "list", "at the border"],
)
async def test_a_refusal_is_final_and_never_tells_the_key(
    code: int, expected: str, envelope: Callable[[str], Any]
) -> None:
    endpoint = Endpoint(status(code, envelope(f"cannot do that with {KEY}, sorry")))

    told = await refusal(endpoint, ["a"])

    assert told.code == expected
    assert KEY[:12] not in told.message
    assert "status" not in told.values  # it would become the status of our own answer
    assert len(endpoint.requests) == 1


async def test_user_and_query_of_the_url_are_never_told() -> None:
    reranker = Reranker(f"http://me:{KEY}@127.0.0.1:9/v1?key={KEY}", "", "m", format="cohere", timeout_s=0.5)

    with pytest.raises(Unavailable) as caught:
        await reranker.score("why", ["a"])

    assert KEY not in f"{caught.value} {caught.value.values} {caught.value.__cause__!r}"
    assert "http://127.0.0.1:9/v1/rerank" in caught.value.message
    await reranker.aclose()


def results(*items: Any) -> Script:
    return lambda request: said({"results": list(items)})


def scored(score: Any) -> Script:
    """The first text's score is this one."""
    return results({"index": 0, "relevance_score": score}, {"index": 1, "relevance_score": 0.5})


def indexed(index: Any) -> Script:
    """The first item's index is this one."""
    return results({"index": index, "relevance_score": 0.25}, {"index": 1, "relevance_score": 0.5})


@pytest.mark.parametrize(
    "script",
    [
        indexed(2),
        indexed(-1),
        indexed(1),
        indexed(0.0),
        indexed(False),
        indexed("0"),
        indexed(None),
        results({"relevance_score": 0.25}, {"relevance_score": 0.5}),
        results({"index": 1, "relevance_score": 0.5}),
        results(),
        results({"index": 0, "relevance_score": 0.1}, *[{"index": 1, "relevance_score": 0.1}] * 2),
        scored(float("nan")),
        scored(float("inf")),
        scored(10**400),
        scored(None),
        scored("0.5"),
        scored(True),
        scored([0.5]),
        results({"index": 0}, {"index": 1}),
        results("first", "second"),
        lambda request: said({"results": None}),
        lambda request: said({"results": {"0": 0.5}}),
        lambda request: said({"data": []}),
        lambda request: said("fine"),
        lambda request: said(None),
        lambda request: said([[0.5, 0.5]]),
        lambda request: Answer(b'{"results": [{"index": 0, "relevance_score": 1e999}]}'),
        lambda request: Answer(b"[" * 100_000),
        lambda request: Answer(b" " * 10_000_000),
        lambda request: Answer(gzip.compress(b" " * 30_000_000), headers={"Content-Encoding": "gzip"}),
        lambda request: Answer(b"<html>"),
        lambda request: Answer(b"\xff\xfe"),
        lambda request: Answer(b""),
    ],
    ids=[
        "index too high", "index below 0", "index twice", "index float", "index bool", "index string", "index null",
        "no index", "one missing", "all missing", "one too many", "nan", "inf", "overflow", "null", "string", "bool",
        "list", "no score", "items are strings", "results null", "results object", "no results", "a string", "nothing",
        "nested", "1e999", "too deep", "too long", "too long when unpacked", "html", "not utf-8", "empty",
    ],
)  # fmt: skip
async def test_an_answer_that_is_not_one_finite_score_for_each_text_is_refused_whole(script: Script) -> None:
    endpoint = Endpoint(script)

    told = await refusal(endpoint, ["a", "b"])

    assert told.code == "rerank.bad_answer"
    assert len(endpoint.requests) == 1


def test_without_a_url_there_is_no_reranker() -> None:
    assert open_reranker(RerankSettings()) is None

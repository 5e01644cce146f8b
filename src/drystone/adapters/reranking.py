"""Passages scored by a model that reads each of them beside the question: any server with a `/rerank` of a known shape.

Most take what Cohere's takes: {model, query, documents, top_n} -> {results: [{index, relevance_score}]}.
text-embeddings-inference has its own: {query, texts} -> [{index, score}]. Either answer is read, whichever was asked.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import httpx
import numpy as np

from drystone.adapters.network import Secrets, TooLarge, is_loopback, post, retry_after_s, without_secrets
from drystone.core import measures
from drystone.core.errors import Unavailable
from drystone.core.logging import get_logger
from drystone.core.settings import RerankSettings

log = get_logger(__name__)

Format = Literal["cohere", "tei"]


class Reranker:
    """A server that says how well each text answers a query.

    All of a call takes `timeout_s` at most: what passes (a broken connection, overload, server errors) is tried once more
    if the pause, which the server may name, ends before that. An answer that is not one finite score for each text is
    refused whole.
    """

    def __init__(self, url: str, api_key: str, model_name: str, *, format: Format, timeout_s: float) -> None:
        """url: with or without /rerank at its end. model_name: empty to name none."""
        self._endpoint = endpoint_of(url)
        self._shown = without_secrets(self._endpoint)
        self._secrets = Secrets(self._endpoint, api_key)
        self._model = model_name
        self._format = format
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(
            timeout=timeout_s,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            trust_env=not is_loopback(urlsplit(url).hostname or ""),
        )

    async def score(self, query: str, texts: Sequence[str]) -> np.ndarray:
        """float64 (n,), finite: how well each text answers, higher is better; the scale is the model's.

        Raises Unavailable when there is no usable answer within timeout_s.
        """
        with measures.model_call("rerank", "pairs", len(texts)):
            return await self._score(query, texts)

    async def _score(self, query: str, texts: Sequence[str]) -> np.ndarray:
        size = _TEI_BATCH if self._format == "tei" else max(len(texts), 1)
        parts = [np.empty(0)]
        give_up_at = asyncio.get_running_loop().time() + self._timeout_s
        try:
            async with asyncio.timeout_at(give_up_at):  # httpx times each read alone: a trickle would never end
                for start in range(0, len(texts), size):
                    part = texts[start : start + size]
                    parts.append(_read_answer(await self._ask(self._body(query, part), give_up_at), len(part)))
        except TimeoutError as exc:
            raise self._no_answer("did not answer in time", exc) from exc
        return np.concatenate(parts)

    async def aclose(self) -> None:
        await self._client.aclose()

    def _body(self, query: str, texts: Sequence[str]) -> dict[str, Any]:
        if self._format == "tei":  # which refuses what its model cannot read whole, unless told to cut it
            return {"query": query, "texts": list(texts), "truncate": True}
        named = {"model": self._model} if self._model else {}
        return {**named, "query": query, "documents": list(texts), "top_n": len(texts)}

    async def _ask(self, body: dict[str, Any], give_up_at: float) -> bytes:
        """The body of a 200 answer."""
        try:
            return await self._ask_once(body)
        except Unavailable as exc:
            pause_s = exc.values.get("retry_after_s", _PAUSE_S)
            if exc.code not in _PASSING_CODES or asyncio.get_running_loop().time() + pause_s >= give_up_at:
                raise
            log.info("rerank.tried_again", code=exc.code, pause_s=round(pause_s, 2))
        await asyncio.sleep(pause_s)
        return await self._ask_once(body)

    async def _ask_once(self, body: dict[str, Any]) -> bytes:
        try:
            response = await post(self._client, self._endpoint, body, most=_MOST_OF_ANSWER)
        except TooLarge as exc:
            raise _bad_answer(str(exc)) from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            slow = isinstance(exc, httpx.TimeoutException)
            raise self._no_answer("did not answer in time" if slow else "is away", exc) from exc
        if response.status_code != 200:
            raise self._explain(response)
        return response.content

    def _no_answer(self, what: str, exc: Exception) -> Unavailable:
        return Unavailable(
            "rerank.unavailable",
            f"The reranker {self._shown} {what}.",
            hint="check RERANK_URL and that the server behind it runs",
            cause=type(exc).__name__,
        )

    def _explain(self, response: httpx.Response) -> Unavailable:
        status = response.status_code
        if status in (401, 403):
            return Unavailable(
                "rerank.denied",
                f"The reranker {self._shown} refuses the key (HTTP {status}).",
                hint="check RERANK_API_KEY",
            )
        said = self._what_it_said(response)
        detail = f"(HTTP {status}){': ' + said if said else ''}."
        if status in _PASSING_STATUS:
            seconds = retry_after_s(response.headers.get("Retry-After", ""))
            wait: dict[str, Any] = {} if seconds is None else {"retry_after_s": math.ceil(seconds)}
            return Unavailable("rerank.busy", f"The reranker {self._shown} is busy or broken {detail}", **wait)
        return Unavailable(
            "rerank.refused",
            f"The reranker {self._shown} refuses the request {detail}",
            hint="check RERANK_URL, RERANK_FORMAT and RERANK_MODEL",
        )

    def _what_it_said(self, response: httpx.Response) -> str:
        """The message in one of the usual envelopes, shortened."""
        try:
            said = response.json()
        except (ValueError, RecursionError):
            return ""
        for _ in range(2):  # {"error": {"message": …}}, {"message": …}, {"error": …}, {"detail": …}
            if isinstance(said, dict):
                said = next((said[name] for name in ("error", "message", "detail") if said.get(name)), "")
        return self._secrets.shortened(said) if isinstance(said, str) else ""


# text-embeddings-inference takes so many texts at once unless told otherwise (--max-client-batch-size).
_TEI_BATCH = 32
_PAUSE_S = 0.1
# Bytes of an answer: some servers give the passages back.
_MOST_OF_ANSWER = 8 << 20
# 424: text-embeddings-inference says so when its model fails.
_PASSING_STATUS = frozenset({408, 424, 425, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"rerank.unavailable", "rerank.busy"})


def open_reranker(settings: RerankSettings) -> Reranker | None:
    """The reranker that the settings name, if they do."""
    if not settings.url:
        return None
    return Reranker(
        settings.url,
        settings.api_key.get_secret_value(),
        settings.model,
        format=settings.format,
        timeout_s=settings.timeout_s,
    )


def endpoint_of(url: str) -> str:
    """The URL with /rerank at the end of its path."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith("/rerank") else path + "/rerank"))


def _read_answer(content: bytes, count: int) -> np.ndarray:
    """Scores in the order of the texts, from the answer's JSON. Raises Unavailable unless all of it is usable."""
    scores = np.full(count, np.nan)
    try:
        answer = httpx.Response(200, content=content).json()
        for item in answer if isinstance(answer, list) else answer["results"]:
            index, score = item["index"], item["relevance_score" if "relevance_score" in item else "score"]
            if type(index) is not int or not 0 <= index < count or not np.isnan(scores[index]):
                raise _bad_answer(f"the index {index!r:.20}, which is none of {count} passages or comes twice")
            if type(score) not in (int, float) or not math.isfinite(score):
                raise _bad_answer("a score that is no finite number")
            scores[index] = score
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as exc:
        raise _bad_answer("something that is not a list of scores") from exc
    if missing := int(np.isnan(scores).sum()):
        raise _bad_answer(f"no score for {missing} of {count} passages")
    return scores


def _bad_answer(what: str) -> Unavailable:
    return Unavailable(
        "rerank.bad_answer",
        f"The reranker answered with {what}.",
        hint="check RERANK_FORMAT, and that RERANK_MODEL is a model that reranks",
    )

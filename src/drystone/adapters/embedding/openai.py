"""Any endpoint that speaks OpenAI's embeddings API."""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from drystone.adapters.embedding import model
from drystone.adapters.embedding.tokens import check_unicode, estimated_token_starts, open_tokenizer, token_starts
from drystone.adapters.network import Secrets, TooLarge, is_loopback, post, retry_after_s, without_secrets
from drystone.core import measures
from drystone.core.errors import Unavailable
from drystone.core.logging import get_logger

# How long a search waits for the vectors of its question, in all tries together.
SEARCH_WAITS_S = 10.0

log = get_logger(__name__)


class OpenAIEmbedder:
    """Any endpoint that answers `POST <url>/embeddings` as OpenAI's does.

    Overload, server errors and silence are tried again with growing pauses, at most `_MAX_TRIES` times and not beyond
    twice `timeout_s`; the caller then gets Unavailable, with `retry_after_s` when the server named one. An answer that
    could poison the index (another dimension or number of vectors, NaN, a row of zeros) is refused whole.
    """

    # The API does not tell a model's limit. Chunks keep the bundled model's size, which every current model takes.
    max_tokens = model.MAX_TOKENS

    def __init__(
        self,
        url: str,
        api_key: str,
        model_name: str,
        dimension: int,
        *,
        model_id: str = "",
        query_prefix: str = "",
        passage_prefix: str = "",
        batch_size: int = 64,
        timeout_s: float = 30.0,
        search_waits_s: float = SEARCH_WAITS_S,
        tokenizer_file: Path | None = None,
        variables: str = "EMBEDDING_",
    ) -> None:
        """model_id: of the vectors; the model's name where it is empty. query_prefix, passage_prefix: put before each.
        variables: how the names of the settings begin that errors send the reader to. timeout_s: of one try; search_waits_s: of
        all tries for queries, for somebody waits.

        tokenizer_file: counts tokens for chunking, though it is not the endpoint's own; without one they are estimated.
        """
        self.model_id = model_id or model_name
        self._model_name = model_name
        self._query_prefix = query_prefix
        self._passage_prefix = passage_prefix
        self.dimension = dimension
        self._variables = variables
        self._batch_size = batch_size
        self._timeout_s = timeout_s
        self._search_waits_s = search_waits_s
        self._endpoint = url.rstrip("/") + "/embeddings"
        self._shown = without_secrets(self._endpoint)
        self._secrets = Secrets(self._endpoint, api_key)
        self._tokenizer = open_tokenizer(tokenizer_file) if tokenizer_file else None
        self._client = httpx.AsyncClient(
            timeout=timeout_s,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            trust_env=not is_loopback(urlsplit(url).hostname or ""),
        )

    def token_starts(self, text: str) -> np.ndarray:
        return token_starts(self._tokenizer, text) if self._tokenizer else estimated_token_starts(text)

    def reads(self, text: str) -> bool:
        return True  # nobody tells

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        with measures.model_call("openai", "passages", len(texts)):
            return await self._embed([self._passage_prefix + text for text in texts])

    async def embed_queries(self, queries: Sequence[str]) -> np.ndarray:
        with measures.model_call("openai", "queries", len(queries)):
            try:
                async with asyncio.timeout(self._search_waits_s):
                    return await self._embed([self._query_prefix + query for query in queries])
            except TimeoutError as exc:
                raise self._away(exc) from exc

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _embed(self, texts: Sequence[str]) -> np.ndarray:
        for text in texts:
            check_unicode(text)
        parts = [np.empty((0, self.dimension), np.float32)]
        for start in range(0, len(texts), self._batch_size):
            part = texts[start : start + self._batch_size]
            parts.append(_read_answer(await self._ask(part), len(part), self.dimension, self._variables))
        return np.concatenate(parts)

    async def _ask(self, texts: Sequence[str]) -> bytes:
        """The body of a 200 answer."""
        body = {"model": self._model_name, "input": list(texts), "encoding_format": "float"}
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + 2 * self._timeout_s
        tries = 0
        while True:
            tries += 1
            try:
                return await self._ask_once(body)
            except Unavailable as exc:
                pause_s = max(_pause_s(tries), exc.values.get("retry_after_s", 0.0))
                if exc.code not in _PASSING_CODES or tries == _MAX_TRIES or clock() + pause_s >= give_up_at:
                    raise
                log.info("embedding.tried_again", code=exc.code, tries=tries, pause_s=round(pause_s, 2))
            await asyncio.sleep(pause_s)

    async def _ask_once(self, body: dict[str, Any]) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_s):  # httpx times each read alone: a trickle would never end
                most = _MOST_OF_ANSWER + len(body["input"]) * self.dimension * _MOST_OF_NUMBER
                response = await post(self._client, self._endpoint, body, most=most)
        except TooLarge as exc:
            raise _bad_answer(str(exc)) from exc
        except (httpx.HTTPError, TimeoutError) as exc:
            raise self._away(exc) from exc
        if response.status_code != 200:
            raise self._explain(response)
        return response.content

    def _away(self, exc: Exception) -> Unavailable:
        slow = isinstance(exc, httpx.TimeoutException | TimeoutError)
        return Unavailable(
            "embedding.unavailable",
            f"The embedding endpoint {self._shown} {'did not answer in time' if slow else 'is away'}.",
            hint=f"check {self._variables}URL and that the server behind it runs",
            cause=type(exc).__name__,
        )

    def _explain(self, response: httpx.Response) -> Unavailable:
        status = response.status_code
        if status in (401, 403):
            return Unavailable(
                "embedding.denied",
                f"The embedding endpoint {self._shown} refuses the key (HTTP {status}).",
                hint=f"check {self._variables}API_KEY",
                endpoint_status=status,
            )
        wait = (
            {}
            if (seconds := retry_after_s(response.headers.get("Retry-After", ""))) is None
            else {"retry_after_s": math.ceil(seconds)}
        )
        code, what = (
            ("embedding.busy", "is busy or broken")
            if status in _PASSING_STATUS
            else ("embedding.refused", "refuses the request")
        )
        said = self._what_it_said(response)
        return Unavailable(
            code,
            f"The embedding endpoint {self._shown} {what} (HTTP {status}){': ' + said if said else ''}.",
            hint=None if status in _PASSING_STATUS else f"check {self._variables}URL and {self._variables}MODEL",
            endpoint_status=status,
            **wait,
        )

    def _what_it_said(self, response: httpx.Response) -> str:
        """The message in OpenAI's error envelope, shortened."""
        try:
            message = response.json()["error"]["message"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return ""
        return self._secrets.shortened(str(message))


_MAX_TRIES = 4
# Bytes of an answer's names, and of one number of a vector; some servers write twenty digits and a space.
_MOST_OF_ANSWER, _MOST_OF_NUMBER = 1 << 20, 32
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"embedding.unavailable", "embedding.busy"})


def _pause_s(tries: int) -> float:
    """Seconds to wait after so many tries: half fixed, half random, so that clients do not return in step."""
    whole: float = 0.25 * 4 ** (tries - 1)
    return whole / 2 + random.uniform(0, whole / 2)  # noqa: S311  spreads load, guards nothing


def _read_answer(content: bytes, count: int, dimension: int, variables: str) -> np.ndarray:
    """Unit rows in the order of the request, from the answer's JSON. Raises Unavailable unless all of it is usable."""
    try:
        items = httpx.Response(200, content=content).json()["data"]
        ordered = sorted(items, key=lambda item: item["index"])
        if [item["index"] for item in ordered] != list(range(count)):
            raise _bad_answer(f"{len(items)} vectors, or not one each, for {count} texts")
        rows = [_read_vector(item["embedding"]) for item in ordered]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as exc:
        raise _bad_answer("something that is not a list of embeddings") from exc
    for row in rows:
        if row.shape != (dimension,):
            raise _bad_answer(
                f"vectors of {row.size} numbers; {variables}DIMENSION says {dimension}",
                hint=f"set {variables}DIMENSION and {variables}MODEL to what belongs together",
            )
    return _unit_rows(np.stack(rows))


def _read_vector(value: Any) -> np.ndarray:
    if isinstance(value, str):  # base64 of little-endian float32, which some servers send unasked
        try:
            return np.frombuffer(base64.b64decode(value, validate=True), "<f4").astype(np.float64)
        except binascii.Error as exc:
            raise ValueError(value[:20]) from exc
    return np.asarray(value, np.float64)


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise _bad_answer("a vector with NaN or infinite numbers")
    if (lengths < 1e-12).any():
        raise _bad_answer("a vector of zeros")
    unit: np.ndarray = (rows / lengths).astype(np.float32)
    return unit


def _bad_answer(what: str, *, hint: str | None = None) -> Unavailable:
    return Unavailable("embedding.bad_answer", f"The embedding endpoint answered with {what}.", hint=hint)

"""Texts to vectors: the bundled model on this machine, or any endpoint that speaks OpenAI's embeddings API.

What comes out is safe to store: float32, finite, rows of length 1, in the order of the texts. Vectors of two model ids
never belong in one space.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from drystone.adapters import model
from drystone.adapters.network import is_loopback
from drystone.core.errors import Invalid, Unavailable
from drystone.core.logging import get_logger
from drystone.core.settings import EmbeddingSettings

# Characters tokenised at once. The tokenizer's bookkeeping takes about a hundred bytes a character.
_SLICE_CHARS = 65_536
# Texts per visit to the thread: a cancelled caller is rid of the work after at most so many.
_TEXTS_AT_ONCE = 16

log = get_logger(__name__)


class Embedder(Protocol):
    """Turns texts into unit vectors of one space."""

    @property
    def model_id(self) -> str:
        """What made the vectors; two embedders with the same id and dimension are interchangeable."""

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Tokens of one text that are read, the special ones included; what is beyond has no influence."""

    def token_starts(self, text: str) -> np.ndarray:
        """Where the text's tokens begin: int64 offsets in code points, never decreasing, special tokens left out.

        A letter that is taken apart into several tokens (a Hangul syllable) gives its offset several times.
        """

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors for texts: float32 of shape (len(texts), dimension), finite, rows of length 1.

        Raises Invalid for a text that is not Unicode (lone surrogates), Unavailable when there is no usable answer.
        """

    async def aclose(self) -> None: ...


def open_embedder(settings: EmbeddingSettings, model_dir: Path) -> Embedder:
    """The embedder the settings name. The bundled model is prepared in `model_dir` if it is not there yet."""
    if settings.provider == "bundled":
        return BundledEmbedder(model_dir, threads=settings.threads)
    return OpenAIEmbedder(
        settings.url,
        settings.api_key.get_secret_value(),
        settings.model,
        settings.dimension,
        batch_size=settings.batch_size,
        timeout_s=settings.timeout_s,
        tokenizer_file=model.find_tokenizer(model_dir),
    )


class BundledEmbedder:
    """all-MiniLM-L6-v2 in int8, on this machine's processors.

    Texts run one at a time. The graph scales activations over all that runs together, so in a batch the same text would
    get slightly different vectors in different company (cosine .986 to 1 between batches of 4 096 tokens and single
    texts); alone its vector depends on nothing else. Measured on one core without VNNI, tokens a second, 180 a text:
    one at a time 4 333, batches of 1 024 tokens 4 392, of 4 096 tokens 4 111.
    """

    model_id = model.MODEL_ID
    dimension = model.DIMENSION
    max_tokens = model.MAX_TOKENS

    def __init__(self, model_dir: Path, *, threads: int = 1) -> None:
        folder = model.prepare(model_dir)
        self._tokenizer = _open_tokenizer(folder / model.TOKENIZER_FILE)
        self._first = self._tokenizer.token_to_id("[CLS]")
        self._last = self._tokenizer.token_to_id("[SEP]")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(folder / model.GRAPH_FILE, options, providers=["CPUExecutionProvider"])

    def token_starts(self, text: str) -> np.ndarray:
        return _token_starts(self._tokenizer, text)

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.empty((len(texts), self.dimension), np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            part = texts[start : start + _TEXTS_AT_ONCE]
            rows[start : start + len(part)] = await asyncio.to_thread(self._embed_part, part)
        return rows

    async def aclose(self) -> None:
        """Nothing to close: the memory goes with the object."""

    def _embed_part(self, texts: Sequence[str]) -> np.ndarray:
        return np.concatenate([self._embed_one(text) for text in texts])

    def _embed_one(self, text: str) -> np.ndarray:
        inner = _encode(self._tokenizer, text).ids[: self.max_tokens - 2]
        ids = np.array([[self._first, *inner, self._last]], np.int64)
        row: np.ndarray = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
        return row


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
        batch_size: int = 64,
        timeout_s: float = 30.0,
        tokenizer_file: Path | None = None,
    ) -> None:
        """tokenizer_file: counts tokens for chunking, though it is not the endpoint's own; without one they are estimated."""
        self.model_id = model_name
        self.dimension = dimension
        self._batch_size = batch_size
        self._timeout_s = timeout_s
        self._api_key = api_key
        self._endpoint = url.rstrip("/") + "/embeddings"
        self._tokenizer = _open_tokenizer(tokenizer_file) if tokenizer_file else None
        self._client = httpx.AsyncClient(
            timeout=timeout_s,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            trust_env=not is_loopback(urlsplit(url).hostname or ""),
        )

    def token_starts(self, text: str) -> np.ndarray:
        return _token_starts(self._tokenizer, text) if self._tokenizer else _estimated_token_starts(text)

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        for text in texts:
            _check_unicode(text)
        parts = [np.empty((0, self.dimension), np.float32)]
        for start in range(0, len(texts), self._batch_size):
            part = texts[start : start + self._batch_size]
            parts.append(_read_answer(await self._ask(part), len(part), self.dimension))
        return np.concatenate(parts)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _ask(self, texts: Sequence[str]) -> bytes:
        """The body of a 200 answer."""
        body = {"model": self.model_id, "input": list(texts), "encoding_format": "float"}
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
                response = await self._client.post(self._endpoint, json=body)
        except (httpx.HTTPError, TimeoutError) as exc:
            slow = isinstance(exc, httpx.TimeoutException | TimeoutError)
            raise Unavailable(
                "embedding.unavailable",
                f"The embedding endpoint {self._endpoint} {'did not answer in time' if slow else 'is away'}.",
                hint="check EMBEDDING_URL and that the server behind it runs",
                cause=type(exc).__name__,
            ) from exc
        if response.status_code != 200:
            raise self._explain(response)
        return response.content

    def _explain(self, response: httpx.Response) -> Unavailable:
        status = response.status_code
        if status in (401, 403):
            return Unavailable(
                "embedding.denied",
                f"The embedding endpoint {self._endpoint} refuses the key (HTTP {status}).",
                hint="check EMBEDDING_API_KEY",
                status=status,
            )
        wait = {} if (seconds := _retry_after_s(response)) is None else {"retry_after_s": seconds}
        code, what = (
            ("embedding.busy", "is busy or broken")
            if status in _PASSING_STATUS
            else ("embedding.refused", "refuses the request")
        )
        said = self._what_it_said(response)
        return Unavailable(
            code,
            f"The embedding endpoint {self._endpoint} {what} (HTTP {status}){': ' + said if said else ''}.",
            hint=None if status in _PASSING_STATUS else "check EMBEDDING_URL and EMBEDDING_MODEL",
            status=status,
            **wait,
        )

    def _what_it_said(self, response: httpx.Response) -> str:
        """The message in OpenAI's error envelope, shortened; never the key, which some servers repeat."""
        try:
            message = response.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            return ""
        text = " ".join(str(message).split())[:200].rstrip(".")
        return text.replace(self._api_key, "***") if self._api_key else text


_MAX_TRIES = 4
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"embedding.unavailable", "embedding.busy"})


def _pause_s(tries: int) -> float:
    """Seconds to wait after so many tries: half fixed, half random, so that clients do not return in step."""
    whole: float = 0.25 * 4 ** (tries - 1)
    return whole / 2 + random.uniform(0, whole / 2)  # noqa: S311  spreads load, guards nothing


def _retry_after_s(response: httpx.Response) -> float | None:
    said = response.headers.get("Retry-After", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            at = parsedate_to_datetime(said)
        except ValueError:
            return None
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, seconds), 3600.0) if seconds == seconds else None  # NaN parses as a float


def _read_answer(content: bytes, count: int, dimension: int) -> np.ndarray:
    """Unit rows in the order of the request, from the answer's JSON. Raises Unavailable unless all of it is usable."""
    try:
        items = httpx.Response(200, content=content).json()["data"]
        ordered = sorted(items, key=lambda item: item["index"])
        if [item["index"] for item in ordered] != list(range(count)):
            raise _bad_answer(f"{len(items)} vectors, or not one each, for {count} texts")
        rows = [_read_vector(item["embedding"]) for item in ordered]
    except (ValueError, KeyError, TypeError) as exc:
        raise _bad_answer("something that is not a list of embeddings") from exc
    for row in rows:
        if row.shape != (dimension,):
            raise _bad_answer(
                f"vectors of {row.size} numbers; EMBEDDING_DIMENSION says {dimension}",
                hint="set EMBEDDING_DIMENSION and EMBEDDING_MODEL to what belongs together",
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


def _open_tokenizer(file: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # "[SEP]" in a document is text, not a command
    return tokenizer


def _encode(tokenizer: Tokenizer, text: str) -> Any:
    _check_unicode(text)
    return tokenizer.encode(text, add_special_tokens=False)


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise Invalid("embedding.not_unicode", "The text holds half a surrogate pair, which is no character.") from exc


def _token_starts(tokenizer: Tokenizer, text: str) -> np.ndarray:
    parts = [np.empty(0, np.int64)]
    for start, end in _slices(text):
        offsets = _encode(tokenizer, text[start:end]).offsets
        parts.append(np.fromiter((offset[0] for offset in offsets), np.int64, len(offsets)) + start)
    return np.concatenate(parts)


def _slices(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text where no token can lie across: before white space. A run without any is cut hard."""
    start = 0
    while start < len(text):
        end = min(start + _SLICE_CHARS, len(text))
        if end < len(text):
            end = next((at for at in range(end, max(start, end - 1000), -1) if text[at].isspace()), end)
        yield start, end
        start = end


# Four letters or digits of Latin, Greek or Cyrillic count one token, every other character one each. English has about
# five letters a token in the bundled vocabulary and in larger ones: this errs towards smaller chunks.
_ESTIMATED_TOKEN = re.compile(r"[^\W_\u0530-\U0010ffff]{1,4}|\S")


def _estimated_token_starts(text: str) -> np.ndarray:
    return np.fromiter((match.start() for match in _ESTIMATED_TOKEN.finditer(text)), np.int64)

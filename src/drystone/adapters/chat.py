"""A language model behind any endpoint that speaks OpenAI's chat completions, streamed.

What it says is text of a stranger: bounded in time and length, decoded strictly, and never acted upon. No tools are offered.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import httpx

from drystone.adapters.network import Secrets, is_loopback, retry_after_s, without_secrets
from drystone.core import measures
from drystone.core.errors import Unavailable
from drystone.core.logging import get_logger
from drystone.core.settings import AnswerSettings
from drystone.core.text import clean

log = get_logger(__name__)

TokensField = Literal["max_tokens", "max_completion_tokens"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user"]
    content: str


class Talk:
    """What a model says, part by part. is_cut: it had reached the most it may say; known at the end."""

    def __init__(self, parts: AsyncIterator[str | None]) -> None:
        self._parts = parts
        self.is_cut = False

    async def __aiter__(self) -> AsyncIterator[str]:
        async for part in self._parts:
            if part is None:
                self.is_cut = True
            else:
                yield part


class Chat:
    """An endpoint that answers `POST <url>/chat/completions` as OpenAI's does.

    All of an answer takes `timeout_s` at most. What passes (a broken connection, overload, server errors) is tried again
    with growing pauses while nothing has been said and that time is not over; what breaks off later is not.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        model_name: str,
        *,
        timeout_s: float,
        max_tokens: int,
        tokens_field: TokensField = "max_tokens",
        temperature: float = 0.0,
    ) -> None:
        """temperature: below 0: not sent."""
        self._endpoint = endpoint_of(url)
        self._shown = without_secrets(self._endpoint)
        self._secrets = Secrets(self._endpoint, api_key)
        self._body: dict[str, Any] = {"model": model_name, "stream": True, tokens_field: max_tokens}
        if temperature >= 0:
            self._body["temperature"] = temperature
        self._timeout_s = timeout_s
        self._most_characters = max_tokens * _CHARACTERS_OF_TOKEN
        self._client = httpx.AsyncClient(
            timeout=timeout_s,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            trust_env=not is_loopback(urlsplit(url).hostname or ""),
        )

    @asynccontextmanager
    async def talk(self, messages: Sequence[Message]) -> AsyncIterator[Talk]:
        """What the model says to these messages. Leaving ends the call, whatever is still to come.

        Raises Unavailable, also while it is read: `chat.broken_off` where it ends in the middle.
        """
        with measures.model_call("chat", "answers", 1):
            async with aclosing(self._parts(messages)) as parts:
                yield Talk(parts)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _parts(self, messages: Sequence[Message]) -> AsyncGenerator[str | None]:
        """Parts of the answer; None at last where it was cut. Each step is within the time of the whole.

        httpx times each read alone, and a trickle would never end.
        """
        give_up_at = asyncio.get_running_loop().time() + self._timeout_s
        steps = self._said({**self._body, "messages": [vars(each) for each in messages]}, give_up_at)
        length = 0
        async with aclosing(steps):
            while True:
                try:
                    async with asyncio.timeout_at(give_up_at):
                        part = await anext(steps, _OVER)
                except TimeoutError as exc:
                    raise self._no_answer("did not answer in time", exc) from exc
                except httpx.HTTPError as exc:
                    if isinstance(exc, httpx.TimeoutException):
                        raise self._no_answer("did not answer in time", exc) from exc
                    raise self._broken_off(type(exc).__name__) from exc
                if part is _OVER:
                    break
                length += len(part or "")
                if length > self._most_characters:
                    raise _bad_answer(f"more than {self._most_characters} characters")
                yield part
        if not length:
            raise _bad_answer("no text")

    async def _said(self, body: dict[str, Any], give_up_at: float) -> AsyncGenerator[str | None]:
        response = await self._open(body, give_up_at)
        try:
            if response.headers.get("content-type", "").startswith("application/json"):  # a server that does not stream
                choice = _choice(await _whole(response), "message")
                if choice.error is not None:
                    raise self._broken_off(self._secrets.shortened(choice.error))
                yield clean(choice.text)
                if choice.is_cut:
                    yield None
                return
            async for part in self._streamed(response):
                yield part
        finally:
            await response.aclose()

    async def _streamed(self, response: httpx.Response) -> AsyncGenerator[str | None]:
        is_ended = False
        async for line in _lines(response):
            name, _, value = line.partition(":")
            if name == "data" and value.strip() == "[DONE]":
                return
            if name == "data":
                choice = _choice(value, "delta")
                if choice.error is not None:
                    raise self._broken_off(self._secrets.shortened(choice.error))
                if choice.text:
                    yield clean(choice.text)
                is_ended = is_ended or choice.is_ended
                if choice.is_cut:
                    yield None
            elif name not in _FIELDS:
                raise _bad_answer("something that is no stream of a chat completion")
        if not is_ended:
            raise self._broken_off("the stream ended in the middle")

    async def _open(self, body: dict[str, Any], give_up_at: float) -> httpx.Response:
        """The answer with status 200, of which nothing has been read."""
        clock, tries = asyncio.get_running_loop().time, 0
        while True:
            tries += 1
            try:
                return await self._open_once(body)
            except Unavailable as exc:
                pause_s = max(_pause_s(tries), exc.values.get("retry_after_s", 0.0))
                if exc.code not in _PASSING_CODES or tries == _MAX_TRIES or clock() + pause_s >= give_up_at:
                    raise
                log.info("chat.tried_again", code=exc.code, tries=tries, pause_s=round(pause_s, 2))
            await asyncio.sleep(pause_s)

    async def _open_once(self, body: dict[str, Any]) -> httpx.Response:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        request = self._client.build_request("POST", self._endpoint, json=body, headers=headers)
        try:
            response = await self._client.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            slow = isinstance(exc, httpx.TimeoutException)
            raise self._no_answer("did not answer in time" if slow else "is away", exc) from exc
        if response.status_code == 200:
            return response
        try:
            said = await _whole(response)
        except (httpx.HTTPError, Unavailable):
            said = ""
        finally:
            await response.aclose()
        raise self._explain(response, said)

    def _no_answer(self, what: str, exc: Exception) -> Unavailable:
        return Unavailable(
            "chat.unavailable",
            f"The model's server {self._shown} {what}.",
            hint="check ANSWER_URL and ANSWER_TIMEOUT_S, and that the server behind it runs",
            cause=type(exc).__name__,
        )

    def _broken_off(self, why: str) -> Unavailable:
        return Unavailable(
            "chat.broken_off",
            f"The model's server {self._shown} broke off its answer: {why}.",
            hint="ask again; the log of that server may tell why",
        )

    def _explain(self, response: httpx.Response, said: str) -> Unavailable:
        status = response.status_code
        if status in (401, 403):
            return Unavailable(
                "chat.denied",
                f"The model's server {self._shown} refuses the key (HTTP {status}).",
                hint="check ANSWER_API_KEY",
            )
        told = self._what_it_said(said)
        detail = f"(HTTP {status}){': ' + told if told else ''}."
        if status in _PASSING_STATUS:
            seconds = retry_after_s(response.headers.get("Retry-After", ""))
            wait: dict[str, Any] = {} if seconds is None else {"retry_after_s": math.ceil(seconds)}
            return Unavailable("chat.busy", f"The model's server {self._shown} is busy or broken {detail}", **wait)
        return Unavailable(
            "chat.refused",
            f"The model's server {self._shown} refuses the request {detail}",
            hint="check ANSWER_URL and ANSWER_MODEL; ANSWER_TOKENS_FIELD and ANSWER_TEMPERATURE where it names these",
        )

    def _what_it_said(self, body: str) -> str:
        """The message in OpenAI's error envelope, shortened."""
        try:
            message = json.loads(body)["error"]["message"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return ""
        return self._secrets.shortened(str(message))


def open_chat(settings: AnswerSettings) -> Chat | None:
    """The model that the settings name, if they do."""
    if not settings.url:
        return None
    return Chat(
        settings.url,
        settings.api_key.get_secret_value(),
        settings.model,
        timeout_s=settings.timeout_s,
        max_tokens=settings.max_tokens,
        tokens_field=settings.tokens_field,
        temperature=settings.temperature,
    )


def endpoint_of(url: str) -> str:
    """The URL with /chat/completions at the end of its path."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith(_PATH) else path + _PATH))


_PATH = "/chat/completions"
_OVER = "\0over"
_MAX_TRIES = 3
# A token is hardly ever longer. Bounds what a server may send that does not keep to max_tokens.
_CHARACTERS_OF_TOKEN = 16
# Bytes of one line, and of an answer that is not streamed.
_MOST_OF_LINE, _MOST_OF_ANSWER = 1 << 18, 1 << 21
# Bytes of a stream: each token comes in an envelope of some hundred.
_MOST_OF_STREAM = 1 << 25
# What a line of an event stream begins with; a comment begins with its colon.
_FIELDS = frozenset(("", "event", "id", "retry"))
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"chat.unavailable", "chat.busy"})


def _pause_s(tries: int) -> float:
    """Seconds to wait after so many tries: half fixed, half random, so that clients do not return in step."""
    whole: float = 0.25 * 4 ** (tries - 1)
    return whole / 2 + random.uniform(0, whole / 2)  # noqa: S311  spreads load, guards nothing


@dataclass(frozen=True)
class _Choice:
    text: str = ""
    is_ended: bool = False
    is_cut: bool = False
    error: str | None = None


def _choice(content: str, name: str) -> _Choice:
    """What the first choice of a completion, or of a part of one, says. name: delta or message."""
    try:
        part = json.loads(content)
        if part.get("error"):
            error = part["error"]
            return _Choice(error=str(error.get("message", error)) if isinstance(error, dict) else str(error))
        if not part.get("choices"):  # usage, at the end
            return _Choice()
        choice = part["choices"][0]
        said, reason = choice.get(name) or {}, choice.get("finish_reason")
        text = said.get("content") or ""
        if not isinstance(text, str):
            raise _bad_answer("content that is no text")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise _bad_answer("something that is no chat completion") from exc
    return _Choice(text, is_ended=reason is not None, is_cut=reason == "length")


async def _whole(response: httpx.Response) -> str:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > _MOST_OF_ANSWER:
            raise _bad_answer(f"more than {_MOST_OF_ANSWER} bytes")
        parts.append(part)
    return _decoded(b"".join(parts))


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    rest, size = bytearray(), 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > _MOST_OF_STREAM:
            raise _bad_answer(f"more than {_MOST_OF_STREAM} bytes")
        rest += part
        if b"\n" in part:
            *whole, rest = rest.split(b"\n")
            for line in whole:
                yield _decoded(line).rstrip("\r")
        if len(rest) > _MOST_OF_LINE:
            raise _bad_answer(f"a line of more than {_MOST_OF_LINE} bytes")
    if rest:
        yield _decoded(rest)


def _decoded(content: bytes | bytearray) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as exc:
        raise _bad_answer("bytes that are no UTF-8") from exc


def _bad_answer(what: str) -> Unavailable:
    return Unavailable(
        "chat.bad_answer",
        f"The model's server answered with {what}.",
        hint="check ANSWER_URL, and that ANSWER_MODEL is a model that chats",
    )

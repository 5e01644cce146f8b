"""The chat adapter against a real server that answers as each test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response
from tests.chatting import Model, delta, finish, forever, model

from drystone.adapters.chat import Chat, Message, endpoint_of
from drystone.core.errors import Unavailable

ASKED = [Message("system", "Answer."), Message("user", "Why?")]
KEY = "sk-very-secret"


@pytest.fixture(scope="module")
def playing() -> Iterator[Model]:
    with model() as opened:
        yield opened


@pytest.fixture(autouse=True)
def anew(playing: Model) -> None:
    playing.requests.clear()
    playing.headers.clear()
    playing.answers.clear()
    playing.media_type = "text/event-stream"


async def _talk(playing: Model, **more: Any) -> tuple[str, bool]:
    chat = Chat(playing.url, KEY, "some-model", **{"timeout_s": 5.0, "max_tokens": 64} | more)
    try:
        async with chat.talk(ASKED) as talk:
            said = "".join([part async for part in talk])
        return said, talk.is_cut
    finally:
        await chat.aclose()


async def _refused(playing: Model, **more: Any) -> Unavailable:
    with pytest.raises(Unavailable) as refused:
        await _talk(playing, **more)
    assert KEY not in str(refused.value)
    return refused.value


async def test_what_is_said_comes_in_order_and_the_request_is_what_was_configured(playing: Model) -> None:
    playing.says("Thin shells buckle — 薄い殻.")

    said = await _talk(playing)

    assert said == ("Thin shells buckle — 薄い殻.", False)
    assert playing.requests == [
        {
            "model": "some-model",
            "stream": True,
            "max_tokens": 64,
            "temperature": 0.0,
            "messages": [{"role": "system", "content": "Answer."}, {"role": "user", "content": "Why?"}],
        }
    ]
    assert playing.headers[0]["authorization"] == f"Bearer {KEY}"


async def test_the_field_of_the_limit_is_named_and_the_temperature_left_out_as_configured(playing: Model) -> None:
    playing.says("So.")

    await _talk(playing, tokens_field="max_completion_tokens", temperature=-1)

    (request,) = playing.requests
    assert request["max_completion_tokens"] == 64
    assert not {"max_tokens", "temperature"} & set(request)


async def test_an_answer_that_was_stopped_says_so(playing: Model) -> None:
    playing.says("Half a sen", reason="length")

    assert await _talk(playing) == ("Half a sen", True)


async def test_a_server_that_does_not_stream_is_read_whole(playing: Model) -> None:
    playing.answers = [JSONResponse({"choices": [{"message": {"content": "All."}, "finish_reason": "stop"}]})]

    assert await _talk(playing) == ("All.", False)


async def test_controls_and_halves_of_characters_are_left_out(playing: Model) -> None:
    playing.says("a\0b\x1b[31m\u202ec\ud83dd\n")

    assert await _talk(playing) == ("ab[31mcd\n", False)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_passes_is_tried_again_before_anything_was_said(playing: Model, status: int) -> None:
    playing.says("Now.")
    playing.answers = [Response("busy", status, {"Retry-After": "0"})]

    assert await _talk(playing) == ("Now.", False)
    assert len(playing.requests) == 2


async def test_what_does_not_pass_in_time_is_told_with_when_to_come_back(playing: Model) -> None:
    playing.answers = [Response("busy", 429, {"Retry-After": "30"})]

    refused = await _refused(playing)

    assert (refused.code, refused.values["retry_after_s"], len(playing.requests)) == ("chat.busy", 30, 1)


async def test_a_user_of_the_url_is_sent_and_in_no_error(playing: Model) -> None:
    """Though the server repeats the header."""
    url = playing.url.replace("//", "//me:pass-word-1234@")
    sent = "bWU6cGFzcy13b3JkLTEyMzQ="  # of me:pass-word-1234
    playing.answers = [JSONResponse({"error": {"message": f"no such user: Basic {sent}"}}, 400)]
    chat = Chat(url, "", "some-model", timeout_s=5.0, max_tokens=64)

    with pytest.raises(Unavailable) as refused:
        async with chat.talk(ASKED) as talk:
            _ = [part async for part in talk]
    await chat.aclose()

    assert playing.headers[0]["authorization"] == f"Basic {sent}"
    assert refused.value.message.endswith("(HTTP 400): no such user: Basic ***.")
    assert "pass-word-1234" not in f"{refused.value} {refused.value.values}"


@pytest.mark.parametrize(
    ("status", "code"), [(401, "chat.denied"), (403, "chat.denied"), (400, "chat.refused"), (404, "chat.refused")]
)
async def test_what_will_not_pass_is_told_at_once(playing: Model, status: int, code: str) -> None:
    playing.answers = [JSONResponse({"error": {"message": f"no such model; your key {KEY}"}}, status)]

    refused = await _refused(playing)

    assert (refused.code, len(playing.requests)) == (code, 1)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([delta("Half"), b""], "chat.broken_off"),
        ([delta("Half"), b'data: {"error": {"message": "out of memory"}}\n\n'], "chat.broken_off"),
        ([b"data: no json\n\n"], "chat.bad_answer"),
        ([b"data: [1]\n\n"], "chat.bad_answer"),
        ([b'data: {"choices": [{"delta": {"content": 5}}]}\n\n'], "chat.bad_answer"),
        ([b"data: " + b"[" * 100_000 + b"\n\n"], "chat.bad_answer"),
        ([b"<html>welcome</html>\n"], "chat.bad_answer"),
        ([b'data: {"choices": [{"delta": {"content": "\xff\xfe"}}]}\n\n'], "chat.bad_answer"),
        ([b"data: " + b"x" * (1 << 19)], "chat.bad_answer"),
        ([delta("x" * 100)] * 20, "chat.bad_answer"),
        ([finish()], "chat.bad_answer"),
    ],
    ids=["breaks-off", "error", "no-json", "list", "number", "deep", "html", "utf8", "line", "endless", "empty"],
)
async def test_nonsense_is_told_as_such(playing: Model, parts: list[bytes], code: str) -> None:
    playing.parts = lambda: parts

    assert (await _refused(playing)).code == code


@pytest.mark.parametrize("parts", [[forever], [delta("Once upon"), forever]], ids=["silence", "stops"])
async def test_silence_ends_with_the_time_of_the_whole(playing: Model, parts: list[Any]) -> None:
    playing.parts = lambda: parts

    refused = await _refused(playing, timeout_s=0.4)

    assert (refused.code, "ANSWER_TIMEOUT_S" in str(refused.hint)) == ("chat.unavailable", True)


async def test_a_trickle_ends_with_the_time_of_the_whole(playing: Model) -> None:
    def parts() -> Any:
        while True:
            yield from [b": still here\n", _pause]

    playing.parts = parts

    assert (await _refused(playing, timeout_s=0.4)).code == "chat.unavailable"


async def _pause() -> None:
    await asyncio.sleep(0.05)


async def test_nobody_there_is_told(playing: Model) -> None:
    nowhere = Model(url="http://user:word@127.0.0.1:9/v1?token=abc")

    refused = await _refused(nowhere, timeout_s=0.3)

    assert refused.code == "chat.unavailable"
    assert not {"word", "abc"} & set(json.dumps(str(refused)).replace(":", " ").replace("@", " ").split())


@pytest.mark.parametrize("given", ["http://h/v1", "http://h/v1/", "http://h/v1/chat/completions"])
def test_the_path_is_added_where_it_is_missing(given: str) -> None:
    assert endpoint_of(given) == "http://h/v1/chat/completions"

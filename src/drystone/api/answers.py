"""/ask: a question to sentences, each with the span that bears it; as one JSON or as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from drystone.access.service import Principal
from drystone.answers import service
from drystone.answers.schemas import Ending, Sentence
from drystone.answers.service import Answering
from drystone.api.answer_schemas import AnswerEnding, AnswerPassage, AnswerSentence, AskRequest, AskResponse
from drystone.core.errors import DrystoneError
from drystone.core.logging import get_logger
from drystone.http import problems
from drystone.http.dependencies import Caller, ResourcesOf
from drystone.http.problems import responses
from drystone.http.streams import HEARTBEAT_S, MEDIA_TYPE, EventStream, line_of, until_left
from drystone.resources import Resources

router = APIRouter(prefix="/ask", tags=["answers"])
log = get_logger("api.answers")

# Sentences that wait for a client that is slow to take them.
_MOST_WAITING = 16
_ANSWERED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; with `stream` as Server-Sent Events: `passages`, then `sentence` for each, then `done` or `error`; comments each 15 s.",
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "event": {"type": "string", "enum": ["passages", "sentence", "done", "error"]},
                        "data": {"type": "string", "contentMediaType": "application/json"},
                        "id": {"type": "string", "description": "Counted from 1. A stream cannot be gone on with."},
                    },
                }
            }
        },
    },
    **responses(404, 409),
}


@router.post("", summary="Ask", response_model=AskResponse, responses=_ANSWERED)
async def ask(body: AskRequest, caller: Caller, resources: ResourcesOf, request: Request) -> Any:
    """An answer in sentences, each with the span of a passage that bears it; those that none bears are marked."""
    if not body.stream:
        return await until_left(request, _whole(body, caller, resources))
    events = _events(body, caller, resources, request)
    first = await anext(events)  # what can be refused is refused here
    return EventStream(_together(first, events))


async def _whole(body: AskRequest, caller: Principal, resources: Resources) -> AskResponse:
    async with service.answering(resources.answerer, caller, body.asked()) as answering:
        sentences, ending = await answering.whole()
    return AskResponse(
        sentences=[AnswerSentence.of(each) for each in sentences],
        passages=[AnswerPassage.of(each) for each in answering.passages],
        **AnswerEnding.of(ending).model_dump(),
    )


async def _together(first: str, rest: AsyncGenerator[str]) -> AsyncGenerator[str]:
    async with aclosing(rest):
        yield first
        async for part in rest:
            yield part


async def _events(body: AskRequest, caller: Principal, resources: Resources, request: Request) -> AsyncGenerator[str]:
    """The answer event by event. Closing it ends whatever is under way."""
    async with service.answering(resources.answerer, caller, body.asked()) as answering:
        yield _event(1, "passages", {"passages": [_json(AnswerPassage.of(each)) for each in answering.passages]})
        waiting: asyncio.Queue[Sentence | Ending | DrystoneError] = asyncio.Queue(_MOST_WAITING)
        task = asyncio.create_task(_work(answering, waiting))
        try:
            number = 1
            while True:
                try:
                    said = await asyncio.wait_for(waiting.get(), HEARTBEAT_S)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                number += 1
                event, is_last = event_of(number, said, request)
                yield event
                if is_last:
                    return
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _work(answering: Answering, waiting: asyncio.Queue[Sentence | Ending | DrystoneError]) -> None:
    """Put all of the answer into the queue, and at last how it ended."""
    try:
        await waiting.put(await answering.told(waiting.put))
    except DrystoneError as exc:
        await waiting.put(exc)
    except Exception:  # the answer has begun: it is told in the stream
        log.exception("answer.failed")
        await waiting.put(_fault())


def _fault() -> DrystoneError:
    return DrystoneError("internal.error", "A fault of ours.", hint="the log of web tells more")


def event_of(number: int, said: Sentence | Ending | DrystoneError, request: Request) -> tuple[str, bool]:
    """The event of it, and whether it is the last. What cannot be written becomes an error."""
    try:
        return _written(number, said, request), not isinstance(said, Sentence)
    except Exception:  # likewise
        log.exception("answer.failed")
        return _written(number, _fault(), request), True


def _written(number: int, said: Sentence | Ending | DrystoneError, request: Request) -> str:
    if isinstance(said, Sentence):
        return _event(number, "sentence", _json(AnswerSentence.of(said)))
    if isinstance(said, Ending):
        return _event(number, "done", _json(AnswerEnding.of(said)))
    return _event(number, "error", problems.content_of(request, said))


def _event(number: int, kind: str, data: dict[str, Any]) -> str:
    """Raises UnicodeEncodeError for what could not be sent."""
    event = line_of(kind, data, str(number))
    event.encode()
    return event


def _json(value: BaseModel) -> dict[str, Any]:
    return value.model_dump(mode="json")

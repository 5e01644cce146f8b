"""Ask: a question to sentences, each with what bears it; those that nothing bears are marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Request, Response

from drystone.access.service import Principal
from drystone.answers import reasons, service
from drystone.answers.schemas import DEFAULT_PASSAGES, Asked, Ending, Passage, Sentence, Support, Wanted
from drystone.console.marking import Piece, flowing, pieces
from drystone.console.pages import new_router, page
from drystone.console.visitors import Visitor
from drystone.core.db import transaction
from drystone.core.errors import DrystoneError
from drystone.core.text import Text
from drystone.documents import collections
from drystone.http.dependencies import ResourcesOf
from drystone.http.streams import until_left
from drystone.resources import Resources
from drystone.search.schemas import Question

router = new_router()


@dataclass(frozen=True)
class _Source:
    """A passage that bears something; pieces: its text, with what does marked."""

    passage: Passage
    pieces: Sequence[Piece]
    start: int  # of the first span that bears something, in the document's text

    @classmethod
    def of(cls, passage: Passage, spans: Sequence[Support]) -> _Source:
        marked = sorted({(each.start, each.end) for each in spans})
        return cls(
            passage, pieces(flowing(passage.text, passage.document.name), marked, []), passage.hit.start + marked[0][0]
        )


@dataclass(frozen=True)
class _Answer:
    sentences: Sequence[Sentence]
    ending: Ending
    passages: Sequence[Passage]

    @property
    def sources(self) -> list[_Source]:
        """The passages that sentences rest on, best first."""
        spans: dict[int, list[Support]] = {}
        for span in (span for each in self.sentences for span in each.support):
            spans.setdefault(span.passage.number, []).append(span)
        return [_Source.of(each, spans[each.number]) for each in self.passages if each.number in spans]


@router.get("/ask")
async def get(
    request: Request, visitor: Visitor, resources: ResourcesOf, q: Text = "", collection: Text = ""
) -> Response:
    """The form, with a question that was looked for before."""
    there_are = await _there_are(resources, visitor)
    return _page(request, visitor, resources, there_are, q=q, collection=collection)


@router.post("/ask")
async def ask(
    request: Request,
    visitor: Visitor,
    resources: ResourcesOf,
    q: Annotated[Text, Form()] = "",
    collection: Annotated[Text, Form()] = "",
    mode: Annotated[Wanted, Form()] = "auto",
) -> Response:
    """The form, and below it the answer. It is sent, not asked for: a model's answer may cost money."""
    there_are = await _there_are(resources, visitor)
    question = Question(queries=[q], collections=[collection] if collection else there_are, limit=DEFAULT_PASSAGES)
    answer, error = None, None
    if there_are:
        try:
            found = await until_left(request, _answered(resources, visitor, Asked(question, mode)))
            if isinstance(found, Response):
                return found
            answer = found
        except DrystoneError as exc:
            error = exc
    return _page(
        request, visitor, resources, there_are, q=q, collection=collection, mode=mode, answer=answer, error=error
    )


async def _answered(resources: Resources, visitor: Principal, asked: Asked) -> _Answer:
    async with service.answering(resources.answerer, visitor, asked) as answering:
        sentences, ending = await answering.whole()
    return _Answer(sentences, ending, answering.passages)


async def _there_are(resources: Resources, visitor: Principal) -> list[str]:
    visitor.require("read")
    async with transaction(resources.sessions.within(visitor.reach)) as session:
        return [each.name for each in await collections.list_all(session, visitor)]


def _page(
    request: Request,
    visitor: Principal,
    resources: Resources,
    there_are: Sequence[str],
    *,
    q: str,
    collection: str,
    mode: Wanted = "auto",
    answer: _Answer | None = None,
    error: DrystoneError | None = None,
) -> Response:
    return page(
        request,
        "ask.html",
        visitor=visitor,
        q=q,
        there_are=there_are,
        collection=collection,
        mode=mode,
        has_model=resources.answerer.chat is not None,
        answer=answer,
        why=reasons.explain,
        error=error,
    )

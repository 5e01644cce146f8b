"""Searching, answers, and whatever has no method of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from drystone.client.answers import understood
from drystone.client.errors import told, unreachable
from drystone.client.models import Answer, AnswerSentence, Collapse, Event, Filter, Mode, Problem, SearchAnswer
from drystone.client.operations import call, many
from drystone.client.retrying import answered
from drystone.client.room import Room, given
from drystone.client.steps import Emit, Flow, Many, Open, Read, Request
from drystone.client.watching import Lines

if TYPE_CHECKING:
    import httpx

# A model may take a minute for the whole; a stream says something at least each 15 s.
_ANSWER_S, _SILENCE_S = 90.0, 40.0
_SAFE = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))


class Asking(Room):
    """What a client does by itself."""

    @call
    def search(
        self,
        query: str | None = None,
        *,
        queries: Sequence[str] | None = None,
        like: str | UUID | None = None,
        collection: str | None = None,
        collections: Sequence[str] | None = None,
        mode: Mode | None = None,
        limit: int | None = None,
        filter: Filter | None = None,
        max_per_document: int | None = None,
        neighbours: int | None = None,
        highlight: bool | None = None,
        explain: bool | None = None,
        rerank: bool | None = None,
        merge: bool | None = None,
        collapse: Collapse | None = None,
        diversity: float | None = None,
        entities: bool | None = None,
        facets: Sequence[Literal["entity"]] | None = None,
        model: str | None = None,
    ) -> Flow[SearchAnswer]:
        """Passages, best first: of `query`, of `queries` (one question in several wordings), or `like` those of a document.

        What is left out is as docs/reference/search.md says: ten hits of the collection `default`, by words and meaning.
        """
        body = given(
            query=query,
            queries=None if queries is None else list(queries),
            like=None if like is None else {"document_id": str(like)},
            collection=collection,
            collections=None if collections is None else list(collections),
            mode=mode,
            limit=limit,
            filter=filter,
            max_per_document=max_per_document,
            neighbours=neighbours,
            highlight=highlight,
            explain=explain,
            rerank=rerank,
            merge=merge,
            collapse=collapse,
            diversity=None if diversity is None else float(diversity),
            entities=entities,
            facets=None if facets is None else list(facets),
            model=model,
        )
        # Nothing is changed by a question, so it may be asked again.
        return (yield from self._one(Request("POST", "/search", json=body, is_repeatable=True), SearchAnswer))

    @call
    def ask(
        self,
        question: str,
        *,
        mode: Literal["auto", "extractive", "generated"] | None = None,
        collection: str | None = None,
        collections: Sequence[str] | None = None,
        filter: Filter | None = None,
        passages: int | None = None,
        sentences: int | None = None,
        search_mode: Mode | None = None,
        max_per_document: int | None = None,
        rerank: bool | None = None,
        merge: bool | None = None,
        collapse: Collapse | None = None,
        diversity: float | None = None,
        model: str | None = None,
    ) -> Flow[Answer]:
        """An answer in sentences, each with the span of a passage that bears it; those that none bears say so.

        What is left out is as docs/reference/answers.md says: eight passages of the collection `default`, by a model where
        the server has one.
        """
        body = given(
            question=question,
            mode=mode,
            collection=collection,
            collections=None if collections is None else list(collections),
            filter=filter,
            passages=passages,
            sentences=sentences,
            search_mode=search_mode,
            max_per_document=max_per_document,
            rerank=rerank,
            merge=merge,
            collapse=collapse,
            diversity=None if diversity is None else float(diversity),
            model=model,
        )
        request = Request("POST", "/ask", json=body, is_repeatable=True, timeout_s=_ANSWER_S)
        return (yield from self._one(request, Answer))

    @many
    def ask_by_sentences(self, /, question: str, **options: Any) -> Many[AnswerSentence]:
        """The sentences of an answer, each as soon as it is there and verified. options: those of `ask`.

        Raises ApiError where the answer cannot be finished; what came before it stands.
        """
        import httpx

        url = self._told.url
        body = given(question=question, **options) | {"stream": True}
        request = Request("POST", "/ask", json=body, is_repeatable=True, timeout_s=_SILENCE_S, answer="events")
        response = yield from answered(Open(request), self._told.retries, url=url)
        lines = Lines()
        try:
            while part := (yield Read()):
                with understood(response):
                    told_by_it = [_piece(event) for event in lines.feed(part)]
                for piece in told_by_it:
                    if isinstance(piece, AnswerSentence):
                        yield Emit(piece)
                    elif isinstance(piece, Problem):
                        raise told(piece, piece.status or 500)
                    elif piece == "done":
                        return
        except httpx.TransportError as exc:
            raise unreachable(url, exc) from exc
        raise unreachable(url, httpx.RemoteProtocolError("the stream ended without an end"))

    @call
    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Flow[httpx.Response]:
        """Any request to a path below /api/v1: its answer where it is a success, else ApiError.

        Repeated like all others where its method may be sent twice, or with an idempotency_key; the routes that take one
        say so in /openapi.json.
        """
        key = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        request = Request(
            method.upper(),
            "/" + path.removeprefix("/api/v1").lstrip("/"),
            params=params or {},
            json=json,
            content=content,
            headers={**(headers or {}), **key},
            is_repeatable=bool(key) or method.upper() in _SAFE,
            timeout_s=timeout_s,
            answer="any",
        )
        return (yield from self._send(request))


def _piece(event: Event) -> AnswerSentence | Problem | str:
    """What an event of an answer says; of those that say no more than that they are, their type."""
    if event.type == "sentence":
        return AnswerSentence.model_validate(event.data)
    return Problem.model_validate(event.data) if event.type == "error" else event.type

"""Search: embed the question before any SQL, ask both sides in one snapshot of the database, fuse, and show.

Where a reranker is asked, that snapshot is closed before and what is shown is read from a new one: no transaction waits.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.adapters.parsing.normalising import normalise
from drystone.adapters.reranking import Reranker
from drystone.core import measures
from drystone.core.db import transaction
from drystone.core.errors import Invalid, Unavailable
from drystone.core.logging import get_logger
from drystone.documents import collections, filter_types
from drystone.documents import service as documents
from drystone.documents.models import Collection
from drystone.index import vectors
from drystone.index.embedders import Embedders
from drystone.index.spaces import Space
from drystone.search import queries, ranking, showing, spaces
from drystone.search.context import WIDER, Search, Searcher, Stopwatch
from drystone.search.queries import Scope
from drystone.search.ranking import Ranked
from drystone.search.schemas import (
    MAX_COLLECTIONS,
    MAX_LIMIT,
    MAX_NEIGHBOURS,
    MAX_QUERIES,
    MAX_QUERY_CHARACTERS,
    Answer,
    Notice,
    Question,
)
from drystone.search.spaces import Asked, OtherSpace

log = get_logger(__name__)

# How often a question is embedded anew because somebody switched the collection's model meanwhile.
_GUESSES = 5


async def search(searcher: Searcher, principal: Principal, question: Question) -> Answer:
    """The passages that answer the question best.

    Raises NotFound for an unknown collection or document, Invalid for a question that cannot be asked, Conflict when a
    collection was embedded with another model than those that run, Unavailable when reranking is demanded and fails.
    """
    question = replace(question, queries=[normalise(query) for query in question.queries])  # as documents' texts are
    _check(question)
    clock, space = Stopwatch(), searcher.guesses.guess(principal, question)
    for _ in range(_GUESSES):
        try:
            answer = await _search(searcher, principal, question, space, clock)
            _measure(question, clock)
            return answer
        except OtherSpace as other:
            space = other.space
    raise Unavailable("search.model_changes", "The collection's model changes again and again.", hint="ask once more")


def _measure(question: Question, clock: Stopwatch) -> None:
    measures.of(measures.SEARCH_SECONDS, question.mode).observe(clock.total_ms / 1000)
    for stage, took_ms in clock.stages.items():
        measures.of(measures.SEARCH_STAGE, stage).observe(took_ms / 1000)


async def nearest(searcher: Searcher, principal: Principal, question: Question) -> Answer:
    """The passages nearest to a vector of the caller's, best first; a hit's score is the cosine.

    question: with a vector, and the one collection that it is for. Raises NotFound for an unknown collection.
    """
    _check_number("limit", question.limit, 1, MAX_LIMIT)
    clock = Stopwatch()
    answer = await _search(searcher, principal, question, searcher.embedders.current, clock)
    _measure(question, clock)
    return answer


async def _search(
    searcher: Searcher, principal: Principal, question: Question, space: Space, clock: Stopwatch
) -> Answer:
    """The answer, if the collections have the space that is guessed. Raises OtherSpace where they have another."""
    reranker = _reranker(searcher, question)
    async with searcher.turns.turn():
        with clock.stage("embed"):
            asked, unread = await _embed(searcher, principal, question, space)
        async with transaction(searcher.sessions.within(principal.reach)) as session:
            with clock.stage("scope"):
                found, within = await _collections(session, principal, question, searcher.embedders)
                searcher.guesses.remember(principal, question, within.space)
                is_of_guess = unread or space.is_callers or any(vector is not None for vector in asked)
                if question.vector is None and within.space != space and is_of_guess:
                    raise OtherSpace(within.space)
                scope = Scope(
                    [each.id for each in found],
                    question.filter and await filter_types.typed(session, principal.workspace_id, question.filter),
                    await queries.hidden(session, [each.id for each in found]),
                    question.like,
                )
            context = Search(searcher, session, question, scope, within, clock, unread=unread)
            if question.like is not None:
                view = await documents.get_document(session, principal, question.like)
                asked = [None]
                if question.mode != "lexical":
                    home_id = view.document.collection_id
                    await spaces.check_has(session, searcher.embedders, within, home_id, scope.collection_ids)
                    asked = [await vectors.mean(session, within.space_id, question.like)]
            if reranker is None:
                answer = await _answer(context, asked)
            else:
                ranked = await ranking.find(context, asked)
                contents = await ranking.best_contents(context, ranked)
    if reranker is not None:
        ranked = await _rerank(reranker, question, ranked, contents, clock)
        async with searcher.turns.turn(), transaction(searcher.sessions.within(principal.reach)) as session:
            answer = await _answer_later(replace(context, session=session), ranked)
    if searcher.uses is not None:
        await searcher.uses.note(principal.reach, found)
    if answer.explanation is not None:
        answer.explanation.stages.update(clock.stages, total=clock.total_ms)
    return replace(answer, took_ms=clock.total_ms)


async def _answer(context: Search, questions: Sequence[np.ndarray | None]) -> Answer:
    """What is found and shown without a reranker. Looks deeper once where passages left out emptied places."""
    ranked = await ranking.find(context, questions)
    choice, rows = await showing.choose(context, ranked)
    if not (choice.is_full or ranked.is_all) and choice.taken > len(choice.hits):
        ranked = await ranking.find(replace(context, widen=WIDER), questions)
        choice, rows = await showing.choose(context, ranked)
    return await showing.show(context, ranked, choice, rows)


async def _answer_later(context: Search, ranked: Ranked) -> Answer:
    """The answer from another transaction than found it: what may no longer be found by now is left out."""
    there = await queries.among_searchable(context.session, context.scope, ranked.candidates)
    order = ranked.order[np.isin(ranked.candidates[ranked.order], there)]
    ranked = replace(ranked, order=order)
    return await showing.show(context, ranked, *await showing.choose(context, ranked))


async def _embed(
    searcher: Searcher, principal: Principal, question: Question, space: Space
) -> tuple[list[np.ndarray | None], bool]:
    """The vector of each wording, None where none is asked; whether that is so because the model cannot read it."""
    if question.vector is not None:
        return [question.vector], False
    if space.is_callers:
        return [None] * max(len(question.queries), 1), False
    if question.mode == "lexical" or question.like is not None:
        return [None] * max(len(question.queries), 1), False
    try:
        embedder = await searcher.embedders.get(space)
        is_read = [embedder.reads(query) for query in question.queries]
        is_asked = [each or question.mode == "dense" for each in is_read]
        made = iter(await embedder.embed_queries(list(itertools.compress(question.queries, is_asked))))
    except Unavailable:
        async with transaction(searcher.sessions.within(principal.reach)) as session:
            _, within = await _collections(session, principal, question, searcher.embedders)
        if within.space != space:  # it was only guessed, and nobody needs the model that is away
            raise OtherSpace(within.space) from None
        raise
    return [next(made) if each else None for each in is_asked], not all(is_read)


def _reranker(searcher: Searcher, question: Question) -> Reranker | None:
    """Whom to ask, if anybody. Raises Invalid when reranking is demanded and there is nobody, or no query, to ask."""
    if question.rerank and question.like is not None:
        raise Invalid(
            "search.rerank_and_like",
            "A search for what is like a document has no query to rerank by.",
            hint="leave rerank out",
            pointer="/rerank",
        )
    if question.rerank and searcher.reranker is None:
        raise Invalid(
            "search.no_reranker",
            "There is no reranker here.",
            hint="leave rerank out; whoever runs the server may set RERANK_URL",
            pointer="/rerank",
        )
    return searcher.reranker if question.rerank is not False and question.like is None else None


async def _rerank(
    reranker: Reranker, question: Question, ranked: Ranked, contents: Mapping[int, str], clock: Stopwatch
) -> Ranked:
    """Put in order by the reranker, or as before with a warning why. contents: by place.

    Raises Unavailable instead when reranking is demanded.
    """
    if not contents:
        return ranked
    with clock.stage("rerank"):
        try:
            scores = await reranker.score(question.queries[0], list(contents.values()))
        except Unavailable as exc:
            if question.rerank:
                raise
            log.warning("search.not_reranked", code=exc.code)
            return replace(ranked, warnings=[Notice(exc.code, exc.message, exc.hint)])
    return ranked.reranked(np.array(list(contents), np.int64), scores)


async def _collections(
    session: AsyncSession, principal: Principal, question: Question, embedders: Embedders
) -> tuple[list[Collection], Asked]:
    names = list(dict.fromkeys(question.collections))
    found = [await collections.get(session, principal, name) for name in names]
    return found, await spaces.asked(session, embedders, question, found)


def _check(question: Question) -> None:
    if question.like is None:
        _check_queries(question.queries)
    elif question.queries:
        raise Invalid(
            "search.query_and_like",
            "A search is for a query or for what is like a document, not for both.",
            pointer="/like",
        )
    if not 1 <= len(question.collections) <= MAX_COLLECTIONS:
        raise Invalid("search.collections", f"Name 1 to {MAX_COLLECTIONS} collections.", pointer="/collections")
    _check_number("limit", question.limit, 1, MAX_LIMIT)
    _check_number("neighbours", question.neighbours, 0, MAX_NEIGHBOURS)
    _check_number("diversity", question.diversity, 0, 1)
    if question.max_per_document is not None:
        _check_number("max_per_document", question.max_per_document, 1, MAX_LIMIT)


def _check_queries(asked: Sequence[str]) -> None:
    if not asked or not all(query.strip() for query in asked):
        raise Invalid("search.empty_query", "The query is empty.", hint="ask something", pointer="/query")
    if len(asked) > MAX_QUERIES:
        raise Invalid(
            "search.too_many_queries",
            f"Ask in up to {MAX_QUERIES} wordings; these are {len(asked)}.",
            pointer="/queries",
        )
    longest = max(map(len, asked))
    if longest > MAX_QUERY_CHARACTERS:
        raise Invalid(
            "search.query_too_long",
            f"A query has up to {MAX_QUERY_CHARACTERS} characters; this one has {longest}.",
            pointer="/query",
        )


def _check_number(name: str, value: float, least: int, most: int) -> None:
    if not least <= value <= most:
        raise Invalid(f"search.{name}", f"{name} is a number from {least} to {most}.", pointer=f"/{name}")

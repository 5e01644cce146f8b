"""Search: embed the question before any SQL, ask both sides in one snapshot of the database, fuse, and show.

Where a reranker is asked, that snapshot is closed before and what is shown is read from a new one: no transaction waits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.adapters.reranking import Reranker
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Invalid, Unavailable
from drystone.core.logging import get_logger
from drystone.documents import collections
from drystone.documents import service as documents
from drystone.documents.models import Collection
from drystone.index import analysis, vectors
from drystone.index.analysis import Token
from drystone.index.embedders import Embedders
from drystone.index.lexical import Lexicon, Scored, Snapshot
from drystone.index.spaces import Space
from drystone.index.vectors import Graph, Sizes
from drystone.search import choosing, fusion, queries, spaces
from drystone.search.choosing import Choice, Chosen, Passage
from drystone.search.fusion import Side
from drystone.search.queries import Scope
from drystone.search.schemas import (
    MAX_COLLECTIONS,
    MAX_LIMIT,
    MAX_NEIGHBOURS,
    MAX_QUERIES,
    MAX_QUERY_CHARACTERS,
    Answer,
    Contribution,
    Duplicate,
    ExplainedWord,
    Explanation,
    Hit,
    HitDocument,
    Merged,
    Neighbour,
    Notice,
    Question,
)
from drystone.search.spaces import Asked, Guesses, OtherSpace

log = get_logger(__name__)

# How many passages each side contributes before fusion. Fewer lose quality, more only cost time.
DEPTH = 100
# And how many times more where so many of those are no hits of their own that places in the answer stay empty.
WIDER, WIDEST = 5, 1000
# How many words of a document its likes are looked for by: those that tell it best from others.
WORDS_OF_A_DOCUMENT, WORDS_WEIGHED = 25, 100
# How often a question is embedded anew because somebody switched the collection's model meanwhile.
_GUESSES = 5


@dataclass(frozen=True)
class Searcher:
    """What a search works with; made once a process.

    sessions: of repeatable read, so that all it reads fits together. rerank_depth: how many passages are reranked.
    """

    sessions: Sessions
    embedders: Embedders
    lexicon: Lexicon
    graph: Graph
    reranker: Reranker | None = None
    rerank_depth: int = 50

    @cached_property
    def sizes(self) -> Sizes:
        """How many vectors there are in all."""
        return Sizes()

    @cached_property
    def guesses(self) -> Guesses:
        """Which space the next question will ask."""
        return Guesses(self.embedders)


async def search(searcher: Searcher, principal: Principal, question: Question) -> Answer:
    """The passages that answer the question best.

    Raises NotFound for an unknown collection or document, Invalid for a question that cannot be asked, Conflict when a
    collection was embedded with another model than those that run, Unavailable when reranking is demanded and fails.
    """
    _check(question)
    clock, space = _Stopwatch(), searcher.guesses.guess(principal, question)
    for _ in range(_GUESSES):
        try:
            return await _search(searcher, principal, question, space, clock)
        except OtherSpace as other:
            space = other.space
    raise Unavailable("search.model_changes", "The collection's model changes again and again.", hint="ask once more")


async def _search(
    searcher: Searcher, principal: Principal, question: Question, space: Space, clock: _Stopwatch
) -> Answer:
    """The answer, if the collections have the space that is guessed. Raises OtherSpace where they have another."""
    reranker = _reranker(searcher, question)
    with clock.stage("embed"):
        asked = await _embed(searcher, principal, question, space)
    async with transaction(searcher.sessions) as session:
        with clock.stage("scope"):
            found, within = await _collections(session, principal, question, searcher.embedders)
            searcher.guesses.remember(principal, question, within.space)
            if within.space != space and any(vector is not None for vector in asked):
                raise OtherSpace(within.space)
            scope = Scope(
                [each.id for each in found],
                question.filter,
                await queries.hidden(session, [each.id for each in found]),
                question.like,
            )
        search_ = _Search(searcher, session, question, scope, within, clock)
        if question.like is not None:
            view = await documents.get_document(session, principal, question.like)
            asked = [None]
            if question.mode != "lexical":
                await spaces.check_has(session, searcher.embedders, within, view.document.collection_id)
                asked = [await vectors.mean(session, within.space_id, question.like)]
        if reranker is None:
            answer = await search_.answer(asked)
        else:
            ranked = await search_.find(asked)
            contents = await search_.best_contents(ranked)
    if reranker is not None:
        ranked = await _rerank(reranker, question, ranked, contents, clock)
        async with transaction(searcher.sessions) as session:
            answer = await replace(search_, session=session).show_later(ranked)
    if answer.explanation is not None:
        answer.explanation.stages.update(clock.stages, total=clock.total_ms)
    return replace(answer, took_ms=clock.total_ms)


@dataclass
class _Asked:
    """One wording of a question: what each side was asked and found. ids: best first."""

    vector: np.ndarray | None
    is_exact: bool = False
    scored: Scored | None = None
    lexical_ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    dense_ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    lexical: Side | None = None
    dense: Side | None = None


@dataclass(frozen=True)
class _Ranked:
    """What a search found. candidates: int64 (n,), chunk ids. scores: float64 (n,). order: places of all, best first.

    vectors: float32 (n, dim); None where nobody needs them. is_all: no side had more to give.
    rerank: float64 (n,), NaN for those not reranked; None: none was. warnings: why, if one should have been.
    """

    asked: Sequence[_Asked]
    snapshot: Snapshot
    searchable: int
    exact: bool
    candidates: np.ndarray
    scores: np.ndarray
    order: np.ndarray
    vectors: np.ndarray | None
    is_all: bool
    rerank: np.ndarray | None = None
    warnings: Sequence[Notice] = ()

    def reranked(self, places: np.ndarray, scores: np.ndarray) -> _Ranked:
        """With the reranker's scores of these candidates."""
        rerank = np.full(len(self.candidates), np.nan)
        rerank[places] = scores
        return replace(self, rerank=rerank, order=fusion.reorder(self.order, places, scores))

    def has_vector(self, place: int) -> bool:
        return self.vectors is not None and bool(self.vectors[place].any())

    def rerank_score(self, place: int) -> float | None:
        return None if self.rerank is None or np.isnan(self.rerank[place]) else float(self.rerank[place])

    def score(self, place: int) -> float:
        """What a hit shows: the reranker's score where it has one."""
        rerank = self.rerank_score(place)
        return float(self.scores[place]) if rerank is None else rerank


@dataclass
class _Search:
    """One search on its way through the stages. widen: so many times as deep as usual."""

    searcher: Searcher
    session: AsyncSession
    question: Question
    scope: Scope
    within: Asked
    clock: _Stopwatch
    widen: int = 1

    @property
    def space_id(self) -> int:
        return self.within.space_id

    async def answer(self, questions: Sequence[np.ndarray | None]) -> Answer:
        """What is found and shown without a reranker. Looks deeper once where passages left out emptied places."""
        ranked = await self.find(questions)
        choice, rows = await self._choose(ranked)
        if not (choice.is_full or ranked.is_all) and choice.taken > len(choice.hits):
            ranked = await replace(self, widen=WIDER).find(questions)
            choice, rows = await self._choose(ranked)
        return await self._show(ranked, choice, rows)

    async def find(self, questions: Sequence[np.ndarray | None]) -> _Ranked:
        """What both sides find, fused. questions: the vector of each wording."""
        question, clock = self.question, self.clock
        with clock.stage("words"):
            snapshot = await self.searcher.lexicon.open(self.session, self.scope.collection_ids)
            searchable = await self._count(snapshot)
            exact = await self._is_few(searchable)
            asked = [_Asked(vector) for vector in questions]
            if question.mode != "dense":
                only = None
                if exact and not self.scope.is_all:
                    only = await queries.searchable(self.session, self.scope)
                for each, tokens in zip(asked, await self._tokens(snapshot), strict=True):
                    each.scored = await snapshot.score(self.session, tokens)
                    each.lexical_ids = await self._best_by_words(each.scored, only)
        with clock.stage("vectors"):
            for each in asked:
                if each.vector is not None:
                    each.dense_ids, each.is_exact = await self._nearest(each.vector, searchable, exact=exact)
        with clock.stage("fuse"):
            candidates = np.unique(
                np.concatenate([ids for each in asked for ids in (each.lexical_ids, each.dense_ids)])
            )
            scores, rows = await self._scores(asked, candidates)
            order = fusion.best_first(scores, candidates)
        exact = exact or (bool(asked) and all(each.is_exact for each in asked))
        is_all = all(len(ids) < self._depth for each in asked for ids in (each.lexical_ids, each.dense_ids))
        return _Ranked(asked, snapshot, searchable, exact, candidates, scores, order, rows, is_all)

    async def best_contents(self, ranked: _Ranked) -> dict[int, str]:
        """What the reranker is to read: place of a candidate -> its titles and text, best first."""
        with self.clock.stage("contents"):
            places = ranked.order[: self.searcher.rerank_depth].tolist()
            found = await queries.contents_of(self.session, ranked.candidates[places].tolist())
        ids = {place: int(ranked.candidates[place]) for place in places}
        return {place: found[chunk_id] for place, chunk_id in ids.items() if chunk_id in found}

    async def show_later(self, ranked: _Ranked) -> Answer:
        """The answer from another transaction than found it: what may no longer be found by now is left out."""
        there = await queries.among_searchable(self.session, self.scope, ranked.candidates)
        order = ranked.order[np.isin(ranked.candidates[ranked.order], there)]
        ranked = replace(ranked, order=order)
        return await self._show(ranked, *await self._choose(ranked))

    async def _show(self, ranked: _Ranked, choice: Choice, rows: Mapping[int, Row[Any]]) -> Answer:
        with self.clock.stage("show"):
            hits = await self._hits(ranked, choice.hits, rows)
        return Answer(
            hits,
            exact=ranked.exact,
            truncated=self._is_truncated(ranked, choice),
            took_ms=self.clock.total_ms,
            explanation=self._explanation(ranked, choice) if self.question.explain else None,
            reranked=ranked.rerank is not None,
            warnings=[*self._lacking(), *ranked.warnings],
        )

    def _lacking(self) -> list[Notice]:
        names = ", ".join(self.within.lacking)
        told = f"{self.within.space.model} does not have all passages of {names} yet."
        return [Notice("search.incomplete_model", told, None)] if names and self.question.mode != "lexical" else []

    def _is_truncated(self, ranked: _Ranked, choice: Choice) -> bool:
        """Whether passages were not even looked at, although there is room. Words alone tell when they have no more."""
        if choice.is_full:
            return False
        return not ranked.is_all if self.question.mode == "lexical" else len(ranked.candidates) < ranked.searchable

    @property
    def _depth(self) -> int:
        """Deeper where passages may be left out of the answer once they are found."""
        question = self.question
        least = DEPTH if question.max_per_document is None else 2 * DEPTH
        base = max(least, 2 * question.limit if question.leaves_out else question.limit)
        return max(base, min(self.widen * base, WIDEST // max(len(question.queries), 1)))

    async def _nearest(self, vector: np.ndarray, searchable: int, *, exact: bool) -> tuple[np.ndarray, bool]:
        """(ids of the nearest in scope, nearest first; whether all in scope were compared).

        Where the walk gives up before it has met enough, the question lies far from what is in scope: all is compared.
        """
        for scan in (True,) if exact else (False, True):
            find = vectors.scan if scan else self.searcher.graph.walk
            ids, _ = await find(self.session, self.space_id, self.scope, vector, depth=self._depth)
            if len(ids) >= min(self._depth, searchable):
                break
        return ids, scan

    async def _is_few(self, searchable: int) -> bool:
        """Whether all in scope are compared. With a filter `searchable` is no more than enough to say that they are many."""
        if searchable <= queries.EXACT_UP_TO or not self.scope.is_all:
            return searchable <= queries.EXACT_UP_TO
        return queries.is_few(searchable, await self.searcher.sizes.of(self.session, self.space_id))

    async def _count(self, snapshot: Snapshot) -> int:
        if self.scope.is_all:
            return snapshot.chunk_count
        return await queries.count_searchable(self.session, self.scope, up_to=queries.EXACT_UP_TO)

    async def _tokens(self, snapshot: Snapshot) -> list[list[Token]]:
        if self.question.like is None:
            return [analysis.tokens(query, snapshot.languages) for query in self.question.queries]
        content = "\n".join(await queries.contents(self.session, self.question.like))
        said = sorted(analysis.tokens(content, snapshot.languages), key=lambda token: -token.frequency)[:WORDS_WEIGHED]
        weighed = (await snapshot.score(self.session, said)).weights
        telling = sorted(weighed, key=lambda weight: -weight.weight)[:WORDS_OF_A_DOCUMENT]
        return [[weight.token for weight in telling]]

    async def _best_by_words(self, scored: Scored, only: np.ndarray | None) -> np.ndarray:
        """The best passages in scope. only: all of those, where they are few; else the best are asked about in turn."""
        if self.scope.is_all or only is not None:
            return scored.top(self._depth, only=only)[0]
        kept: list[np.ndarray] = []
        skip, count = 0, 2 * self._depth
        while sum(map(len, kept)) < self._depth:
            ids, _ = scored.top(count, skip=skip)
            if not len(ids):
                break
            there = await queries.among_searchable(self.session, self.scope, ids)
            kept.append(ids[np.isin(ids, there)])
            skip, count = skip + count, count * 2
        return np.concatenate(kept)[: self._depth] if kept else np.empty(0, np.int64)

    async def _scores(self, asked: Sequence[_Asked], candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """float64 (n,): what each candidate is worth, from the true scores of both sides, whichever found it; and vectors."""
        rows = None
        if self.question.diversity > 0 or any(each.vector is not None for each in asked):
            dimension = self.within.space.dimension
            rows = await vectors.of_chunks(self.session, self.space_id, candidates, dimension)
        for each in asked:
            if each.scored is not None:
                each.lexical = Side(
                    each.scored.of(candidates), fusion.ranks_in(candidates, each.lexical_ids), fusion.LEXICAL_WEIGHT
                )
            if each.vector is not None and rows is not None:
                cosines = (rows @ each.vector).astype(np.float64)
                each.dense = Side(cosines, fusion.ranks_in(candidates, each.dense_ids), fusion.DENSE_WEIGHT)
        sides = [side for each in asked for side in (each.lexical, each.dense) if side is not None]
        if not sides:
            return np.zeros(len(candidates)), rows
        scores = fusion.fuse(sides)
        return fusion.smooth(scores, rows) if self.question.mode == "hybrid" and rows is not None else scores, rows

    async def _choose(self, ranked: _Ranked) -> tuple[Choice, dict[int, Row[Any]]]:
        """The hits, and what the database has of each place looked at: a few more than hits, and again more if need be."""
        question = self.question
        choice = Choice(question.limit, merge=question.merge, collapse=question.collapsed)
        rows: dict[int, Row[Any]] = {}
        with self.clock.stage("choose"):
            order = await self._order(ranked)
            begin, count = 0, question.limit * 3 // 2 + 5 if question.leaves_out else question.limit
            while begin < len(order) and not choice.is_full:
                places = order[begin : begin + count]
                found = await queries.passages(self.session, ranked.candidates[places].tolist())
                for place in places.tolist():
                    row = found.get(int(ranked.candidates[place]))
                    if row is not None and not choice.is_full:
                        rows[place] = row
                        choice.add(_passage(place, row))
                begin, count = begin + count, count * 2
        return choice, rows

    async def _order(self, ranked: _Ranked) -> np.ndarray:
        """The places that may be hits, best first: so many of a document at most, and the first of them unlike each other."""
        order, question = ranked.order, self.question
        if question.max_per_document is not None:
            of_chunk = await queries.documents_of(self.session, ranked.candidates.tolist())
            of_place = {place: of_chunk[int(ranked.candidates[place])] for place in order.tolist()}
            order = choosing.within(order, of_place, question.max_per_document)
        if question.diversity > 0 and ranked.vectors is not None:
            # A reranker's scores and ours are of two scales: those it did not read stay behind.
            pool = order if ranked.rerank is None else order[np.isfinite(ranked.rerank[order])]
            relevance = np.array([ranked.score(place) for place in pool.tolist()])
            count = 2 * question.limit
            first = choosing.diversified(
                pool, relevance, ranked.vectors[pool], diversity=question.diversity, count=count
            )
            order = np.concatenate([first, order[~np.isin(order, pool)]])
        return order

    async def _hits(self, ranked: _Ranked, chosen: Sequence[Chosen], rows: Mapping[int, Row[Any]]) -> list[Hit]:
        asked, languages, question = ranked.asked, ranked.snapshot.languages, self.question
        terms = self._terms(asked) if question.highlight else set()
        near = await self._neighbours([_ends(each, rows) for each in chosen])
        hits: list[Hit] = []
        for each, around in zip(chosen, near, strict=True):
            place, start, quote = each.best.place, each.passages[0].start, each.text
            chunk_id = int(ranked.candidates[place])
            hits.append(
                _hit(
                    each,
                    quote,
                    rows,
                    ranked,
                    rank=len(hits) + 1,
                    highlights=[
                        (start + first, start + last)
                        for first, last in (analysis.spans(quote, terms, languages) if terms else ())
                    ],
                    neighbours=around,
                    contributions=_contributions(asked, chunk_id) if question.explain else [],
                )
            )
        return hits

    async def _neighbours(self, ends: Sequence[tuple[int, int]]) -> list[list[Neighbour]]:
        """For each hit those before its first and after its last passage. ends: the chunk ids of both."""
        if not self.question.neighbours:
            return [[] for _ in ends]
        ids = list({chunk_id for pair in ends for chunk_id in pair})
        near = await queries.neighbours(self.session, ids, self.question.neighbours)
        return [
            [_neighbour(each) for each in near[first] if each.distance < 0]
            + [_neighbour(each) for each in near[last] if each.distance > 0]
            for first, last in ends
        ]

    def _terms(self, asked: Sequence[_Asked]) -> set[str]:
        scored = [each.scored for each in asked if each.scored is not None]
        return {term for each in scored for weight in each.weights for term in weight.token.terms}

    def _explanation(self, ranked: _Ranked, choice: Choice) -> Explanation:
        asked = ranked.asked
        return Explanation(
            languages=list(ranked.snapshot.languages),
            words=[_explained(each.scored) for each in asked],
            passages=ranked.snapshot.chunk_count,
            searchable=ranked.searchable,
            vectors="none" if self.question.mode == "lexical" else "scan" if ranked.exact else "graph",
            best_dense=[each.dense.best for each in asked if each.dense is not None],
            best_lexical=[each.lexical.best for each in asked if each.lexical is not None],
            candidates=len(ranked.candidates),
            reranked_passages=0 if ranked.rerank is None else int(np.isfinite(ranked.rerank).sum()),
            merged_passages=sum(len(hit.passages) - 1 for hit in choice.hits),
            collapsed_passages=sum(len(hit.duplicates) for hit in choice.hits),
            stages=dict(self.clock.stages),
        )


class _Stopwatch:
    """Milliseconds of each stage."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.stages[name] = round(self.stages.get(name, 0) + (time.perf_counter() - began) * 1000, 2)

    @property
    def total_ms(self) -> float:
        return round((time.perf_counter() - self._began) * 1000, 2)


async def _embed(searcher: Searcher, principal: Principal, question: Question, space: Space) -> list[np.ndarray | None]:
    if question.mode == "lexical" or question.like is not None:
        return [None] * max(len(question.queries), 1)
    try:
        embedder = await searcher.embedders.get(space)
        return list(await embedder.embed_queries(list(question.queries)))
    except Unavailable:
        async with transaction(searcher.sessions) as session:
            _, within = await _collections(session, principal, question, searcher.embedders)
        if within.space != space:  # it was only guessed, and nobody needs the model that is away
            raise OtherSpace(within.space) from None
        raise


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
    reranker: Reranker, question: Question, ranked: _Ranked, contents: Mapping[int, str], clock: _Stopwatch
) -> _Ranked:
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


def _best_of(sides: Sequence[Side | None], place: int) -> tuple[float, int] | None:
    """The best score and the best rank (0: none) of a candidate among several wordings; None where none was asked."""
    asked = [side for side in sides if side is not None]
    if not asked:
        return None
    ranks = [int(side.ranks[place]) for side in asked if side.ranks[place]]
    return max(float(side.scores[place]) for side in asked), min(ranks, default=0)


def _passage(place: int, row: Row[Any]) -> Passage:
    return Passage(place, row.version_id, row.ordinal, row.start_offset, row.end_offset, row.text, row.space_before)


def _ends(chosen: Chosen, rows: Mapping[int, Row[Any]]) -> tuple[int, int]:
    """The chunk ids of its first and its last passage."""
    return rows[chosen.passages[0].place].chunk_id, rows[chosen.passages[-1].place].chunk_id


def _hit(
    chosen: Chosen,
    quote: str,
    rows: Mapping[int, Row[Any]],
    ranked: _Ranked,
    *,
    rank: int,
    highlights: list[tuple[int, int]],
    neighbours: list[Neighbour],
    contributions: list[Contribution],
) -> Hit:
    place = chosen.best.place
    first, last, row = (rows[each.place] for each in (chosen.passages[0], chosen.passages[-1], chosen.best))
    dense = _best_of([each.dense for each in ranked.asked], place) if ranked.has_vector(place) else None
    lexical = _best_of([each.lexical for each in ranked.asked], place)
    has_words = lexical is not None and lexical[0] > 0
    return Hit(
        rank=rank,
        score=ranked.score(place),
        document=_document(row),
        version_id=row.version_id,
        title_path=choosing.shared([rows[each.place].title_path for each in chosen.passages]),
        quote=quote,
        start=first.start_offset,
        end=last.end_offset,
        page=first.page,
        page_end=last.page_end,
        ordinal=first.ordinal,
        dense_score=dense[0] if dense else None,
        dense_rank=(dense[1] or None) if dense else None,
        lexical_score=lexical[0] if lexical and has_words else None,
        lexical_rank=(lexical[1] or None) if lexical and has_words else None,
        rerank_score=ranked.rerank_score(place),
        highlights=highlights,
        neighbours=neighbours,
        contributions=contributions,
        merged=[
            Merged(each.start, each.end, rows[each.place].title_path, ranked.score(each.place))
            for each in chosen.passages
            if len(chosen.passages) > 1
        ],
        duplicates=[
            _duplicate(rows[each.passage.place], ranked.score(each.passage.place), is_copy=each.is_copy)
            for each in chosen.duplicates
        ],
    )


def _document(row: Row[Any]) -> HitDocument:
    return HitDocument(
        id=row.document_id,
        version=row.version_number,
        collection=row.collection,
        external_id=row.external_id,
        title=row.title,
        name=row.name,
        attributes=row.attributes,
    )


def _duplicate(row: Row[Any], score: float, *, is_copy: bool) -> Duplicate:
    return Duplicate(_document(row), row.start_offset, row.end_offset, row.page, score, is_copy)


def _neighbour(row: Row[Any]) -> Neighbour:
    return Neighbour(row.distance, row.text, row.start_offset, row.end_offset)


def _contributions(asked: Sequence[_Asked], chunk_id: int) -> list[Contribution]:
    found: Mapping[str, float] = {}
    for each in asked:
        if each.scored is not None:
            scores = each.scored.contributions(chunk_id)
            found = {
                **found,
                **{
                    w.token.word: s
                    for w, s in zip(each.scored.weights, scores, strict=True)
                    if s > found.get(w.token.word, 0)
                },
            }
    return [Contribution(word, score) for word, score in sorted(found.items(), key=lambda pair: -pair[1])]


def _explained(scored: Scored | None) -> list[ExplainedWord]:
    return [
        ExplainedWord(weight.token.word, sorted(weight.token.terms), weight.chunks, weight.weight)
        for weight in (scored.weights if scored is not None else ())
    ]

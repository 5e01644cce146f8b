"""What both sides find for a question, and how it ranks: the statements in the order in which a search makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from drystone.index import analysis, vectors
from drystone.index.analysis import Token
from drystone.index.lexical import Scored, Snapshot
from drystone.search import fusion, queries
from drystone.search.context import DEPTH, Search
from drystone.search.fusion import Side
from drystone.search.schemas import Notice

# How many words of a document its likes are looked for by: those that tell it best from others.
WORDS_OF_A_DOCUMENT, WORDS_WEIGHED = 25, 100
# From so many candidates on, other requests do not wait while each is compared with each: milliseconds at 400, tens at 1600.
_MANY = 400
# And while so long a question is cut into words.
_MANY_CHARACTERS = 500


@dataclass
class Wording:
    """One wording of a question: what each side was asked and found. ids: best first."""

    vector: np.ndarray | None
    is_exact: bool = False
    scored: Scored | None = None
    lexical_ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    dense_ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    lexical: Side | None = None
    dense: Side | None = None

    @property
    def found(self) -> tuple[np.ndarray, np.ndarray]:
        return self.lexical_ids, self.dense_ids


@dataclass(frozen=True)
class Ranked:
    """What a search found. candidates: int64 (n,), chunk ids. scores: float64 (n,). order: places of all, best first.

    vectors: float32 (n, dim); None where nobody needs them. is_all: no side had more to give. no_words: a question of
    stop words alone.
    rerank: float64 (n,), NaN for those not reranked; None: none was. warnings: why, if one should have been.
    """

    asked: Sequence[Wording]
    snapshot: Snapshot
    searchable: int
    exact: bool
    candidates: np.ndarray
    scores: np.ndarray
    order: np.ndarray
    vectors: np.ndarray | None
    is_all: bool
    no_words: bool = False
    rerank: np.ndarray | None = None
    warnings: Sequence[Notice] = ()

    def reranked(self, places: np.ndarray, scores: np.ndarray) -> Ranked:
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


async def find(search: Search, questions: Sequence[np.ndarray | None]) -> Ranked:
    """What both sides find, fused. questions: the vector of each wording."""
    question, clock = search.question, search.clock
    with clock.stage("words"):
        snapshot = await search.searcher.lexicon.open(search.session, search.scope.collection_ids)
        searchable = await _count(search, snapshot)
        exact = await _is_few(search, searchable)
        asked, no_words = [Wording(vector) for vector in questions], False
        if question.mode != "dense":
            only = None
            if exact and not search.scope.is_all:
                only = await queries.searchable(search.session, search.scope)
            said = await _tokens(search, snapshot)
            no_words = not any(said)
            for each, tokens in zip(asked, said, strict=True):
                each.scored = await snapshot.score(search.session, tokens)
                each.lexical_ids = await _best_by_words(search, each.scored, only)
    with clock.stage("vectors"):
        for each in asked:
            if each.vector is not None:
                each.dense_ids, each.is_exact = await _nearest(search, each.vector, searchable, exact=exact)
    with clock.stage("fuse"):
        candidates = np.unique(np.concatenate([ids for each in asked for ids in each.found]))
        first = np.isin(candidates, np.concatenate([ids[:DEPTH] for each in asked for ids in each.found]))
        scores, rows = await _scores(search, asked, candidates, first)
        order = fusion.best_first(scores, candidates, first)
    exact = exact or (bool(asked) and all(each.is_exact for each in asked))
    is_all = all(len(ids) < search.depth for each in asked for ids in each.found)
    return Ranked(asked, snapshot, searchable, exact, candidates, scores, order, rows, is_all, no_words)


async def best_contents(search: Search, ranked: Ranked) -> dict[int, str]:
    """What the reranker is to read: place of a candidate -> its titles and text, best first."""
    with search.clock.stage("contents"):
        places = ranked.order[: search.searcher.rerank_depth].tolist()
        found = await queries.contents_of(search.session, ranked.candidates[places].tolist())
    ids = {place: int(ranked.candidates[place]) for place in places}
    return {place: found[chunk_id] for place, chunk_id in ids.items() if chunk_id in found}


async def _nearest(search: Search, vector: np.ndarray, searchable: int, *, exact: bool) -> tuple[np.ndarray, bool]:
    """(ids of the nearest in scope, nearest first; whether all in scope were compared).

    Where the walk gives up before it has met enough, the question lies far from what is in scope: all is compared.
    """
    for scan in (True,) if exact else (False, True):
        find = vectors.scan if scan else search.searcher.graph.walk
        ids, _ = await find(search.session, search.space_id, search.scope, vector, depth=search.depth)
        if len(ids) >= min(search.depth, searchable):
            break
    return ids, scan


async def _is_few(search: Search, searchable: int) -> bool:
    """Whether all in scope are compared. With a filter `searchable` is no more than enough to say that they are many."""
    if searchable <= queries.EXACT_UP_TO or not search.scope.is_all:
        return searchable <= queries.EXACT_UP_TO
    return queries.is_few(searchable, await search.searcher.sizes.of(search.session, search.space_id))


async def _count(search: Search, snapshot: Snapshot) -> int:
    if search.scope.is_all:
        return snapshot.chunk_count
    return await queries.count_searchable(search.session, search.scope, up_to=queries.EXACT_UP_TO)


async def _tokens(search: Search, snapshot: Snapshot) -> list[list[Token]]:
    if search.question.like is None:
        queries_, languages = search.question.queries, snapshot.languages
        if sum(map(len, queries_)) > _MANY_CHARACTERS:
            return await asyncio.to_thread(lambda: [analysis.tokens(query, languages) for query in queries_])
        return [analysis.tokens(query, languages) for query in queries_]
    content = "\n".join(await queries.contents(search.session, search.question.like))
    said = sorted(analysis.tokens(content, snapshot.languages), key=lambda token: -token.frequency)[:WORDS_WEIGHED]
    weighed = (await snapshot.score(search.session, said)).weights
    telling = sorted(weighed, key=lambda weight: -weight.weight)[:WORDS_OF_A_DOCUMENT]
    return [[weight.token for weight in telling]]


async def _best_by_words(search: Search, scored: Scored, only: np.ndarray | None) -> np.ndarray:
    """The best passages in scope. only: all of those, where they are few; else the best are asked about in turn."""
    if search.scope.is_all or only is not None:
        return scored.top(search.depth, only=only)[0]
    kept: list[np.ndarray] = []
    skip, count = 0, 2 * search.depth
    while sum(map(len, kept)) < search.depth:
        ids, _ = scored.top(count, skip=skip)
        if not len(ids):
            break
        there = await queries.among_searchable(search.session, search.scope, ids)
        kept.append(ids[np.isin(ids, there)])
        skip, count = skip + count, count * 2
    return np.concatenate(kept)[: search.depth] if kept else np.empty(0, np.int64)


async def _scores(
    search: Search, asked: Sequence[Wording], candidates: np.ndarray, first: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """float64 (n,): what each candidate is worth, from the true scores of both sides, whichever found it; and vectors.

    first: bool (n,), those that every search looks at, whatever its limit: they alone are smoothed, and no other is worth more.
    """
    rows = None
    if search.question.diversity > 0 or any(each.vector is not None for each in asked):
        dimension = search.within.space.dimension
        rows = await vectors.of_chunks(search.session, search.space_id, candidates, dimension)
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
    if search.question.mode != "hybrid" or rows is None:
        return scores, rows
    smooth = partial(fusion.smooth, scores[first], rows[first])
    smoothed = await asyncio.to_thread(smooth) if len(rows) > _MANY else smooth()
    scores = np.minimum(scores, smoothed.min(initial=np.inf))
    scores[first] = smoothed
    return scores, rows

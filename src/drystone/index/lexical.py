"""Keyword search: the BM25 score of every passage that holds a word of the question, exactly.

Segments and additions never change once they are written, so a process keeps what it has read of them, up to a number of
bytes; which of them count, and which passages were removed, is read anew in the transaction of each search. Scores are
added up in arrays, a place for each passage.

BM25: Robertson and Zaragoza 2009, k1 = 1.2, b = 0.6, idf = ln(1 + (N - n + 0.5) / (n + 0.5)), times how often the
question says the word. N, n and lengths are those of the passages that are there, over all collections searched.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from uuid import UUID

import numpy as np
from cachetools import LRUCache
from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.index.additions import Postings
from drystone.index.analysis import Token

# Passages are cut to much the same length, so a longer one is seldom long for nothing: B below the usual 0.75.
K1, B = 1.2, 0.6
# A question of more words is not reckoned on the event loop, where everybody else would wait.
MANY_WORDS = 64


@dataclass(frozen=True)
class Weight:
    """What a word of the question counts. chunks: how many passages hold it. weight: idf times its frequency there."""

    token: Token
    chunks: int
    weight: float


@dataclass(frozen=True)
class Part:
    """Passages whose scores are added up together.

    chunk_ids: int64 (n,). lengths: int32 (n,). live: bool (n,), False for removed ones; None: all are there.
    postings: of the terms asked for. order: sorts chunk_ids; None: they are ascending.
    """

    chunk_ids: np.ndarray
    lengths: np.ndarray
    live: np.ndarray | None
    postings: Mapping[str, Postings]
    order: np.ndarray | None = None


@dataclass(frozen=True)
class Collected:
    """What BM25 knows of all passages together. mean_length: in words. norms: float64 (n,) of each part, K1 times its share."""

    chunks: int
    mean_length: float
    norms: Sequence[np.ndarray]


@dataclass(frozen=True)
class Scored:
    """BM25 scores of one question. scores: float64, one array a part, 0 where no word stands."""

    parts: Sequence[Part]
    scores: Sequence[np.ndarray]
    weights: Sequence[Weight]

    def top(self, count: int, *, skip: int = 0, only: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(chunk ids, scores) of the best `count` after the first `skip`, best first; equal ones by id.

        only: int64 ascending, the chunks that may be among them; None: any.
        """
        ids, scores = [], []
        for part, given in zip(self.parts, self.scores, strict=True):
            found = np.flatnonzero(given)
            if only is not None:
                found = found[is_in(part.chunk_ids[found], only)]
            elif len(found) > 4 * (count + skip):  # equal scores at the border stay, to be told apart by id
                worst = np.partition(given[found], -(count + skip))[-(count + skip)]
                found = found[given[found] >= worst]
            ids.append(part.chunk_ids[found])
            scores.append(given[found])
        all_ids, all_scores = _joined(ids, np.int64), _joined(scores, np.float64)
        order = np.lexsort((all_ids, -all_scores))[skip : skip + count]
        return all_ids[order], all_scores[order]

    def of(self, chunk_ids: np.ndarray) -> np.ndarray:
        """The scores of these chunks, float64, in their order; 0 for those that hold no word of the question."""
        found = np.zeros(len(chunk_ids))
        for part, given in zip(self.parts, self.scores, strict=True):
            places = _places(part, chunk_ids)
            found[places >= 0] = given[places[places >= 0]]
        return found

    def contributions(self, chunk_ids: np.ndarray) -> np.ndarray:
        """float64 (chunks, weights): what each weight adds to the score of each of these chunks."""
        found = np.zeros((len(chunk_ids), len(self.weights)))
        mean = mean_length(self.parts)
        for part in self.parts:
            places = _places(part, chunk_ids)
            here = np.flatnonzero(places >= 0)
            if not len(here):
                continue
            norms = K1 * (1 - B + B / mean * part.lengths[places[here]])
            for at, weight in enumerate(self.weights):
                tf = _frequencies(_postings(part, weight.token), places[here])
                found[here, at] = weight.weight * (K1 + 1) * tf / (tf + norms)
        return found


def collect(parts: Sequence[Part]) -> Collected:
    """What all words of a question are weighed by."""
    mean = mean_length(parts)
    return Collected(count(parts), mean, [K1 * (1 - B + B / mean * part.lengths) for part in parts])


def score(parts: Sequence[Part], tokens: Sequence[Token], given: Collected | None = None) -> Scored:
    """BM25 of every passage of these parts. given: as `collect` has it of them."""
    given = given or collect(parts)
    scores = [np.zeros(len(part.chunk_ids)) for part in parts]
    weights = []
    for token in tokens:
        found = [_postings(part, token) for part in parts]
        having = sum(len(each.ordinals) for each in found)
        weight = token.frequency * math.log(1 + (given.chunks - having + 0.5) / (having + 0.5))
        weights.append(Weight(token, having, weight))
        for total, norm, each in zip(scores, given.norms, found, strict=True):
            tf = each.frequencies.astype(np.float64)
            total[each.ordinals] += weight * (K1 + 1) * tf / (tf + norm[each.ordinals])
    return Scored(parts, scores, weights)


def count(parts: Sequence[Part]) -> int:
    """How many passages are there."""
    return sum(len(part.chunk_ids) if part.live is None else int(np.count_nonzero(part.live)) for part in parts)


def mean_length(parts: Sequence[Part]) -> float:
    """Words of a passage, on the average; 1 where there are none."""
    words = sum(int((part.lengths if part.live is None else part.lengths[part.live]).sum()) for part in parts)
    return words / max(count(parts), 1) or 1.0


def is_in(chunk_ids: np.ndarray, sorted_ids: np.ndarray) -> np.ndarray:
    """bool: which of chunk_ids are among sorted_ids (ascending)."""
    if not len(sorted_ids):
        return np.zeros(len(chunk_ids), bool)
    places = np.minimum(np.searchsorted(sorted_ids, chunk_ids), len(sorted_ids) - 1)
    return np.asarray(sorted_ids[places] == chunk_ids)


class Lexicon:
    """Reads the words of collections, and keeps what it has read. One a process; for the event loop's thread only."""

    def __init__(self, *, cache_bytes: int) -> None:
        # By table and id; postings by segment and term. One for all: what is asked for most stays, of whatever kind.
        self._cache: _Cache = LRUCache(cache_bytes - cache_bytes // 4, _size)
        self._live: dict[int, tuple[list[int], np.ndarray | None]] = {}
        # By what they are made of: as long as nothing is written, the next search needs the same.
        self._snapshots: LRUCache[Hashable, Snapshot] = LRUCache(cache_bytes // 4, _size_of_snapshot)

    async def open(self, session: AsyncSession, collection_ids: Sequence[UUID]) -> Snapshot:
        """The words of these collections as the transaction sees them: repeatable read, or what is read may not fit."""
        row = (await session.execute(_STATE, {"collection_ids": list(collection_ids)})).one()
        made_of = tuple(row.segments), tuple(row.additions), tuple(row.removals)
        if (known := self._snapshots.get(made_of)) is not None:
            return known
        found = await self._open(session, row)
        if _size_of_snapshot(found) <= self._snapshots.maxsize:
            self._snapshots[made_of] = found
        return found

    async def _open(self, session: AsyncSession, row: Row[Any]) -> Snapshot:
        segments = await _load(session, self._cache, "segment", row.segments)
        additions = await _load(session, self._cache, "addition", row.additions)
        removals = await _load(session, self._cache, "removal", row.removals)
        recent = _together(list(additions.values()))
        removed = np.sort(_joined(list(removals.values()), np.int64))
        live = {number: self._live_of(number, block, row.removals, removed) for number, block in segments.items()}
        blocks = (*segments.values(), *additions.values())
        return Snapshot(
            languages=sorted({language for block in blocks for language in block.languages}),
            segments={number: Part(b.chunk_ids, b.lengths, live[number], {}) for number, b in segments.items()},
            recent=Part(
                recent.chunk_ids, recent.lengths, _live(recent, removed), {}, order=np.argsort(recent.chunk_ids)
            ),
            additions=list(additions.values()),
            cache=self._cache,
        )

    def _live_of(self, number: int, block: _Block, removals: list[int], removed: np.ndarray) -> np.ndarray | None:
        """Which passages of a segment are there: found out once for each set of removals."""
        known = self._live.get(number)
        if known is None or known[0] != removals:
            known = self._live[number] = (removals, _live(block, removed))
            for old in [each for each in self._live if ("segment", each) not in self._cache]:
                del self._live[old]
        return known[1]


@dataclass(frozen=True)
class Snapshot:
    """The words of some collections at one time. languages: in which passages were analysed."""

    languages: Sequence[str]
    segments: Mapping[int, Part]
    recent: Part
    additions: Sequence[_Block]
    cache: _Cache

    @property
    def chunk_count(self) -> int:
        """How many passages are there."""
        return self.collected.chunks

    @cached_property
    def collected(self) -> Collected:
        """Of the segments in their order, and what is recent."""
        return collect([*self.segments.values(), self.recent])

    async def score(self, session: AsyncSession, tokens: Sequence[Token]) -> Scored:
        """BM25 of every passage for these words."""
        terms = sorted({term for token in tokens for term in token.terms})
        found = await self._read(session, terms)
        parts = [
            replace(part, postings={term: found[number, term] for term in terms})
            for number, part in self.segments.items()
        ]
        parts.append(replace(self.recent, postings=_recent_postings(self.additions, terms)))
        if len(tokens) > MANY_WORDS:
            return await asyncio.to_thread(score, parts, tokens, self.collected)
        return score(parts, tokens, self.collected)

    async def _read(self, session: AsyncSession, terms: Sequence[str]) -> dict[tuple[int, str], Postings]:
        wanted = [(number, term) for number in self.segments for term in terms]
        found = {pair: known for pair in wanted if (known := self.cache.get(pair)) is not None}
        if missing := [pair for pair in wanted if pair not in found]:
            rows = await session.execute(
                _LOAD_POSTINGS, {"segments": [number for number, _ in missing], "terms": [term for _, term in missing]}
            )
            read = dict.fromkeys(missing, _NONE) | {
                (row.segment_id, row.term): Postings(
                    np.frombuffer(row.ordinals, np.uint32), np.frombuffer(row.frequencies, np.uint16)
                )
                for row in rows
            }
            for pair, each in read.items():
                if _size(each) <= self.cache.maxsize:
                    self.cache[pair] = each
            found |= read
        return found


def _live(block: _Block, removed: np.ndarray) -> np.ndarray | None:
    is_removed = is_in(block.chunk_ids, removed)
    return ~is_removed if is_removed.any() else None


@dataclass(frozen=True)
class _Block:
    """A segment without its postings, or an addition with them. terms: term -> from where to where its postings go."""

    languages: frozenset[str]
    chunk_ids: np.ndarray
    lengths: np.ndarray
    terms: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    ordinals: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint32))
    frequencies: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint16))


_Cache = LRUCache[tuple[str | int, int | str], Any]
_NONE = Postings(np.empty(0, np.uint32), np.empty(0, np.uint16))


async def _load(session: AsyncSession, cache: _Cache, kind: str, ids: Sequence[int]) -> dict[int, Any]:
    """Rows by id: those kept already, the others read and kept."""
    found = {each: known for each in ids if (known := cache.get((kind, each))) is not None}
    if missing := [each for each in ids if each not in found]:
        statement, decode = _LOADED[kind]
        read = {row.id: decode(row) for row in await session.execute(statement, {"ids": missing})}
        for number, each in read.items():
            if _size(each) <= cache.maxsize:
                cache[kind, number] = each
        found |= read
    return {each: found[each] for each in ids}


def _segment(row: Any) -> _Block:
    return _Block(frozenset(row.languages), np.array(row.chunk_ids, np.int64), np.array(row.lengths, np.int32))


def _addition(row: Any) -> _Block:
    ends = np.cumsum(row.counts).tolist()
    return _Block(
        languages=frozenset(row.languages),
        chunk_ids=np.array(row.chunk_ids, np.int64),
        lengths=np.array(row.lengths, np.int32),
        terms={term: (end - length, end) for term, length, end in zip(row.terms, row.counts, ends, strict=True)},
        ordinals=np.array(row.ordinals, np.uint32),
        frequencies=np.array(row.frequencies, np.uint16),
    )


def _removal(row: Any) -> np.ndarray:
    return np.array(row.chunk_ids, np.int64)


def _together(additions: Sequence[_Block]) -> _Block:
    return _Block(
        languages=frozenset(language for each in additions for language in each.languages),
        chunk_ids=_joined([each.chunk_ids for each in additions], np.int64),
        lengths=_joined([each.lengths for each in additions], np.int32),
    )


def _recent_postings(additions: Sequence[_Block], terms: Sequence[str]) -> dict[str, Postings]:
    """Postings of all additions, places counted through."""
    begin = 0
    found: dict[str, list[Postings]] = {}
    for block in additions:
        for term in terms:
            if place := block.terms.get(term):
                part = slice(*place)
                postings = Postings(block.ordinals[part] + np.uint32(begin), block.frequencies[part])
                found.setdefault(term, []).append(postings)
        begin += len(block.chunk_ids)
    return {term: _concatenated(lists) for term, lists in found.items()}


def _concatenated(lists: Sequence[Postings]) -> Postings:
    if len(lists) == 1:
        return lists[0]
    return Postings(
        np.concatenate([each.ordinals for each in lists]), np.concatenate([each.frequencies for each in lists])
    )


def _postings(part: Part, token: Token) -> Postings:
    """Where any form of a word stands, among the passages that are there; the most frequent form counts."""
    lists = [part.postings[term] for term in token.terms if term in part.postings]
    if not lists:
        return _NONE
    ordinals, frequencies = lists[0].ordinals, lists[0].frequencies
    if len(lists) > 1:
        joined = _concatenated(lists)
        order = np.argsort(joined.ordinals, kind="stable")
        ordinals, first = np.unique(joined.ordinals[order], return_index=True)
        frequencies = np.maximum.reduceat(joined.frequencies[order], first) if len(first) else joined.frequencies
    if part.live is not None:
        is_live = part.live[ordinals]
        ordinals, frequencies = ordinals[is_live], frequencies[is_live]
    return Postings(ordinals, frequencies)


def _places(part: Part, chunk_ids: np.ndarray) -> np.ndarray:
    """Where these chunks are in a part; -1 for those that are not."""
    if not len(part.chunk_ids):
        return np.full(len(chunk_ids), -1)
    places = np.minimum(np.searchsorted(part.chunk_ids, chunk_ids, sorter=part.order), len(part.chunk_ids) - 1)
    places = places if part.order is None else part.order[places]
    return np.where(part.chunk_ids[places] == chunk_ids, places, -1)


def _frequencies(postings: Postings, places: np.ndarray) -> np.ndarray:
    """float64: how often a word stands at each of these places; 0 where it does not."""
    if not len(postings.ordinals):
        return np.zeros(len(places))
    at = np.minimum(np.searchsorted(postings.ordinals, places), len(postings.ordinals) - 1)
    return np.where(postings.ordinals[at] == places, postings.frequencies[at], 0).astype(np.float64)


def _joined(arrays: Sequence[np.ndarray], kind: type[np.generic]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.empty(0, kind)


def _size(kept: _Block | Postings | np.ndarray) -> int:
    """Bytes that something takes in memory, roughly."""
    if isinstance(kept, np.ndarray):
        return 200 + kept.nbytes
    if isinstance(kept, Postings):
        return 400 + kept.ordinals.nbytes + kept.frequencies.nbytes
    arrays = (kept.chunk_ids, kept.lengths, kept.ordinals, kept.frequencies)
    return 500 + 150 * len(kept.terms) + sum(each.nbytes for each in arrays)


def _size_of_snapshot(kept: Snapshot) -> int:
    """Bytes of what it holds for each passage, roughly: id, length, norm, place."""
    return 1000 + 30 * sum(len(part.chunk_ids) for part in (*kept.segments.values(), kept.recent))


_STATE = text("""
select array(select id from lexical_segments where collection_id = any(cast(:collection_ids as uuid[])) order by id) as segments,
       array(select id from lexical_additions where collection_id = any(cast(:collection_ids as uuid[])) order by id) as additions,
       array(select id from lexical_removals where collection_id = any(cast(:collection_ids as uuid[])) order by id) as removals
""")
_LOAD_SEGMENTS = text("""
select id, languages, chunk_ids, lengths from lexical_segments where id = any(cast(:ids as bigint[]))
""")
_LOAD_ADDITIONS = text("""
select id, languages, chunk_ids, lengths, terms, counts, ordinals, frequencies
from lexical_additions where id = any(cast(:ids as bigint[]))
""")
_LOAD_REMOVALS = text("select id, chunk_ids from lexical_removals where id = any(cast(:ids as bigint[]))")
_LOAD_POSTINGS = text("""
select segment_id, term, ordinals, frequencies
from unnest(cast(:segments as bigint[]), cast(:terms as text[])) as wanted (number, word)
join lexical_postings on segment_id = number and term = word collate "C"
""")
_LOADED: dict[str, tuple[TextClause, Callable[[Any], Any]]] = {
    "segment": (_LOAD_SEGMENTS, _segment),
    "addition": (_LOAD_ADDITIONS, _addition),
    "removal": (_LOAD_REMOVALS, _removal),
}

"""Keyword search: the scores of brute-force BM25 whatever was added, removed and merged, and by whom meanwhile."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from drystone.core.db import Sessions, make_sessions, transaction
from drystone.index import additions, analysis, lexical, merging
from drystone.index import queries as index
from drystone.index.additions import Words
from drystone.index.lexical import Lexicon
from drystone.index.merging import Plan, Size
from drystone.resources import Resources

WORDS = [
    "wall",
    "stone",
    "mortar",
    "moss",
    "lichen",
    "fern",
    "heron",
    "reed",
    "lake",
    "stream",
    "bridge",
    "arch",
    "vault",
    "roof",
    "slate",
    "beam",
    "door",
    "sill",
]

Texts = dict[int, str]


@pytest.fixture
def readers(resources: Resources) -> Sessions:
    return make_sessions(resources.engine.execution_options(isolation_level="REPEATABLE READ"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merges that happen with few passages."""
    for name, value in (
        ("SEGMENT_CHUNKS", 40),
        ("ADDITION_ROWS", 6),
        ("FACTOR", 3),
        ("REMOVAL_ROWS", 3),
        ("_TERMS_AT_ONCE", 7),
    ):
        monkeypatch.setattr(merging, name, value)
    monkeypatch.setattr(
        merging, "_LIMITS", merging._LIMITS | {"rows": 6, "chunks": 40, "factor": 3, "removals": 3, "removed": 1}
    )


def _texts(count: int, seed: int, *, first: int = 1) -> Texts:
    chance = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(len(WORDS))]
    return {
        number: " ".join(chance.choices(WORDS, weights, k=chance.randint(0, 40)))
        for number in range(first, first + count)
    }


async def _add(sessions: Sessions, collection_id: UUID, texts: Texts, language: str = "english") -> None:
    async with transaction(sessions) as session:
        words = [Words(n, collection_id, language, analysis.analyse(each, language)) for n, each in texts.items()]
        await additions.add(session, words)


async def _remove(sessions: Sessions, collection_id: UUID, chunk_ids: Sequence[int]) -> None:
    async with transaction(sessions) as session:
        await session.execute(
            text("insert into lexical_removals (collection_id, chunk_ids) values (:collection_id, :chunk_ids)"),
            {"collection_id": collection_id, "chunk_ids": list(chunk_ids)},
        )


async def _search(readers: Sessions, lexicon: Lexicon, collections: Sequence[UUID], question: str) -> dict[int, float]:
    async with transaction(readers) as session:
        snapshot = await lexicon.open(session, collections)
        scored = await snapshot.score(session, analysis.tokens(question, snapshot.languages))
    ids, scores = scored.top(10_000)
    assert list(scored.of(ids)) == list(scores)
    for chunk_id, score in list(zip(ids.tolist(), scores.tolist(), strict=True))[:3]:
        assert scored.contributions(ids[ids == chunk_id]).sum() == pytest.approx(score)
    return dict(zip(ids.tolist(), scores.tolist(), strict=True))


def _bm25(texts: Mapping[int, str], question: str, language: str = "english") -> dict[int, float]:
    """From the formula, passage by passage."""
    held = {number: analysis.analyse(each, language) for number, each in texts.items()}
    mean = sum(each.length for each in held.values()) / max(len(held), 1)
    scores: dict[int, float] = {}
    for token in analysis.tokens(question, [language]):
        tf = {n: max(each.counts.get(term, 0) for term in token.terms) for n, each in held.items()}
        having = sum(count > 0 for count in tf.values())
        idf = math.log(1 + (len(held) - having + 0.5) / (having + 0.5))
        for n, count in tf.items():
            if count:
                norm = lexical.K1 * (1 - lexical.B + lexical.B * held[n].length / mean)
                scores[n] = scores.get(n, 0) + token.frequency * idf * count * (lexical.K1 + 1) / (count + norm)
    return scores


def _questions() -> Iterator[str]:
    yield from ("heron", "stone stone moss", "arch vault roof slate wall", "wall", "unicorn", "unicorn stone")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(4))
async def test_scores_are_those_of_brute_force_through_additions_removals_and_merges(
    sessions: Sessions, readers: Sessions, seed: int
) -> None:
    chance, collection, lexicon = random.Random(seed), uuid4(), Lexicon(cache_bytes=1 << 20)
    there: Texts = {}
    number = 1
    for step in range(40):
        match chance.choice(["add", "add", "add", "remove", "merge"]):
            case "add":
                fresh = _texts(chance.randint(1, 15), seed * 100 + step, first=number)
                number += len(fresh)
                await _add(sessions, collection, fresh)
                there |= fresh
            case "remove" if there:
                gone = chance.sample(sorted(there), chance.randint(1, max(1, len(there) // 4)))
                await _remove(sessions, collection, gone)
                there = {n: each for n, each in there.items() if n not in gone}
            case _:
                await merging.tidy(sessions, readers)
        question = chance.choice(list(_questions()))
        found = await _search(readers, lexicon, [collection], question)
        assert found == pytest.approx(_bm25(there, question), rel=1e-9), (step, question)
    await merging.tidy(sessions, readers)
    async with transaction(sessions) as session:
        held = set(await session.scalars(text("select chunk_id from lexical_chunks")))
        segments = (await session.scalar(text("select count(*) from lexical_segments"))) or 0
        removals = (await session.scalar(text("select count(*) from lexical_removals"))) or 0
    assert held == set(there)
    assert 1 <= segments <= 6
    assert removals < 3
    for question in _questions():
        fresh_eyes = await _search(readers, Lexicon(cache_bytes=1), [collection], question)
        assert fresh_eyes == pytest.approx(_bm25(there, question), rel=1e-9)


async def test_collections_are_searched_as_one_and_alone(sessions: Sessions, readers: Sessions) -> None:
    one, other, lexicon = uuid4(), uuid4(), Lexicon(cache_bytes=1 << 20)
    here, there = _texts(30, 1), _texts(30, 2, first=100)
    await _add(sessions, one, here)
    await _add(sessions, other, there)

    for question in _questions():
        assert await _search(readers, lexicon, [one, other], question) == pytest.approx(_bm25(here | there, question))
        assert await _search(readers, lexicon, [other], question) == pytest.approx(_bm25(there, question))
    assert await _search(readers, lexicon, [uuid4()], "stone") == {}


async def test_each_passage_is_met_in_its_own_language(sessions: Sessions, readers: Sessions) -> None:
    collection, lexicon = uuid4(), Lexicon(cache_bytes=1 << 20)
    await _add(sessions, collection, {1: "Die Mauern der Häuser", 2: "Der Garten"}, "german")
    await _add(sessions, collection, {3: "They die behind walls", 4: "The garden"}, "english")
    await _add(sessions, collection, {5: "古い石垣"}, "simple")

    found = {
        question: set(await _search(readers, lexicon, [collection], question))
        for question in ("mauer", "haus", "wall", "die", "der the", "石垣", "garten garden")
    }

    assert found == {
        "mauer": {1},
        "haus": {1},
        "wall": {3},
        "die": {3},  # a stop word of German only
        "der the": set(),
        "石垣": {5},
        "garten garden": {2, 4},
    }


@pytest.mark.usefixtures("small")
async def test_a_search_sees_one_state_while_others_add_remove_and_merge(sessions: Sessions, readers: Sessions) -> None:
    collection, lexicon = uuid4(), Lexicon(cache_bytes=1 << 20)
    await _add(sessions, collection, dict.fromkeys(range(1, 31), "stone wall"))
    stop = asyncio.Event()
    seen: set[int] = set()

    async def look() -> None:
        while not stop.is_set():
            found = await _search(readers, lexicon, [collection], "stone")
            assert len(set(found.values())) == 1, "all passages are alike"
            seen.add(len(found))

    async def change() -> None:
        for n in range(31, 150):
            await _add(sessions, collection, {n: "stone wall"})
            await _remove(sessions, collection, [n - 30])
            if n % 5 == 0:
                await merging.tidy(sessions, readers)

    looking = asyncio.gather(look(), look())
    await change()
    stop.set()
    await looking
    assert seen <= {30, 31}
    assert len(await _search(readers, lexicon, [collection], "stone")) == 30


@pytest.mark.usefixtures("small")
async def test_a_merge_that_dies_changes_nothing_and_is_done_again(
    sessions: Sessions, readers: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection, lexicon, texts = uuid4(), Lexicon(cache_bytes=1 << 20), _texts(50, 5)
    await _add(sessions, collection, texts)
    copy = merging._add_postings

    async def die(*arguments: Any) -> None:
        await copy(*arguments)
        raise ConnectionError("gone")

    monkeypatch.setattr(merging, "_add_postings", die)
    with pytest.raises(Exception, match="cannot be reached"):
        await merging.tidy(sessions, readers)
    assert await _search(readers, lexicon, [collection], "stone") == pytest.approx(_bm25(texts, "stone"))

    monkeypatch.setattr(merging, "_add_postings", copy)
    assert await merging.tidy(sessions, readers) == 1
    assert await _search(readers, lexicon, [collection], "stone") == pytest.approx(_bm25(texts, "stone"))


@pytest.mark.usefixtures("small")
async def test_two_who_merge_at_once_merge_each_thing_once(sessions: Sessions, readers: Sessions) -> None:
    collections = [uuid4() for _ in range(3)]
    for at, collection in enumerate(collections):
        await _add(sessions, collection, _texts(50, at, first=at * 100))

    done = await asyncio.gather(*(merging.tidy(sessions, readers) for _ in range(3)))

    async with transaction(sessions) as session:
        assert await session.scalar(text("select count(*) from lexical_segments")) == 3
        assert await session.scalar(text("select count(*) from lexical_chunks")) == 150
    assert sum(done) == 3


@pytest.mark.usefixtures("small")
async def test_a_collection_deleted_during_a_merge_leaves_nothing(
    sessions: Sessions, readers: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = uuid4()
    await _add(sessions, collection, _texts(50, 7))
    copy, begun = merging._add_postings, asyncio.Event()

    async def slowly(*arguments: Any) -> None:
        begun.set()
        await asyncio.sleep(0.2)
        await copy(*arguments)

    monkeypatch.setattr(merging, "_add_postings", slowly)
    merging_ = asyncio.create_task(merging.tidy(sessions, readers))
    await begun.wait()
    async with transaction(sessions) as session:
        await index.remove_collection(session, collection)
    await merging_

    async with transaction(sessions) as session:
        for table in ("lexical_segments", "lexical_postings", "lexical_additions"):
            assert await session.scalar(text(f"select count(*) from {table}")) == 0, table


async def test_the_statements_of_a_search_walk_indexes(owner: Sessions, sessions: Sessions, readers: Sessions) -> None:
    collection = uuid4()
    await _add(sessions, collection, _texts(2100, 3))
    await merging.tidy(sessions, readers)
    async with transaction(owner) as session:
        await session.execute(text("analyze lexical_postings"))
        await session.execute(text("set local enable_seqscan = off"))
        for statement, parameters, expected in (
            (lexical._LOAD_POSTINGS, {"segments": [1], "terms": ["en:stone"]}, "pk_lexical_postings"),
            (merging._NEXT_TERMS, {"ids": [1], "last": "en:s", "limit": 10}, "pk_lexical_postings"),
            (merging._POSTINGS_BETWEEN, {"id": 1, "last": "en:s", "until": "en:t"}, "pk_lexical_postings"),
            (lexical._STATE, {"collection_ids": [collection]}, "ix_lexical_segments_collection_id"),
        ):
            plan = "\n".join(await session.scalars(text("explain " + statement.text), parameters))
            assert expected in plan, plan


@pytest.mark.parametrize(
    ("segments", "recent", "expected"),
    [
        ([], [Size(1, 10)], None),
        ([], [Size(1, 1_500), Size(2, 600)], Plan(additions=[1, 2])),
        ([], [Size(n, 1) for n in range(64)], Plan(additions=list(range(64)), to_segment=False)),
        ([Size(1, 2_000), Size(2, 2_000)], [], None),
        ([Size(n, 2_000) for n in range(8)], [], Plan(segments=list(range(8)))),
        ([Size(n, 2_000 * 8**n) for n in range(3)], [], None),
        ([Size(1, 5_000, 1_000)], [], None),
        ([Size(1, 5_000, 1_300)], [], Plan(segments=[1])),
        ([Size(n, 130_000) for n in range(9)], [], None),  # no two of them fit together
    ],
)
def test_what_is_merged_next(segments: list[Size], recent: list[Size], expected: Plan | None) -> None:
    assert merging.plan(segments, recent) == expected

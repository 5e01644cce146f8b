"""The words of newly published passages: one row a publication, as an inverted list of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.index.analysis import ANALYSER_VERSION, Analysed

# As frequencies are stored; a word said oftener in one passage counts as so often.
MAX_FREQUENCY = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class Words:
    """The words of one chunk."""

    chunk_id: int
    collection_id: UUID
    language: str
    analysed: Analysed


@dataclass(frozen=True)
class Postings:
    """Which chunks hold a term. ordinals: places among chunk ids, ascending; frequencies: how often in each."""

    ordinals: np.ndarray
    frequencies: np.ndarray


@dataclass(frozen=True)
class Block:
    """Passages with all their terms. chunk_ids: int64 ascending; lengths: int32, words of each."""

    collection_id: UUID
    languages: frozenset[str]
    chunk_ids: np.ndarray
    lengths: np.ndarray
    postings: dict[str, Postings]


async def add(session: AsyncSession, words: Sequence[Words]) -> None:
    """Make the words of chunks findable with the transaction: a row for each of their collections."""
    blocks = [
        invert(collection_id, list(group))
        for collection_id, group in groupby(
            sorted(words, key=lambda each: (each.collection_id, each.chunk_id)), key=lambda each: each.collection_id
        )
    ]
    await write(session, blocks)


async def write(session: AsyncSession, blocks: Iterable[Block]) -> None:
    """Insert a row for each block."""
    if rows := [_row(block) for block in blocks]:
        await session.execute(_ADD, rows)


def invert(collection_id: UUID, words: Sequence[Words]) -> Block:
    """The chunks' words by term. words: of one collection, by chunk id ascending."""
    lists: dict[str, tuple[list[int], list[int]]] = {}
    for ordinal, each in enumerate(words):
        for term, frequency in each.analysed.counts.items():
            ordinals, frequencies = lists.setdefault(term, ([], []))
            ordinals.append(ordinal)
            frequencies.append(min(frequency, MAX_FREQUENCY))
    return Block(
        collection_id=collection_id,
        languages=frozenset(each.language for each in words),
        chunk_ids=np.array([each.chunk_id for each in words], np.int64),
        lengths=np.array([each.analysed.length for each in words], np.int32),
        postings={
            term: Postings(np.array(ordinals, np.uint32), np.array(frequencies, np.uint16))
            for term, (ordinals, frequencies) in lists.items()
        },
    )


def _row(block: Block) -> dict[str, object]:
    lists = list(block.postings.values())
    return {
        "collection_id": block.collection_id,
        "analyser": ANALYSER_VERSION,
        "languages": sorted(block.languages),
        "chunk_ids": block.chunk_ids.tolist(),
        "lengths": block.lengths.tolist(),
        "terms": list(block.postings),
        "counts": [len(each.ordinals) for each in lists],
        "ordinals": [ordinal for each in lists for ordinal in each.ordinals.tolist()],
        "frequencies": [frequency for each in lists for frequency in each.frequencies.tolist()],
    }


_ADD = text("""
insert into lexical_additions
    (collection_id, analyser, languages, chunk_ids, lengths, terms, counts, ordinals, frequencies)
values (:collection_id, :analyser, :languages, :chunk_ids, :lengths, :terms, :counts, :ordinals, :frequencies)
""")

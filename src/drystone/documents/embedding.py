"""Passages to vectors: what is known already is taken, the rest is embedded in turns. No transaction is open meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from drystone.adapters.embedding import Embedder
from drystone.core import crash_points
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Unavailable
from drystone.documents.progress import Progress
from drystone.documents.turns import Turns
from drystone.index import vectors as kept_vectors

# A document of more passages is large: it takes half a second at a time, and what was made of it is kept for a retry.
LARGE = 128
# What an embedder's unusable answer is called, here and in the adapters.
BAD_ANSWER = "embedding.bad_answer"
_SMALL_TURN, _LARGE_TURN = 16, 8
# Vectors of a large document are kept this many at a time.
_KEEP = 64


@dataclass(frozen=True)
class Wanted:
    """Passages to embed, as contents and their SHA-256.

    replaces: the document whose older version may hold some of them already. progress: tells how far a large one is.
    """

    contents: Sequence[str]
    hashes: Sequence[bytes]
    replaces: UUID | None = None
    progress: Progress | None = None


async def embed(
    sessions: Sessions,
    embedder: Embedder,
    turns: Turns,
    space_id: int,
    wanted: Sequence[Wanted],
    *,
    patience_s: float | None = None,
) -> list[np.ndarray]:
    """For each what is wanted float32 (passages, dim), rows of length 1.

    A passage that an older version has keeps its vector. A large document resumes where an earlier try was cut short.
    patience_s: for the answer to a few passages; raises TimeoutError beyond.
    """
    vectors = await _known(sessions, space_id, wanted)
    is_large = any(len(each.contents) > LARGE for each in wanted)
    missing = {
        content_hash: content
        for each in wanted
        for content_hash, content in zip(each.hashes, each.contents, strict=True)
        if content_hash not in vectors
    }
    hashes = list(missing)
    step = _LARGE_TURN if is_large else _SMALL_TURN
    unkept: list[bytes] = []
    for begin in range(0, len(hashes), step):
        part = hashes[begin : begin + step]
        async with turns.large() if is_large else turns.small():
            async with asyncio.timeout(patience_s):
                made = await embedder.embed([missing[content_hash] for content_hash in part])
        vectors |= zip(part, check(made, len(part), embedder.dimension), strict=True)
        unkept += part
        if is_large and len(unkept) >= _KEEP:
            async with transaction(sessions) as session:
                await kept_vectors.keep(session, space_id, unkept, np.stack([vectors[each] for each in unkept]))
                for each in wanted:
                    if each.progress is not None:
                        await each.progress.tell(session, sum(one in vectors for one in each.hashes))
            crash_points.reach("mid_embed")
            unkept = []
    return [
        np.stack([vectors[each] for each in one.hashes]) if one.hashes else _none(embedder.dimension) for one in wanted
    ]


def check(vectors: np.ndarray, count: int, dimension: int) -> np.ndarray:
    """The vectors, if every one may be stored. Raises Unavailable: one bad number would poison the index."""
    if vectors.shape != (count, dimension):
        raise _bad(f"an array of shape {vectors.shape} for {count} texts of {dimension} dimensions")
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if not np.all(np.abs(lengths - 1.0) < 0.01):  # NaN is not below
        raise _bad("a vector that is not finite or not of length 1")
    return vectors


async def _known(sessions: Sessions, space_id: int, wanted: Sequence[Wanted]) -> dict[bytes, np.ndarray]:
    """Vectors of an older version, and those of a try that was cut short."""
    replaced = [each for each in wanted if each.replaces is not None]
    large = [each for each in wanted if len(each.contents) > LARGE]
    found: dict[bytes, np.ndarray] = {}
    if not replaced and not large:
        return found
    async with transaction(sessions) as session:
        if replaced:
            documents = [each.replaces for each in replaced if each.replaces is not None]
            found |= await kept_vectors.of_documents(session, space_id, documents, _hashes(replaced))
        if large:
            found |= await kept_vectors.kept(session, space_id, _hashes(large))
    return found


def _hashes(wanted: Sequence[Wanted]) -> list[bytes]:
    return [content_hash for each in wanted for content_hash in each.hashes]


def _none(dimension: int) -> np.ndarray:
    return np.empty((0, dimension), np.float32)


def _bad(what: str) -> Unavailable:
    return Unavailable(
        BAD_ANSWER,
        f"The embedder gave {what}.",
        hint="check that the model and the dimension in the EMBEDDING_ variables (NEXT_EMBEDDING_ of a second model) belong together",
    )

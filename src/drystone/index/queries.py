"""Writing and removing what makes chunks findable. Knows chunks by id only, never documents' states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.index import additions, changes, vectors
from drystone.index.analysis import Analysed

# Chunks of one statement: a document of a hundred thousand passages is never one that takes minutes.
_AT_ONCE = 1000


@dataclass(frozen=True)
class IndexedChunk:
    """What the index needs of a chunk.

    words: its content as `analysis.analyse` cut it, in `language`. vector: float32 (dim,), length 1.
    """

    chunk_id: int
    collection_id: UUID
    document_id: UUID
    language: str
    words: Analysed
    vector: np.ndarray


@dataclass(frozen=True)
class Place:
    """A chunk that is in the index, and where it belongs."""

    chunk_id: int
    collection_id: UUID
    document_id: UUID


async def add(session: AsyncSession, space_id: int, chunks: Sequence[IndexedChunk]) -> None:
    """Make chunks of one space findable with the transaction."""
    for begin in range(0, len(chunks), _AT_ONCE):
        part = chunks[begin : begin + _AT_ONCE]
        places: dict[str, Any] = {
            "ids": [chunk.chunk_id for chunk in part],
            "collection_ids": [chunk.collection_id for chunk in part],
            "document_ids": [chunk.document_id for chunk in part],
        }
        await additions.add(session, [additions.Words(c.chunk_id, c.collection_id, c.language, c.words) for c in part])
        await vectors.add(session, space_id, places, [chunk.vector for chunk in part])


async def add_vectors(
    session: AsyncSession, space_id: int, places: Sequence[Place], made: Sequence[np.ndarray]
) -> None:
    """Give chunks, findable or to be with the transaction, their vectors in one more space."""
    for begin in range(0, len(places), _AT_ONCE):
        part = places[begin : begin + _AT_ONCE]
        named: dict[str, Any] = {
            "ids": [place.chunk_id for place in part],
            "collection_ids": [place.collection_id for place in part],
            "document_ids": [place.document_id for place in part],
        }
        await vectors.add(session, space_id, named, made[begin : begin + _AT_ONCE])


async def remove_vectors(session: AsyncSession, space_id: int, collection_id: UUID, *, limit: int) -> int:
    """Remove vectors of a collection from one space, which it no longer uses; how many. Its chunks stay."""
    return await vectors.remove(session, space_id, collection_id, limit=limit)


async def remove_documents(session: AsyncSession, document_ids: Sequence[UUID]) -> None:
    """Take the words of these documents' chunks out, before the chunks go. Their vectors go with the chunks (cascade)."""
    await session.execute(_REMOVE, {"document_ids": list(document_ids)})
    await changes.note_removed(session, document_ids)


async def remove_collection(session: AsyncSession, collection_id: UUID) -> None:
    """Forget the words of a collection whose chunks are gone; waits for a merge that is at it."""
    await session.execute(
        text("select pg_advisory_xact_lock(7355001, hashtext(cast(cast(:collection_id as uuid) as text)))"),
        {"collection_id": collection_id},
    )
    for table in ("lexical_additions", "lexical_segments", "lexical_removals"):
        await session.execute(
            text(f"delete from {table} where collection_id = :collection_id"), {"collection_id": collection_id}
        )


_REMOVE = text("""
insert into lexical_removals (collection_id, chunk_ids)
select collection_id, array_agg(id order by id) from chunks
where document_id = any(cast(:document_ids as uuid[]))
group by collection_id
""")

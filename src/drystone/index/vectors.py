"""Vectors of passages: written, reused, and those nearest to a question's.

Vectors are passed in pgvector's binary form (halfvec), so the driver neither prints nor parses numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
from pgvector import HalfVector
from sqlalchemy import Result, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import UserDefinedType

from drystone.index.spaces import vector_table


class HalfvecParam(UserDefinedType[HalfVector]):
    """A halfvec bound as is: the connection's own codec (core.db registers it) writes it in binary."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "halfvec"


async def add(session: AsyncSession, space_id: int, places: dict[str, Any], vectors: Sequence[np.ndarray]) -> None:
    """Write vectors of one space. places: ids, collection_ids and document_ids of their chunks, in the same order."""
    await session.execute(_add(space_id), places | {"vectors": [HalfVector(vector) for vector in vectors]})


async def of_documents(
    session: AsyncSession, space_id: int, document_ids: Sequence[UUID], hashes: Sequence[bytes]
) -> dict[bytes, np.ndarray]:
    """Vectors that these documents have already for these contents."""
    rows = await session.execute(
        text(f"""
            select distinct on (chunks.content_hash) chunks.content_hash, vectors.embedding
            from chunks join {vector_table(space_id)} as vectors on vectors.chunk_id = chunks.id
            where chunks.document_id = any(cast(:document_ids as uuid[]))
              and chunks.content_hash = any(cast(:hashes as bytea[]))
        """),
        {"document_ids": list(document_ids), "hashes": list(hashes)},
    )
    return _by_hash(rows)


async def keep(session: AsyncSession, space_id: int, hashes: Sequence[bytes], vectors: np.ndarray) -> None:
    """Remember vectors of a document still being embedded. vectors: float32 (len(hashes), dim)."""
    await session.execute(
        _KEEP,
        {"space_id": space_id, "hashes": list(hashes), "vectors": [HalfVector(row) for row in vectors]},
    )


async def kept(session: AsyncSession, space_id: int, hashes: Sequence[bytes]) -> dict[bytes, np.ndarray]:
    """Vectors already known for these contents, from a try that was cut short."""
    rows = await session.execute(
        text(
            "select content_hash, embedding from kept_embeddings"
            " where space_id = :space_id and content_hash = any(cast(:hashes as bytea[]))"
        ),
        {"space_id": space_id, "hashes": list(hashes)},
    )
    return _by_hash(rows)


async def forget(session: AsyncSession, space_id: int, hashes: Sequence[bytes]) -> None:
    """Drop what `keep` remembered: the document is published."""
    await session.execute(
        text("delete from kept_embeddings where space_id = :space_id and content_hash = any(cast(:hashes as bytea[]))"),
        {"space_id": space_id, "hashes": list(hashes)},
    )


def _by_hash(rows: Result[Any]) -> dict[bytes, np.ndarray]:
    return {bytes(row.content_hash): row.embedding.to_numpy().astype(np.float32) for row in rows}


@functools.cache
def _add(space_id: int) -> TextClause:
    return text(f"""
        insert into {vector_table(space_id)} (chunk_id, collection_id, document_id, embedding)
        select chunk_id, collection_id, document_id, embedding
        from unnest(cast(:ids as bigint[]), cast(:collection_ids as uuid[]), cast(:document_ids as uuid[]),
                    cast(:vectors as halfvec[])) as v (chunk_id, collection_id, document_id, embedding)
    """).bindparams(bindparam("vectors", type_=ARRAY(HalfvecParam())))


_KEEP = text("""
insert into kept_embeddings (space_id, content_hash, embedding)
select :space_id, content_hash, embedding
from unnest(cast(:hashes as bytea[]), cast(:vectors as halfvec[])) as k (content_hash, embedding)
on conflict do nothing
""").bindparams(bindparam("vectors", type_=ARRAY(HalfvecParam())))

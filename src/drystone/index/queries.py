"""Writing and removing what makes chunks findable. Knows chunks by id only, never documents' states.

Vectors are passed in pgvector's binary form (halfvec), so the driver neither prints nor parses numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from pgvector import HalfVector
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import UserDefinedType

from drystone.index.spaces import vector_table


class HalfvecParam(UserDefinedType[HalfVector]):
    """A halfvec bound as is: the connection's own codec (core.db registers it) writes it in binary."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "halfvec"


@dataclass(frozen=True)
class IndexedChunk:
    """What the index needs of a chunk. words: the text whose terms are searched. vector: float32 (dim,), length 1."""

    chunk_id: int
    words: str
    vector: np.ndarray


async def add(
    session: AsyncSession,
    *,
    space_id: int,
    collection_id: UUID,
    document_id: UUID,
    config: str,
    chunks: Sequence[IndexedChunk],
) -> None:
    """Make chunks findable and tell the statistics. One statement each for words and for vectors."""
    await session.execute(
        _ADD_WORDS,
        {
            "collection_id": collection_id,
            "document_id": document_id,
            "config": config,
            "ids": [chunk.chunk_id for chunk in chunks],
            "words": [chunk.words for chunk in chunks],
        },
    )
    await session.execute(
        text(f"""
            insert into {vector_table(space_id)} (chunk_id, collection_id, document_id, embedding)
            select chunk_id, :collection_id, :document_id, embedding
            from unnest(cast(:ids as bigint[]), cast(:vectors as halfvec[])) as v (chunk_id, embedding)
        """).bindparams(bindparam("vectors", type_=ARRAY(HalfvecParam()))),
        {
            "collection_id": collection_id,
            "document_id": document_id,
            "ids": [chunk.chunk_id for chunk in chunks],
            "vectors": [HalfVector(chunk.vector) for chunk in chunks],
        },
    )


async def remove_document(session: AsyncSession, document_id: UUID, *, config: str, collection_id: UUID) -> None:
    """Take a document's words out, and out of the statistics. Its vectors go with its chunks (cascade)."""
    await remove_documents(session, [document_id], config=config, collection_id=collection_id)


async def remove_documents(
    session: AsyncSession, document_ids: Sequence[UUID], *, config: str, collection_id: UUID
) -> None:
    """The same for several documents of one collection, in one statement."""
    await session.execute(
        _REMOVE_WORDS, {"document_ids": list(document_ids), "config": config, "collection_id": collection_id}
    )


async def remove_collection(session: AsyncSession, collection_id: UUID) -> None:
    """Forget the statistics of a collection whose chunks are gone."""
    for table in ("term_stats", "collection_stats", "statistic_changes"):
        await session.execute(
            text(f"delete from {table} where collection_id = :collection_id"),
            {"collection_id": collection_id},
        )


async def fold_statistics(session: AsyncSession, *, batch: int = 2000) -> int:
    """Fold pending changes into the totals; how many were folded. One caller at a time (an advisory lock)."""
    if not await session.scalar(text("select pg_try_advisory_xact_lock(7355001)")):
        return 0
    return int(await session.scalar(_FOLD, {"batch": batch}) or 0)


async def keep_embeddings(session: AsyncSession, space_id: int, hashes: Sequence[bytes], vectors: np.ndarray) -> None:
    """Remember vectors of a document still being embedded. vectors: float32 (len(hashes), dim)."""
    await session.execute(
        _KEEP,
        {"space_id": space_id, "hashes": list(hashes), "vectors": [HalfVector(row) for row in vectors]},
    )


async def kept_embeddings(session: AsyncSession, space_id: int, hashes: Sequence[bytes]) -> dict[bytes, np.ndarray]:
    """Vectors already known for these contents, from a try that was cut short."""
    rows = await session.execute(
        text(
            "select content_hash, embedding from kept_embeddings"
            " where space_id = :space_id and content_hash = any(cast(:hashes as bytea[]))"
        ),
        {"space_id": space_id, "hashes": list(hashes)},
    )
    return {bytes(row.content_hash): row.embedding.to_numpy().astype(np.float32) for row in rows}


async def forget_embeddings(session: AsyncSession, space_id: int, hashes: Sequence[bytes]) -> None:
    """Drop what `keep_embeddings` remembered: the document is published."""
    await session.execute(
        text("delete from kept_embeddings where space_id = :space_id and content_hash = any(cast(:hashes as bytea[]))"),
        {"space_id": space_id, "hashes": list(hashes)},
    )


_ADD_WORDS = text("""
with chunk as materialized (
    select chunk_id, to_tsvector(cast(cast(:config as text) as regconfig), words) as terms
    from unnest(cast(:ids as bigint[]), cast(:words as text[])) as given (chunk_id, words)
), word as materialized (
    select chunk_id, lexeme, coalesce(cardinality(positions), 1) as frequency
    from chunk, unnest(terms)
), row as (
    insert into lexical (chunk_id, collection_id, document_id, length, terms)
    select chunk_id, :collection_id, :document_id,
           coalesce((select sum(frequency) from word where word.chunk_id = chunk.chunk_id), 0), terms
    from chunk
), term as (
    select lexeme, count(*) as chunks from word group by lexeme
)
insert into statistic_changes (collection_id, config, chunk_count, word_count, terms, term_chunk_counts)
select :collection_id, :config,
       (select count(*) from chunk),
       (select coalesce(sum(frequency), 0) from word),
       (select coalesce(array_agg(lexeme), '{}') from term),
       (select coalesce(array_agg(chunks), '{}') from term)
""")

_REMOVE_WORDS = text("""
with gone as (
    delete from lexical where document_id = any(:document_ids) returning length, terms
), term as (
    select lexeme, count(*) as chunks from gone, unnest(terms) group by lexeme
)
insert into statistic_changes (collection_id, config, chunk_count, word_count, terms, term_chunk_counts)
select :collection_id, :config, -count(*), -sum(length),
       (select coalesce(array_agg(lexeme), '{}') from term),
       (select coalesce(array_agg(-chunks), '{}') from term)
from gone
having count(*) > 0
""")

_FOLD = text("""
with taken as (
    delete from statistic_changes
    where id in (select id from statistic_changes order by id limit :batch)
    returning collection_id, config, chunk_count, word_count, terms, term_chunk_counts
), totals as (
    insert into collection_stats as s (collection_id, config, chunk_count, word_count)
    select collection_id, config, sum(chunk_count), sum(word_count) from taken group by collection_id, config
    on conflict (collection_id, config) do update
    set chunk_count = s.chunk_count + excluded.chunk_count, word_count = s.word_count + excluded.word_count
), terms as (
    insert into term_stats as s (collection_id, config, term, chunk_count)
    select collection_id, config, term, sum(n)
    from taken, unnest(terms, term_chunk_counts) as t (term, n)
    group by collection_id, config, term
    on conflict (collection_id, config, term) do update set chunk_count = s.chunk_count + excluded.chunk_count
)
select count(*) from taken
""")

_KEEP = text("""
insert into kept_embeddings (space_id, content_hash, embedding)
select :space_id, content_hash, embedding
from unnest(cast(:hashes as bytea[]), cast(:vectors as halfvec[])) as k (content_hash, embedding)
on conflict do nothing
""").bindparams(bindparam("vectors", type_=ARRAY(HalfvecParam())))

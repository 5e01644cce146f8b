"""Writing and removing what makes chunks findable. Knows chunks by id only, never documents' states.

Vectors are passed in pgvector's binary form (halfvec), so the driver neither prints nor parses numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from pgvector import HalfVector
from sqlalchemy import Result, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import UserDefinedType

from drystone.index.spaces import vector_table

# Chunks of one statement: a document of a hundred thousand passages is never one that takes minutes.
_AT_ONCE = 1000


class HalfvecParam(UserDefinedType[HalfVector]):
    """A halfvec bound as is: the connection's own codec (core.db registers it) writes it in binary."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "halfvec"


@dataclass(frozen=True)
class IndexedChunk:
    """What the index needs of a chunk. words: the text whose terms are searched. vector: float32 (dim,), length 1.

    config: the text-search configuration that cuts the words.
    """

    chunk_id: int
    collection_id: UUID
    document_id: UUID
    config: str
    words: str
    vector: np.ndarray


async def add(session: AsyncSession, space_id: int, chunks: Sequence[IndexedChunk]) -> None:
    """Make chunks of one space findable and tell the statistics. One statement each for words and for vectors."""
    for begin in range(0, len(chunks), _AT_ONCE):
        part = chunks[begin : begin + _AT_ONCE]
        places: dict[str, Any] = {
            "ids": [chunk.chunk_id for chunk in part],
            "collection_ids": [chunk.collection_id for chunk in part],
            "document_ids": [chunk.document_id for chunk in part],
        }
        configs, words = [chunk.config for chunk in part], [chunk.words for chunk in part]
        await session.execute(_ADD_WORDS, places | {"configs": configs, "words": words})
        await session.execute(
            _add_vectors(space_id), places | {"vectors": [HalfVector(chunk.vector) for chunk in part]}
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


async def vectors_of_documents(
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
    return _vectors_by_hash(rows)


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
    return _vectors_by_hash(rows)


async def forget_embeddings(session: AsyncSession, space_id: int, hashes: Sequence[bytes]) -> None:
    """Drop what `keep_embeddings` remembered: the document is published."""
    await session.execute(
        text("delete from kept_embeddings where space_id = :space_id and content_hash = any(cast(:hashes as bytea[]))"),
        {"space_id": space_id, "hashes": list(hashes)},
    )


def _vectors_by_hash(rows: Result[Any]) -> dict[bytes, np.ndarray]:
    return {bytes(row.content_hash): row.embedding.to_numpy().astype(np.float32) for row in rows}


_ADD_WORDS = text("""
with chunk as materialized (
    select chunk_id, collection_id, document_id, config, to_tsvector(cast(config as regconfig), words) as terms
    from unnest(cast(:ids as bigint[]), cast(:collection_ids as uuid[]), cast(:document_ids as uuid[]),
                cast(:configs as text[]), cast(:words as text[]))
         as given (chunk_id, collection_id, document_id, config, words)
), word as materialized (
    select chunk_id, collection_id, config, lexeme, coalesce(cardinality(positions), 1) as frequency
    from chunk, unnest(terms)
), length as materialized (
    select chunk_id, sum(frequency) as words from word group by chunk_id
), row as (
    insert into lexical (chunk_id, collection_id, document_id, length, terms)
    select chunk_id, collection_id, document_id, coalesce(length.words, 0), terms
    from chunk left join length using (chunk_id)
), term as materialized (
    select collection_id, config, array_agg(lexeme) as terms, array_agg(chunks) as counts
    from (select collection_id, config, lexeme, count(*) as chunks from word group by collection_id, config, lexeme)
         as counted
    group by collection_id, config
), total as (
    select collection_id, config, count(*) as chunks, coalesce(sum(length.words), 0) as words
    from chunk left join length using (chunk_id) group by collection_id, config
)
insert into statistic_changes (collection_id, config, chunk_count, word_count, terms, term_chunk_counts)
select collection_id, config, total.chunks, total.words, coalesce(term.terms, '{}'), coalesce(term.counts, '{}')
from total left join term using (collection_id, config)
""")


@functools.cache
def _add_vectors(space_id: int) -> TextClause:
    return text(f"""
        insert into {vector_table(space_id)} (chunk_id, collection_id, document_id, embedding)
        select chunk_id, collection_id, document_id, embedding
        from unnest(cast(:ids as bigint[]), cast(:collection_ids as uuid[]), cast(:document_ids as uuid[]),
                    cast(:vectors as halfvec[])) as v (chunk_id, collection_id, document_id, embedding)
    """).bindparams(bindparam("vectors", type_=ARRAY(HalfvecParam())))


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

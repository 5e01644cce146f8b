"""Vectors of passages in PostgreSQL: written, reused, read, and those nearest to a question's.

Vectors are passed in pgvector's binary form (halfvec), so the driver neither prints nor parses numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from uuid import UUID

import numpy as np
from cachetools import TTLCache
from pgvector import HalfVector
from sqlalchemy import Result, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import UserDefinedType

from drystone.index import changes
from drystone.index.spaces import vector_table


class HalfvecParam(UserDefinedType[HalfVector]):
    """A halfvec bound as is: the connection's own codec (core.db registers it) writes it in binary."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "halfvec"


class Within(Protocol):
    """What may be found: passages of these collections, and of those the ones whose documents pass a condition."""

    @property
    def collection_ids(self) -> Sequence[UUID]: ...

    @property
    def is_all(self) -> bool:
        """Whether every passage of the collections may be found."""

    def condition(self, parameters: dict[str, Any], *, narrowed: bool = False) -> str:
        """SQL over a row `document`; adds its values to `parameters`.

        narrowed: for a statement that looks for all such documents, not at one, and has the parameter `collection_ids`.
        """


class Graph(Protocol):
    """Finds the nearest among many vectors without looking at each: the one thing that another store can do in our place.

    The vectors themselves are always in PostgreSQL, written with the passages they belong to.
    """

    async def walk(
        self, session: AsyncSession, space_id: int, within: Within, vector: np.ndarray, *, depth: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(chunk ids int64, cosines float64) of about the `depth` nearest that may be found, nearest first.

        vector: float32 (dim,), length 1.
        """


class Sizes:
    """About how many vectors each space has, as PostgreSQL last counted; asked for once a minute. One a process."""

    def __init__(self) -> None:
        self._known: TTLCache[int, float] = TTLCache(64, ttl=60)

    async def of(self, session: AsyncSession, space_id: int) -> float:
        """0 where nobody has counted yet."""
        if space_id not in self._known:
            found = await session.scalar(_SIZE, {"table": vector_table(space_id)})
            self._known[space_id] = max(float(found or 0), 0.0)
        return self._known[space_id]


class PgGraph:
    """pgvector's HNSW graph, part of the space's own table; walked on until enough of what it meets may be found.

    large: from how many vectors on it is walked with more candidates, for the same recall (docs/adr/0027).
    """

    def __init__(self, large: float = 300_000) -> None:
        self._sizes = Sizes()
        self._large = large

    async def walk(
        self, session: AsyncSession, space_id: int, within: Within, vector: np.ndarray, *, depth: int
    ) -> tuple[np.ndarray, np.ndarray]:
        if await self._sizes.of(session, space_id) > self._large:
            await session.execute(_WIDELY)
        return await _nearest(session, _walk, _BY_DOCUMENT, space_id, within, vector, depth=depth)


async def scan(
    session: AsyncSession, space_id: int, within: Within, vector: np.ndarray, *, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """(chunk ids int64, cosines float64) of the `depth` nearest, nearest first: each that may be found is compared.

    vector: float32 (dim,), length 1.
    """
    return await _nearest(session, _scan, _BY_DOCUMENTS, space_id, within, vector, depth=depth)


async def compare(
    session: AsyncSession, space_id: int, within: Within, vector: np.ndarray, chunk_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(chunk ids int64, cosines float64) of those of these chunks that are there and may be found, nearest first.

    vector: float32 (dim,), length 1.
    """
    return await _nearest(session, _compare, _BY_DOCUMENT, space_id, within, vector, chunk_ids=chunk_ids.tolist())


async def stored(
    session: AsyncSession, space_id: int, chunk_ids: Sequence[int], dimension: int
) -> tuple[list[int], list[UUID], np.ndarray]:
    """(ids, ids of their collections, vectors float32 (n, dim)) of those of these chunks that are there, by id."""
    rows = (await session.execute(_stored(vector_table(space_id)), {"chunk_ids": list(chunk_ids)})).all()
    return (
        [row.chunk_id for row in rows],
        [row.collection_id for row in rows],
        _floats(b"".join([row.raw for row in rows]), dimension),
    )


async def among(session: AsyncSession, space_id: int, chunk_ids: Sequence[int]) -> set[int]:
    """Those of these chunks that have a vector."""
    table = vector_table(space_id)
    statement = text(f"select chunk_id from {table} where chunk_id = any(cast(:chunk_ids as bigint[]))")
    return set(await session.scalars(statement, {"chunk_ids": list(chunk_ids)}))


async def of_chunks(session: AsyncSession, space_id: int, chunk_ids: np.ndarray, dimension: int) -> np.ndarray:
    """float32 (n, dim): the vector of each of these chunks; zeros where it has none."""
    found = np.zeros((len(chunk_ids), dimension), np.float32)
    row = (await session.execute(_of_chunks(vector_table(space_id)), {"chunk_ids": chunk_ids.tolist()})).one()
    if row.places:
        found[np.array(row.places) - 1] = _floats(row.raw, dimension)
    return found


async def mean(session: AsyncSession, space_id: int, document_id: UUID) -> np.ndarray | None:
    """float32 (dim,), length 1: the direction of all of a document's passages; None where it has none."""
    found = await session.scalar(
        text(f"select cast(avg(embedding) as vector) from {vector_table(space_id)} where document_id = :document_id"),
        {"document_id": document_id},
    )
    if found is None:
        return None
    direction = np.asarray(found.to_numpy(), np.float32)
    length = float(np.linalg.norm(direction))
    return direction / length if length > 0 else None


async def add(session: AsyncSession, space_id: int, places: dict[str, Any], vectors: Sequence[np.ndarray]) -> None:
    """Write vectors of one space. places: ids, collection_ids and document_ids of their chunks, in the same order."""
    await session.execute(_add(space_id), places | {"vectors": [HalfVector(vector) for vector in vectors]})
    await changes.note_added(session, space_id, places["ids"])


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


async def of_contents(
    session: AsyncSession, space_id: int, hashes: Sequence[bytes], *, workspace_id: UUID
) -> dict[bytes, np.ndarray]:
    """Vectors that the space has for these contents, in whichever document of the workspace.

    Not those of others: how many were found is told, and would tell what others have.
    """
    rows = await session.execute(
        text(f"""
            select wanted.content_hash, found.embedding
            from unnest(cast(:hashes as bytea[])) as wanted (content_hash) cross join lateral (
                select vectors.embedding
                from chunks join {vector_table(space_id)} as vectors on vectors.chunk_id = chunks.id
                join collections on collections.id = chunks.collection_id
                where chunks.content_hash = wanted.content_hash and collections.workspace_id = :workspace_id limit 1
            ) as found
        """),
        {"hashes": list(hashes), "workspace_id": workspace_id},
    )
    return _by_hash(rows)


async def remove(session: AsyncSession, space_id: int, collection_id: UUID, *, limit: int) -> int:
    """Remove up to so many vectors of a collection from a space; how many."""
    table = vector_table(space_id)
    rows = await session.scalars(
        text(f"""
            delete from {table} where chunk_id in (
                select chunk_id from {table} where collection_id = :collection_id limit :limit
            ) returning chunk_id
        """),
        {"collection_id": collection_id, "limit": limit},
    )
    removed = list(rows)
    await changes.note_withdrawn(session, space_id, removed)
    return len(removed)


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


async def _nearest(
    session: AsyncSession,
    statement: Callable[[str, str], TextClause],
    visible: str,
    space_id: int,
    within: Within,
    vector: np.ndarray,
    **more: Any,
) -> tuple[np.ndarray, np.ndarray]:
    parameters: dict[str, Any] = {
        "collection_ids": list(within.collection_ids),
        "vector": HalfVector(vector),
        **more,
    }
    where = "true" if visible is _BY_DOCUMENT else _IN_COLLECTIONS
    if not within.is_all:
        where = visible.format(where=within.condition(parameters, narrowed=visible is _BY_DOCUMENTS))
    row = (await session.execute(statement(vector_table(space_id), where), parameters)).one()
    return np.array(row.ids or [], np.int64), np.array(row.scores or [], np.float64)


def _floats(raw: bytes, dimension: int) -> np.ndarray:
    """float32 (n, dim) of vectors as PostgreSQL sends each: two numbers of two bytes, then the halves, big-endian."""
    halves = np.frombuffer(raw, np.dtype(">f2"))
    return halves.reshape(-1, 2 + dimension)[:, 2:].astype(np.float32)


def _by_hash(rows: Result[Any]) -> dict[bytes, np.ndarray]:
    return {bytes(row.content_hash): row.embedding.to_numpy().astype(np.float32) for row in rows}


_WIDELY = text("select set_config('hnsw.ef_search', '400', true)")
_SIZE = text("select reltuples from pg_class where oid = to_regclass(:table)")
# Made once, whatever PostgreSQL takes it for: where it has counted a collection too early, it would rather ask for each pair of
# a vector and a document.
_BY_DOCUMENTS = """document_id in (
    with passing as materialized (
        select id from documents as document where document.collection_id = any(cast(:collection_ids as uuid[])) and {where}
    )
    select id from passing
)"""
# Where all pass: what documents are in, their vectors are in.
_IN_COLLECTIONS = "collection_id = any(cast(:collection_ids as uuid[]))"
# Asked for each row that the walk meets: a set of all documents in scope would take longer to make than the walk takes.
_BY_DOCUMENT = "(select {where} from documents as document where document.id = document_id)"


# One row of two arrays: a hundred rows take the driver longer than the arrays take PostgreSQL.
_AS_ARRAYS = """select array_agg(chunk_id order by score desc, chunk_id) as ids,
               array_agg(score order by score desc, chunk_id) as scores"""


@functools.lru_cache(maxsize=256)
def _scan(table: str, visible: str) -> TextClause:
    return text(f"""
        with scanned as materialized (
            select chunk_id, -(embedding <#> cast(:vector as halfvec)) as score from {table} where {visible}
        )
        {_AS_ARRAYS} from (select * from scanned order by score desc, chunk_id limit :depth) as found
    """).bindparams(bindparam("vector", type_=HalfvecParam()))


# A case, for which there is no other index to choose: a table just filled is counted by nobody yet, and PostgreSQL would
# rather read all of a collection and sort it.
@functools.lru_cache(maxsize=256)
def _walk(table: str, visible: str) -> TextClause:
    return text(f"""
        with near as materialized (
            select chunk_id, -(embedding <#> cast(:vector as halfvec)) as score
            from {table} where case when collection_id = any(cast(:collection_ids as uuid[])) then {visible} end
            order by embedding <#> cast(:vector as halfvec) limit :depth
        )
        {_AS_ARRAYS} from near as found
    """).bindparams(bindparam("vector", type_=HalfvecParam()))


@functools.lru_cache(maxsize=256)
def _compare(table: str, visible: str) -> TextClause:
    return text(f"""
        {_AS_ARRAYS}
        from (
            select chunk_id, -(embedding <#> cast(:vector as halfvec)) as score
            from {table}
            where chunk_id = any(cast(:chunk_ids as bigint[])) and collection_id = any(cast(:collection_ids as uuid[]))
              and {visible}
        ) as found
    """).bindparams(bindparam("vector", type_=HalfvecParam()))


@functools.cache
def _stored(table: str) -> TextClause:
    return text(f"""
        select chunk_id, collection_id, halfvec_send(embedding) as raw
        from {table} where chunk_id = any(cast(:chunk_ids as bigint[])) order by chunk_id
    """)


@functools.cache
def _of_chunks(table: str) -> TextClause:
    return text(f"""
        select array_agg(place order by place) as places,
               string_agg(halfvec_send(embedding), cast('' as bytea) order by place) as raw
        from unnest(cast(:chunk_ids as bigint[])) with ordinality as wanted (id, place) join {table} on chunk_id = id
    """)


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

"""The search statements."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any
from uuid import UUID

import numpy as np
from pgvector import HalfVector
from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.documents.filters import Comparison, Compound, condition
from drystone.index.queries import HalfvecParam
from drystone.index.spaces import vector_table

# Candidates that BM25 scores. Where more chunks match, ts_rank picks them: overlap of the top ten with full BM25 .98.
POOL = 1000
# Up to here every vector is compared; above, the graph is walked on until enough rows pass the filter.
EXACT_UP_TO = 10_000

_NOT_HIDDEN = """document_id <> all (array(
          select id from documents
          where collection_id = :collection_id and deleted_at is not null and purged_at is null
      ))"""
_ELIGIBLE = """document_id in (
          select id from documents
          where collection_id = :collection_id and deleted_at is null and {filter}
      )"""


async def hybrid(
    session: AsyncSession,
    *,
    collection_id: UUID,
    config: str,
    space_id: int,
    query: str,
    vector: np.ndarray | None,
    use_lexical: bool,
    exact: bool,
    depth: int,
    top: int,
    filter_: Comparison | Compound | None = None,
) -> Sequence[Row[Any]]:
    """The best `top` chunks, best first. vector: float32 (dim,), length 1; None: keyword search alone.

    depth: how many each side contributes before fusion.
    """
    parameters: dict[str, Any] = {}
    visible = _ELIGIBLE.format(filter=condition(filter_, parameters)) if filter_ else _NOT_HIDDEN
    return (
        await session.execute(
            _statement(vector_table(space_id), visible),
            {
                **parameters,
                "collection_id": collection_id,
                "config": config,
                "query": query,
                "vector": None if vector is None else HalfVector(vector),
                "use_lexical": use_lexical,
                "use_dense": vector is not None,
                "exact": exact,
                "depth": depth,
                "pool": POOL,
                "top": top,
            },
        )
    ).all()


async def count_searchable(
    session: AsyncSession, collection_id: UUID, filter_: Comparison | Compound | None, *, up_to: int
) -> int:
    """Chunks that a search of this collection may find; counting stops somewhere above `up_to`."""
    parameters: dict[str, Any] = {}
    where = condition(filter_, parameters) if filter_ else "true"
    statement = text(f"""
        select coalesce(sum(chunk_count), 0)
        from (
            select version.chunk_count
            from documents as document join versions as version on version.id = document.current_version_id
            where document.collection_id = :collection_id and document.deleted_at is null and {where}
            limit :up_to + 1
        ) as each
    """)
    return int(await session.scalar(statement, {**parameters, "collection_id": collection_id, "up_to": up_to}) or 0)


@lru_cache(maxsize=256)
def _statement(table: str, visible: str) -> TextClause:
    sql = files("drystone.search").joinpath("hybrid.sql").read_text("utf-8")
    sql = sql.replace(":vectors", table).replace(":visible", visible)
    return text(sql).bindparams(bindparam("vector", type_=HalfvecParam()))

"""What a graph outside PostgreSQL does not know yet: a row for each change, written with the change itself.

Only spaces with a row in `vector_feeds` have such a graph; for all others nothing is written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# A search compares those that wait one by one; with more of them it does not ask the graph outside at all.
MOST_PENDING = 10_000


@dataclass(frozen=True)
class Feed:
    """How far a space's graph outside is, as one transaction sees it.

    generation: part of the graph's name. is_trusted: it was seen since PostgreSQL started to be the one that was fed, so it
    is not of another time than a database that was restored. pending: chunks that it does not know yet.
    """

    generation: UUID
    is_trusted: bool
    pending: int


def graph_name(space_id: int, generation: UUID) -> str:
    """The name of a space's graph outside: of no other database, nor of another time of this one."""
    return f"drystone_{space_id}_{generation.hex}"


async def note_added(session: AsyncSession, space_id: int, chunk_ids: Sequence[int]) -> None:
    """Vectors of these chunks were written. To be called after that: a feed that begins waits for who is writing."""
    await session.execute(_ADDED, {"space_id": space_id, "chunk_ids": list(chunk_ids)})


async def note_removed(session: AsyncSession, document_ids: Sequence[UUID]) -> None:
    """The chunks of these documents are about to go, whatever space they are in."""
    await session.execute(_REMOVED, {"document_ids": list(document_ids)})


async def note_withdrawn(session: AsyncSession, space_id: int, chunk_ids: Sequence[int]) -> None:
    """The vectors of these chunks went from one space; the chunks stay, and may come back into it."""
    if chunk_ids:
        await session.execute(_WITHDRAWN, {"space_id": space_id, "chunk_ids": list(chunk_ids)})


async def feed(session: AsyncSession, space_id: int) -> Feed | None:
    """How far the graph outside is; None where there is none."""
    row = (await session.execute(_FEED, {"space_id": space_id})).one_or_none()
    return Feed(row.generation, row.is_trusted, int(row.pending)) if row else None


async def pending(session: AsyncSession, space_id: int) -> np.ndarray:
    """int64, ascending: the chunks that the graph outside does not know yet."""
    return np.unique(np.array(await session.scalar(_PENDING, {"space_id": space_id}), np.int64))


async def count_pending(session: AsyncSession) -> int:
    """Chunks of any space that the graph outside does not know yet."""
    return int(await session.scalar(text("select sum(chunk_count) from vector_changes where not is_removal")) or 0)


_ADDED = text("""
insert into vector_changes (space_id, chunk_ids, chunk_count, is_removal)
select space_id, cast(:chunk_ids as bigint[]), cardinality(cast(:chunk_ids as bigint[])), false
from vector_feeds where space_id = :space_id
""")
_WITHDRAWN = text("""
insert into vector_changes (space_id, chunk_ids, chunk_count, is_removal)
select space_id, cast(:chunk_ids as bigint[]), cardinality(cast(:chunk_ids as bigint[])), true
from vector_feeds where space_id = :space_id
""")
_REMOVED = text("""
insert into vector_changes (space_id, chunk_ids, chunk_count, is_removal)
select feed.space_id, gone.chunk_ids, cardinality(gone.chunk_ids), true
from vector_feeds as feed
cross join lateral (
    -- Asked only where there is a feed.
    select array_agg(id order by id) as chunk_ids from chunks where document_id = any(cast(:document_ids as uuid[]))
) as gone
where gone.chunk_ids is not null
""")
_FEED = text("""
select generation, is_listed and coalesce(checked_at > pg_postmaster_start_time(), false) as is_trusted,
       (select coalesce(sum(chunk_count), 0) from vector_changes
        where vector_changes.space_id = feed.space_id and not is_removal) as pending
from vector_feeds as feed where space_id = :space_id
""")
_PENDING = text("""
select array(select unnest(chunk_ids) from vector_changes where space_id = :space_id and not is_removal)
""")

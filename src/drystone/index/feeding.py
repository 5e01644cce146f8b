"""Tells a graph outside PostgreSQL what has changed, and finds out when it is not the graph that was fed.

In each round a new mark is announced in PostgreSQL, left in the graph and confirmed in PostgreSQL together with the end of the
changes that were told. A graph that carries neither of the two marks is of another time than the database: one of
them was restored, or the graph is lost. Then a new one is filled from the vectors in PostgreSQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.core import crash_points
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Conflict
from drystone.core.logging import get_logger
from drystone.index import changes, spaces, vectors
from drystone.index.changes import graph_name
from drystone.index.spaces import vector_table

if TYPE_CHECKING:
    from drystone.adapters.qdrant import Qdrant

log = get_logger(__name__)

# Chunks of a round: about a second of Qdrant's work.
CHUNKS_AT_ONCE = 2_000
# A search that began before a removal still finds what was removed; by then it has ended.
KEEP_REMOVED_S = 120.0
_LISTED_AT_ONCE, _CHUNKS_OF_A_ROW = 100_000, 1_000


@dataclass(frozen=True)
class Fed:
    """A space whose graph outside is fed, and the length of its vectors."""

    id: int
    dimension: int


@dataclass(frozen=True)
class Progress:
    """How far the graph of a space is. vectors: that there are. pending: that the graph outside does not know yet.

    name: of the graph outside, None where none is fed. is_asked: whether searches ask that one. has_graph: whether there is
    one in PostgreSQL.
    """

    space_id: int
    model: str
    dimension: int
    vectors: int
    name: str | None
    pending: int
    is_asked: bool
    has_graph: bool


async def progress(session: AsyncSession) -> list[Progress]:
    """How far each space is."""
    found = []
    rows = await session.execute(text("select id, model, dimension from embedding_spaces order by id"))
    for row in rows.all():
        table = vector_table(row.id)
        state = await changes.feed(session, row.id)
        found.append(
            Progress(
                row.id,
                row.model,
                row.dimension,
                vectors=await session.scalar(text(f"select count(*) from {table}")) or 0,
                name=changes.graph_name(row.id, state.generation) if state else None,
                pending=state.pending if state else 0,
                is_asked=state is not None and state.is_trusted and state.pending <= changes.MOST_PENDING,
                has_graph=await spaces.has_graph(session, row.id),
            )
        )
    return found


async def drop_graphs(session: AsyncSession) -> int:
    """Drop PostgreSQL's own graphs, now that searches ask those outside; how many there were. Needs the owner role.

    Raises Conflict where a space's graph outside is not asked yet.
    """
    spaces_ = await progress(session)
    for space in spaces_:
        if space.vectors and not space.is_asked:
            raise Conflict(
                "vectors.not_fed",
                f"Searches do not ask Qdrant for the vectors of {space.model} yet.",
                hint='wait until "drystone vectors status" says that it is asked; the worker must run',
            )
    return sum([await spaces.drop_graph(session, space.space_id) for space in spaces_])


async def feed(sessions: Sessions, store: Qdrant, *, keep_removed_s: float = KEEP_REMOVED_S) -> int:
    """Tell the graph of every space what it does not know; how many changes there were.

    Several callers at once do no harm: a space is one's at a time. Raises Unavailable when the store is away.
    """
    async with transaction(sessions) as session:
        rows = (await session.execute(text("select id, dimension from embedding_spaces order by id"))).all()
    done, waiting = 0, [Fed(row.id, row.dimension) for row in rows]
    while waiting:  # in turns: a space that is filled anew does not keep the others waiting
        told = [await feed_space(sessions, store, space, keep_removed_s=keep_removed_s) for space in waiting]
        waiting = [space for space, changes in zip(waiting, told, strict=True) if changes]
        done += sum(told)
    return done


async def feed_space(sessions: Sessions, store: Qdrant, space: Fed, *, keep_removed_s: float = KEEP_REMOVED_S) -> int:
    """One round: how many changes were told. 0 also where another process is at it."""
    async with transaction(sessions) as holder:
        if not await holder.scalar(_TRY_LOCK, {"space_id": space.id}):
            return 0
        await holder.execute(text("set local idle_in_transaction_session_timeout = '10min'"))
        await _begin(sessions, space.id)
        state = await _known(sessions, store, space)
        return await _tell(sessions, store, space, state, keep_removed_s)


async def end(session: AsyncSession) -> None:
    """No graph outside is fed any more: what was noted for them goes."""
    await session.execute(text("delete from vector_feeds"))


async def _begin(sessions: Sessions, space_id: int) -> None:
    """Have changes noted from now on, and all that is there noted as one."""
    async with transaction(sessions) as session:
        state = (await session.execute(_STATE, {"space_id": space_id})).one_or_none()
        if state is None:
            # Waits for whoever is writing vectors: who writes after the commit sees the feed and notes what it writes.
            await session.execute(text(f"lock table {vector_table(space_id)} in share mode"))
            await session.execute(
                text("insert into vector_feeds (space_id) values (:space_id)"), {"space_id": space_id}
            )
    if state is None or not state.is_listed:
        async with transaction(sessions) as session:
            await _list(session, space_id)


async def _list(session: AsyncSession, space_id: int) -> None:
    statement = text(_LIST.format(table=vector_table(space_id)))
    last: int | None = 0
    while last is not None:
        given = {"space_id": space_id, "last": last, "limit": _LISTED_AT_ONCE, "size": _CHUNKS_OF_A_ROW}
        last = await session.scalar(statement, given)
    await session.execute(
        text("update vector_feeds set is_listed = true where space_id = :space_id"), {"space_id": space_id}
    )


async def _known(sessions: Sessions, store: Qdrant, space: Fed) -> Row[tuple[object, ...]]:
    """The feed's state, once the graph is the one that it tells of: a new one, where it was not."""
    while True:
        async with transaction(sessions) as session:
            state = (await session.execute(_STATE, {"space_id": space.id})).one()
        name = graph_name(space.id, state.generation)
        if state.checked_at is None:
            await store.make(name, space.dimension, str(state.mark))
        else:
            found = await store.mark(name)
            if found not in (str(state.mark), str(state.next_mark)):
                log.warning("vectors.filled_anew", space_id=space.id, was_lost=found is None)
                await _renew(sessions, space.id, name)
                continue
            if found == str(state.next_mark):  # a round that was cut short at its very end
                await _set(sessions, space.id, "mark = next_mark, next_mark = null")
        if not state.is_trusted:
            await _set(sessions, space.id, "checked_at = clock_timestamp()")
        for stale in state.stale:
            await store.drop(stale)
        if state.stale:
            await _set(sessions, space.id, "stale = '{}'")
        return state


async def _renew(sessions: Sessions, space_id: int, name: str) -> None:
    """Begin again with a graph of another name."""
    async with transaction(sessions) as session:
        await session.execute(_RENEW, {"space_id": space_id, "name": name})
        await session.execute(text("delete from vector_changes where space_id = :space_id"), {"space_id": space_id})
        await _list(session, space_id)


async def _tell(
    sessions: Sessions, store: Qdrant, space: Fed, state: Row[tuple[object, ...]], keep_removed_s: float
) -> int:
    name, mark = graph_name(space.id, state.generation), uuid4()
    async with transaction(sessions) as session:
        told = (await session.execute(_NEXT, {"space_id": space.id, "keep_s": keep_removed_s})).all()
        told = told[: _so_many([row.chunk_count for row in told])]
        if not told:
            return 0
        await session.execute(_ANNOUNCE, {"space_id": space.id, "mark": mark})
        added = sorted({chunk_id for row in told if not row.is_removal for chunk_id in row.chunk_ids})
        written = await vectors.stored(session, space.id, added, space.dimension)
        gone = {chunk_id for row in told if row.is_removal for chunk_id in row.chunk_ids}
        gone -= await vectors.among(session, space.id, list(gone)) if gone else set()  # what came back since
    if gone:
        await store.remove(name, sorted(gone))
    await store.put(name, *written, str(mark))
    crash_points.reach("mid_feed")
    async with transaction(sessions) as session:
        await session.execute(
            text("delete from vector_changes where id = any(:ids)"), {"ids": [row.id for row in told]}
        )
        await session.execute(_CONFIRM, {"space_id": space.id, "mark": mark})
    return len(told)


def _so_many(sizes: list[int]) -> int:
    """How many of these come to no more than a round has; at least one."""
    total = 0
    for number, size in enumerate(sizes):
        total += size
        if number and total > CHUNKS_AT_ONCE:
            return number
    return len(sizes)


async def _set(sessions: Sessions, space_id: int, assignment: str) -> None:
    async with transaction(sessions) as session:
        await session.execute(
            text(f"update vector_feeds set {assignment} where space_id = :space_id"), {"space_id": space_id}
        )


_TRY_LOCK = text("select pg_try_advisory_xact_lock(7355003, cast(:space_id as integer))")
_STATE = text("""
select generation, mark, next_mark, is_listed, checked_at, stale,
       coalesce(checked_at > pg_postmaster_start_time(), false) as is_trusted
from vector_feeds where space_id = :space_id
""")
_LIST = """
with part as materialized (
    select chunk_id, row_number() over (order by chunk_id) - 1 as place
    from (select chunk_id from {table} where chunk_id > :last order by chunk_id limit :limit) as next
), listed as (
    insert into vector_changes (space_id, chunk_ids, chunk_count, is_removal)
    select cast(:space_id as smallint), array_agg(chunk_id order by chunk_id), count(*), false from part group by place / :size
)
select max(chunk_id) from part
"""
_RENEW = text("""
update vector_feeds
set generation = gen_random_uuid(), mark = gen_random_uuid(), next_mark = null, is_listed = false, checked_at = null,
    stale = stale || cast(:name as text)
where space_id = :space_id
""")
# What was written goes first: a graph with too much in it harms nobody.
_NEXT = text("""
select id, chunk_ids, chunk_count, is_removal from vector_changes
where space_id = :space_id
  and (not is_removal or created_at < clock_timestamp() - make_interval(secs => :keep_s))
order by is_removal, id limit 500
""")
_ANNOUNCE = text("update vector_feeds set next_mark = :mark where space_id = :space_id")
_CONFIRM = text("""
update vector_feeds set mark = next_mark, next_mark = null where space_id = :space_id and next_mark = :mark
""")

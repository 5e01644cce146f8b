"""Which way PostgreSQL goes for the statements that every search asks: by an index, however much there is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import TextClause, event, text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.core.db import Sessions
from drystone.core.reach import DECLARE, Reach
from drystone.documents.filters import Comparison
from drystone.index import spaces, vectors
from drystone.mentions import queries as mentions
from drystone.mentions.queries import Within
from drystone.search import queries
from drystone.search.queries import Scope

_DIMENSION = 8


@dataclass(frozen=True)
class Filled:
    """The owner's transaction in which two collections of 500 documents of five passages lie; it is rolled back.

    space_id: that of vectors of all of them, which PostgreSQL has not counted yet. chunk_ids: of the first collection.
    often, seldom: an entity that all passages mention, and one that one in five hundred does.
    """

    session: AsyncSession
    collection_ids: Sequence[UUID]
    space_id: int
    chunk_ids: np.ndarray
    often: UUID
    seldom: UUID

    async def plans(self, call: Callable[[], Awaitable[Any]]) -> str:
        """The plan of each statement that is executed by a call."""
        heard: list[tuple[TextClause, dict[str, Any]]] = []
        connection = (await self.session.connection()).sync_connection
        assert connection is not None

        def hear(_: Any, statement: TextClause, several: Any, one: dict[str, Any], __: Any) -> None:
            heard.append((statement, one or several[0]))

        event.listen(connection, "before_execute", hear)
        try:
            await call()
        finally:
            event.remove(connection, "before_execute", hear)
        assert heard
        return "\n".join([await self._plan(statement, parameters) for statement, parameters in heard])

    async def _plan(self, statement: TextClause, parameters: dict[str, Any]) -> str:
        bound = [each for each in statement._bindparams.values() if each.key in parameters]
        return "\n".join(await self.session.scalars(text(f"explain {statement.text}").bindparams(*bound), parameters))


@pytest.fixture(scope="module")
async def filled(owner: Sessions, empty: Callable[[], Awaitable[None]]) -> AsyncIterator[Filled]:
    await empty()  # what others left would be counted, too
    async with owner.make() as session:
        space_id = await spaces.ensure(session, f"for-plans-{uuid4()}", _DIMENSION)
        collection_ids = [uuid4(), uuid4()]
        for collection_id in collection_ids:
            await session.execute(_FILL, {"collection_id": collection_id, "name": str(collection_id)})
        often, seldom = uuid4(), uuid4()
        for entity_id, one_in in ((often, 1), (seldom, 500)):
            given = {"entity_id": entity_id, "key": str(entity_id), "one_in": one_in, "collection_ids": collection_ids}
            await session.execute(_MENTION, given)
        await session.execute(text("analyze documents, versions, chunks, collections, entities, mentions"))
        await session.execute(_fill_vectors(space_id), {"collection_ids": collection_ids})
        found = await session.scalars(
            text("select id from chunks where collection_id = :collection_id order by id"),
            {"collection_id": collection_ids[0]},
        )
        chunk_ids = np.array(found.all(), np.int64)
        await _become_a_caller(session)
        yield Filled(session, collection_ids, space_id, chunk_ids, often, seldom)
        await session.rollback()


async def _become_a_caller(session: AsyncSession) -> None:
    """Have row-level security hold for the owner's transaction as it does for a caller of the one workspace."""
    theirs = await session.execute(
        text("select tablename, policyname from pg_policies where policyname in ('owner', 'readers')")
    )
    for row in theirs.all():
        await session.execute(text(f"drop policy {row.policyname} on {row.tablename}"))
    workspace_id = await session.scalar(text("select id from workspaces limit 1"))
    await session.execute(DECLARE, Reach(workspace_id).parameters())


_FILL = text("""
with collection as (
    insert into collections (id, workspace_id, name, space_id)
    select :collection_id, (select id from workspaces limit 1), :name, (select max(id) from embedding_spaces)
    returning id, workspace_id
), file as (
    insert into files (id, workspace_id, sha256, size_bytes, media_type)
    select gen_random_uuid(), workspace_id, uuid_send(id), 1, 'text/plain' from collection returning id
), document as (
    insert into documents (id, workspace_id, collection_id, external_id, sha256, created_by, state)
    select gen_random_uuid(), workspace_id, id, n, '\\x00', 'test', 'ready' from collection, generate_series(1, 500) as n
    returning id, workspace_id, collection_id
), version as (
    insert into versions (id, workspace_id, document_id, number, file_id, state, chunk_count)
    select gen_random_uuid(), document.workspace_id, document.id, 1, file.id, 'ready', 5 from document, file
    returning id, document_id
)
insert into chunks (collection_id, document_id, version_id, ordinal, start_offset, end_offset, title_path, content_hash,
                    length, text)
select :collection_id, version.document_id, version.id, n, 0, 0, '{}', '\\x00', 1, 'chunk ' || n
from version, generate_series(0, 4) as n
""")


_MENTION = text("""
with entity as (
    insert into entities (id, workspace_id, type, key, created_by)
    values (:entity_id, (select id from workspaces limit 1), 'property', :key, 'test')
    returning id
)
insert into mentions (chunk_id, entity_id, collection_id, document_id, starts, ends)
select chunk.id, entity.id, collection_id, document_id, '{0}', '{1}' from chunks as chunk, entity
where collection_id = any(cast(:collection_ids as uuid[])) and chunk.id % :one_in = 0
""")


def _fill_vectors(space_id: int) -> TextClause:
    return text(f"""
        insert into {spaces.vector_table(space_id)} (chunk_id, collection_id, document_id, embedding)
        select id, collection_id, document_id, cast(array[
            sin(id), cos(id), sin(id / 7), cos(id / 7), sin(id / 100), cos(id / 100), sin(id * id), 1
        ] as halfvec)
        from chunks where collection_id = any(cast(:collection_ids as uuid[]))
    """)


_QUESTION = np.full(_DIMENSION, _DIMENSION**-0.5, np.float32)


async def test_the_graph_is_walked_right_after_loading_before_anything_is_counted(filled: Filled) -> None:
    scope = Scope(filled.collection_ids[:1])

    plan = await filled.plans(
        lambda: vectors.PgGraph().walk(filled.session, filled.space_id, scope, _QUESTION, depth=100)
    )

    assert f"ix_vectors_{filled.space_id}_embedding" in plan


async def test_a_filtered_walk_asks_for_each_document_it_meets(filled: Filled) -> None:
    scope = Scope(filled.collection_ids, Comparison(type="ne", key="year", value=1900))

    plan = await filled.plans(
        lambda: vectors.PgGraph().walk(filled.session, filled.space_id, scope, _QUESTION, depth=100)
    )

    assert f"ix_vectors_{filled.space_id}_embedding" in plan
    assert "pk_documents" in plan


async def test_vectors_of_candidates_are_read_by_their_ids(filled: Filled) -> None:
    plan = await filled.plans(
        lambda: vectors.of_chunks(filled.session, filled.space_id, filled.chunk_ids[:200], _DIMENSION)
    )

    assert f"vectors_{filled.space_id}_pkey" in plan


async def test_deleted_documents_that_are_still_there_are_found_by_their_own_index(filled: Filled) -> None:
    assert "ix_documents_hidden" in await filled.plans(lambda: queries.hidden(filled.session, filled.collection_ids))


@pytest.mark.parametrize(
    ("read", "indexes"),
    [
        (lambda s, ids: queries.passages(s, ids[:10]), ("pk_chunks", "pk_documents", "pk_versions")),
        (lambda s, ids: queries.neighbours(s, ids[:10], 2), ("pk_chunks", "uq_chunks_version_id_ordinal")),
        (lambda s, ids: queries.documents_of(s, ids[:200]), ("pk_chunks",)),
        (lambda s, ids: queries.contents_of(s, ids[:50]), ("pk_chunks",)),
    ],
    ids=["passages", "neighbours", "documents", "contents"],
)
async def test_what_is_shown_is_read_by_ids(
    filled: Filled, read: Callable[[AsyncSession, list[int]], Awaitable[Any]], indexes: tuple[str, ...]
) -> None:
    plan = await filled.plans(lambda: read(filled.session, filled.chunk_ids.tolist()))

    assert all(index in plan for index in indexes), plan
    assert "Seq Scan on chunks" not in plan


async def test_the_best_by_words_are_looked_up_by_their_ids(filled: Filled) -> None:
    scope = Scope(filled.collection_ids, Comparison(type="ne", key="year", value=1900))

    plan = await filled.plans(lambda: queries.among_searchable(filled.session, scope, filled.chunk_ids[:200]))

    assert "pk_chunks" in plan
    assert "Seq Scan on chunks" not in plan


@pytest.mark.parametrize("goes_on", [False, True], ids=["first", "next"])
async def test_a_page_of_an_entitys_passages_reads_a_page_in_the_order_of_the_index(
    filled: Filled, goes_on: bool
) -> None:
    after = None
    if goes_on:
        row = (await mentions.page_passages(filled.session, filled.often, collection_ids=None, after=None, limit=50))[
            -1
        ]
        after = row.document_id, row.chunk_id

    plan = await filled.plans(
        lambda: mentions.page_passages(filled.session, filled.often, collection_ids=None, after=after, limit=50)
    )

    assert "ix_mentions_entity_id" in plan
    assert "pk_chunks" in plan
    assert "Sort" not in plan
    assert "Seq Scan on mentions" not in plan
    assert "Seq Scan on chunks" not in plan


async def test_mentions_by_day_are_read_by_their_entity(filled: Filled) -> None:
    within = Within([filled.seldom], None, date(2026, 1, 1), date(2027, 1, 1))

    for read in (mentions.all_days, mentions.newest_days, mentions.spans_of):
        plan = await filled.plans(lambda read=read: read(filled.session, within))  # type: ignore[misc]  # a default is no argument
        assert "ix_mentions_entity_id" in plan, plan
        assert "pk_documents" in plan, plan


async def test_whether_an_entity_is_mentioned_is_one_step_into_an_index(filled: Filled) -> None:
    workspace_id = await filled.session.scalar(text("select id from workspaces limit 1"))

    plan = await filled.plans(
        lambda: mentions.page_mentioned(
            filled.session,
            workspace_id,
            entity_ids=[filled.often, filled.seldom],
            collection_ids=None,
            after=None,
            limit=100,
        )
    )

    assert "ix_mentions_entity_id" in plan
    assert "Seq Scan on mentions" not in plan

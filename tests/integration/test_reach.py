"""Row-level security: what stands behind the one predicate, for every table there is.

Two workspaces have a row of everything. A table that is new must be filled here, and have a rule, or be among those open to
all with the reason why.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.integration.catalogues import ALL
from tests.keys import bearer, make_key, make_workspace
from tests.observing import make_entity

from drystone.access.service import default_workspace
from drystone.core.db import Sessions, make_engine, make_sessions, transaction
from drystone.core.reach import EVERYTHING, NOTHING, Reach
from drystone.core.settings import Settings
from drystone.tables import metadata

A = "/api/v1"
OPEN = {
    "alembic_version": "the revision of the schema",
    "embedding_spaces": "names and lengths of models",
    "timeline": "one id, of the database as a whole",
    "vector_feeds": "how far a graph outside is, of all collections of a model together",
    "vector_changes": "numbers of passages that such a graph is to be told of; a search asks how many",
    "blob_checks": "hashes of bytes, which are kept once for all workspaces: when they were last read",
    "blob_intents": "hashes of bytes that somebody is about to keep",
    "blob_removals": "hashes of bytes that were orphans",
}
# What the application's role can neither change nor remove, its own or others'.
FOR_GOOD = {
    "catalogue_changes",
    "catalogue_revisions",
    "entity_versions",
    "module_members",
    "module_versions",
    "profile_versions",
}
# Of the worker alone: nobody else reaches a row of these.
OF_NOBODY = {"kept_embeddings"}
# What a key that is confined to collections sees no more of than of any other's.
OF_COLLECTIONS = {
    "collections",
    "collection_uses",
    "documents",
    "versions",
    "chunks",
    "document_attributes",
    "lexical_additions",
    "lexical_removals",
    "lexical_segments",
    "lexical_postings",
    "reembeddings",
    "jobs",
    "events",
}


@dataclass(frozen=True)
class Filled:
    """Two workspaces with a row in each table; the first has two collections.

    of_callers: sessions as web has them, of the application's role; nothing is reached until somebody says so.
    """

    everything: Sessions
    of_callers: Sessions
    workspaces: tuple[UUID, UUID]
    collections: tuple[UUID, UUID]
    tables: tuple[str, ...]

    async def seen(self, reach: Reach) -> dict[str, set[str]]:
        """The places of the rows of each table that can be read."""
        async with transaction(self.of_callers.within(reach)) as session:
            return {
                table: set((await session.scalars(text(f"select cast(ctid as text) from {table}"))).all())
                for table in self.tables
            }


@pytest.fixture
async def of_callers(settings: Settings) -> AsyncIterator[Sessions]:
    engine = make_engine(settings.database.url.get_secret_value(), pool_size=1, is_confined=True)
    yield make_sessions(engine)
    await engine.dispose()


@pytest.fixture
async def filled(client: httpx.AsyncClient, work: Any, owner: Sessions, of_callers: Sessions) -> Filled:
    async with transaction(owner) as session:
        ours = await default_workspace(session)
    theirs = await make_workspace(owner)
    first = await _use(client, work, owner, ours, "shared-name")
    await _use(client, work, owner, theirs, "shared-name")
    second = await _use(client, work, owner, ours, "another")
    async with transaction(owner) as session:
        tables = set(await session.scalars(_PROTECTED)) - set(await session.scalars(_MONTHS))
        used = {f"vectors_{space}" for space in await session.scalars(text("select space_id from collections"))}
    # Other tests may have left empty spaces behind.
    tables = {table for table in tables if table in used or not table.startswith("vectors_")}
    return Filled(owner, of_callers, (ours, theirs), (first, second), tuple(sorted(tables)))


async def _use(client: httpx.AsyncClient, work: Any, owner: Sessions, workspace_id: UUID, name: str) -> UUID:
    """Do a little of everything, through the API where it can be done there; the collection's id."""
    headers = bearer(await make_key(owner, workspace_id=workspace_id))

    async def ask(method: str, path: str, **given: Any) -> dict[str, Any]:
        answer = await client.request(method, f"{A}{path}", headers=headers | given.pop("headers", {}), **given)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else {}

    batch = await ask("post", "/batches", json={"name": "b"})
    for external_id in ("stays", "goes"):
        await ask(
            "post",
            "/documents",
            files={"file": ("a.txt", b"The same words in every workspace, under the same name.")},
            data={
                "collection": name,
                "external_id": external_id,
                "batch": batch["id"],
                "attributes": '{"year": 2026}',
            },
            headers={"Idempotency-Key": f"k-{external_id}"},
        )
    await ask("put", f"/keys/{headers['Authorization'].split()[1].partition('.')[0]}/limits", json={})
    collection = await ask("get", f"/collections/{name}")
    hook = await ask("post", "/webhooks", json={"url": "https://example.org/hook", "collection": name})
    await ask("post", f"/webhooks/{hook['id']}/test")
    await ask(
        "post",
        "/uploads",
        json={"name": "a", "size_bytes": 1, "sha256": hashlib.sha256(name.encode()).hexdigest(), "collection": name},
    )
    kept: dict[str, Any] = {"files": {"file": ("a.txt", b"The same words.")}, "data": {"purpose": "assistants"}}
    assert (await client.post("/openai/v1/files", headers=headers, **kept)).is_success
    announced = {"filename": "a.txt", "bytes": 3, "mime_type": "text/plain", "purpose": "assistants"}
    begun = (await client.post("/openai/v1/uploads", headers=headers, json=announced)).json()
    parts = f"/openai/v1/uploads/{begun['id']}/parts"
    assert (await client.post(parts, headers=headers, files={"data": ("a", b"abc")})).is_success
    store = f"/openai/v1/vector_stores/vs_{UUID(collection['id']).hex}"
    expiring = {"expires_after": {"anchor": "last_active_at", "days": 7}}
    assert (await client.post(store, headers=headers, json=expiring)).is_success
    if name == "shared-name":  # the catalogue is the workspace's: once is enough
        await ask("post", "/catalogue/changes", json={"changes": ALL})
    await ask("post", "/drafts", json={"title": name})
    await _sign_in(client, headers["Authorization"].removeprefix("Bearer "))
    entity = await make_entity(owner, workspace_id=workspace_id)
    rows = [{"entity": entity, "metric": "m", "observed_at": "2026-01-05T10:00:00Z", "value": 1}]
    await ask("post", "/observations", json=rows)
    await work()
    gone = await ask("get", "/documents", params={"collection": name, "external_id": "goes"})
    await ask("delete", f"/documents/{gone['items'][0]['id']}")
    async with transaction(owner) as session:  # what only the worker writes, in its time
        for statement in _WRITTEN_LATER:
            await session.execute(
                text(statement), {"collection_id": UUID(collection["id"]), "workspace_id": workspace_id}
            )
    return UUID(collection["id"])


async def _sign_in(client: httpx.AsyncClient, key: str) -> None:
    answer = await client.post("/sign-in", data={"key": key}, headers={"Sec-Fetch-Site": "same-origin"})
    client.cookies.clear()
    assert answer.status_code == 303, answer.text


_WRITTEN_LATER = [
    """
    with segment as (
        insert into lexical_segments (collection_id, analyser, languages, chunk_count, chunk_ids, lengths)
        values (:collection_id, 1, '{}', 0, '{}', '{}') returning id
    )
    insert into lexical_postings (segment_id, term, ordinals, frequencies) select id, 'word', '', '' from segment
    """,
    "insert into lexical_removals (collection_id, chunk_ids) values (:collection_id, '{}')",
    """
    insert into reembeddings (id, workspace_id, collection_id, from_space_id, to_space_id, created_by, ended_at)
    select gen_random_uuid(), workspace_id, id, space_id, space_id, 'test', now() from collections where id = :collection_id
    """,
    """
    insert into upload_usage (workspace_id, actor, day) values (:workspace_id, 'key:' || cast(cast(:collection_id as uuid) as text), now())
    """,
    """
    insert into readers (id, workspace_id, role, name)
    select gen_random_uuid(), :workspace_id, 'drystone_reader_' || replace(cast(cast(:collection_id as uuid) as text), '-', ''), 'test'
    """,
    """
    insert into kept_embeddings (space_id, content_hash, embedding)
    select space_id, uuid_send(id), '[1]' from collections where id = :collection_id
    """,
]
_ALL = text("select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')")
_PROTECTED = text("""
select relname from pg_class
where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and relrowsecurity and relforcerowsecurity
""")


# Months of observations: nobody but the owner reads one but through its table (tests/integration/test_observations.py).
_MONTHS = text("select relname from pg_class where relispartition and relkind = 'r'")


async def test_every_table_is_held_to_a_rule_or_says_why_not(owner: Sessions) -> None:
    async with transaction(owner) as session:
        there, protected = set(await session.scalars(_ALL)), set(await session.scalars(_PROTECTED))
        policies = (await session.execute(text("select tablename, policyname, permissive from pg_policies"))).all()

    assert there - protected == set(OPEN)
    assert {table.name for table in metadata.sorted_tables} <= there
    # No policy beside the two: each one more would let more through. But for those that take away, of what readers see.
    assert sorted((row.tablename, row.policyname) for row in policies if row.permissive == "PERMISSIVE") == sorted(
        (table, name) for table in protected for name in ("owner", "reach")
    )
    assert {row.policyname for row in policies if row.permissive != "PERMISSIVE"} == {"readers"}


async def test_a_workspace_reaches_its_own_rows_and_no_others(filled: Filled) -> None:
    everything, nothing = await filled.seen(EVERYTHING), await filled.seen(NOTHING)
    ours, theirs = [await filled.seen(Reach(each)) for each in filled.workspaces]

    for table in filled.tables:
        assert everything[table], f"{table} is empty: fill it here"
        assert not nothing[table], table
        assert not ours[table] & theirs[table], table
        if table in OF_NOBODY:
            assert not ours[table], table
            assert not theirs[table], table
        else:
            assert ours[table], table
            assert theirs[table], table


async def test_both_workspaces_together_are_everything_that_is_anybodys(filled: Filled) -> None:
    async with transaction(filled.everything) as session:
        workspaces = list(await session.scalars(text("select id from workspaces")))
    everything = await filled.seen(EVERYTHING)
    each = [await filled.seen(Reach(workspace)) for workspace in workspaces]

    for table in set(filled.tables) - OF_NOBODY:
        assert set.union(*(seen[table] for seen in each)) == everything[table], table


async def test_a_key_of_some_collections_reaches_the_rows_of_these_only(filled: Filled) -> None:
    ours = filled.workspaces[0]
    whole = await filled.seen(Reach(ours))
    first, second = [await filled.seen(Reach(ours, frozenset({each}))) for each in filled.collections]
    none, foreign = (
        await filled.seen(Reach(ours, frozenset())),
        await filled.seen(Reach(filled.workspaces[1], frozenset(filled.collections))),
    )
    vectors = {table for table in filled.tables if table.startswith("vectors_")}

    assert vectors
    for table in OF_COLLECTIONS | vectors:
        assert first[table], table
        assert first[table] < whole[table], table
        assert first[table] & second[table] == none[table], table
        assert not foreign[table] & whole[table], table
    for table in {"collections", "documents", "versions", "chunks", *vectors}:
        assert not none[table], table


@pytest.mark.parametrize(
    "statement",
    [
        "insert into workspaces (id, name) values (gen_random_uuid(), 'theirs')",
        "insert into collections (id, workspace_id, name, space_id)"
        " select gen_random_uuid(), :theirs, 'new', min(id) from embedding_spaces",
        "insert into audit (workspace_id, actor, action, subject_kind) values (:theirs, 'me', 'x', 'x')",
        "update collections set workspace_id = :theirs",
        "update documents set workspace_id = :theirs",
        "update entities set workspace_id = :theirs",
        "insert into catalogues (workspace_id) values (:theirs)",
        "update drafts set workspace_id = :theirs",
        "insert into lexical_removals (collection_id, chunk_ids) select :foreign_collection, '{}'",
    ],
)
async def test_nothing_is_written_into_another_workspace(filled: Filled, statement: str) -> None:
    ours, theirs = filled.workspaces
    known = {"theirs": theirs, "foreign_collection": uuid4()}
    given = {name: value for name, value in known.items() if f":{name}" in statement}

    async def write() -> None:
        async with transaction(filled.of_callers.within(Reach(ours))) as session:
            await session.execute(text(statement), given)

    with pytest.raises(DBAPIError, match="row-level security"):
        await write()


async def test_nothing_of_another_workspace_is_changed_or_removed(filled: Filled) -> None:
    before = await filled.seen(EVERYTHING)

    async with transaction(filled.of_callers.within(Reach(uuid4()))) as session:
        for table in set(filled.tables) - {"audit", "alembic_version", "readers", *FOR_GOOD}:
            assert not (await session.execute(text(f"delete from {table} returning 1"))).all(), table

    assert await filled.seen(EVERYTHING) == before


async def test_who_says_nothing_gets_no_transaction_and_would_see_nothing(
    of_callers: Sessions, settings: Settings
) -> None:
    with pytest.raises(RuntimeError, match="within"):
        async with transaction(of_callers):
            pass

    connection = await asyncpg.connect(settings.database.url.get_secret_value())
    try:
        assert await connection.fetchval("select count(*) from workspaces") == 0
    finally:
        await connection.close()


async def test_a_reach_ends_with_its_transaction(filled: Filled) -> None:
    ours, theirs = [await filled.seen(Reach(each)) for each in filled.workspaces]

    assert await filled.seen(NOTHING) == {table: set() for table in filled.tables}  # of the same one connection
    assert ours != theirs


async def test_transactions_at_the_same_time_keep_their_reaches_apart(filled: Filled, settings: Settings) -> None:
    engine = make_engine(settings.database.url.get_secret_value(), pool_size=4, is_confined=True)
    sessions = make_sessions(engine)

    async def names(workspace_id: UUID) -> set[UUID]:
        async with transaction(sessions.within(Reach(workspace_id))) as session:
            await asyncio.sleep(0)
            return set(await session.scalars(text("select workspace_id from documents")))

    try:
        asked = [*filled.workspaces] * 40
        found = await asyncio.gather(*map(names, asked))
    finally:
        await engine.dispose()
    assert found == [{each} for each in asked]


async def test_the_role_of_the_application_can_neither_bypass_nor_undo_it(owner: Sessions, settings: Settings) -> None:
    role = settings.database.parts.user
    async with transaction(owner) as session:
        row = (await session.execute(text(f"select * from pg_roles where rolname = '{role}'"))).one()
        owned = (await session.scalars(text(f"select relname from pg_class where relowner = '{role}'::regrole"))).all()
        member_of = (
            await session.scalars(text(f"select roleid from pg_auth_members where member = '{role}'::regrole"))
        ).all()

    assert not any([row.rolsuper, row.rolbypassrls, row.rolcreaterole, row.rolcreatedb, row.rolreplication])
    assert owned == []
    assert member_of == []
    for attempt in _UNDOING:
        await _is_refused(settings, attempt)


_UNDOING = [
    "alter table documents disable row level security",
    "alter table documents no force row level security",
    "drop policy reach on documents",
    "create policy mine on documents using (true)",
    "create or replace function reaches_everything() returns boolean language sql as 'select true'",
    "set role postgres",
    "alter role current_user bypassrls",
    "truncate documents",
    "update audit set actor = 'somebody else'",
    "delete from audit",
    "update entity_versions set label = 'another'",
    "delete from catalogue_changes",
    "update readers set workspace_id = gen_random_uuid()",
    "insert into readers (id) values (gen_random_uuid())",
    "delete from readers",
    "drop policy readers on documents",
]


async def _is_refused(settings: Settings, statement: str) -> None:
    connection = await asyncpg.connect(settings.database.url.get_secret_value())
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_key_is_found_by_its_prefix_and_in_no_other_way(filled: Filled, settings: Settings) -> None:
    token = await make_key(filled.everything, workspace_id=filled.workspaces[1])
    connection = await asyncpg.connect(settings.database.url.get_secret_value())
    try:
        found = await connection.fetch("select prefix from find_key($1)", token.partition(".")[0])
        listed = await connection.fetch("select prefix from api_keys")
        guessed = await connection.fetch("select prefix from find_key($1)", "%")
    finally:
        await connection.close()

    assert [row["prefix"] for row in found] == [token.partition(".")[0]]
    assert listed == []
    assert guessed == []


async def test_a_draft_is_found_by_its_link_and_in_no_other_way(
    client: httpx.AsyncClient, filled: Filled, settings: Settings
) -> None:
    made = (await client.post(f"{A}/drafts", json={"title": "a"})).json()
    prefix = made["token"].partition(".")[0]
    connection = await asyncpg.connect(settings.database.url.get_secret_value())
    try:
        found = await connection.fetch("select prefix from find_draft($1)", prefix)
        listed = await connection.fetch("select id from drafts")
        guessed = await connection.fetch("select prefix from find_draft($1)", "%")
    finally:
        await connection.close()

    assert [row["prefix"] for row in found] == [prefix]
    assert listed == []
    assert guessed == []


def test_rules_name_only_tables_that_are_there() -> None:
    names: Iterable[str] = {*OF_COLLECTIONS, *OF_NOBODY, *(set(OPEN) - {"alembic_version"})}
    assert set(names) <= {table.name for table in metadata.sorted_tables}

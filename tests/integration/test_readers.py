"""Readers: what a tool with a role of its own sees through the views of the schema `reading`, and that it sees nothing else.

Asked as the role itself, over a connection of its own: nothing here takes the word of who made it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from sqlalchemy import text
from tests.conftest import ROOT
from tests.integration.catalogues import A
from tests.integration.test_backup import asked, elsewhere, folder_target, programs, source  # noqa: F401  fixtures
from tests.integration.uploads import Work, send
from tests.keys import bearer, make_key, make_workspace

from drystone.access import readers as room
from drystone.access.readers import Terms
from drystone.access.service import Principal, default_workspace
from drystone.backup import restoring
from drystone.backup.saving import Source, save
from drystone.cli import readers as command
from drystone.core.db import Sessions, make_engine, make_sessions, transaction
from drystone.core.errors import Conflict, Denied, Invalid, NotFound
from drystone.core.settings import Settings
from drystone.index import spaces
from drystone.stack import bootstrap, probes

DIMENSION = 8
# The latter two: of a view, which nothing can be written through or truncated, whoever asks.
REFUSED = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.WrongObjectTypeError,
)


class Readers:
    """Makes readers and connects as them. sessions: of the superuser."""

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        self.settings = settings
        self.sessions = sessions
        self.made: list[str] = []

    async def make(self, workspace_id: UUID, **terms: Any) -> tuple[str, str]:
        """The role of a new one, and its password."""
        async with transaction(self.sessions) as session:
            us = Principal(workspace_id, "operator:test", frozenset({"admin"}))
            reader, password = await room.create(session, us, f"tool {len(self.made)}", Terms(**terms))
        self.made.append(reader.role)
        return reader.role, password

    @asynccontextmanager
    async def connect(self, role: str, password: str, database: str = "") -> AsyncIterator[Any]:
        parts = self.settings.database.parts
        connection = await asyncpg.connect(
            host=parts.host, port=parts.port, database=database or parts.database, user=role, password=password
        )
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def reading(self, workspace_id: UUID, **terms: Any) -> AsyncIterator[Any]:
        """A connection of a new one."""
        async with self.connect(*await self.make(workspace_id, **terms)) as connection:
            yield connection


@pytest.fixture
async def readers(settings: Settings, sessions: Sessions) -> AsyncIterator[Readers]:
    # As `up` does: a database that was cloned is open to everybody.
    probes.run(lambda: bootstrap.postgres(settings.database))
    engine = make_engine(command._url(settings), pool_size=1)
    found = Readers(settings, make_sessions(engine))
    yield found
    async with transaction(found.sessions) as session:
        for role in found.made:  # roles are the server's, and outlive a database
            await session.execute(text(f"drop owned by {role}"))
            await session.execute(text(f"drop role {role}"))
    await engine.dispose()


@pytest.fixture
async def ours(owner: Sessions, sessions: Sessions) -> UUID:
    async with transaction(owner) as session:
        return await default_workspace(session)


@pytest.fixture
async def theirs(owner: Sessions) -> UUID:
    return await make_workspace(owner)


async def use(
    client: httpx.AsyncClient, work: Work, owner: Sessions, workspace_id: UUID, word: str, *collections: str
) -> dict[str, Any]:
    """Have something of everything that readers see, with a word in it that tells whose it is; the last document."""
    headers = bearer(await make_key(owner, workspace_id=workspace_id))
    schema = {"type": "property", "label": f"Ozone {word}", "schema_definition": {"type": "number"}}
    assert (await client.put(f"{A}/entities/ozone", json=schema, headers=headers)).is_success
    made: dict[str, Any] = {}
    for collection in collections:
        answer = await client.post(
            f"{A}/documents",
            files={"file": ("a.md", f"# The {word}\n\nOzone {word}, at the {collection}.".encode())},
            data={"collection": collection, "external_id": "one", "attributes": f'{{"whose": "{word}"}}'},
            headers=headers,
        )
        assert answer.status_code == 202, answer.text
        made = answer.json()["document"]
    await work()
    row = {"entity": "ozone", "metric": "level", "observed_at": "2026-01-05T10:00:00Z", "value": 3, "source": word}
    assert (await client.post(f"{A}/observations", json=[row], headers=headers)).is_success
    found: dict[str, Any] = (await client.get(f"{A}/documents/{made['id']}", headers=headers)).json()
    return found


async def views(connection: Any) -> list[str]:
    """All there are, also of spaces that other tests left."""
    return [
        row["viewname"] for row in await connection.fetch("select viewname from pg_views where schemaname = 'reading'")
    ]


async def rows(connection: Any, view: str) -> list[str]:
    return [row[0] for row in await connection.fetch(f"select cast(row as text) from reading.{view} as row")]


async def test_a_reader_sees_what_search_would_find_and_where_it_stands(
    client: httpx.AsyncClient, work: Work, owner: Sessions, readers: Readers, ours: UUID
) -> None:
    document = await use(client, work, owner, ours, "owl", "papers")

    async with readers.reading(ours) as connection:
        (passage,) = await connection.fetch("select * from passages")
        (seen,) = await connection.fetch("select * from documents")
        (collection,) = await connection.fetch("select * from collections")
        (mention,) = await connection.fetch("select * from mentions")
        (entity,) = await connection.fetch("select * from entities")
        (observation,) = await connection.fetch("select * from observations")
        (vector,) = await connection.fetch(
            f"select id, cast(embedding as vector) <#> cast(embedding as vector) as product, embedding::text as numbers from {collection['passages_view']}"
        )

    whole = (await client.get(f"{A}/documents/{document['id']}/text")).text
    assert whole[passage["start_offset"] : passage["end_offset"]] == passage["text"]
    assert (str(passage["document_id"]), passage["title"], passage["collection"]) == (
        document["id"],
        "The owl",
        "papers",
    )
    assert (passage["version"], passage["ordinal"], passage["attributes"]) == (1, 0, '{"whose": "owl"}')
    assert (seen["external_id"], seen["media_type"], seen["passages"]) == ("one", "text/markdown", 1)
    assert (collection["name"], collection["dimension"]) == ("papers", 384)
    spots = [whole[start:end].lower() for start, end in zip(mention["starts"], mention["ends"], strict=True)]
    assert (mention["entity"], set(spots), mention["passage_id"]) == ("ozone", {"ozone owl"}, passage["id"])
    assert (entity["key"], entity["label"]) == ("ozone", "Ozone owl")
    assert (observation["entity"], observation["source"], observation["value"]) == ("ozone", "owl", 3.0)
    assert (vector["id"], vector["numbers"].count(",")) == (passage["id"], 383)
    assert vector["product"] == pytest.approx(-1, abs=1e-3)


async def test_readers_of_two_workspaces_share_no_row_of_any_view(
    client: httpx.AsyncClient, work: Work, owner: Sessions, readers: Readers, ours: UUID, theirs: UUID
) -> None:
    await use(client, work, owner, ours, "owl", "papers")
    await use(client, work, owner, theirs, "fox", "papers")

    async with readers.reading(ours) as one, readers.reading(theirs) as other:
        for connection in (one, other):  # whatever a caller of the application would say of its reach
            await connection.execute("set drystone.workspace = '*'; set drystone.collections = ''")
        space = await one.fetchval("select passages_view from collections")
        for view in await views(one):
            mine, yours = await rows(one, view), await rows(other, view)
            assert not set(mine) & set(yours), view
            if re.fullmatch(r"passages_\d+", view) and view != space:
                continue
            assert mine, view
            assert yours, view
            told = "".join(mine)
            assert "fox" not in told, view
            assert "owl" not in "".join(yours), view


async def test_a_confined_reader_sees_its_collections_only(
    client: httpx.AsyncClient, work: Work, owner: Sessions, readers: Readers, ours: UUID
) -> None:
    await use(client, work, owner, ours, "owl", "papers", "notes")
    papers = UUID((await client.get(f"{A}/collections/papers")).json()["id"])

    async with readers.reading(ours, collection_ids=[papers]) as confined, readers.reading(ours) as whole:
        space = await whole.fetchval("select distinct passages_view from collections")
        for view in ("collections", "documents", "passages", "mentions", space):
            assert len(await rows(whole, view)) == 2, view
            (row,) = await rows(confined, view)
            assert str(papers) in row, view
        assert len(await rows(confined, "entities")) == 1  # the catalogue is the workspace's


@pytest.mark.parametrize(
    ("view", "column"),
    [
        ("passages", "text"),
        ("passages", "title"),
        ("documents", "cast(attributes as text)"),
        ("collections", "name"),
        ("entities", "label"),
        ("observations", "source"),
        ("mentions", "entity"),
        ("vectors", "cast(embedding as text)"),
    ],
)
async def test_a_condition_meets_no_row_that_the_reader_may_not_see(
    client: httpx.AsyncClient,
    work: Work,
    owner: Sessions,
    readers: Readers,
    ours: UUID,
    theirs: UUID,
    view: str,
    column: str,
) -> None:
    """A condition may tell what it was asked about, by errors or settings, before the view's own are asked."""
    await use(client, work, owner, ours, "owl", "owls", "owls-confined")
    await use(client, work, owner, theirs, "fox", "foxes")
    confined = UUID((await client.get(f"{A}/collections/owls-confined")).json()["id"])
    gone = (await send(client, "owls-confined", b"Elk: this is deleted.", name="elk.txt")).json()["document"]["id"]
    await work()
    assert (await client.delete(f"{A}/documents/{gone}")).is_success  # and its passages are still there

    async with readers.reading(ours, collection_ids=[confined]) as connection:
        table = await connection.fetchval("select passages_view from collections") if view == "vectors" else view
        await connection.fetch(
            f"select 1 from {table} where set_config('leak.seen',"
            f" coalesce(current_setting('leak.seen', true), '') || '|' || coalesce({column}, ''), false) is null"
        )
        seen = await connection.fetchval("select current_setting('leak.seen', true)") or ""
        shown = {row[0] for row in await connection.fetch(f"select {column} from {table}")}

    assert {each for each in seen.split("|") if each} == shown
    assert shown


async def test_what_was_deleted_is_gone_at_once_and_what_was_replaced_when_the_new_one_is_there(
    client: httpx.AsyncClient, work: Work, owner: Sessions, readers: Readers, ours: UUID
) -> None:
    document = await use(client, work, owner, ours, "owl", "papers")

    async with readers.reading(ours) as connection:
        space = await connection.fetchval("select passages_view from collections")
        await send(client, "papers", b"Another text.", external_id="one")
        before = [row[0] for row in await connection.fetch("select text from passages")]
        await work()
        after = [row[0] for row in await connection.fetch("select text from passages")]
        versions = [row[0] for row in await connection.fetch("select version from documents")]
        assert (await client.delete(f"{A}/documents/{document['id']}")).is_success
        left = {view: await rows(connection, view) for view in ("documents", "passages", "mentions", space)}

    assert ["owl" in each for each in before] == [True]
    assert (after, versions) == (["Another text."], [2])
    assert left == {view: [] for view in left}


async def test_what_only_waits_to_be_read_is_not_there_yet(
    client: httpx.AsyncClient, readers: Readers, ours: UUID, collection: str
) -> None:
    await send(client, collection, b"Not yet.")

    async with readers.reading(ours) as connection:
        assert await rows(connection, "documents") == []


_ALL = """
select relname, relkind::text from pg_class
where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f')
"""


async def test_no_table_can_be_read_or_written_whatever_a_session_sets(readers: Readers, ours: UUID) -> None:
    async with readers.reading(ours) as connection:
        await connection.execute("set default_transaction_read_only = off; set drystone.workspace = '*'")
        tables = [row["relname"] for row in await connection.fetch(_ALL)]
        for table in tables:
            for statement in (
                f"select from public.{table}",
                f"insert into public.{table} default values",
                f"delete from public.{table}",
                f"truncate public.{table}",
                f"do 'begin lock table public.{table} in access share mode; end'",
                f"copy public.{table} to stdout",
            ):
                with pytest.raises(REFUSED):
                    await connection.execute(statement)
        readable = await connection.fetch(
            "select relname from pg_class where relnamespace in ('public'::regnamespace, 'reading'::regnamespace)"
            " and relkind <> 'i' and relkind <> 'I' and has_any_column_privilege(oid, 'select')"
        )
        there = await views(connection)

    assert {"api_keys", "audit", "webhooks", "drafts", "visits", "documents", "chunks", "readers"} <= set(tables)
    assert {row["relname"] for row in readable} == set(there)


@pytest.mark.parametrize(
    "statement",
    [
        "insert into documents (title) values ('mine')",
        "update documents set title = 'mine'",
        "delete from passages",
        "update entities set key = 'mine'",
        "create table mine (id int)",
        "create table reading.mine (id int)",
        "create temporary table mine (id int)",
        "create function pg_temp.mine() returns int language sql as 'select 1'",
        "create schema mine",
        "create or replace view reading.collections as select 1",
        "alter role current_user connection limit -1",
        "set role postgres",
        "set session authorization postgres",
        "set temp_file_limit = -1",
        "select * from find_key('dsk_local')",
        "select make_passages_view(1)",
        "select pg_read_file('/etc/passwd')",
        "select lo_from_bytea(0, 'x')",
        "select lo_creat(-1)",
        "select lo_create(0)",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename <> session_user",
    ],
)
async def test_nothing_is_changed(readers: Readers, ours: UUID, statement: str) -> None:
    async with readers.reading(ours) as connection:
        with pytest.raises((asyncpg.ReadOnlySQLTransactionError, *REFUSED)):
            await connection.execute(statement)
        await connection.execute("set default_transaction_read_only = off")
        with pytest.raises(REFUSED):
            await connection.execute(statement)


async def test_of_the_owner_s_functions_a_reader_may_call_those_that_tell_of_itself(
    readers: Readers, ours: UUID
) -> None:
    async with readers.reading(ours) as connection:
        found = await connection.fetch(
            "select proname from pg_proc join pg_namespace as space on space.oid = pronamespace"
            " where prosecdef and nspname not in ('pg_catalog', 'information_schema')"
            " and has_function_privilege(pg_proc.oid, 'execute')"
        )

    assert {row["proname"] for row in found} == {"reader_workspace", "reader_confined", "reader_collections"}


async def test_the_role_is_nothing_more_and_is_bounded(readers: Readers, ours: UUID) -> None:
    role, password = await readers.make(ours, connections=1, statement_s=7)

    async with readers.connect(role, password) as connection:
        row = await connection.fetchrow("select * from pg_roles where rolname = session_user")
        member_of = await connection.fetch("select roleid from pg_auth_members where member = session_user::regrole")
        begun = {
            name: await connection.fetchval(f"show {name}")
            for name in ("statement_timeout", "default_transaction_read_only", "temp_file_limit", "hnsw.iterative_scan")
        }
        with pytest.raises(asyncpg.TooManyConnectionsError):
            async with readers.connect(role, password):
                pass

    powers = ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb", "rolreplication", "rolinherit")
    assert not any(row[power] for power in powers)
    assert member_of == []
    assert begun == {
        "statement_timeout": "7s",
        "default_transaction_read_only": "on",
        "temp_file_limit": "1GB",
        "hnsw.iterative_scan": "strict_order",
    }


async def test_owner_application_and_superuser_find_the_views_empty(
    client: httpx.AsyncClient, work: Work, owner: Sessions, readers: Readers, ours: UUID, settings: Settings
) -> None:
    """A view runs as the owner: the application would get round what it said it reaches."""
    await use(client, work, owner, ours, "owl", "papers")

    for url in (
        settings.database.url.get_secret_value(),
        settings.database.migration_url.get_secret_value(),
        command._url(settings),
    ):
        connection = await asyncpg.connect(url)
        try:
            for view in await views(connection):
                assert await rows(connection, view) == [], (url.partition("@")[2], view)
        finally:
            await connection.close()


async def test_who_was_removed_has_expired_or_has_no_row_sees_nothing(
    client: httpx.AsyncClient, work: Work, owner: Sessions, readers: Readers, ours: UUID
) -> None:
    await use(client, work, owner, ours, "owl", "papers")

    for change in (
        "delete from readers where role = :role",
        "update readers set expires_at = now() where role = :role",
    ):
        role, password = await readers.make(ours)
        async with readers.connect(role, password) as connection:
            assert await connection.fetchval("select count(*) from passages") == 1
            async with transaction(owner) as session:
                await session.execute(text(change), {"role": role})
            for view in await views(connection):
                assert await rows(connection, view) == [], view


async def test_who_expires_within_a_transaction_sees_nothing_more_in_it(
    client: httpx.AsyncClient, work: Work, owner: Sessions, readers: Readers, ours: UUID
) -> None:
    await use(client, work, owner, ours, "owl", "papers")
    role, password = await readers.make(ours)
    async with readers.connect(role, password) as connection, connection.transaction():
        assert await connection.fetchval("select count(*) from passages") == 1
        async with transaction(owner) as session:
            await session.execute(
                text("update readers set expires_at = clock_timestamp() where role = :r"), {"r": role}
            )
        for view in await views(connection):
            assert await rows(connection, view) == [], view


@pytest.mark.parametrize("database", ["postgres", "template1"])
async def test_databases_of_the_server_itself_are_closed(readers: Readers, ours: UUID, database: str) -> None:
    role, password = await readers.make(ours)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with readers.connect(role, password, database):
            pass


async def test_what_a_role_changed_of_itself_is_as_before_once_its_password_is_new(
    readers: Readers, ours: UUID
) -> None:
    role, password = await readers.make(ours, statement_s=7)
    async with readers.connect(role, password) as connection:
        await connection.execute("set default_transaction_read_only = off")
        await connection.execute("alter role current_user set default_transaction_read_only = off")
        await connection.execute("alter role current_user password 'known-to-others'")
    async with transaction(readers.sessions) as session:
        _, another = await room.rotate(session, "operator:test", role)
    async with readers.connect(role, another) as connection:
        assert await connection.fetchval("show default_transaction_read_only") == "on"
        assert await connection.fetchval("show statement_timeout") == "7s"
    with pytest.raises(asyncpg.InvalidPasswordError):
        async with readers.connect(role, "known-to-others"):
            pass


async def test_who_has_expired_gets_no_new_password(owner: Sessions, readers: Readers, ours: UUID) -> None:
    role, _ = await readers.make(ours)
    async with transaction(owner) as session:
        await session.execute(text("update readers set expires_at = now() where role = :role"), {"role": role})
    with pytest.raises(Invalid, match="is over"):
        async with transaction(readers.sessions) as session:
            await room.rotate(session, "operator:test", role)


async def test_a_removed_reader_is_shown_the_door(readers: Readers, ours: UUID) -> None:
    role, password = await readers.make(ours)

    async with readers.connect(role, password) as connection:
        async with transaction(readers.sessions) as session:
            await room.remove(session, "operator:test", role)
        readers.made.remove(role)
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.InterfaceError)):
            await connection.execute("select pg_sleep(30)")  # ended meanwhile, if not before
    with pytest.raises(asyncpg.InvalidPasswordError):
        async with readers.connect(role, password):
            pass
    with pytest.raises(NotFound):
        async with transaction(readers.sessions) as session:
            await room.remove(session, "operator:test", role)


async def test_a_new_password_ends_the_one_before(readers: Readers, ours: UUID) -> None:
    role, password = await readers.make(ours)

    async with transaction(readers.sessions) as session:
        _, another = await room.rotate(session, "operator:test", role)

    with pytest.raises(asyncpg.InvalidPasswordError):
        async with readers.connect(role, password):
            pass
    async with readers.connect(role, another) as connection:
        assert await connection.fetchval("select session_user") == role


async def test_a_name_is_had_once_in_a_workspace_and_names_a_reader_where_no_other_has_it(
    readers: Readers, ours: UUID, theirs: UUID
) -> None:
    mine, _ = await readers.make(ours)
    async with transaction(readers.sessions) as session:
        with pytest.raises(Conflict, match=f"'tool 0' already, with the role {mine}"):
            await room.create(session, Principal(ours, "operator:test", frozenset()), "tool 0", Terms())
        other, _ = await room.create(session, Principal(theirs, "operator:test", frozenset()), "tool 0", Terms())
    readers.made.append(other.role)

    async with transaction(readers.sessions) as session:
        with pytest.raises(Conflict) as several:
            await room.remove(session, "operator:test", "tool 0")
        assert several.value.hint == f"name one by its role: {mine}, {other.role}"
        assert await room.remove(session, "operator:test", other.role) == other.role
        assert (await room.rotate(session, "operator:test", "tool 0"))[0].role == mine
        assert await room.remove(session, "operator:test", "tool 0") == mine
    readers.made.clear()


async def test_an_end_in_the_past_is_refused_and_leaves_no_role(readers: Readers, ours: UUID) -> None:
    with pytest.raises(Invalid):
        await readers.make(ours, expires_at=datetime.now(UTC) - timedelta(seconds=1))

    async with transaction(readers.sessions) as session:
        assert await room.every(session) == []


async def test_who_made_turned_and_removed_a_reader_is_in_the_audit(
    client: httpx.AsyncClient, readers: Readers, ours: UUID
) -> None:
    role, password = await readers.make(ours)
    async with transaction(readers.sessions) as session:
        await room.rotate(session, "operator:test", role)
        await room.remove(session, "operator:test", role)
    readers.made.remove(role)

    told = (await client.get(f"{A}/audit", params={"action": "reader.*"})).json()["items"]

    assert [(row["action"], row["actor"], row["details"]["role"]) for row in told] == [
        (action, "operator:test", role) for action in ("reader.remove", "reader.rotate", "reader.create")
    ]
    assert password not in str(told)


async def test_nearest_passages_are_found_by_the_graph(owner: Sessions, readers: Readers, ours: UUID) -> None:
    async with transaction(owner) as session:
        space_id = await spaces.ensure(session, f"for-readers-{uuid4()}", DIMENSION)
        for name in ("papers", "notes"):
            await session.execute(text(_FILL), {"name": name, "space_id": space_id, "workspace_id": ours})
        await session.execute(text(_VECTORS.format(table=spaces.vector_table(space_id))), {"space_id": space_id})
        await session.execute(
            text(f"analyze documents, versions, chunks, collections, {spaces.vector_table(space_id)}")
        )
    graph, question = f"ix_vectors_{space_id}_embedding", "'[1,2,3,1,2,3,1,2]'"

    async with readers.reading(ours) as connection:

        async def plan(order: str, where: str = "") -> str:
            statement = f"explain select text from passages_{space_id} {where} order by {order} limit 5"
            return "\n".join([row[0] for row in await connection.fetch(statement)])

        whole = await plan(f"embedding <#> {question}")
        as_vector = await plan(f"embedding <#> cast({question} as vector)")
        within = await plan(f"embedding <#> {question}", "where collection = 'papers'")
        cosine = await plan(f"embedding <=> {question}")
        exact = await connection.fetch(
            f"with all_of_them as materialized (select id, embedding from passages_{space_id} where collection = 'papers')"
            f" select id from all_of_them order by embedding <#> {question}, id limit 5"
        )
        found = await connection.fetch(
            f"select id, embedding <#> {question} from passages_{space_id} where collection = 'papers'"
            f" order by embedding <#> {question} limit 5"
        )
        async with transaction(owner) as session:  # as the guide says
            await session.execute(text(f"create index on vectors_{space_id} using hnsw (embedding halfvec_cosine_ops)"))
        by_its_own = await plan(f"embedding <=> {question}")

    assert graph in whole
    assert graph in as_vector
    assert graph in within
    assert "hnsw" not in cosine
    assert graph not in cosine
    assert f"vectors_{space_id}_embedding_idx" in by_its_own
    assert [row["id"] for row in found] == [row["id"] for row in exact]


_FILL = """
with collection as (
    insert into collections (id, workspace_id, name, space_id)
    values (gen_random_uuid(), :workspace_id, :name, :space_id) returning id, workspace_id
), file as (
    insert into files (id, workspace_id, sha256, size_bytes, media_type)
    select gen_random_uuid(), workspace_id, uuid_send(id), 1, 'text/plain' from collection returning id
), document as (
    insert into documents (id, workspace_id, collection_id, external_id, sha256, created_by, state, current_version_id)
    select gen_random_uuid(), workspace_id, id, n, '\\x00', 'test', 'ready', gen_random_uuid()
    from collection, generate_series(1, 500) as n
    returning id, workspace_id, collection_id, current_version_id
), version as (
    insert into versions (id, workspace_id, document_id, number, file_id, state, chunk_count)
    select document.current_version_id, document.workspace_id, document.id, 1, file.id, 'ready', 5 from document, file
    returning id, document_id
)
insert into chunks (collection_id, document_id, version_id, ordinal, start_offset, end_offset, title_path, content_hash,
                    length, text)
select document.collection_id, document.id, version.id, n, 0, 0, '{}', '\\x00', 1, 'chunk ' || n
from version join document on document.id = version.document_id, generate_series(0, 4) as n
"""
_VECTORS = """
insert into {table} (chunk_id, collection_id, document_id, embedding)
select chunk.id, chunk.collection_id, chunk.document_id, cast(array[
    sin(chunk.id), cos(chunk.id), sin(chunk.id / 7), cos(chunk.id / 7), sin(chunk.id / 100), cos(chunk.id / 100),
    sin(chunk.id * chunk.id), 1
] as halfvec)
from chunks as chunk join collections on collections.id = chunk.collection_id where collections.space_id = :space_id
"""


async def test_after_a_restore_elsewhere_a_reader_sees_as_little_once_its_role_is_made_again(
    client: httpx.AsyncClient,
    work: Work,
    owner: Sessions,
    readers: Readers,
    ours: UUID,
    theirs: UUID,
    source: Source,  # noqa: F811
    elsewhere: Settings,  # noqa: F811
    tmp_path: Path,
) -> None:
    await use(client, work, owner, ours, "owl", "papers")
    await use(client, work, owner, theirs, "fox", "papers")
    role, _ = await readers.make(ours)
    target = folder_target(tmp_path)
    await save(source, target)
    await restoring.restore(elsewhere, ROOT, target, await target.read(), source.programs)

    listed, _ = await command._list(elsewhere)
    assert [(each.reader.role, each.state) for each in listed] == [(role, "no role")]
    _, password = await command._rotate(elsewhere, role)
    there = Readers(elsewhere, readers.sessions)
    async with there.connect(role, password) as connection:
        for view in await views(connection):
            assert "fox" not in "".join(await rows(connection, view)), view
        assert await connection.fetchval("select count(*) from passages") == 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("select from public.chunks")
    await command._remove(elsewhere, role)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with there.connect(role, password):
            pass
    async with readers.connect(role, password) as connection:  # the role is one for both
        assert await connection.fetchval("select count(*) from passages") == 1


async def test_an_owner_that_may_make_no_roles_is_told_what_helps(settings: Settings, sessions: Sessions) -> None:
    database = settings.database.model_copy(
        update={"superuser_password": type(settings.database.superuser_password)("")}
    )
    without = settings.model_copy(update={"database": database})

    with pytest.raises(Denied, match="CREATEROLE"):
        await command._create(without, "a tool", None, "default", None, 5, 30)

    assert (await command._list(without))[0] == []


async def test_an_owner_with_createrole_is_enough(
    settings: Settings, readers: Readers, client: httpx.AsyncClient, work: Work, owner: Sessions, ours: UUID
) -> None:
    await use(client, work, owner, ours, "owl", "papers")
    database = settings.database.model_copy(
        update={"superuser_password": type(settings.database.superuser_password)("")}
    )
    without = settings.model_copy(update={"database": database})
    name = settings.database.migration_parts.user
    async with transaction(readers.sessions) as session:
        await session.execute(text(f"alter role {name} createrole"))
    try:
        made, password = await command._create(without, "a tool", ["papers"], "default", None, 5, 30)
        async with readers.connect(made.role, password) as connection:
            assert await connection.fetchval("select count(*) from passages") == 1
        _, another = await command._rotate(without, made.role)
        async with readers.connect(made.role, another):
            pass
        await command._remove(without, made.role)
    finally:
        async with transaction(readers.sessions) as session:
            await session.execute(text(f"alter role {name} nocreaterole"))

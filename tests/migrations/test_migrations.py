"""Migrations: up from empty, every step down and up, in step with the models, polite about locks."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.engine import Connection

from drystone import schema
from drystone.core import settings as core_settings
from drystone.core.db import make_engine, make_sessions, transaction
from drystone.core.settings import Settings, VectorSettings
from drystone.index import feeding

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
async def empty(settings: Settings, environment: dict[str, str]) -> AsyncIterator[Settings]:
    """Settings of a database with the extensions and nothing else in it."""
    name = f"migrations_{uuid4().hex[:12]}"
    parts = settings.database.parts
    owner = settings.database.migration_parts.user

    async def as_superuser(database: str, *statements: str) -> None:
        connection = await asyncpg.connect(
            host=parts.host,
            port=parts.port,
            user="postgres",
            password=settings.database.superuser_password.get_secret_value(),
            database=database,
        )
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    await as_superuser("postgres", f'create database "{name}" owner "{owner}"')
    await as_superuser(name, "create extension vector")
    changed = {
        variable: environment[variable].rpartition("/")[0] + f"/{name}"
        for variable in ("DATABASE_URL", "MIGRATION_DATABASE_URL")
    }
    yield core_settings.parse(environment | changed)
    await as_superuser("postgres", f'drop database "{name}" with (force)')


async def _run(settings: Settings, *actions: Any) -> None:
    """Run alembic's commands as `alembic` would, on one connection."""
    engine = make_engine(settings.database.migration_url.get_secret_value(), pool_size=1)
    config = schema.config(ROOT, settings.database.parts.user)

    def act(connection: Connection) -> None:
        config.attributes["connection"] = connection
        for action, *arguments in actions:
            action(config, *arguments)

    async with engine.connect() as connection:
        await connection.run_sync(act)
    await engine.dispose()


def _revisions() -> list[str]:
    return [script.revision for script in ScriptDirectory(str(ROOT / "migrations")).walk_revisions()][::-1]


async def test_from_empty_to_head_is_what_the_models_say(empty: Settings) -> None:
    await schema.migrate(empty, ROOT)

    await _run(empty, (command.check,))  # raises when a model and the schema differ


async def test_every_step_goes_down_and_up_again(empty: Settings) -> None:
    await schema.migrate(empty, ROOT)
    steps = [(command.downgrade, "-1"), (command.upgrade, "+1"), (command.downgrade, "-1")]

    await _run(empty, *(step for _ in _revisions() for step in steps), (command.upgrade, "head"), (command.check,))


async def test_two_migrators_at_once_and_one_after_do_no_harm(empty: Settings, environment: dict[str, str]) -> None:
    changed = {
        "DATABASE_URL": empty.database.url.get_secret_value(),
        "MIGRATION_DATABASE_URL": empty.database.migration_url.get_secret_value(),
    }
    code = (
        "import asyncio, json, sys; from pathlib import Path; from drystone import schema; from drystone.core import settings;"
        "asyncio.run(schema.migrate(settings.parse(json.loads(sys.argv[1])), Path(sys.argv[2])))"
    )

    async def migrator() -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, json.dumps(environment | changed), str(ROOT)
        )
        return await process.wait()

    assert list(await asyncio.gather(migrator(), migrator())) == [0, 0]
    await schema.migrate(empty, ROOT)

    engine = make_engine(empty.database.url.get_secret_value(), pool_size=1)
    async with transaction(make_sessions(engine)) as session:
        assert await schema.current(session) == schema.HEAD
        assert await session.scalar(text("select count(*) from embedding_spaces")) == 1
        assert await session.scalar(text("select count(*) from api_keys")) == 1
    await engine.dispose()


async def test_the_application_role_owns_nothing_and_cannot_create(empty: Settings) -> None:
    await schema.migrate(empty, ROOT)
    engine = make_engine(empty.database.url.get_secret_value(), pool_size=1)

    async with transaction(make_sessions(engine)) as session:
        owned = await session.scalar(text("select count(*) from pg_class where relowner = current_user::regrole"))
    with pytest.raises(Exception, match="permission denied"):
        async with transaction(make_sessions(engine)) as session:
            await session.execute(text("create table mine (id int)"))
    await engine.dispose()

    assert owned == 0


async def test_a_held_lock_makes_a_migration_fail_within_seconds_not_wait(empty: Settings) -> None:
    await schema.migrate(empty, ROOT)
    engine = make_engine(empty.database.migration_url.get_secret_value(), pool_size=1)
    async with engine.connect() as holder:
        await holder.execute(text("lock table documents in access share mode"))
        with pytest.raises(Exception, match="lock timeout"):
            await _run(empty, (command.downgrade, "0005_keyword_index"))
    await engine.dispose()


def test_revisions_are_one_line_and_say_what_they_lock() -> None:
    scripts = list(ScriptDirectory(str(ROOT / "migrations")).walk_revisions())

    assert ScriptDirectory(str(ROOT / "migrations")).get_heads() == [schema.HEAD]
    for script in scripts:
        assert "Locks:" in (script.module.__doc__ or ""), script.revision
        assert "Back:" in (script.module.__doc__ or ""), script.revision


_PASSAGES = """
with home as (
    insert into collections (id, workspace_id, name, language, space_id)
    select gen_random_uuid(), w.id, 'old', 'german', s.id from workspaces w, embedding_spaces s returning id, workspace_id
), file as (
    insert into files (id, workspace_id, sha256, size_bytes, media_type)
    select gen_random_uuid(), workspace_id, '\\x00', 1, 'text/plain' from home returning id
), document as (
    insert into documents (id, workspace_id, collection_id, sha256, created_by, state)
    select gen_random_uuid(), workspace_id, id, '\\x00', 'test', 'ready' from home returning id, collection_id, workspace_id
), version as (
    insert into versions (id, workspace_id, document_id, number, file_id, state)
    select gen_random_uuid(), workspace_id, document.id, 1, file.id, 'ready' from document, file returning id
)
insert into chunks (collection_id, document_id, version_id, ordinal, start_offset, end_offset, title_path, content_hash, length, text)
select collection_id, document.id, version.id, n, 0, 0, '{Die Mauern}', '\\x00', 1, 'Haus ' || n || ' der Straße'
from document, version, generate_series(1, 1200) as n
"""
_WORDS_BEFORE = """
insert into lexical (chunk_id, collection_id, document_id, length, terms)
select id, collection_id, document_id, 3, to_tsvector('german', text) from chunks
"""


async def test_what_was_searchable_before_segments_is_so_after_them_and_back_again(empty: Settings) -> None:
    await schema.migrate(empty, ROOT)
    engine = make_engine(empty.database.migration_url.get_secret_value(), pool_size=1)
    sessions = make_sessions(engine)
    await _run(empty, (command.downgrade, "0006_ingestion"))
    async with transaction(sessions) as session:
        await session.execute(text(_PASSAGES))
        await session.execute(text(_WORDS_BEFORE))

    await _run(empty, (command.upgrade, "0007_lexical_segments"))
    async with transaction(sessions) as session:
        indexed = (await session.scalars(text("select chunk_id from lexical_chunks order by 1"))).all()
        chunks = (await session.scalars(text("select id from chunks order by 1"))).all()
        first = (
            await session.execute(text("select languages, terms, lengths from lexical_additions order by id"))
        ).first()
    assert indexed == chunks
    assert first is not None
    assert first.languages == ["german"]
    assert {"de:haus", "de:strass", "de:mau", "de:1"} <= set(first.terms)
    assert set(first.lengths) == {5}  # the title's word twice

    await _run(empty, (command.downgrade, "0006_ingestion"))
    async with transaction(sessions) as session:
        assert (
            await session.scalar(
                text("select count(*) from lexical where terms @@ to_tsquery('german', 'mauer & haus')")
            )
            == 1200
        )
        statistic = "select chunk_count from term_stats where term = 'haus' and config = 'german'"
        assert await session.scalar(text(statistic)) == 1200
    await engine.dispose()


_ATTRIBUTES = """
with home as (
    insert into collections (id, workspace_id, name, space_id)
    select gen_random_uuid(), workspaces.id, 'papers', embedding_spaces.id from workspaces, embedding_spaces
    returning id, workspace_id
)
insert into documents (id, workspace_id, collection_id, sha256, created_by, attributes, purged_at)
select gen_random_uuid(), workspace_id, id, decode(md5(attributes), 'hex'), 'test', cast(attributes as jsonb),
       case when attributes like '%gone%' then now() end
from home, (values ('{"year": 1e400, "open": true, "author": "Ada"}'), ('{"gone": 1}'), ('{"nested": {"a": 1}}')) as v (attributes)
"""


async def test_attributes_that_were_there_before_their_index_are_in_it(empty: Settings) -> None:
    await schema.migrate(empty, ROOT)
    engine = make_engine(empty.database.migration_url.get_secret_value(), pool_size=1)
    sessions = make_sessions(engine)
    await _run(empty, (command.downgrade, "0007_lexical_segments"))
    async with transaction(sessions) as session:
        await session.execute(text(_ATTRIBUTES))

    await _run(empty, (command.upgrade, "0008_document_attributes"))

    async with transaction(sessions) as session:
        rows = await session.execute(text("select key, number, string, boolean from document_attributes order by key"))
        assert rows.all() == [("author", None, "Ada", None), ("open", None, None, True), ("year", 1e308, None, None)]
    await engine.dispose()


async def test_postgres_has_a_graph_of_vectors_unless_another_store_has_it(empty: Settings) -> None:
    elsewhere = VectorSettings.model_validate({"VECTOR_STORE": "qdrant", "QDRANT_URL": "http://127.0.0.1:6333"})
    engine = make_engine(empty.database.migration_url.get_secret_value(), pool_size=1)

    async def seen() -> tuple[bool, int]:
        async with transaction(make_sessions(engine)) as session:
            space = (await feeding.progress(session))[0]
            return space.has_graph, await session.scalar(text("select count(*) from vector_feeds")) or 0

    await schema.migrate(empty.model_copy(update={"vectors": elsewhere}), ROOT)
    async with transaction(make_sessions(engine)) as session:
        await session.execute(text("insert into vector_feeds (space_id) select id from embedding_spaces"))
    with_qdrant = await seen()
    await schema.migrate(empty, ROOT)
    and_back = await seen()
    await engine.dispose()

    assert (with_qdrant, and_back) == ((False, 1), (True, 0))

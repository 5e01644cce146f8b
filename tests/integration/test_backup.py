"""Backups on real servers: to an S3 store and back, of what changes meanwhile, and of what is damaged."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from tests.conftest import ROOT
from tests.integration.uploads import Work, count, search, send

from drystone import schema
from drystone.adapters.objects import Objects
from drystone.backup import catalogue, golden, restoring, verifying
from drystone.backup.manifest import Manifest
from drystone.backup.programs import Programs
from drystone.backup.pruning import Rules, prune
from drystone.backup.saving import BACKUP, PRUNE, Source, owner_sessions, save
from drystone.backup.target import Target, open_target
from drystone.core.db import Sessions, make_engine, make_sessions, transaction
from drystone.core.errors import Conflict, Invalid, Unavailable
from drystone.core.reach import NOTHING
from drystone.core.settings import BackupSettings, DatabaseSettings, S3Settings, Settings
from drystone.resources import Resources
from drystone.stack import bootstrap, probes
from drystone.stack.data import clients


@pytest.fixture(scope="module")
def programs(settings: Settings) -> Programs:
    return Programs(**clients.find(settings, "pg_dump", "pg_restore", "psql"))


@pytest.fixture
async def source(
    settings: Settings, resources: Resources, sessions: Sessions, programs: Programs, tmp_path: Path
) -> AsyncIterator[Source]:
    async with AsyncExitStack() as stack:
        apart = beside(settings, data_dir=tmp_path / "source")
        (tmp_path / "source").mkdir()
        yield Source(apart, owner_sessions(settings, stack), resources.objects, resources.embedders, programs)


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path) -> Settings:
    """An empty stack: a database and a bucket of its own."""
    name = f"r{uuid4().hex[:12]}"
    (tmp_path / "elsewhere").mkdir()
    made = beside(settings, data_dir=tmp_path / "elsewhere", database=name, bucket=name)
    probes.run(lambda: bootstrap.postgres(made.database))
    probes.objects_make_bucket(made.s3)
    return made


def beside(settings: Settings, *, data_dir: Path, database: str | None = None, bucket: str | None = None) -> Settings:
    changes: dict[str, object] = {"general": settings.general.model_copy(update={"data_dir": data_dir})}
    if database is not None:
        urls = (settings.database.url, settings.database.migration_url)
        url, migration_url = (SecretStr(each.get_secret_value().rpartition("/")[0] + f"/{database}") for each in urls)
        changes["database"] = DatabaseSettings(
            DATABASE_URL=url,
            MIGRATION_DATABASE_URL=migration_url,
            POSTGRES_SUPERUSER_PASSWORD=settings.database.superuser_password,
        )
    if bucket is not None:
        changes["s3"] = settings.s3.model_copy(update={"bucket": bucket})
    return settings.model_copy(update=changes)


@pytest.fixture(params=["s3", "folder"])
def target(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Target:
    return s3_target(settings) if request.param == "s3" else folder_target(tmp_path)


def folder_target(tmp_path: Path) -> Target:
    return open_target(str(tmp_path / "backups"), BackupSettings(), is_new=True)


def s3_target(settings: Settings) -> Target:
    """Another bucket of the project's own store."""
    bucket = f"backups-{uuid4().hex[:12]}"
    probes.objects_make_bucket(S3Settings.model_validate(_s3(settings.s3, "S3_") | {"S3_BUCKET": bucket}))
    given = BackupSettings.model_validate(_s3(settings.s3, "BACKUP_S3_"))
    return open_target(f"s3://{bucket}/deep/prefix", given, is_new=True)


def _s3(settings: S3Settings, prefix: str) -> dict[str, object]:
    return {
        f"{prefix}ENDPOINT_URL": settings.endpoint_url,
        f"{prefix}ACCESS_KEY_ID": settings.access_key_id,
        f"{prefix}SECRET_ACCESS_KEY": settings.secret_access_key,
    }


async def restored(elsewhere: Settings, target: Target, manifest: Manifest, programs: Programs) -> restoring.Restored:
    return await restoring.restore(elsewhere, ROOT, target, manifest, programs)


async def asked(settings: Settings, statement: str) -> object:
    engine = make_engine(settings.database.migration_url.get_secret_value(), pool_size=1)
    try:
        async with transaction(make_sessions(engine)) as session:
            return await session.scalar(text(statement))
    finally:
        await engine.dispose()


async def test_a_backup_comes_back_elsewhere_as_it_was(
    client: httpx.AsyncClient,
    collection: str,
    work: Work,
    source: Source,
    target: Target,
    elsewhere: Settings,
    resources: Resources,
) -> None:
    for number in range(20):
        await send(client, collection, f"Entry {number}: a lamp was lit on tower {number}.".encode())
    await work()
    first = await save(source, target)
    await send(client, collection, b"A courier left eleven sealed letters.")
    await work()
    second = await save(source, target)

    assert (first.is_whole, second.is_whole, second.objects.new) == (True, True, 1)
    assert [each.id for each in await target.every() if isinstance(each, Manifest)] == [first.id, second.id]
    done = await restored(elsewhere, target, await target.read(), source.programs)

    assert (done.manifest.id, done.new_objects, done.deleted) == (second.id, second.objects.count, 0)
    assert await asked(elsewhere, "select count(*) from documents where state = 'ready'") == 21
    async with golden.searcher(elsewhere, resources.embedders) as searcher:
        assert len(second.golden) == 2 * golden.SAMPLES
        assert await golden.differing(searcher, second.golden) == []
        others = [one.model_copy(update={"query": "letters"}) for one in second.golden if len(one.hits) > 1]
        assert len(await golden.differing(searcher, others)) == len(others), "another answer would be seen"
    store = Objects.open_s3(elsewhere.s3)
    assert await store.get(hashlib.sha256(b"A courier left eleven sealed letters.").digest())
    report = await verifying.read_all(target, second, elsewhere.general.data_dir / "spool")
    assert (report.ok, report.objects) == (True, second.objects.count)
    with pytest.raises(Conflict, match="not empty: it has 1 collections, 21 documents"):
        await restored(elsewhere, target, second, source.programs)


async def test_events_and_webhooks_go_on_in_a_cluster_with_other_transaction_ids(
    client: httpx.AsyncClient,
    collection: str,
    work: Work,
    source: Source,
    elsewhere: Settings,
    sessions: Sessions,
    tmp_path: Path,
) -> None:
    hook = await client.post("/api/v1/webhooks", json={"url": "http://127.0.0.1:9/hook"})
    assert hook.status_code == 201, hook.text
    await send(client, collection)
    await work()
    timeline = await count(sessions, "select hashtext(cast(id as text)) from timeline")
    # As in a cluster that has seen far more transactions than the one to come.
    async with transaction(source.sessions) as session:
        await session.execute(text("update events set xid = cast('9000000000' as xid8) where kind <> 'document.ready'"))
        await session.execute(text("update events set xid = cast('9000000001' as xid8) where kind = 'document.ready'"))
        await session.execute(
            text(
                "update webhooks set cursor_xid = cast('9000000000' as xid8), cursor_id = (select max(id) from events)"
            )
        )
    target = folder_target(tmp_path)
    made = await save(source, target)

    await restored(elsewhere, target, made, source.programs)

    assert await asked(elsewhere, "select max(xid) < pg_current_xact_id() from events") is True
    waiting = "select string_agg(kind, ',') from events, webhooks where (xid, events.id) > (cursor_xid, cursor_id)"
    assert await asked(elsewhere, waiting) == "document.ready", "what the webhook was not told of"
    assert await asked(elsewhere, "select hashtext(cast(id as text)) from timeline") != timeline
    await client.delete(hook.headers["location"])


async def test_rows_that_policies_guard_are_in_the_dump_and_guarded_again(
    client: httpx.AsyncClient, collection: str, source: Source, elsewhere: Settings, tmp_path: Path
) -> None:
    await send(client, collection)
    policies = "select string_agg(concat(tablename, policyname, roles, qual), ' ' order by tablename, policyname) from pg_policies"
    guarded = (
        "select string_agg(relname, ' ' order by relname) from pg_class where relrowsecurity and relforcerowsecurity"
    )
    before = [await asked(source.settings, each) for each in (policies, guarded)]

    made = await save(source, target := folder_target(tmp_path))
    await restored(elsewhere, target, made, source.programs)

    assert "documents" in str(before[1])
    assert [await asked(elsewhere, each) for each in (policies, guarded)] == before
    assert await asked(elsewhere, "select count(*) from documents") == 1
    confined = make_engine(elsewhere.database.url.get_secret_value(), pool_size=1, is_confined=True)
    async with transaction(make_sessions(confined).within(NOTHING)) as session:
        assert await session.scalar(text("select count(*) from documents")) == 0
    await confined.dispose()


# As it is where readers are made; who restores may neither do that nor undo it.
_CLOSED = "revoke execute on function lo_create(oid) from public"


async def test_large_objects_of_others_decide_nothing(
    client: httpx.AsyncClient, collection: str, source: Source, elsewhere: Settings, tmp_path: Path
) -> None:
    """Neither one that the owner cannot read, nor one that it can, which would end the transaction of a restore."""
    await send(client, collection)
    database = source.settings.database
    made = "select lo_from_bytea(0, 'x'::bytea)"
    async with bootstrap.superuser_session(database, database.parts.database) as superuser:
        oids = [await superuser.fetchval(made) for _ in range(2)]
        await superuser.execute(f"grant select on large object {oids[0]} to public")
        await superuser.execute(_CLOSED)
        try:
            saved = await save(source, target := folder_target(tmp_path))
        finally:
            await superuser.execute(f"select lo_unlink({oids[0]}), lo_unlink({oids[1]})")
    async with bootstrap.superuser_session(elsewhere.database, elsewhere.database.parts.database) as superuser:
        await superuser.execute(_CLOSED)
    await restored(elsewhere, target, saved, source.programs)

    assert await asked(elsewhere, "select count(*) from documents") == 1
    assert await asked(elsewhere, "select count(*) from pg_largeobject_metadata") == 0


async def test_a_damaged_dump_leaves_an_empty_database(
    client: httpx.AsyncClient, collection: str, source: Source, elsewhere: Settings, tmp_path: Path
) -> None:
    await send(client, collection)
    target = folder_target(tmp_path)
    made = await save(source, target)
    piece = next((tmp_path / "backups").glob(f"sha256/*/{made.dump[-1].sha256}"))
    body = bytearray(piece.read_bytes())
    body[len(body) // 2] ^= 1
    piece.write_bytes(body)

    with pytest.raises(Invalid, match="a piece of its dump"):
        await restored(elsewhere, target, made, source.programs)

    assert await asked(elsewhere, "select to_regclass('documents') is null") is True
    report = await verifying.read_all(target, made, tmp_path / "spool")
    assert (report.ok, report.missing, report.damaged) == (False, [], [made.dump[-1].sha256])
    piece.unlink()
    report = await verifying.read_all(target, made, tmp_path / "spool")
    assert (report.ok, report.missing, report.damaged) == (False, [made.dump[-1].sha256], [])


async def test_what_is_purged_while_the_backup_is_made_is_accounted_for(
    client: httpx.AsyncClient, collection: str, work: Work, source: Source, elsewhere: Settings, tmp_path: Path
) -> None:
    body = b"This is deleted, purged and swept between the dump and the copy."
    document = (await send(client, collection, body)).json()["document"]
    await send(client, collection, b"This one stays.")
    await work()
    target = folder_target(tmp_path)

    def purge(sentence: str) -> None:
        if sentence.startswith("copying"):
            thread = threading.Thread(target=lambda: asyncio.run(_purge(source.settings, document["id"], body)))
            thread.start()
            thread.join()

    made = await save(source, target, purge)
    done = await restored(elsewhere, target, made, source.programs)

    assert (made.is_whole, made.objects.gone) == (True, [hashlib.sha256(body).hexdigest()])
    assert done.deleted == 1, "the log of the backup knows"
    assert await asked(elsewhere, "select count(*) from documents where deleted_at is null") == 1


async def _purge(settings: Settings, document_id: str, body: bytes) -> None:
    """What a deletion, its job and a sweep do, at once."""
    engine = make_engine(settings.database.migration_url.get_secret_value(), pool_size=1)
    async with transaction(make_sessions(engine)) as session:
        for statement in (
            "insert into deletions (workspace_id, subject_kind, subject_id, actor)"
            " select workspace_id, 'document', id, 'test' from documents where id = cast(:id as uuid)",
            "update documents set deleted_at = now(), purged_at = now(), current_version_id = null,"
            " latest_version_id = null where id = cast(:id as uuid)",
            "delete from versions where document_id = cast(:id as uuid)",
            "delete from files where id not in (select file_id from versions)",
        ):
            await session.execute(text(statement), {"id": document_id} if ":id" in statement else {})
    await engine.dispose()
    await Objects.open_s3(settings.s3).delete(hashlib.sha256(body).digest())


async def test_a_backup_of_an_older_schema_is_migrated_and_one_of_a_newer_refused(
    client: httpx.AsyncClient, collection: str, source: Source, elsewhere: Settings, tmp_path: Path
) -> None:
    await send(client, collection)
    target = folder_target(tmp_path)
    made = await save(source, target)
    newer = made.model_copy(update={"schema_revision": "9999_from_the_future"})
    renamed = made.model_copy(update={"names": made.names | {"role": "somebody"}})

    for wrong, told in ((newer, "which this version does not know"), (renamed, "somebody")):
        with pytest.raises(Conflict, match=told):
            await restored(elsewhere, target, wrong, source.programs)
    await restored(elsewhere, target, made, source.programs)
    await downgrade(elsewhere)
    older_settings = elsewhere.model_copy(update={"general": source.settings.general})
    async with AsyncExitStack() as stack:
        older = Source(
            older_settings,
            owner_sessions(elsewhere, stack),
            Objects.open_s3(elsewhere.s3),
            source.embedders,
            source.programs,
        )
        of_older = await save(older, target)
    assert of_older.schema_revision != schema.HEAD
    last = beside(source.settings, data_dir=elsewhere.general.data_dir, database=f"r{uuid4().hex[:12]}")
    probes.run(lambda: bootstrap.postgres(last.database))

    await restored(last, target, of_older, source.programs)

    assert await asked(last, "select version_num from alembic_version") == schema.HEAD
    assert await asked(last, "select count(*) from documents") == 1


async def downgrade(settings: Settings) -> None:
    from alembic import command

    engine = make_engine(settings.database.migration_url.get_secret_value(), pool_size=1)
    try:
        async with engine.connect() as connection:

            def down(sync: object) -> None:
                alembic = schema.config(ROOT, settings.database.parts.user)
                alembic.attributes["connection"] = sync
                command.downgrade(alembic, "-1")

            await connection.run_sync(down)
    finally:
        await engine.dispose()


async def test_nothing_is_pruned_while_a_backup_is_made(source: Source, target: Target, tmp_path: Path) -> None:
    await save(source, target)
    await save(source, target)
    await target.objects.put_key(
        "running/20200101T000000Z-000000.json", f'{{"host": "{socket.gethostname()}", "pid": 999999999}}'.encode()
    )
    async with target.at_work(BACKUP, apart_from=(PRUNE,)):
        with pytest.raises(Conflict, match="backup"):
            await prune(target, Rules(last=1), tmp_path / "spool")
        assert len(await target.ids()) == 2

    done = await prune(target, Rules(last=1), tmp_path / "spool")

    assert (len(done.removed), len(await target.ids())) == (1, 1)
    assert [key async for key, _ in target.objects.list_keys("running")] == []
    report = await verifying.read_all(target, await target.read(), tmp_path / "spool")
    assert report.ok


async def test_a_catalogue_is_read_in_256_parts_whatever_is_in_it(
    client: httpx.AsyncClient, collection: str, source: Source, tmp_path: Path
) -> None:
    bodies = [f"Body {number}.".encode() for number in range(30)]
    for body in bodies:
        await send(client, collection, body)
    made = await save(source, target := folder_target(tmp_path))

    parts = [part async for part in catalogue.read(target.objects, made, tmp_path / "spool")]

    assert len(parts) == 256
    assert {entry.sha256 for part in parts for entry in part} == {hashlib.sha256(body).digest() for body in bodies}
    assert all(entry.sha256[0] == number for number, part in enumerate(parts) for entry in part)
    assert await search(client, collection, "nothing is changed") is not None


def test_clients_older_than_the_server_are_passed_over(settings: Settings, tmp_path: Path) -> None:
    older = tmp_path / "pg_dump"
    older.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n")
    older.chmod(0o755)
    stack = settings.stack.model_copy(update={"postgres_bin": str(tmp_path), "postgres_provider": "external"})

    found = clients.find(settings.model_copy(update={"stack": stack}), "pg_dump")

    assert found["pg_dump"] != older
    with pytest.raises(Unavailable, match=r"no pg_dump_of_nobody of \d+ or newer was found") as caught:
        clients.find(settings.model_copy(update={"stack": stack}), "pg_dump_of_nobody")
    assert f"{tmp_path}: no pg_dump_of_nobody" in caught.value.message


async def test_without_the_newest_log_the_one_before_is_replayed_and_that_is_told(
    client: httpx.AsyncClient, collection: str, source: Source, elsewhere: Settings, tmp_path: Path
) -> None:
    sent = [await send(client, collection, f"Body {number}.".encode()) for number in range(2)]
    target = folder_target(tmp_path)
    first = await save(source, target)
    await client.delete(sent[0].headers["location"])
    await save(source, target)
    await client.delete(sent[1].headers["location"])
    newest = await save(source, target)
    await target.objects.delete(bytes.fromhex(newest.deletions[-1].sha256))
    said: list[str] = []

    done = await restoring.restore(elsewhere, ROOT, target, first, source.programs, say=said.append)

    assert done.deleted == 1
    assert [line for line in said if f"the deletion log of backup {newest.id} is damaged" in line]


async def test_an_extension_that_the_owner_made_is_made_again(
    client: httpx.AsyncClient, collection: str, source: Source, elsewhere: Settings, tmp_path: Path
) -> None:
    await send(client, collection)
    made = await save(source, target := folder_target(tmp_path))

    async def give() -> None:
        async with bootstrap.superuser_session(elsewhere.database, elsewhere.database.parts.database) as connection:
            await connection.execute("drop extension pg_trgm")

    await asyncio.to_thread(probes.run, give)
    engine = make_engine(elsewhere.database.migration_url.get_secret_value(), pool_size=1)
    async with transaction(make_sessions(engine)) as session:
        await session.execute(text("create extension pg_trgm"))
    await engine.dispose()

    await restored(elsewhere, target, made, source.programs)

    assert await asked(elsewhere, "select count(*) from documents") == 1
    assert await asked(elsewhere, "select count(*) from pg_extension where extname = 'pg_trgm'") == 1

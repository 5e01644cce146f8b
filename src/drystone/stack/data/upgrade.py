"""From the data folder of an older PostgreSQL major to the current one: both run side by side, one dumps, one restores.

The old folder is only read; it is moved aside when the new one holds the same, and stays until somebody removes it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from drystone.core.errors import Conflict, NotFound, Unavailable
from drystone.core.settings import DatabaseSettings, Settings
from drystone.stack import bootstrap, ports, probes, services
from drystone.stack.data import rest, swap, trees
from drystone.stack.providers import POSTGRES_FOLDERS, Program
from drystone.stack.services import POSTGRES, Service
from drystone.stack.supervise import Servers

LOCAL_CONF = "postgresql.local.conf"
FASTER = "-c synchronous_commit=off -c maintenance_work_mem=512MB"


@dataclass(frozen=True)
class Upgrade:
    """What was done. kept: the old folder; None when there was nothing to do."""

    before: str
    after: str
    tables: int = 0
    rows: int = 0
    kept: Path | None = None


def upgrade(
    settings: Settings,
    *,
    from_bin: Path | None,
    renewals: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> Upgrade:
    """Bring the data folder to the major of today's PostgreSQL, unless it is there. The stack must be down.

    from_bin: the folder of the old programs; else they are looked for. renewals: statements for what means nothing in another
    cluster, where there are `events` and `webhooks`. Whatever fails, the old folder stays in place.
    Raises NotFound without old programs, Conflict when the stack runs, the folder is newer, or the copy differs.
    """
    data_dir = settings.general.data_dir
    rest.check_all_ours(settings, "Upgrading PostgreSQL")
    with rest.at_rest(settings, "Upgrading PostgreSQL"), contextlib.ExitStack() as staged:
        new, major = POSTGRES.resolve(settings), _major(data_dir / "postgres")
        if not _is_older(major, new):
            return Upgrade(major, new.version)
        old = find_program(major, from_bin)
        rest.check_space(settings, trees.walk(data_dir / "postgres").size_bytes)
        say(f"from {old} ({old.path.parent}) to {new}")
        with contextlib.ExitStack() as running:
            source = running.enter_context(alone(settings, old, durable=True))
            stage = staged.enter_context(swap.staging(data_dir))
            # Nothing is lost if the machine loses power meanwhile: all of it would be thrown away and begun anew.
            target = running.enter_context(alone(_beside(settings, stage), new, durable=False))
            _copy_roles(source, target, new)
            for database in _databases(source.settings):
                say(f"copying database {database}")
                _copy_database(source, target, new, database)
                _analyze(target, database)
            contents = _compare(source, target)
            _renew(target, renewals)
            _take_local_conf(source, target)
        kept = _name_for(data_dir, major)
        (stage / swap.KEEP).write_text(kept.name, encoding="utf-8")
        trees.sync(stage)
        swap.commit(data_dir)
    rows = [count for name, count in contents.items() if name.startswith("rows of ")]
    return Upgrade(old.version, new.version, len(rows), sum(rows), kept)


def find_program(major: str, from_bin: Path | None) -> Program:
    """A postgres of this major: in `from_bin`, or on PATH and where systems put them. Raises NotFound with what was tried."""
    tried = []
    for folder in [from_bin] if from_bin else _usual_folders(major):
        path = folder / "postgres"
        version = _version(path)
        if version.split(".")[0] == major:
            return Program(path, "--from-bin" if from_bin else "path", version, "postgres")
        if path.exists() or from_bin:
            tried.append(f"{path}: {version or 'no PostgreSQL that runs'}")
    raise NotFound(
        "upgrade.no_old_postgres",
        f"The data was made by PostgreSQL {major}, which is needed once more to read it, and was not found."
        + "".join(f"\n  {line}" for line in tried),
        hint=f"install PostgreSQL {major} with pgvector (Debian, Ubuntu: postgresql-{major} postgresql-{major}-pgvector),"
        " or name the folder of its programs with --from-bin",
    )


def _usual_folders(major: str) -> list[Path]:
    """Where systems put a PostgreSQL of this major, then PATH."""
    usual = [Path("/").glob(pattern.removeprefix("/").replace("*", major)) for pattern in POSTGRES_FOLDERS]
    return [*itertools.chain(*usual), *(Path(folder) for folder in os.get_exec_path())]


def _version(postgres: Path) -> str:
    if not os.access(postgres, os.X_OK):
        return ""
    said = subprocess.run([postgres, "--version"], capture_output=True, text=True, errors="replace", check=False).stdout
    found = re.search(r"PostgreSQL\) (\d+(?:\.\d+)*)", said)
    return found[1] if found else ""


def _major(folder: Path) -> str:
    try:
        return (folder / "PG_VERSION").read_text().strip()
    except FileNotFoundError as exc:
        raise NotFound("stack.no_data", f"There is no database yet in {folder}.", hint="run ./drystone up") from exc


def _is_older(major: str, new: Program) -> bool:
    now = new.version.split(".")[0]
    if int(major) > int(now):
        raise Conflict(
            "upgrade.newer",
            f"The data was made by PostgreSQL {major}, and today's is {new.version}: there is no way back.",
            hint=f"set POSTGRES_BIN to the folder of a PostgreSQL {major} or newer",
        )
    return major != now


def _name_for(data_dir: Path, major: str) -> Path:
    name = data_dir / f"postgres-{major}.old"
    return name if not name.exists() else name.with_name(f"{name.name}-{time.strftime('%Y%m%d-%H%M%S')}")


# --- two servers ---


def alone(settings: Settings, program: Program, *, durable: bool) -> Servers:
    """PostgreSQL alone, with this program, asked only whether it lets the superuser in."""

    def answers(settings: Settings) -> None:
        async def ask() -> None:
            async with bootstrap.superuser_session(settings.database, "postgres"):
                pass

        probes.run(ask)

    service: Service = replace(POSTGRES, resolve=lambda _: program, ready=answers)
    return Servers(settings, settings.general.data_dir, durable=durable, services=(service,))


def _beside(settings: Settings, data_dir: Path) -> Settings:
    """The same passwords, with another data folder and a free port."""
    database = settings.database
    port = ports.find((0,), taken=[database.parts.port])

    def moved(url: SecretStr) -> str:
        return url.get_secret_value().replace(f":{database.parts.port}/", f":{port}/")

    beside = DatabaseSettings(
        DATABASE_URL=SecretStr(moved(database.url)),
        MIGRATION_DATABASE_URL=SecretStr(moved(database.migration_url)),
        POSTGRES_SUPERUSER_PASSWORD=database.superuser_password,
    )
    general = settings.general.model_copy(update={"data_dir": data_dir})
    return settings.model_copy(update={"database": beside, "general": general})


def _take_local_conf(source: Servers, target: Servers) -> None:
    """The user's own settings go along; the new server must start with them."""
    old, new = source.data_dir / "postgres" / LOCAL_CONF, target.data_dir / "postgres" / LOCAL_CONF
    if old.is_file():
        shutil.copy(old, new)
        shutil.copystat(old, new)
        owner = old.stat()
        os.chown(new, owner.st_uid, owner.st_gid)
        target.restart("postgres")


# --- dump and restore ---


def _copy_roles(source: Servers, target: Servers, new: Program) -> None:
    argv = [_beside_program(new, "pg_dumpall"), "--globals-only", *_address(source)]
    said = subprocess.run(argv, env=_client(source), capture_output=True, text=True, check=False)
    if said.returncode != 0:
        raise _failed("pg_dumpall", said.stderr)
    # The new cluster was made with this role; its password comes with the next statement.
    statements = re.sub(r"^CREATE ROLE postgres;$", "", said.stdout, flags=re.MULTILINE)
    done = subprocess.run(
        _psql(target, new, "postgres"),
        env=_client(target),
        input=statements,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise _failed("psql", done.stderr)


def _copy_database(source: Servers, target: Servers, new: Program, database: str) -> None:
    """One dumps into the other; a database but `postgres` is made on the way, with its locale, owner and rights."""
    argv = [_beside_program(new, "pg_dump"), *_address(source), f"--dbname={database}"]
    argv += [] if database == "postgres" else ["--create"]
    with tempfile.TemporaryFile("w+") as dump_said, tempfile.TemporaryFile("w+") as restore_said:
        with subprocess.Popen(argv, env=_client(source), stdout=subprocess.PIPE, stderr=dump_said) as dump:
            restore = subprocess.run(
                _psql(target, new, "postgres"),
                env=_client(target),
                stdin=dump.stdout,
                stdout=subprocess.DEVNULL,
                stderr=restore_said,
                check=False,
            )
        if restore.returncode != 0:
            raise _failed("psql", _said(restore_said))
        if dump.returncode != 0:
            raise _failed("pg_dump", _said(dump_said))


def _said(file: Any) -> str:
    file.seek(0)
    return str(file.read())


def _beside_program(postgres: Program, name: str) -> str:
    path = postgres.path.with_name(name)
    if not os.access(path, os.X_OK):
        raise Unavailable(
            "upgrade.no_client",
            f"There is no {name} beside {postgres.path}.",
            hint="install PostgreSQL's client programs there, or unset POSTGRES_BIN to use the wheel, which has them",
        )
    return str(path)


def _psql(target: Servers, new: Program, database: str) -> list[str]:
    words = [_beside_program(new, "psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"]
    return [*words, *_address(target), f"--dbname={database}"]


def _address(servers: Servers) -> list[str]:
    parts = servers.settings.database.parts
    return [f"--host={parts.host}", f"--port={parts.port}", "--username=postgres", "--no-password"]


def _client(servers: Servers) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
    password = servers.settings.database.superuser_password.get_secret_value()
    return kept | {"PGPASSWORD": password, "PGSSLMODE": "disable", "PGOPTIONS": FASTER, "LC_ALL": "C"}


def _failed(program: str, said: str) -> Unavailable:
    return Unavailable(
        "upgrade.failed",
        f"The upgrade failed, and the old data is as it was. {program}: {services.last_words(said)}",
        hint="an extension that the old PostgreSQL lacks? the message above says what was missing",
    )


# --- is it the same? ---

_DATABASES = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname"
_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY 1
"""
# What there is of each kind, but for what belongs to an extension: another version of it may hold more.
_OBJECTS = """
WITH own AS (
    SELECT c.relkind::text AS kind, c.oid, 'pg_class'::regclass AS class FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    UNION ALL SELECT 'function', oid, 'pg_proc'::regclass FROM pg_proc
    WHERE pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    UNION ALL SELECT 'constraint ' || contype::text, oid, 'pg_constraint'::regclass FROM pg_constraint
    WHERE connamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) AND contype <> 'n'
    UNION ALL SELECT 'trigger', oid, 'pg_trigger'::regclass FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'policy', oid, 'pg_policy'::regclass FROM pg_policy
)
SELECT kind, count(*) FROM own
WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = own.class AND d.objid = own.oid AND d.deptype = 'e')
GROUP BY kind
"""


def _compare(source: Servers, target: Servers) -> dict[str, int]:
    """What is in all databases, which is the same in both. Raises Conflict when it is not."""
    before, after = _contents(source.settings), _contents(target.settings)
    if different := sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)):
        told = [f"{name}: {before.get(name, 0)}, now {after.get(name, 0)}" for name in different[:5]]
        raise Conflict(
            "upgrade.differs",
            f"The new data differs from the old, which is as it was. {'; '.join(told)}.",
            hint="please report this with the versions of both",
        )
    return after


def _analyze(target: Servers, database: str) -> None:
    """Let the planner know the new tables at once, instead of whenever autovacuum comes by."""

    async def analyze() -> None:
        async with bootstrap.superuser_session(target.settings.database, database) as connection:
            await connection.execute("ANALYZE", timeout=None)

    probes.run(analyze)


def _renew(target: Servers, statements: Sequence[str]) -> None:
    """In one transaction, in the database of the settings, once it was seen to be the same."""
    database = target.settings.database

    async def renew() -> None:
        async with (
            bootstrap.superuser_session(database, database.parts.database) as connection,
            connection.transaction(),
        ):
            if await connection.fetchval(_HAS_EVENTS):
                for statement in statements:
                    await connection.execute(statement, timeout=None)

    if statements:
        probes.run(renew)


_HAS_EVENTS = "SELECT count(*) = 2 FROM pg_tables WHERE schemaname = 'public' AND tablename IN ('events', 'webhooks')"


def _contents(settings: Settings) -> dict[str, int]:
    """Rows of each table, values of sequences, extensions, and how many objects of each kind, in all databases."""
    found: dict[str, int] = {}

    async def count(database: str) -> None:
        async with bootstrap.superuser_session(settings.database, database) as connection:
            for (table,) in await connection.fetch(_TABLES):
                found[f"rows of {database}.{table}"] = await connection.fetchval(f"SELECT count(*) FROM {table}")
            for name, value in await connection.fetch(
                "SELECT format('%I.%I', schemaname, sequencename), coalesce(last_value, 0) FROM pg_sequences"
            ):
                found[f"sequence {database}.{name}"] = value
            for (name,) in await connection.fetch("SELECT extname FROM pg_extension"):
                found[f"extension {name} in {database}"] = 1
            for kind, number in await connection.fetch(_OBJECTS):
                found[f"objects of kind {kind} in {database}"] = number

    for database in _databases(settings):
        probes.run(partial(count, database))
    return found


def _databases(settings: Settings) -> list[str]:
    found: list[str] = []

    async def ask() -> None:
        async with bootstrap.superuser_session(settings.database, "postgres") as connection:
            found.extend(name for (name,) in await connection.fetch(_DATABASES))

    probes.run(ask)
    return found

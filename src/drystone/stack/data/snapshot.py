"""Snapshots: PostgreSQL, Redis and the S3 store as one consistent set of files, in `<data_dir>/snapshots/NAME`.

A stack that is down is copied as it lies there. One that runs is copied while it runs, then halted for as long as it
takes to copy again what changed; see `freeze` for why that is consistent. `.env` is never part of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import struct
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

from drystone.core.errors import Conflict, DrystoneError, Invalid, NotFound, Unavailable
from drystone.core.settings import Settings
from drystone.stack import bootstrap, probes, processes, services
from drystone.stack.data import freeze, manifest, rest, swap, trees
from drystone.stack.data.archive import Archive
from drystone.stack.data.manifest import DATA, Made, Manifest
from drystone.stack.data.swap import PARTS
from drystone.stack.services import ALL, POSTGRES
from drystone.stack.state import RunLock

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Written anew at each start, or meant for one running server only. redis.conf holds a password.
PASSING = {
    "postgres/postmaster.pid",
    "postgres/postmaster.opts",
    "redis/redis.conf",
    "objects/mini.options",
}
WAL_SEGMENT = re.compile(r"postgres/pg_wal/[0-9A-F]{24}")


def save(settings: Settings, name: str) -> Manifest:
    """Make a snapshot, of a stack that is down or runs. Nothing that looks like one is left when it fails.

    Raises Invalid for a name that cannot be one, Conflict if there is one of that name, Unavailable without space.
    """
    folder = _folder(settings, name)
    rest.check_all_ours(settings, "A snapshot")
    with _one_at_a_time(settings):
        if folder.exists():
            raise Conflict(
                "snapshot.exists",
                f"There is a snapshot {name} already.",
                hint=f"choose another name, or remove it: ./drystone snapshot rm {name}",
            )
        with _draft(folder.parent) as draft:
            runs = rest.is_running(settings)
            # What changes while it is copied is copied again; at worst all of it.
            rest.check_space(settings, _size_bytes(settings) * (2 if runs else 1))
            made = _copy_running(settings, name, draft) if runs else _copy(settings, name, draft)
            made.write(draft)
            trees.sync(draft)
            draft.rename(folder)
    return made


def restore(
    settings: Settings,
    name: str,
    *,
    schemas: Collection[str] = (),
    statement: str | None = None,
    before_swap: Callable[[], None] = lambda: None,
) -> Manifest:
    """Put a snapshot in the place of the present data, which is gone afterwards. The stack must be down.

    schemas: the revisions that this version of the code knows; a snapshot with another one is refused.
    statement: run in the restored database before it is put in place; one of an older schema may not understand it.
    before_swap: called when all is checked, while the present data is still there: the last chance to ask it.
    All is checked before anything is touched; an interruption at any point leaves the present data or the snapshot's.
    """
    folder = _folder(settings, name)
    rest.check_all_ours(settings, "Restoring a snapshot")
    found = read(settings, name)
    found.check_fits({part: _made_by(settings, part) for part in ("postgres", "redis")}, settings)
    if schemas and found.schema and found.schema not in schemas:
        raise Conflict(
            "snapshot.schema",
            f"Snapshot {name} has the schema {found.schema}, which this version of drystone does not know.",
            hint="use the version of drystone that made it, or a newer one",
        )
    found.check_size(folder)
    with rest.at_rest(settings, "Restoring a snapshot"), _one_at_a_time(settings):
        data_dir = settings.general.data_dir
        rest.check_space(settings, found.size_bytes)
        with swap.staging(data_dir) as stage:
            _put(found, folder / DATA, stage)
            found.check_contents(stage)  # what is put in place is what was checked
            # Which S3 store is started follows the data that is there.
            found.check_fits({"objects": _made_by(_with_data_in(settings, stage), "objects")}, settings)
            _hand_over(settings, stage / "postgres")
            if statement is not None:
                _ask_alone(_with_data_in(settings, stage), statement)
            trees.sync(stage)
            before_swap()
            swap.commit(data_dir)
    return found


def ask_present(settings: Settings, query: str) -> list[str]:
    """The one column `line` of a query, from the database of a stack that is down; its values hold no quotes.

    Empty where there is no database yet, or not that table. Raises Unavailable when it cannot be read.
    """
    if not (settings.general.data_dir / "postgres" / "PG_VERSION").exists():
        return []
    launch = POSTGRES.launch(settings, settings.general.data_dir, durable=True)
    if _postgres_that_made_it(settings).version != launch.program.version:
        raise Unavailable("snapshot.other_postgres", "The present data was made by another major of PostgreSQL.")
    answer = _ask_alone(settings, query)
    return re.findall(r'line = "([^"]*)"', answer)


def read(settings: Settings, name: str) -> Manifest:
    """What a snapshot says about itself. Raises NotFound, or Invalid when that cannot be read."""
    folder = _folder(settings, name)
    if not folder.is_dir():
        known = ", ".join(_names(settings)) or "none"
        raise NotFound("snapshot.not_found", f"There is no snapshot {name}.", hint=f"there is: {known}")
    return Manifest.read(folder)


def every(settings: Settings) -> list[Manifest | DrystoneError]:
    """All snapshots, oldest first; of one that cannot be read, why."""
    found: list[Manifest | DrystoneError] = []
    for name in _names(settings):
        try:
            found.append(read(settings, name))
        except DrystoneError as exc:
            found.append(exc)
    return sorted(found, key=lambda each: each.created_at if isinstance(each, Manifest) else "")


def remove(settings: Settings, name: str) -> None:
    """Remove a snapshot. Raises NotFound."""
    folder = _folder(settings, name)
    with _one_at_a_time(settings):
        if not folder.is_dir():
            read(settings, name)
        leaving = folder.with_name(f".{name}.old")
        shutil.rmtree(leaving, ignore_errors=True)
        folder.rename(leaving)  # half removed it must not look like one
        shutil.rmtree(leaving)


def _folder(settings: Settings, name: str) -> Path:
    if not NAME.fullmatch(name):
        raise Invalid(
            "snapshot.name",
            f"{name!r} cannot be the name of a snapshot.",
            hint="use up to 64 letters, digits and . _ -, beginning with a letter or digit",
        )
    return settings.general.data_dir / "snapshots" / name


def _names(settings: Settings) -> list[str]:
    folder = settings.general.data_dir / "snapshots"
    return sorted(each.name for each in folder.glob("*") if NAME.fullmatch(each.name) and each.is_dir())


@contextlib.contextmanager
def _one_at_a_time(settings: Settings) -> Iterator[None]:
    lock = RunLock(settings.general.data_dir / "run", "snapshot.lock")
    if not lock.acquire():
        raise Conflict(
            "snapshot.busy", "Another snapshot is being made, restored or removed.", hint="wait for it, then try again"
        )
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _draft(snapshots: Path) -> Iterator[Path]:
    """A folder whose name no snapshot can have; gone afterwards unless it has become one."""
    snapshots.mkdir(mode=0o700, exist_ok=True)
    for abandoned in snapshots.glob(".*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=".new-", dir=snapshots))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _size_bytes(settings: Settings) -> int:
    return sum(trees.walk(settings.general.data_dir / part, without=_is_passing).size_bytes for part in PARTS)


# --- saving ---


def _copy(settings: Settings, name: str, draft: Path) -> Manifest:
    with rest.at_rest(settings, "A snapshot, unless the stack is healthy,"):
        _check_complete(settings)
        schema = _schema_alone(settings)
        with Archive(draft / DATA) as archive:
            _add_all(settings, archive)
        return _manifest(settings, name, draft, archive, schema, pause_s=0.0)


def _copy_running(settings: Settings, name: str, draft: Path) -> Manifest:
    _check_complete(settings)
    freeze.thaw(processes.run_prefix(settings.general.data_dir))
    schema = _schema_asked(settings)
    with Archive(draft / DATA) as archive:
        _add_all(settings, archive)
        with freeze.frozen(settings.general.data_dir) as began:
            _add_all(settings, archive)
        pause_s = time.monotonic() - began
    return _manifest(settings, name, draft, archive, schema, pause_s=pause_s)


def _add_all(settings: Settings, archive: Archive) -> None:
    for part in PARTS:
        archive.add(settings.general.data_dir / part, without=_is_passing)


def _check_complete(settings: Settings) -> None:
    data_dir = settings.general.data_dir
    if missing := [part for part in PARTS if not (data_dir / part).is_dir()]:
        raise NotFound(
            "stack.no_data", f"There is no data of {', '.join(missing)} yet in {data_dir}.", hint="run ./drystone up"
        )


def _manifest(
    settings: Settings, name: str, draft: Path, archive: Archive, schema: str | None, *, pause_s: float
) -> Manifest:
    folders, files = manifest.describe(archive, draft / DATA)
    return Manifest(
        name=name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        schema=schema,
        size_bytes=sum(file.size_bytes for file in files),
        data_bytes=(draft / DATA).stat().st_size,
        pause_s=round(pause_s, 3),
        made_by={"postgres": _postgres_that_made_it(settings)}
        | {part: _made_by(settings, part) for part in ("redis", "objects")},
        names=manifest.names(settings),
        folders=folders,
        files=files,
    )


def _made_by(settings: Settings, part: str) -> Made:
    (service,) = (service for service in ALL if service.name == part)
    program = service.resolve(settings)
    # Valkey and Redis do the same for us, but neither reads the other's newer files.
    return Made(program.path.name if part == "redis" else program.kind, program.version)


def _postgres_that_made_it(settings: Settings) -> Made:
    """The folder tells: the program of today may be of another major."""
    now = POSTGRES.resolve(settings)
    major = (settings.general.data_dir / "postgres" / "PG_VERSION").read_text().strip()
    return Made("postgres", now.version if now.version.split(".")[0] == major else major)


def _is_passing(root: Path, path: str) -> bool:
    """Whether a file is nothing a restored server would miss."""
    full = f"{root.name}/{path}"
    if full in PASSING or "/pgsql_tmp" in full:
        return True
    return bool(WAL_SEGMENT.fullmatch(full)) and not _is_written(root / path)


def _is_written(segment: Path) -> bool:
    """Whether a segment of PostgreSQL's log holds anything of its own. Spare ones, often most of the folder, do not.

    Its first page tells its address: after magic, flags and timeline (8 bytes), the position in the log as a 64-bit
    number. A spare segment is a renamed old one, or zeros.
    """
    try:
        with segment.open("rb") as file:
            head = file.read(16)
            size_bytes = file.seek(0, 2)
    except FileNotFoundError:
        return False
    log, number = int(segment.name[8:16], 16), int(segment.name[16:24], 16)
    return len(head) == 16 and struct.unpack_from("=Q", head, 8)[0] == (log << 32) + number * size_bytes


def _schema_alone(settings: Settings) -> str | None:
    """The schema's revision in the folder of a server that is down, which has ended well after this."""
    launch = POSTGRES.launch(settings, settings.general.data_dir, durable=True)
    if _postgres_that_made_it(settings).version != launch.program.version:
        return None  # made by another major: it can be copied, not asked
    found = re.search(r'version_num = "([^"]*)"', _ask_alone(settings, "SELECT version_num FROM alembic_version"))
    return found[1] if found else None


def _ask_alone(settings: Settings, query: str) -> str:
    launch = POSTGRES.launch(settings, settings.general.data_dir, durable=True)
    answer = services.ask_alone(launch, settings.database.parts.database, query)
    if "FATAL" in answer.stderr or answer.returncode not in (0, 1):
        raise Unavailable(
            "snapshot.postgres_unreadable",
            f"PostgreSQL cannot read {launch.folder}: {services.last_words(answer.stderr)}",
            hint="does ./drystone up work? its log: ./drystone logs postgres",
        )
    return answer.stdout


def _schema_asked(settings: Settings) -> str | None:
    """The schema's revision, from the running server, after a checkpoint: the less of its log there is to copy."""
    found: list[str | None] = []

    async def ask() -> None:
        async with bootstrap.superuser_session(settings.database, settings.database.parts.database) as connection:
            await connection.execute("CHECKPOINT")
            if await connection.fetchval("SELECT to_regclass('alembic_version')"):
                found.append(await connection.fetchval("SELECT version_num FROM alembic_version"))

    try:
        probes.run(ask)
    except (probes.NotYet, probes.WrongPassword) as exc:
        raise Unavailable(
            "snapshot.not_ready",
            f"The stack runs, but PostgreSQL does not answer: {exc}.",
            hint="wait until ./drystone status says healthy, or run ./drystone down first",
        ) from exc
    return found[0] if found else None


# --- restoring ---


def _put(found: Manifest, data: Path, stage: Path) -> None:
    """Make folders and files as the manifest says, in `stage`."""
    for path, _ in found.folders:
        (stage / path).mkdir(mode=0o700)
    with data.open("rb", buffering=0) as reading:
        for file in found.files:
            reading.seek(file.offset)
            writing = os.open(stage / file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                trees.copy(reading.fileno(), writing, file.size_bytes)
                os.fchmod(writing, file.mode)
            finally:
                os.close(writing)
    for path, mode in found.folders:
        (stage / path).chmod(mode)


def _with_data_in(settings: Settings, folder: Path) -> Settings:
    return settings.model_copy(update={"general": settings.general.model_copy(update={"data_dir": folder})})


def _hand_over(settings: Settings, folder: Path) -> None:
    """Give the files to the user that PostgreSQL runs as here, whoever that was where the snapshot was made."""
    lowered = POSTGRES.launch(settings, settings.general.data_dir, durable=True).privileges
    if lowered.owner is not None:
        for path in (folder, *folder.rglob("*")):
            lowered.hand_over(path)

"""Putting a backup into an empty stack: objects, then the database in one transaction, then what was deleted since.

Objects under their hashes disturb nobody, so a restore that is cut short is simply begun anew.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from drystone import schema
from drystone.adapters.objects import Objects
from drystone.backup import catalogue, pieces, programs, queries
from drystone.backup.copying import copy
from drystone.backup.manifest import Manifest, damaged
from drystone.backup.programs import Programs
from drystone.backup.saving import Say, names, owner_sessions
from drystone.backup.target import Target
from drystone.core import crash_points
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Conflict, DrystoneError, Invalid, NotFound, Unavailable
from drystone.core.logging import get_logger
from drystone.core.settings import Settings
from drystone.documents import deletions
from drystone.jobs import events
from drystone.jobs.broker import Nudger

# What reading says of an object that is not there, or has other bytes than its name says.
_DAMAGE = ("objects.corrupt", "objects.not_found")

log = get_logger("backup.restoring")


@dataclass(frozen=True)
class Restored:
    """What was done. deleted: documents and collections that the deletion log had deleted again.

    objects_s, database_s: seconds that copying the objects took, and restoring the database with its indexes.
    """

    manifest: Manifest
    new_objects: int
    new_bytes: int
    objects_s: float
    database_s: float
    deleted: int


def check_fits(manifest: Manifest, settings: Settings, root: Path) -> None:
    """Raise Conflict for a backup of a newer schema, or of roles that are called otherwise here."""
    if not schema.is_known(manifest.schema_revision, root):
        raise Conflict(
            "backup.newer_schema",
            f"Backup {manifest.id} has the schema {manifest.schema_revision} of drystone {manifest.software},"
            " which this version does not know.",
            hint="use the version of drystone that made it, or a newer one",
        )
    now = names(settings)
    if other := [f"{what} {name}" for what, name in manifest.names.items() if now.get(what) != name]:
        raise Conflict(
            "backup.other_names",
            f"Backup {manifest.id} was made with other names than .env has now: {', '.join(other)}.",
            hint="use these names in DATABASE_URL and MIGRATION_DATABASE_URL",
        )


async def check_empty(sessions: Sessions) -> None:
    """Raise Conflict where there is anything that a restore would destroy, or somebody who uses the database."""
    async with transaction(sessions) as session:
        there, foreign = await queries.what_is_there(session), await queries.strangers(session)
        users = await queries.users(session)
    if there or foreign:
        told = ", ".join(there) or f"tables of somebody else ({', '.join(foreign[:3])})"
        raise Conflict(
            "restore.not_empty",
            f"The database is not empty: it has {told}. Nothing was changed.",
            hint="keep what is there (./drystone snapshot save NAME, or a backup), then ./drystone reset, and restore again;"
            " a database elsewhere: drop and create it, then ./drystone prepare",
        )
    if users:
        raise Conflict(
            "restore.in_use",
            f"Processes use the database: {', '.join(users)}. Nothing was changed.",
            hint="stop web and worker on all hosts, then restore",
        )


async def restore(
    settings: Settings,
    root: Path,
    target: Target,
    manifest: Manifest,
    tools: Programs,
    *,
    undelete: bool = False,
    say: Say = lambda _: None,
) -> Restored:
    """Put a backup into this stack, whose servers run and whose web and workers do not.

    What was deleted since stays deleted, as far as the log of this host or of a newer backup in the target knows;
    undelete: it comes back. Raises Conflict for a stack that is not empty, Invalid or Unavailable for what is damaged.
    """
    async with AsyncExitStack() as stack:
        sessions = owner_sessions(settings, stack)
        spool = settings.general.data_dir / "spool"
        check_fits(manifest, settings, root)
        await check_empty(sessions)
        say("copying objects")
        began = time.monotonic()
        new_objects, new_bytes = await copy_objects(target, manifest, Objects.open_s3(settings.s3), spool)
        objects_s = time.monotonic() - began
        await _keep_log(settings, target, manifest, undelete=undelete, say=say)
        say("restoring the database")
        began = time.monotonic()
        await put_database(settings, target, manifest, tools, spool)
        database_s = time.monotonic() - began
        crash_points.reach("after_restore_commit")
        await check_counts(sessions, manifest)
        await _analyze(sessions)
        say("migrating")
        await schema.migrate(settings, root)
        nudger = Nudger(settings.redis)
        try:
            deleted = await deletions.replay(sessions, nudger, deletions.path_of(settings))
        finally:
            nudger.close()
    log.info("backup.restored", backup_id=manifest.id, objects=new_objects, deleted=deleted)
    return Restored(manifest, new_objects, new_bytes, objects_s, database_s, deleted)


async def copy_objects(target: Target, manifest: Manifest, store: Objects, spool: Path) -> tuple[int, int]:
    """Give the store those objects of a backup that it lacks; how many, and how many bytes.

    Raises Invalid with the first of them when some are not there or have other bytes than their name says.
    """
    new = new_bytes = 0
    lacking: list[str] = []
    first = 0
    async for entries in catalogue.read(target.objects, manifest, spool):
        copied = await copy(target.objects, store, first, entries, spool)
        new, new_bytes = new + copied.new, new_bytes + copied.new_bytes
        lacking += [sha256.hex() for sha256 in (*copied.missing, *copied.wrong)]
        first += 1
    if lacking:
        raise damaged(manifest.id, f"{len(lacking)} objects are missing or have other bytes: {', '.join(lacking[:3])}…")
    return new, new_bytes


async def put_database(settings: Settings, target: Target, manifest: Manifest, tools: Programs, spool: Path) -> None:
    """Replace all that the owner's role owns by the dump: in one transaction, each piece of it checked before it is used."""
    try:
        await programs.restore(
            tools,
            settings.database.migration_url.get_secret_value(),
            pieces.read(target.objects, manifest.dump, spool),
            before=queries.EMPTY,
            after=(*queries.RENEW, events.RENEW_TIMELINE),
        )
    except DrystoneError as exc:
        if exc.code in _DAMAGE:
            raise damaged(manifest.id, "a piece of its dump is missing or has other bytes") from exc
        raise


async def check_counts(sessions: Sessions, manifest: Manifest) -> None:
    """Raise Invalid where a table has not as many rows as the backup says."""
    async with transaction(sessions) as session:
        found = await queries.counts(session)
    differing = [
        f"{table}: {found.get(table, 0)} rows instead of {manifest.counts.get(table, 0)}"
        for table in sorted(found.keys() | manifest.counts.keys())
        if found.get(table) != manifest.counts.get(table)
    ]
    if differing:
        raise Invalid("restore.differs", f"The restored database differs from the backup: {'; '.join(differing[:5])}.")


async def _keep_log(settings: Settings, target: Target, manifest: Manifest, *, undelete: bool, say: Say) -> None:
    """Bring this host's deletion log together with the newest one of the target, before there is anything to delete.

    `up` replays it, too, so it holds even if this process ends right after the database is there.
    """
    path, spool = deletions.path_of(settings), settings.general.data_dir / "spool"
    theirs, ours = path.with_name(f".{path.name}.theirs"), path.with_name(f".{path.name}.new")
    try:
        await _read_log(target, manifest, theirs, spool, say)
        await _write(ours, deletions.merged(path, lambda: _resolved(theirs)))
        ours.replace(path)
    finally:
        theirs.unlink(missing_ok=True)
        ours.unlink(missing_ok=True)
    if undelete:
        deletions.undo(path, since=manifest.created_at)


async def _read_log(target: Target, manifest: Manifest, path: Path, spool: Path, say: Say) -> None:
    """Write down the newest log of the target that is whole; one that is newer and damaged is told. Raises Invalid without any."""
    later = [each for each in await target.every() if isinstance(each, Manifest) and each.time >= manifest.time]
    for found in reversed(later):
        try:
            await _write(path, pieces.lines(target.objects, found.deletions, spool))
            return
        except (NotFound, Unavailable) as exc:
            if exc.code not in _DAMAGE:
                raise
            say(f"the deletion log of backup {found.id} is damaged: what was deleted shortly before may come back")
    raise damaged(manifest.id, "its deletion log is missing or has other bytes")


async def _write(path: Path, lines: AsyncIterator[str]) -> None:
    def opened() -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    with os.fdopen(await asyncio.to_thread(opened), "w", encoding="utf-8") as file:
        async for line in lines:
            file.write(f"{line}\n")
        file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())


async def _resolved(path: Path) -> AsyncIterator[str]:
    """The deletions of a log that hold: what it took back means nothing in another place."""
    for line in deletions.read(path):
        yield json.dumps(line)


async def _analyze(sessions: Sessions) -> None:
    """Let the planner know the new tables at once, instead of whenever autovacuum comes by."""
    async with transaction(sessions) as session:
        await session.execute(text("analyze"))

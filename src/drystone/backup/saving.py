"""Making a backup of a stack that works: one snapshot of the database, then the blobs it refers to, then the deletion log.

In that order nothing is lost: a row's blob is older than the row, and of a blob that was purged meanwhile the log knows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from sqlalchemy.ext.asyncio import AsyncSession

from drystone import __version__, schema
from drystone.adapters.objects import Objects
from drystone.backup import catalogue, golden, pieces, programs, queries
from drystone.backup.copying import Copied, copy
from drystone.backup.manifest import Golden, Manifest, Piece
from drystone.backup.manifest import Objects as Saved
from drystone.backup.pieces import PieceWriter
from drystone.backup.programs import Programs
from drystone.backup.target import Target, new_id
from drystone.core import crash_points
from drystone.core.db import Sessions, make_engine, make_sessions, transaction
from drystone.core.errors import Conflict
from drystone.core.logging import get_logger
from drystone.core.settings import Settings
from drystone.documents import blobs, deletions
from drystone.index.embedders import Embedders

BACKUP, PRUNE = "backup", "prune"
Say = Callable[[str], None]

log = get_logger("backup.saving")


@dataclass(frozen=True)
class Source:
    """What is backed up, and with what. sessions: of the role that owns the schema."""

    settings: Settings
    sessions: Sessions
    objects: Objects
    embedders: Embedders
    programs: Programs

    @property
    def url(self) -> str:
        return self.settings.database.migration_url.get_secret_value()

    @property
    def spool_folder(self) -> Path:
        return self.settings.general.data_dir / "spool"


def owner_sessions(settings: Settings, stack: AsyncExitStack) -> Sessions:
    """Sessions of the role that owns the schema, for as long as the stack is open."""
    engine = make_engine(
        settings.database.migration_url.get_secret_value(),
        pool_size=4,
        application_name="drystone-backup",
        command_timeout_s=3600,
    )
    stack.push_async_callback(engine.dispose)
    return make_sessions(engine)


async def save(source: Source, target: Target, say: Say = lambda _: None) -> Manifest:
    """Make a backup; it is one when this returns. Killed before, it leaves objects that the next one uses.

    What the database wants and the store lacks is named in the manifest, which then is not whole.
    """
    async with target.at_work(BACKUP, apart_from=(PRUNE,)):
        seen = await _see(source, target, say)
        try:
            say(f"copying objects to {target.name}")
            entries, stored = await _copy(source, target, seen)
        finally:
            seen.wanted.close()
        crash_points.reach("before_backup_whole")
        made = Manifest(
            id=new_id(datetime.fromisoformat(seen.moment.at).astimezone(UTC)),
            created_at=seen.moment.at,
            finished_at=datetime.now(UTC).isoformat(),
            software=__version__,
            schema_revision=seen.schema,
            postgres=seen.moment.postgres,
            names=names(source.settings),
            dump=seen.dump,
            catalogue=entries,
            deletions=await _keep_deletions(source, target),
            objects=stored,
            counts=seen.counts,
            golden=seen.golden,
        )
        await target.write(made)
    log.info("backup.made", backup_id=made.id, whole=made.is_whole, objects=made.objects.count, new=made.objects.new)
    return made


def names(settings: Settings) -> dict[str, str]:
    """Of the roles, which the dump grants rights to."""
    return {"role": settings.database.parts.user, "owner": settings.database.migration_parts.user}


@dataclass(frozen=True)
class _Seen:
    """What one snapshot of the database showed. wanted: see `catalogue.groups`."""

    moment: queries.Moment
    schema: str
    dump: list[Piece]
    counts: dict[str, int]
    golden: list[Golden]
    wanted: BinaryIO


async def _see(source: Source, target: Target, say: Say) -> _Seen:
    async with transaction(source.sessions) as session:
        moment = await queries.hold(session)
        revision = await schema.current(session)
        if revision is None:
            raise Conflict("backup.no_schema", "The database has no schema yet.", hint="run ./drystone up")
        say("dumping the database")
        writer = PieceWriter(target.objects, source.spool_folder, pieces.DUMP_BYTES)
        try:
            async with aclosing(programs.dump(source.programs, source.url, moment.snapshot)) as parts:
                async for part in parts:
                    await writer.write(part)
                    crash_points.reach("mid_backup_dump")
            dump = await writer.finish()
        finally:
            writer.close()
        counts = await queries.counts(session)
        answers = await _answers(source, session, moment) if revision == schema.HEAD else []
        return _Seen(moment, revision, dump, counts, answers, await catalogue.wanted(session, source.spool_folder))


async def _answers(source: Source, session: AsyncSession, moment: queries.Moment) -> list[Golden]:
    """Of a schema that this code searches."""
    async with golden.searcher(source.settings, source.embedders, snapshot=moment.snapshot) as searcher:
        return await golden.make(session, searcher)


async def _copy(source: Source, target: Target, seen: _Seen) -> tuple[list[Piece], Saved]:
    """Copy what the target lacks; the catalogue of all, and what came of it."""
    writer = PieceWriter(target.objects, source.spool_folder, pieces.LINES_BYTES)
    gone: list[str] = []
    missing: list[str] = []
    wrong: list[str] = []
    count = size_bytes = new = new_bytes = 0
    try:
        for first, entries in enumerate(catalogue.groups(seen.wanted)):
            copied = await copy(source.objects, target.objects, first, entries, source.spool_folder)
            crash_points.reach("mid_backup_copy")
            for sha256, size in sorted(copied.sizes.items()):
                await writer.write(catalogue.line(sha256, size))
            count, size_bytes = count + len(copied.sizes), size_bytes + sum(copied.sizes.values())
            new, new_bytes = new + copied.new, new_bytes + copied.new_bytes
            await _account(source, copied, gone=gone, missing=missing)
            wrong += [sha256.hex() for sha256 in copied.wrong]
        entries_pieces = await writer.finish()
    finally:
        writer.close()
    stored = Saved(
        count=count, size_bytes=size_bytes, new=new, new_bytes=new_bytes, gone=gone, missing=missing, wrong=wrong
    )
    return entries_pieces, stored


async def _account(source: Source, copied: Copied, *, gone: list[str], missing: list[str]) -> None:
    """A blob that is not there and that nobody wants any more was purged since the dump; else it is missing."""
    for sha256 in copied.missing:
        is_missing = await blobs.is_wanted(source.sessions, sha256)
        (missing if is_missing else gone).append(sha256.hex())


async def _keep_deletions(source: Source, target: Target) -> list[Piece]:
    """All deletions that are known by now: those of this host's log, and those of the database that it lacks."""

    def of_database() -> AsyncIterator[str]:
        return deletions.every(source.sessions)

    writer = PieceWriter(target.objects, source.spool_folder, pieces.LINES_BYTES)
    try:
        async for line in deletions.merged(deletions.path_of(source.settings), of_database):
            await writer.write(f"{line}\n".encode())
        return await writer.finish()
    finally:
        writer.close()

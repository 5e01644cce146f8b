"""`drystone backup` and `drystone restore`: all data of a stack that works, in a folder or an S3 store, and back again."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from drystone.backup.manifest import Manifest
    from drystone.backup.programs import Programs
    from drystone.backup.restoring import Restored
    from drystone.backup.target import Target
    from drystone.backup.verifying import Report
    from drystone.core.settings import Settings


class _MakesByDefault(TyperGroup):
    """`backup TARGET` is `backup make TARGET`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["make", *args]
        return super().parse_args(ctx, args)


backup = typer.Typer(
    cls=_MakesByDefault,
    no_args_is_help=True,
    help="""Back up a stack that works, to a folder or to an S3 store; prove and remove backups.

    TARGET is a folder of its own, or s3://bucket/prefix at the store that BACKUP_S3_ENDPOINT_URL and its keys name.
    `.env` is no part of a backup. docs/guides/backup.md

    [bold]Examples[/bold]
    drystone backup /mnt/backup/drystone
    drystone backup list s3://our-backups/drystone
    drystone backup verify /mnt/backup/drystone
    drystone backup prune /mnt/backup/drystone --keep-daily 14 --keep-monthly 12""",
)

Place = Annotated[str, typer.Argument(metavar="TARGET", help="A folder, or s3://bucket/prefix.")]
Which = Annotated[str | None, typer.Option("--backup", metavar="ID", help="Which one; default: the newest whole one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@backup.command("make")
def make(target: Place, as_json: AsJson = False) -> None:
    """Make a backup; `drystone backup TARGET` means this. The stack goes on working meanwhile.

    Objects that the target holds already are not copied again. It becomes a backup at the very end: one that is cut
    short is none, and the next goes on with what was copied.

    Exit code 1 when something that the database refers to was missing or damaged in the store; it is named.
    """
    import asyncio

    from drystone.cli import terminal

    began = time.monotonic()
    settings = _settings()
    made = asyncio.run(_make(settings, target))
    if as_json:
        terminal.print_json(_as_json(made))
    took = time.monotonic() - began
    stored = made.objects
    terminal.say(
        f"backup {made.id}: database {terminal.size(made.dump_bytes)}, {stored.count} objects of {terminal.size(stored.size_bytes)},"
        f" of which {stored.new} of {terminal.size(stored.new_bytes)} were new, in {took:.1f} s"
    )
    if stored.gone:
        terminal.say(f"{len(stored.gone)} objects were purged while it was made; its deletion log knows why")
    if not made.is_whole:
        for kind, lost in (("missing from the store", stored.missing), ("damaged in the store", stored.wrong)):
            for sha256 in lost:
                typer.echo(f"{kind}: {sha256}", err=True)
        typer.echo("This backup is not whole.\nhint: ./drystone scrub --all names the documents", err=True)
        raise typer.Exit(1)


@backup.command("list")
def list_(target: Place, as_json: AsJson = False) -> None:
    """List the backups, oldest first: id, moment, sizes, schema, and whether it is whole. Contents: see `verify`."""
    import asyncio

    from drystone.backup.manifest import Manifest
    from drystone.cli import listing, terminal
    from drystone.core.errors import DrystoneError

    found = asyncio.run(_open(_settings(), target).every())
    made = [each for each in found if isinstance(each, Manifest)]
    if as_json:
        terminal.print_json([_as_json(each) for each in made])
    elif made and terminal.is_terminal():
        listing.show_backups(made)
    else:
        for each in made:
            whole = "whole" if each.is_whole else "not whole"
            sizes = (each.dump_bytes, each.objects.size_bytes)
            terminal.print_row(each.id, each.created_at, *sizes, each.schema_revision, whole)
    for unreadable in found:
        if isinstance(unreadable, DrystoneError):
            terminal.say(unreadable.message)
    if not found:
        typer.echo(f"There are no backups in {target}. Make one: drystone backup TARGET", err=True)


@backup.command("prune")
def prune(
    target: Place,
    keep: Annotated[int, typer.Option("--keep", min=0, help="Keep so many of the newest.")] = 0,
    daily: Annotated[int, typer.Option("--keep-daily", min=0, help="The newest of each of so many days.")] = 0,
    weekly: Annotated[int, typer.Option("--keep-weekly", min=0, help="Of so many weeks.")] = 0,
    monthly: Annotated[int, typer.Option("--keep-monthly", min=0, help="Of so many months.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove backups that no rule keeps, and objects that no backup refers to. The newest whole one always stays.

    Days, weeks and months without a backup do not count. Refused while a backup is being made there.
    """
    import asyncio
    import dataclasses

    from drystone.backup.pruning import Rules, prune
    from drystone.cli import terminal

    settings = _settings()
    os.umask(0o077)
    rules = Rules(keep, daily, weekly, monthly)
    done = asyncio.run(prune(_open(settings, target), rules, settings.general.data_dir / "spool", dry_run=dry_run))
    if as_json:
        terminal.print_json(dataclasses.asdict(done))
    for backup_id in [] if as_json else done.removed:
        typer.echo(f"{'would remove' if dry_run else 'removed'} {backup_id}" if terminal.is_terminal() else backup_id)
    freed = "" if dry_run else f" and {_counted(done.objects, 'object')} of {terminal.size(done.size_bytes)}"
    would = "would be removed" if dry_run else "removed"
    terminal.say(f"{would}: {_counted(len(done.removed), 'backup')}{freed}; left: {_counted(len(done.kept), 'backup')}")


@backup.command("verify")
def verify(
    target: Place,
    which: Which = None,
    scratch: Annotated[
        Path | None, typer.Option("--scratch", metavar="DIR", help="Where to restore; default: the system's /tmp.")
    ] = None,
    remove_damaged: Annotated[
        bool,
        typer.Option("--remove-damaged", help="Remove objects with wrong bytes, so that the next backup copies them."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prove a backup: read and hash all of it, restore its database elsewhere, and compare.

    A PostgreSQL is started for that on a free port in a temporary folder; the stack itself is neither needed nor touched.
    Compared are the rows of each table, the invariants, and what some searches found when the backup was made.

    Exit code 1 when anything is wrong.
    """
    import asyncio
    import dataclasses

    from drystone.backup import verifying
    from drystone.cli import terminal

    settings = _settings()
    os.umask(0o077)
    began = time.monotonic()
    place = _open(settings, target)
    manifest = asyncio.run(place.read(which))
    report = _verify(settings, place, manifest, scratch)
    if remove_damaged and report.damaged:
        asyncio.run(verifying.remove_damaged(place, report))
    took = time.monotonic() - began
    if as_json:
        terminal.print_json({**dataclasses.asdict(report), "ok": report.ok, "took_s": round(took, 1)})
    for problem in report.problems:
        terminal.say(f"wrong: {problem}")
    terminal.say(
        f"{_counted(report.objects, 'object')} of {terminal.size(report.object_bytes)} read whole, {report.rows} rows in {report.tables} tables"
        f" restored, {report.questions} searches compared, in {took:.1f} s"
    )
    if report.ok:
        terminal.say(f"backup {report.backup_id} is good")
        return
    terminal.say(f"hint: {_mend(report)}")
    terminal.say(f"backup {report.backup_id} is NOT good: {len(report.missing)} missing, {len(report.damaged)} damaged")
    raise typer.Exit(1)


def _mend(report: Report) -> str:
    """What to do about a backup that is not good. A backup made anew copies what its target lacks, and nothing else."""
    again = "run ./drystone backup TARGET again and verify that one; until then keep older backups"
    if len(report.removed) < len(report.damaged):
        return f"--remove-damaged removes the damaged objects, for what is there is not copied again; then {again}"
    return again


def restore(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A folder, or s3://bucket/prefix.")],
    which: Which = None,
    undelete: Annotated[
        bool, typer.Option("--undelete", help="Bring back, too, what was deleted after the backup was made.")
    ] = False,
    objects_only: Annotated[
        bool,
        typer.Option("--objects-only", help="Only put back objects that the store lacks; the database stays as it is."),
    ] = False,
) -> None:
    """Put a backup into an empty stack, which must be down; its servers are started for it and stopped again.

    Everything is read with its hash checked; the database is put in place in one transaction: cut short, the stack is
    still empty, and this may be run again. A backup of an older schema is migrated. What was deleted since stays deleted,
    as far as this host's deletion log or a newer backup in SOURCE knows. Streams of events begin anew.
    """
    from drystone.cli import terminal

    settings = _settings()
    os.umask(0o077)
    began = time.monotonic()
    place = _open(settings, source)
    if objects_only:
        count, size_bytes = _restore_objects(settings, place, which)
        terminal.say(f"put back {count} objects of {terminal.size(size_bytes)}")
        return
    done = _restore(settings, place, which, undelete=undelete)
    again = f"; deleted again, as the deletion log says: {done.deleted}" if done.deleted else ""
    terminal.say(
        f"restored {done.manifest.id} of {done.manifest.created_at[:19]}: {done.new_objects} objects of"
        f" {terminal.size(done.new_bytes)} in {done.objects_s:.1f} s, {sum(done.manifest.counts.values())} rows with their indexes in"
        f" {done.database_s:.1f} s; all in {time.monotonic() - began:.1f} s{again}"
        "\nhint: run ./drystone up"
    )


async def _make(settings: Settings, target: str) -> Manifest:
    from contextlib import AsyncExitStack

    from drystone.backup.saving import Source, owner_sessions, save
    from drystone.backup.target import open_target
    from drystone.cli import terminal
    from drystone.core import crash_points
    from drystone.resources import open_resources

    os.umask(0o077)  # the dump holds hashes of keys and secrets of webhooks
    crash_points.arm(settings.general.crash_points)
    tools = _programs(settings)
    place = open_target(target, settings.backup, is_new=True)
    async with open_resources(settings, name="backup", searches=False) as resources, AsyncExitStack() as stack:
        sessions = owner_sessions(settings, stack)
        source = Source(settings, sessions, resources.objects, resources.embedders, tools)
        return await save(source, place, terminal.say)


def _verify(settings: Settings, target: Target, manifest: Manifest, scratch: Path | None) -> Report:
    import asyncio

    from drystone.backup import verifying
    from drystone.cli import terminal
    from drystone.resources import open_resources
    from drystone.stack import root
    from drystone.stack.data import throwaway

    with throwaway.postgres(settings, root.find(), scratch=scratch) as elsewhere:
        tools = _programs(elsewhere)

        async def run() -> Report:
            spool = elsewhere.general.data_dir / "spool"
            report = await verifying.read_all(target, manifest, spool, terminal.say)
            if any(piece.sha256 in report.lost for piece in manifest.pieces):
                return report
            async with open_resources(elsewhere, name="backup", searches=False) as resources:
                await verifying.prove(
                    elsewhere, root.find(), target, manifest, tools, resources.embedders, report, terminal.say
                )
            return report

        return asyncio.run(run())


def _restore(settings: Settings, target: Target, which: str | None, *, undelete: bool) -> Restored:
    import asyncio

    from drystone.backup import restoring
    from drystone.cli import terminal
    from drystone.core import crash_points
    from drystone.stack import root
    from drystone.stack.data import rest
    from drystone.stack.supervise import Servers

    crash_points.arm(settings.general.crash_points)
    manifest = asyncio.run(target.read(which))
    folder = root.find()
    restoring.check_fits(manifest, settings, folder)
    settings.general.data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    with rest.at_rest(settings, "Restoring a backup"), Servers(settings, folder):
        tools = _programs(settings)
        return asyncio.run(
            restoring.restore(settings, folder, target, manifest, tools, undelete=undelete, say=terminal.say)
        )


def _restore_objects(settings: Settings, target: Target, which: str | None) -> tuple[int, int]:
    import asyncio

    from drystone.adapters.objects import Objects
    from drystone.backup import restoring

    async def run() -> tuple[int, int]:
        manifest = await target.read(which)
        store = Objects.open_s3(settings.s3)
        return await restoring.copy_objects(target, manifest, store, settings.general.data_dir / "spool")

    return asyncio.run(run())


def _programs(settings: Settings) -> Programs:
    from drystone.backup.programs import Programs
    from drystone.stack.data import clients

    return Programs(**clients.find(settings, "pg_dump", "pg_restore", "psql"))


def _open(settings: Settings, target: str) -> Target:
    from drystone.backup.target import open_target

    return open_target(target, settings.backup)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _as_json(manifest: Manifest) -> dict[str, object]:
    """What programs ask of a backup; its pieces and questions are left out."""
    body = manifest.model_dump(exclude={"dump", "catalogue", "deletions", "golden"})
    return {**body, "dump_bytes": manifest.dump_bytes, "is_whole": manifest.is_whole}


def _settings() -> Settings:
    from drystone.core import logging
    from drystone.core.settings import load
    from drystone.stack import root

    logging.configure("CRITICAL", "console")  # what is found these commands say themselves
    return load(root.find())

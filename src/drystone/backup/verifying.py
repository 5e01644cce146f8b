"""Proving a backup: every byte is read and hashed, and its database restored elsewhere, asked and compared.

The blobs need no second copy for that: a backup's store is laid out as the stack's own, and is asked in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from drystone import invariants, schema
from drystone.adapters.objects import Objects
from drystone.backup import catalogue, golden, restoring
from drystone.backup.catalogue import Entry
from drystone.backup.copying import AT_ONCE
from drystone.backup.manifest import Manifest
from drystone.backup.programs import Programs
from drystone.backup.saving import Say, owner_sessions
from drystone.backup.target import Target
from drystone.core.errors import Invalid, NotFound, Unavailable
from drystone.core.settings import Settings
from drystone.index.embedders import Embedders
from drystone.invariants import Limits

# What another backup has lies there, too; and whose lease has ended is of the moment, not of the data.
_NOT_OF_A_BACKUP = ("I5", "I7")
_NAMED = 20
_TEN_YEARS_S = 10 * 365 * 86400.0


@dataclass
class Report:
    """What was found. missing: objects that are not there. damaged: those with other bytes; removed: of these, those that were
    then. problems: all that is wrong, in words.
    """

    backup_id: str
    objects: int = 0
    object_bytes: int = 0
    tables: int = 0
    rows: int = 0
    questions: int = 0
    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    @property
    def lost(self) -> list[str]:
        """Objects that cannot be put back."""
        return [*self.missing, *self.damaged]

    @property
    def ok(self) -> bool:
        return not self.problems


async def read_all(target: Target, manifest: Manifest, spool: Path, say: Say = lambda _: None) -> Report:
    """Read everything that belongs to a backup, and compare it with its hash and size."""
    report = Report(manifest.id)
    if not manifest.is_whole:
        lacking = [*manifest.objects.missing, *manifest.objects.wrong]
        report.problems.append(f"not whole when it was made: {len(lacking)} objects were lost then ({lacking[0]}, …)")
    say("reading all objects")
    own = [Entry(bytes.fromhex(piece.sha256), piece.size_bytes) for piece in manifest.pieces]
    await _read(target.objects, own, report)
    if report.lost:
        report.problems += _lost(report, "of dump, catalogue or log")
        return report
    report.objects = report.object_bytes = 0
    try:
        async for entries in catalogue.read(target.objects, manifest, spool):
            await _read(target.objects, entries, report)
    except Invalid as exc:
        report.problems.append(exc.message)
    report.problems += _lost(report, "of documents")
    if (told := report.objects + len(report.lost)) != manifest.objects.count:
        report.problems.append(f"the catalogue has {told} objects, the manifest says {manifest.objects.count}")
    return report


async def remove_damaged(target: Target, report: Report) -> None:
    """Remove the objects whose bytes are not those of their hash: the next backup copies what its target lacks."""
    for name in report.damaged:
        await target.objects.delete(bytes.fromhex(name))
        report.removed.append(name)


async def prove(
    elsewhere: Settings,
    root: Path,
    target: Target,
    manifest: Manifest,
    tools: Programs,
    embedders: Embedders,
    report: Report,
    say: Say = lambda _: None,
) -> None:
    """Restore the database into a stack that is there for this only, and add to the report what is wrong with it."""
    restoring.check_fits(manifest, elsewhere, root)
    async with AsyncExitStack() as stack:
        sessions = owner_sessions(elsewhere, stack)
        await restoring.check_empty(sessions)
        say("restoring the database elsewhere")
        try:
            await restoring.put_database(elsewhere, target, manifest, tools, elsewhere.general.data_dir / "spool")
            await restoring.check_counts(sessions, manifest)
        except Invalid as exc:
            report.problems.append(exc.message)
            return
        report.tables, report.rows = len(manifest.counts), sum(manifest.counts.values())
        await schema.migrate(elsewhere, root)
        say("checking the invariants")
        verdict = await invariants.check(
            sessions,
            target.objects,
            Limits(lease_s=elsewhere.worker.lease_s, orphan_s=_TEN_YEARS_S),
            without=_NOT_OF_A_BACKUP,
            ignore={*manifest.objects.gone, *report.lost},
        )
        if not verdict.holds:
            first = verdict.violations[0]
            report.problems.append(
                f"invariants do not hold: {verdict}; {first.invariant} {first.subject_kind} {first.subject} {first.detail}"
            )
        say("asking the golden queries")
        async with golden.searcher(elsewhere, embedders) as searcher:
            report.questions = len(manifest.golden)
            report.problems += await golden.differing(searcher, manifest.golden)


def _lost(report: Report, of_what: str) -> list[str]:
    """What is not there and what has other bytes, each counted and named."""
    kinds = ((report.missing, "missing"), (report.damaged, "damaged, with other bytes than their hash says"))
    return [
        f"objects {of_what} {how} ({len(names)}): {', '.join(names[:_NAMED])}{', …' if len(names) > _NAMED else ''}"
        for names, how in kinds
        if names
    ]


async def _read(objects: Objects, entries: Sequence[Entry], report: Report) -> None:
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(entry: Entry) -> None:
        async with turns:
            try:
                async for _ in objects.stream(entry.sha256, size_bytes=entry.size_bytes):
                    pass
            except NotFound:
                report.missing.append(entry.sha256.hex())
                return
            except Unavailable as exc:
                if exc.code != "objects.corrupt":
                    raise
                report.damaged.append(entry.sha256.hex())
                return
            report.objects += 1
            report.object_bytes += entry.size_bytes or 0

    async with asyncio.TaskGroup() as group:
        for entry in entries:
            group.create_task(one(entry))

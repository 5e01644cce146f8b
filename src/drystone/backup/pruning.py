"""Which backups are kept, and the removal of the others, with the objects that no backup refers to any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from drystone.backup import catalogue
from drystone.backup.manifest import Manifest
from drystone.backup.saving import BACKUP, PRUNE
from drystone.backup.target import Target
from drystone.core.errors import Conflict, Invalid


@dataclass(frozen=True)
class Rules:
    """How many of the newest are kept; and of how many days, weeks and months with a backup the newest of each."""

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0

    def check(self) -> None:
        """Raise Invalid for rules that keep nothing."""
        if self == Rules():
            raise Invalid(
                "backup.keep_nothing",
                "Nothing says which backups to keep.",
                hint="add --keep N, --keep-daily N, --keep-weekly N or --keep-monthly N",
            )


@dataclass(frozen=True)
class Pruned:
    """What was done."""

    kept: list[str]
    removed: list[str]
    objects: int
    size_bytes: int


def kept(manifests: Sequence[Manifest], rules: Rules) -> set[str]:
    """The ids of those to keep. Of a day, week or month only whole ones count, and the newest whole one always stays."""
    newest_first = sorted(manifests, key=lambda each: each.time, reverse=True)
    whole = [each for each in newest_first if each.is_whole]
    ids = {each.id for each in (*newest_first[: rules.last], *whole[:1])}
    spans: list[tuple[int, Callable[[datetime], object]]] = [
        (rules.daily, lambda at: at.date()),
        (rules.weekly, lambda at: at.isocalendar()[:2]),
        (rules.monthly, lambda at: (at.year, at.month)),
    ]
    for number, span in spans:
        first_of = {span(each.time): each.id for each in reversed(whole)}
        ids |= {first_of[key] for key in list(dict.fromkeys(span(each.time) for each in whole))[:number]}
    return ids


async def prune(target: Target, rules: Rules, spool: Path, *, dry_run: bool = False) -> Pruned:
    """Remove the backups that the rules do not keep, then what no backup refers to.

    Raises Conflict while a backup is being made there, or where one cannot be read: what it refers to is not known then.
    """
    rules.check()
    async with target.at_work(PRUNE, apart_from=(BACKUP, PRUNE)):
        found = await target.every()
        unreadable = [each for each in found if not isinstance(each, Manifest)]
        if unreadable:
            raise Conflict(
                "backup.unreadable",
                f"{unreadable[0].message} Nothing was removed.",
                hint="remove its file in backups/ by hand if it is given up; then prune",
            )
        manifests = [each for each in found if isinstance(each, Manifest)]
        staying = kept(manifests, rules)
        leaving = [each.id for each in manifests if each.id not in staying]
        objects, size_bytes = 0, 0
        if not dry_run:
            for backup_id in leaving:
                await target.forget(backup_id)
            objects, size_bytes = await _sweep(target, [each for each in manifests if each.id in staying], spool)
    return Pruned(sorted(staying), leaving, objects, size_bytes)


async def _sweep(target: Target, manifests: Sequence[Manifest], spool: Path) -> tuple[int, int]:
    """Remove what these do not refer to: how many objects, and how many bytes. A 256th of all hashes is held at a time."""
    pieces = {bytes.fromhex(piece.sha256) for manifest in manifests for piece in manifest.pieces}
    catalogues = [aiter(catalogue.read(target.objects, manifest, spool)) for manifest in manifests]
    objects = size_bytes = 0
    for first in range(256):
        wanted = set(pieces)
        for each in catalogues:
            wanted.update(entry.sha256 for entry in await anext(each))
        async with aclosing(target.objects.list(first)) as listing:
            garbage = [blob async for blob in listing if blob.sha256 not in wanted]
        for blob in garbage:
            await target.objects.delete(blob.sha256)
            objects, size_bytes = objects + 1, size_bytes + blob.size_bytes
    return objects, size_bytes

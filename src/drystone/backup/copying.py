"""Blobs from one store to another: those that are not there yet, a few at a time, each read with its hash checked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drystone.adapters.objects import Objects
from drystone.backup.catalogue import Entry
from drystone.core.errors import NotFound, Unavailable
from drystone.documents import blobs

# Each holds at most 16 MB in memory, larger ones lie in a file.
AT_ONCE = 4


@dataclass
class Copied:
    """What became of some blobs. sizes: of those that the other store now has."""

    sizes: dict[bytes, int] = field(default_factory=dict)
    new: int = 0
    new_bytes: int = 0
    missing: list[bytes] = field(default_factory=list)
    wrong: list[bytes] = field(default_factory=list)


async def copy(
    source: Objects, target: Objects, first_byte: int, entries: Sequence[Entry], spool_folder: Path
) -> Copied:
    """Copy those of these blobs, whose hashes begin alike, that the target does not hold in the right size."""
    done = Copied()
    if not entries:
        return done
    there = {blob.sha256: blob.size_bytes async for blob in target.list(first_byte)}
    here = {blob.sha256: blob.size_bytes async for blob in source.list(first_byte)}
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(entry: Entry, size_bytes: int) -> None:
        async with turns:
            try:
                async with blobs.opened(source, spool_folder, entry.sha256, size_bytes) as body:
                    # Another size there was told apart already; of the same hash and no body there is nothing to force.
                    await target.put(entry.sha256, body)
            except NotFound:
                done.missing.append(entry.sha256)
                return
            except Unavailable as exc:
                if exc.code != "objects.corrupt":
                    raise
                done.wrong.append(entry.sha256)
                return
        done.sizes[entry.sha256] = size_bytes
        done.new += 1
        done.new_bytes += size_bytes

    async with asyncio.TaskGroup() as group:
        for entry in entries:
            size_bytes = entry.size_bytes if entry.size_bytes is not None else here.get(entry.sha256)
            held = there.get(entry.sha256)
            if held is not None and held == (held if size_bytes is None else size_bytes):
                done.sizes[entry.sha256] = held
            elif entry.sha256 not in here:
                done.missing.append(entry.sha256)
            elif here[entry.sha256] != size_bytes:
                done.wrong.append(entry.sha256)
            else:
                group.create_task(one(entry, here[entry.sha256]))
    return done

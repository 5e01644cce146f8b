"""SeaweedFS' volumes: the index of one that may have holes is made anew from the volume itself, before the store starts.

A volume is a file of blobs (`.dat`) and a file of where each begins (`.idx`). On a full disk the second can miss a blob that
the first holds, and that was acknowledged: the store keeps it in memory until its next start, and then answers 500 for it. An
entry that was torn, by a full disk or a power cut, is worse: the store then leaves out the whole volume. `weed fix` reads
the heads of the blobs, not the blobs.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from drystone.core.errors import Unavailable
from drystone.stack.fulldisk import NEVER_FULL

# Before the first blob of a volume stands this. One that was begun on a full disk has not even that.
_SUPER_BLOCK_BYTES = 8
# Entries as the program was built for volumes up to 30 GB or 8 TB: id, place in units of 8 bytes (of the fifth byte the
# highest bits), size. Source: SeaweedFS, weed/storage/types/offset_4bytes.go, offset_5bytes.go.
_ENTRIES = (struct.Struct(">QIi"), struct.Struct(">QIBi"))
# Around a blob of version 3 of the format: a head, a checksum, a time, and one to eight bytes up to the next unit.
_VERSION, _HEAD_BYTES, _TAIL_BYTES, _UNIT_BYTES = 3, 16, 12, 8


def make_whole(weed: Path, folder: Path) -> None:
    """Make the indexes anew that may not be whole, and note that they are. The store must not run. Raises Unavailable."""
    is_known_whole = (folder / NEVER_FULL).exists()
    for volume in _with_blobs(folder):
        if not (is_known_whole and _ends_together(volume, volume.with_suffix(".idx"))):
            _make_index(weed, volume)
    (folder / NEVER_FULL).touch()


def _with_blobs(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.glob("*.dat")) if path.stat().st_size > _SUPER_BLOCK_BYTES)


def _ends_together(volume: Path, index: Path) -> bool:
    """Whether the last entry of an index leads to the last blob of its volume. What is torn or was cut off does not."""
    with volume.open("rb") as file:
        if file.read(1) != bytes([_VERSION]):
            return False
        end = file.seek(0, os.SEEK_END)
    try:
        size = index.stat().st_size
    except FileNotFoundError:
        return False
    return any(size and size % entry.size == 0 and _end_of_last(index, entry) == end for entry in _ENTRIES)


def _end_of_last(index: Path, entry: struct.Struct) -> int:
    """Where the blob of the last entry ends in its volume, in bytes; of a removed one the note that it is."""
    with index.open("rb") as file:
        file.seek(-entry.size, os.SEEK_END)
        _, low, *high, size = entry.unpack(file.read(entry.size))
    place: int = (low + (high[0] << 32 if high else 0)) * _UNIT_BYTES
    body: int = _HEAD_BYTES + max(size, 0) + _TAIL_BYTES
    return place + body + _UNIT_BYTES - body % _UNIT_BYTES


def _make_index(weed: Path, volume: Path) -> None:
    """Replace the index of a volume at once, so that a kill or a full disk leaves the one that was there."""
    draft = volume.with_name("index.new")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir()
        for path in (volume, volume.with_suffix(".vif")):
            if path.exists():
                (draft / path.name).symlink_to(path.resolve())
        argv = [str(weed), "-logtostderr=true", "fix", str(draft)]
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise _failed(volume, done.stderr.strip().rpartition("\n")[2])
        (draft / volume.name).with_suffix(".idx").replace(volume.with_suffix(".idx"))
    except OSError as exc:
        raise _failed(volume, str(exc)) from exc
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _failed(volume: Path, said: str) -> Unavailable:
    return Unavailable(
        "stack.volume_damaged",
        f"The S3 store's index of {volume} may have holes and cannot be made anew: {said}",
        hint="if the disk is full, free some space; else ./drystone snapshot restore, or move that file and its "
        ".idx elsewhere to start without its blobs (./drystone doctor --data then names them)",
    )

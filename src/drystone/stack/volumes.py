"""SeaweedFS' volumes: the index of one that may have holes is made anew from the volume itself, before the store starts.

A volume is a file of blobs (`.dat`) and a file of where each begins (`.idx`). On a full disk the second can miss a blob that
the first holds, and that was acknowledged: the store keeps it in memory until its next start, and then answers 500 for it. An
entry that was torn, by a full disk or a power cut, is worse: the store then leaves out the whole volume. `weed fix` reads
the heads of the blobs, not the blobs: some thousand a second from a disk, a million or so from memory.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from drystone.core.errors import Unavailable
from drystone.stack.fulldisk import NEVER_FULL

# Before the first blob of a volume stands this. One that was begun on a full disk has not even that.
_SUPER_BLOCK_BYTES = 8
# An entry's size, as the program was built for volumes up to 30 GB or 8 TB. What is torn ends where a sector ends.
_ENTRY_BYTES = (16, 17)
_SECTOR_BYTES = 512


def make_whole(weed: Path, folder: Path) -> None:
    """Make the indexes anew that may not be whole, and note that they are. The store must not run. Raises Unavailable."""
    is_known_whole = (folder / NEVER_FULL).exists()
    for volume in _with_blobs(folder):
        if not is_known_whole or _is_torn(volume.with_suffix(".idx")):
            _make_index(weed, volume)
    (folder / NEVER_FULL).touch()


def _with_blobs(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.glob("*.dat")) if path.stat().st_size > _SUPER_BLOCK_BYTES)


def _is_torn(index: Path) -> bool:
    """Whether an index is missing or may end within an entry; one that ends with a sector by chance may, too."""
    try:
        size = index.stat().st_size
    except FileNotFoundError:
        return True
    return size % _SECTOR_BYTES == 0 or all(size % entry for entry in _ENTRY_BYTES)


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

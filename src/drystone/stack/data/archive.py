"""A tar file of folders that may still be written to: what has changed is added again, and the last of a name counts.

One file instead of thousands, because to create a file costs more than to copy the few kilobytes that are in most.
"""

from __future__ import annotations

import os
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from drystone.stack.data import trees
from drystone.stack.data.trees import Entry

# A file that was written this short a time before it was copied may have the same times after another write.
RACY_NS = 2_000_000_000
BLOCK = 512


@dataclass(frozen=True)
class Member:
    """A file of the archive, as it was when it was added."""

    entry: Entry
    offset: int
    added_ns: int

    def is_current(self, now: Entry) -> bool:
        return self.entry == now and now.changed_ns < self.added_ns - RACY_NS


class Archive:
    """Add folders, as often as they change, then leave the `with` block.

    folders, files: what there was in each folder when it was last added: by its name, in the order of `trees.walk`.
    """

    def __init__(self, path: Path) -> None:
        self.folders: dict[str, tuple[Entry, ...]] = {}
        self.files: dict[str, dict[str, Member]] = {}
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not error:
                self._end()
        finally:
            os.close(self._file)

    def add(self, folder: Path, *, without: Callable[[Path, str], bool] = lambda root, path: False) -> int:
        """Add what is in the folder and not in the archive as it is now; the number of bytes that had to be copied."""
        began_ns = time.time_ns()
        tree = trees.walk(folder, without=without)
        before = self.files.get(folder.name, {})
        now: dict[str, Member] = {}
        copied = 0
        for entry in tree.files:
            known = before.get(entry.path)
            if known and known.is_current(entry):
                now[entry.path] = known
            elif added := self._add(folder / entry.path, f"{folder.name}/{entry.path}", entry, began_ns):
                now[entry.path] = added
                copied += entry.size_bytes
        self.folders[folder.name], self.files[folder.name] = tree.folders, now
        return copied

    def _add(self, path: Path, name: str, entry: Entry, began_ns: int) -> Member | None:
        try:
            reading = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # removed since it was listed
            return None
        try:
            offset = self._begin(name, entry.mode, tarfile.REGTYPE, entry.size_bytes, entry.stamp[1])
            trees.copy(reading, self._file, entry.size_bytes)
        finally:
            os.close(reading)
        # Also when the file has become shorter: then it has changed, and is added again.
        self._go_to(offset + -(-entry.size_bytes // BLOCK) * BLOCK)
        return Member(entry, offset, began_ns)

    def _begin(self, name: str, mode: int, kind: bytes, size_bytes: int = 0, changed_ns: int = 0) -> int:
        """Write the head of a member; where its contents begin."""
        head = tarfile.TarInfo(name)
        head.mode, head.type, head.size, head.mtime = mode, kind, size_bytes, changed_ns // 1_000_000_000
        os.write(self._file, head.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
        return os.lseek(self._file, 0, os.SEEK_CUR)

    def _go_to(self, offset: int) -> None:
        os.ftruncate(self._file, offset)
        os.lseek(self._file, offset, os.SEEK_SET)

    def _end(self) -> None:
        """Folders come last: their modes may forbid to write into them."""
        for name, folders in self.folders.items():
            for folder in (*folders, Entry("", 0o700)):
                self._begin(f"{name}/{folder.path}".rstrip("/"), folder.mode, tarfile.DIRTYPE)
        self._go_to(os.lseek(self._file, 0, os.SEEK_CUR) + 2 * BLOCK)

"""Folders of files as one thing: listed, copied, hashed, written to the disk. Knows no server and no snapshot.

A copy may be made of a folder that is still written to, and brought up to date once nobody writes any more.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from drystone.core.errors import Conflict

# A file that was written this short a time before it was copied may have the same times after another write.
RACY_NS = 2_000_000_000
NO_CLONE = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}


@dataclass(frozen=True)
class Entry:
    """A file or folder below a root. path: relative to it, with `/`. stamp: differs when the file has been written to."""

    path: str
    mode: int
    size_bytes: int = 0
    stamp: tuple[int, int, int] = (0, 0, 0)

    @property
    def changed_ns(self) -> int:
        return max(self.stamp[1:])


@dataclass(frozen=True)
class Tree:
    """What is in a folder; parents come before what is in them."""

    folders: tuple[Entry, ...]
    files: tuple[Entry, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def walk(root: Path, *, without: Callable[[Path, str], bool] = lambda root, path: False) -> Tree:
    """The folders and regular files below `root`; sockets and pipes are passed over. Raises Conflict at a symbolic link.

    without: takes root and a relative path; True leaves it out, a folder with all that is in it.
    """
    folders: list[Entry] = []
    files: list[Entry] = []
    pending = [""]
    while pending:
        inside = pending.pop()
        for name, found in _entries(root / inside):
            path = f"{inside}/{name}" if inside else name
            if without(root, path):
                continue
            if stat.S_ISLNK(found.st_mode):
                raise Conflict(
                    "tree.symbolic_link",
                    f"{root / path} is a symbolic link: what it leads to would be missing.",
                    hint="put what it leads to in its place",
                )
            if stat.S_ISDIR(found.st_mode):
                folders.append(Entry(path, stat.S_IMODE(found.st_mode)))
                pending.append(path)
            elif stat.S_ISREG(found.st_mode):
                stamp = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
                files.append(Entry(path, stat.S_IMODE(found.st_mode), found.st_size, stamp))
    return Tree(tuple(folders), tuple(files))


def _entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    yield entry.name, entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # removed meanwhile
                    continue
    except FileNotFoundError:
        return


class Copy:
    """A copy of a folder, made by the first `update` and brought up to date by further ones."""

    def __init__(self, source: Path, target: Path) -> None:
        self.tree = Tree((), ())
        self._source = source
        self._target = target
        self._copied: dict[str, Entry] = {}
        self._began_ns = 0

    def update(self, *, without: Callable[[Path, str], bool] = lambda root, path: False) -> int:
        """Make the copy like the source is now, but for what is left out; the number of bytes that had to be copied."""
        began_ns = time.time_ns()
        tree = walk(self._source, without=without)
        self._target.mkdir(mode=0o700, exist_ok=True)
        for folder in tree.folders:
            (self._target / folder.path).mkdir(mode=0o700, exist_ok=True)
        stale = [file for file in tree.files if not self._is_current(file)]
        gone = {file.path for file in stale if not _copy_if_there(self._source / file.path, self._target / file.path)}
        for path in self._copied.keys() - {file.path for file in tree.files}:
            (self._target / path).unlink(missing_ok=True)
        self.tree = Tree(tree.folders, tuple(file for file in tree.files if file.path not in gone))
        self._copied = {file.path: file for file in self.tree.files}
        self._began_ns = began_ns
        return sum(file.size_bytes for file in stale)

    def _is_current(self, file: Entry) -> bool:
        return self._copied.get(file.path) == file and file.changed_ns < self._began_ns - RACY_NS


def _copy_if_there(source: Path, target: Path) -> bool:
    try:
        copy_file(source, target)
    except FileNotFoundError:
        return False
    return True


def copy_file(source: Path, target: Path) -> None:
    """Copy the contents of a file; file systems that can share blocks do. The copy has mode 0600."""
    with source.open("rb", buffering=0) as reading:
        target.unlink(missing_ok=True)
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0) as writing:
            if not _copy_in_kernel(reading.fileno(), writing.fileno()):
                shutil.copyfileobj(reading, writing, 1 << 20)


def _copy_in_kernel(reading: int, writing: int) -> bool:
    """Copy from where both stand to the end; False if the kernel cannot, with nothing copied."""
    if sys.platform != "linux":
        return False
    try:
        while os.copy_file_range(reading, writing, 1 << 30):
            pass
    except OSError as exc:
        if exc.errno not in NO_CLONE or os.lseek(writing, 0, os.SEEK_CUR):
            raise
        return False
    return True


def digests(root: Path, paths: Iterable[str]) -> list[str]:
    """The SHA-256 of each file, in order; hashed side by side, because hashing lets go of the interpreter."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(lambda path: _digest(root / path), paths))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(folder: Path) -> None:
    """Write everything of the folder's file system to the disk: one call instead of one a file."""
    if sys.platform != "linux":
        os.sync()
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(folder))
    finally:
        os.close(handle)

"""Folders of files as one thing: listed, copied, hashed, written to the disk. Knows no server and no snapshot."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from drystone.core.errors import Conflict

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


def copy(reading: int, writing: int, size_bytes: int) -> int:
    """Copy so many bytes between open files, from where both stand; fewer if the source ends before. The number copied.

    In the kernel where it can; file systems that can share blocks do.
    """
    copied = 0
    while copied < size_bytes:
        count = _copy_some(reading, writing, size_bytes - copied)
        if not count:
            break
        copied += count
    return copied


def _copy_some(reading: int, writing: int, size_bytes: int) -> int:
    if sys.platform == "linux":
        try:
            return os.copy_file_range(reading, writing, size_bytes)
        except OSError as exc:
            if exc.errno not in NO_CLONE:
                raise
    some = os.read(reading, min(size_bytes, 1 << 20))
    with open(writing, "wb", closefd=False) as file:  # writes all of it, unlike os.write
        return file.write(some)


def digests(pieces: Iterable[tuple[Path, int, int]]) -> list[str]:
    """The SHA-256 of each piece of a file (path, offset, bytes), in order.

    Hashed side by side, because hashing lets go of the interpreter.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(lambda piece: _digest(*piece), pieces))


def _digest(path: Path, offset: int, size_bytes: int) -> str:
    sums = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        while size_bytes and (some := file.read(min(size_bytes, 1 << 20))):
            sums.update(some)
            size_bytes -= len(some)
    return sums.hexdigest()


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

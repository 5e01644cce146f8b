"""Bytes on their way in: counted and hashed as they come, kept in memory while they are few, else in a nameless file.

The file has no name from the start (O_TMPFILE, or unlinked at once), so a process that is killed leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from drystone.core.errors import Unavailable

HEAD_BYTES = 8192
# What is held in memory of one upload, at most twice: the part being written and the one being gathered.
MEMORY_BYTES = 1024 * 1024
FULL = (errno.ENOSPC, errno.EDQUOT)


class Spool:
    """What has been received so far. After `finish`, `body` stands at its start and `sha256` is the digest of all."""

    def __init__(self, folder: Path) -> None:
        self.size_bytes = 0
        self.head = b""
        self.body: BinaryIO = io.BytesIO()
        self._folder = folder
        self._digest = hashlib.sha256()
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._is_in_memory = True

    @property
    def sha256(self) -> bytes:
        return self._digest.digest()

    async def write(self, part: bytes) -> None:
        """Take the next bytes. Raises Unavailable `storage.spool_full` when the disk is full."""
        self._gathered.append(part)
        self._gathered_bytes += len(part)
        self.size_bytes += len(part)
        if len(self.head) < HEAD_BYTES:
            self.head += part[: HEAD_BYTES - len(self.head)]
        if self._gathered_bytes >= MEMORY_BYTES:
            await asyncio.to_thread(self._put_away)

    async def finish(self) -> None:
        """There is no more to come."""
        if self._is_in_memory:
            self._keep()
        else:
            await asyncio.to_thread(self._put_away)
        self.body.seek(0)

    def close(self) -> None:
        """Give back memory and disk."""
        self._gathered.clear()
        self.body.close()

    def _put_away(self) -> None:
        with telling_full_disk(self._folder):
            if self._is_in_memory:
                self.body = nameless_file(self._folder)
                self._is_in_memory = False
            self._keep()

    def _keep(self) -> None:
        for part in self._gathered:
            self._digest.update(part)
            write_all(self.body, part)
        self._gathered.clear()
        self._gathered_bytes = 0


def nameless_file(folder: Path) -> BinaryIO:
    """An unbuffered file of its own in this folder, which is made where it is missing; gone once it is closed."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return cast(BinaryIO, tempfile.TemporaryFile(dir=folder, buffering=0))


def write_all(file: BinaryIO, part: bytes) -> None:
    """Write all of it: an unbuffered file may take less than it was given, where the disk is about to be full."""
    view = memoryview(part)
    while view:
        view = view[file.write(view) :]


@contextmanager
def telling_full_disk(folder: Path) -> Iterator[None]:
    """Turn "no space left" into Unavailable `storage.spool_full`."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in FULL:
            raise
        raise Unavailable(
            "storage.spool_full",
            "The disk that uploads are received on is full.",
            hint=f"make room where {folder} lies; nothing of this upload was kept, send it again then",
            status=507,
            retry_after_s=30,
        ) from exc

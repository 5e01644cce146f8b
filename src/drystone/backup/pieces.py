"""Something long, cut into pieces that lie under their SHA-256: neither memory nor disk ever holds more than one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO

from drystone.adapters.objects import Objects
from drystone.backup.manifest import Piece
from drystone.core.spool import nameless_file, telling_full_disk, write_all

DUMP_BYTES = 64 * 1024 * 1024
LINES_BYTES = 4 * 1024 * 1024


class PieceWriter:
    """Takes bytes, puts pieces; `finish` gives them. A piece that is there is not written again."""

    def __init__(self, objects: Objects, spool_folder: Path, piece_bytes: int) -> None:
        self._objects = objects
        self._folder = spool_folder
        self._piece_bytes = piece_bytes
        self._pieces: list[Piece] = []
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._size = 0

    async def write(self, part: bytes) -> None:
        """Take the next bytes. Raises as `Objects.put` does, and Unavailable when the spool's disk is full."""
        await asyncio.to_thread(self._keep, part)
        if self._size >= self._piece_bytes:
            await self._put()

    async def finish(self) -> list[Piece]:
        """There is no more to come."""
        if self._size:
            await self._put()
        self.close()
        return self._pieces

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _keep(self, part: bytes) -> None:
        with telling_full_disk(self._folder):
            if self._file is None:
                self._file = nameless_file(self._folder)
            write_all(self._file, part)
        self._digest.update(part)
        self._size += len(part)

    async def _put(self) -> None:
        assert self._file is not None, "something was written"
        await self._objects.put(self._digest.digest(), self._file)
        self._pieces.append(Piece(sha256=self._digest.hexdigest(), size_bytes=self._size))
        self.close()
        self._digest, self._size = hashlib.sha256(), 0


async def read(objects: Objects, pieces: Sequence[Piece], spool_folder: Path) -> AsyncIterator[bytes]:
    """The bytes of all pieces in order; nothing of a piece is given before its hash was found right.

    Raises NotFound for a piece that is not there, Unavailable("objects.corrupt") for one with other bytes.
    """
    for piece in pieces:
        with nameless_file(spool_folder) as file:
            with telling_full_disk(spool_folder):
                await objects.copy_to(bytes.fromhex(piece.sha256), file)
            file.seek(0)
            while part := await asyncio.to_thread(file.read, 1024 * 1024):
                yield part


async def lines(objects: Objects, pieces: Sequence[Piece], spool_folder: Path) -> AsyncIterator[str]:
    """The lines of all pieces, without their ends."""
    rest = b""
    async for part in read(objects, pieces, spool_folder):
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line.decode()
    if rest:
        yield rest.decode()

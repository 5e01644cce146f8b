"""Which blobs a backup has: a line `SHA-256 size` for each, in order, so that a 256th of all is read at a time."""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.adapters.objects import Objects
from drystone.backup import pieces
from drystone.backup.manifest import Manifest, Piece, damaged
from drystone.core.spool import nameless_file, telling_full_disk, write_all

_RECORD = struct.Struct("!32sq")
_LINE = re.compile(r"([0-9a-f]{64}) (\d{1,18})")


@dataclass(frozen=True)
class Entry:
    """A blob. size_bytes: None where the database does not know it."""

    sha256: bytes
    size_bytes: int | None


async def wanted(session: AsyncSession, spool_folder: Path) -> BinaryIO:
    """All blobs that the rows of this snapshot refer to, by hash, in a nameless file for `groups`."""
    file = nameless_file(spool_folder)
    result = await session.stream(_WANTED)
    with telling_full_disk(spool_folder):
        async for rows in result.partitions(1000):
            records = b"".join(_RECORD.pack(row.sha256, -1 if row.size is None else row.size) for row in rows)
            await asyncio.to_thread(write_all, file, records)
    return file


def groups(file: BinaryIO) -> Sequence[Sequence[Entry]]:
    """What `wanted` found, in 256 parts by the first byte of the hash; each is read when it is asked for."""
    return _Groups(file)


class _Groups(Sequence[Sequence[Entry]]):
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._count = file.seek(0, 2) // _RECORD.size

    def __len__(self) -> int:
        return 256

    def __getitem__(self, first: int) -> list[Entry]:  # type: ignore[override]  # nobody takes slices
        if not 0 <= first < 256:
            raise IndexError(first)
        begin, end = self._place(first), self._place(first + 1)
        self._file.seek(begin * _RECORD.size)
        raw = b""
        while len(raw) < (end - begin) * _RECORD.size:
            raw += self._file.read((end - begin) * _RECORD.size - len(raw))
        return [Entry(sha256, None if size < 0 else size) for sha256, size in _RECORD.iter_unpack(raw)]

    def _place(self, first: int) -> int:
        """How many hashes begin with a lower byte."""
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            self._file.seek(middle * _RECORD.size)
            if self._file.read(1)[0] < first:
                low = middle + 1
            else:
                high = middle
        return low


def line(sha256: bytes, size_bytes: int) -> bytes:
    return f"{sha256.hex()} {size_bytes}\n".encode()


async def read(objects: Objects, manifest: Manifest, spool_folder: Path) -> AsyncIterator[list[Entry]]:
    """The blobs of a backup, in 256 parts by the first byte of the hash. Raises Invalid for a catalogue that is none."""
    first, part = 0, list[Entry]()
    async with aclosing(_entries(objects, manifest.id, manifest.catalogue, spool_folder)) as entries:
        async for entry in entries:
            while entry.sha256[0] > first:
                yield part
                first, part = first + 1, []
            part.append(entry)
    yield part
    for _ in range(first + 1, 256):
        yield []


async def _entries(objects: Objects, name: str, of: Sequence[Piece], spool_folder: Path) -> AsyncGenerator[Entry]:
    before = b""
    async for told in pieces.lines(objects, of, spool_folder):
        match = _LINE.fullmatch(told)
        sha256 = bytes.fromhex(match[1]) if match else b""
        if match is None or sha256 <= before:
            raise damaged(name, "its catalogue of objects is not in order")
        before = sha256
        yield Entry(sha256, int(match[2]))


# As the sweep of blobs asks what is wanted.
_WANTED = text("""
select sha256, max(size_bytes) as size
from (
    select sha256, size_bytes from files
    union all
    select text_sha256, null from versions where text_sha256 is not null
) as referred (sha256, size_bytes)
group by sha256
order by sha256
""")

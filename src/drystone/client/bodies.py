"""Files on their way out: from a path, bytes, text or an open file, read as they are sent, and once more for another try."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from drystone.client.errors import FileChanged

File: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]"


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be sent.

    start: where an open file stood. None: it cannot be read a second time (a pipe), so it is sent once.
    """

    name: str
    given: os.PathLike[str] | bytes | IO[bytes]
    start: int | None = 0

    @classmethod
    def of(cls, file: File | None, text: str | None, name: str | None) -> Source:
        """What is to be sent. Raises TypeError, ValueError unless it is one thing with a name."""
        if (file is None) == (text is None):
            raise TypeError("Give a file or text, and not both.")
        if text is not None:
            return cls(name or "text.txt", text.encode())
        if isinstance(file, str | os.PathLike):
            path = Path(file)
            return cls(name or path.name, path)
        if isinstance(file, bytes | bytearray | memoryview):
            return cls(_named(name), bytes(file))
        if not hasattr(file, "read"):
            raise TypeError(f"A file is a path, bytes or an open file, not {type(file).__name__}.")
        opened = cast(IO[bytes], file)
        return cls(_named(name or _name_of(opened)), opened, _start(opened))

    @property
    def is_repeatable(self) -> bool:
        return self.start is not None

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """The file from where it begins. Closed at the end where it was opened here."""
        if isinstance(self.given, bytes):
            yield io.BytesIO(self.given)
        elif isinstance(self.given, os.PathLike):
            with Path(self.given).open("rb") as body:
                yield cast(IO[bytes], _Steady(body, 0))
        elif self.start is None:
            yield cast(IO[bytes], _Once(self.given))
        else:
            yield cast(IO[bytes], _Steady(self.given, self.start))


class _Steady:
    """A file from `start` on, as long as it was when it was opened: the length stands in the request's head."""

    def __init__(self, body: IO[bytes], start: int) -> None:
        self._body, self._start = body, start
        self._end = body.seek(0, os.SEEK_END)
        body.seek(start)

    def read(self, size: int = -1) -> bytes:
        left = self._end - self._body.tell()
        part = self._body.read(left if size < 0 else min(size, left))
        if left > 0 and not part:
            raise FileChanged("The file grew shorter while it was being sent: send it again when it is complete.")
        return part

    def tell(self) -> int:
        return self._body.tell() - self._start

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        at = {os.SEEK_SET: self._start, os.SEEK_CUR: self._body.tell(), os.SEEK_END: self._end}[whence]
        return self._body.seek(at + offset) - self._start


class _Once:
    """A file that only goes forward, of a length that nobody knows."""

    def __init__(self, body: IO[bytes]) -> None:
        self._body = body

    def read(self, size: int = -1) -> bytes:
        return self._body.read(size)


def _start(opened: IO[bytes]) -> int | None:
    if isinstance(opened, io.TextIOBase):
        raise TypeError('A file is sent as bytes: open it with mode "rb".')
    seekable: Any = getattr(opened, "seekable", None)
    return opened.tell() if seekable is not None and seekable() else None


def _name_of(opened: IO[bytes]) -> str | None:
    name = getattr(opened, "name", None)
    return Path(name).name if isinstance(name, str) else None


def _named(name: str | None) -> str:
    if not name:
        raise ValueError('Bytes have no name of their own: give one, such as name="report.pdf".')
    return name

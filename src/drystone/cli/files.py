"""What `drystone add` is to send: files, whole folders, standard input."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from drystone.core.errors import Invalid, NotFound

STDIN = "-"


@dataclass(frozen=True)
class Source:
    """A file to send. label: how the caller named it, for people; path: where its bytes are; fields: of its own."""

    label: str
    path: Path
    fields: Mapping[str, str] = field(default_factory=dict)

    def open(self) -> BinaryIO:
        return self.path.open("rb")


def find(paths: Sequence[str]) -> list[Source]:
    """The files behind these paths, each once. Raises NotFound before anything is sent when one does not exist."""
    found: dict[str, Source] = {}
    for path in paths:
        for file in _files(Path(path)):
            found.setdefault(os.path.abspath(file), Source(as_text(file), file))  # noqa: PTH100  resolve() follows links
    return list(found.values())


def as_text(path: str | os.PathLike[str]) -> str:
    """A path for people and for the wire: a name on disk may hold bytes that are no UTF-8."""
    return os.fsencode(path).decode(errors="replace")


def keep_stdin(folder: Path) -> Source:
    """Standard input, kept in `folder`, so that it can be sent a second time."""
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
    return Source("standard input", Path(kept.name))


def _files(path: Path) -> Iterator[Path]:
    try:
        mode = path.stat().st_mode
    except OSError as exc:
        raise NotFound("file.not_found", f"Cannot find {path}: {exc.strerror}.", hint="check the path") from exc
    if stat.S_ISDIR(mode):
        yield from _walk(path, set())
    elif stat.S_ISREG(mode):
        yield path
    else:
        raise Invalid(
            "file.not_regular",
            f"{path} is neither a file nor a folder.",
            hint="send what it holds through a pipe: … | drystone add - --name report.txt",
        )


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Files of a folder and below it, by name. Hidden ones are left out, and so is what is neither file nor folder.

    Links are followed, but every real folder is entered once, so a link to a folder above ends there.
    """
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as exc:
        raise Invalid(
            "file.unreadable", f"Cannot read the folder {folder}: {exc.strerror}.", hint="check its permissions"
        ) from exc
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = folder / entry.name
        if _is_dir(entry):
            yield from _walk(path, seen)
        elif _is_file(entry):
            yield path


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Also for a link that leads nowhere: that is told as a file that cannot be read, not passed over."""
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:
        return True

"""Puts new data folders in the place of the present ones, so that a crash at any point leaves the old set or the new one.

The new set is made in `incoming.new`. Its renaming to `incoming` is the moment that decides: before it nothing has
happened, after it `finish` carries on, at the next start if need be. Old folders wait in `outgoing` until all is done.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

PARTS = ("postgres", "redis", "objects")
KEEP = "keep-old-as"  # a file in the new set: name for the old PostgreSQL folder, which is then kept


@contextlib.contextmanager
def staging(data_dir: Path) -> Iterator[Path]:
    """An empty folder for the new set: put each part that is to be replaced there, then `commit`. Gone afterwards."""
    stage = data_dir / "incoming.new"
    finish(data_dir)
    stage.mkdir(mode=0o711)  # PostgreSQL may have to pass through as user nobody
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def commit(data_dir: Path) -> None:
    """Put the staged parts in place; all that is staged must have reached the disk."""
    (data_dir / "incoming.new").rename(data_dir / "incoming")
    _sync_folder(data_dir)
    finish(data_dir)


def finish(data_dir: Path) -> None:
    """Complete what an interrupted `commit` or `discard` began, or clear away what never came to one."""
    incoming, outgoing = data_dir / "incoming", data_dir / "outgoing"
    if incoming.is_dir():
        outgoing.mkdir(mode=0o700, exist_ok=True)
        for part in PARTS:
            _replace(incoming / part, data_dir / part, outgoing / part)
        if (incoming / KEEP).exists() and (outgoing / "postgres").exists():
            (outgoing / "postgres").rename(data_dir / (incoming / KEEP).read_text(encoding="utf-8"))
        _sync_folder(data_dir)
        shutil.rmtree(incoming)
    for left in (outgoing, data_dir / "incoming.new"):
        if left.exists():
            shutil.rmtree(left)


def discard(data_dir: Path, names: list[str]) -> None:
    """Remove folders of the data folder; each is whole or gone, whenever it is interrupted."""
    finish(data_dir)
    outgoing = data_dir / "outgoing"
    outgoing.mkdir(mode=0o700)
    for name in names:
        (data_dir / name).rename(outgoing / name)
    finish(data_dir)


def _replace(new: Path, place: Path, old: Path) -> None:
    """While `new` exists, what stands in its place is the old one; so it may be called again after any interruption."""
    if new.exists():
        if place.exists():
            place.rename(old)
        new.rename(place)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

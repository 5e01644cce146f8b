"""Some servers do not get over a full disk by themselves: they say so for ever, and must be started anew."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

ROOM_BYTES = 50_000_000
ROOM_FILES = 1000
# A server that goes on saying so for another reason is not started anew all the time.
AGAIN_S = 60.0


class FullDisk:
    """Whether a server speaks of a full disk that is no longer full.

    says: its lines that do. has_room: asked only after such a line.
    """

    def __init__(self, says: re.Pattern[str], has_room: Callable[[], bool]) -> None:
        self._says = says
        self._has_room = has_room
        self._was_said = False
        self._told_at: float | None = None

    def listen(self, line: str) -> None:
        """Hear a line of its log; called by the thread that reads it."""
        if self._says.search(line):
            self._was_said = True

    def is_over(self) -> bool:
        """Whether it spoke of a full disk since this was last asked, and there is room. True at most once a minute."""
        if not self._was_said:
            return False
        self._was_said = False
        now = time.monotonic()
        if (self._told_at is not None and now - self._told_at < AGAIN_S) or not self._has_room():
            return False
        self._told_at = now
        return True


def has_room(folder: Path) -> bool:
    """Whether the disk of a folder has space left, in bytes and in files, for whoever may use it."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    has_files = disk.f_files == 0 or disk.f_favail >= ROOM_FILES  # some file systems do not count files
    return disk.f_bavail * disk.f_frsize >= ROOM_BYTES and has_files

"""Some servers do not get over a full disk by themselves: they say so for ever, and must be started anew.

`up` hears what its servers say. A server that somebody else supervises gets a small process beside it, which passes on its
log and ends it: who supervises starts it again.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOM_BYTES = 50_000_000
ROOM_FILES = 1000
# A server that goes on saying so for another reason is not started anew all the time.
AGAIN_S = 60.0
# A file in a server's folder, there as long as it never spoke of a full disk: on one, removing a file is what still works.
NEVER_FULL = "never-full"


def has_room(folder: Path) -> bool:
    """Whether the disk of a folder has space left, in bytes and in files, for whoever may use it."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    has_files = disk.f_files == 0 or disk.f_favail >= ROOM_FILES  # some file systems do not count files
    return disk.f_bavail * disk.f_frsize >= ROOM_BYTES and has_files


class FullDisk:
    """Whether a server speaks of a full disk that is no longer full.

    says: its lines that do. folder: its data. has_room: asked only after such a line.
    """

    def __init__(self, says: re.Pattern[str], folder: Path, has_room: Callable[[Path], bool] = has_room) -> None:
        self._says = says
        self._folder = folder
        self._has_room = has_room
        self._was_said = False
        self._told_at: float | None = None

    def listen(self, line: str) -> None:
        """Hear a line of its log; called by the thread that reads it. What it keeps may have holes from now on."""
        if self._says.search(line):
            self._was_said = True
            with contextlib.suppress(OSError):
                (self._folder / NEVER_FULL).unlink(missing_ok=True)

    def is_over(self) -> bool:
        """Whether it spoke of a full disk since this was last asked, and there is room. True at most once a minute."""
        if not self._was_said:
            return False
        self._was_said = False
        now = time.monotonic()
        if (self._told_at is not None and now - self._told_at < AGAIN_S) or not self._has_room(self._folder):
            return False
        self._told_at = now
        return True


def watch_myself(says: re.Pattern[str], folder: Path, environment: dict[str, str]) -> None:
    """Have what this process says, and is about to become, listened to from now on. environment: to import this package."""
    heard, said = os.pipe()
    with os.fdopen(heard, "rb") as log:
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(os.getpid()), says.pattern, str(folder)],
            stdin=log,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the server: what it says while it ends is passed on
        )
    for stream in (1, 2):
        os.dup2(said, stream)
    os.close(said)


def main(pid: int, says: str, folder: Path) -> None:
    """Pass on what the process says until it ends, or must be ended."""
    full_disk = FullDisk(re.compile(says), folder)
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        full_disk.listen(line.decode("utf-8", "replace"))
        if full_disk.is_over() and os.getppid() == pid:
            sys.stdout.buffer.write(b"drystone: it says that its disk is full, and there is room again: it is ended\n")
            sys.stdout.buffer.flush()
            os.kill(pid, signal.SIGKILL)  # not SIGTERM: some supervisors start again only what failed


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))

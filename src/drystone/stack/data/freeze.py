"""Halts all processes of a running stack for a moment and lets them go on, whatever becomes of whoever asked.

A process of its own holds them: its standard input is a pipe from the asker, so the end of input is the end of the halt,
however the asker died. Whatever one process told another before it halted has reached the files by then or is lost as
in a `kill -9` of both, so the files of all halted processes together are a state that a restart recovers from.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from drystone.core.errors import Conflict, Unavailable
from drystone.stack import processes
from drystone.stack.guardian import import_path

FREEZE_TIMEOUT_S = 5.0
FROZEN = b"frozen\n"


@contextlib.contextmanager
def frozen(data_dir: Path) -> Iterator[float]:
    """Nothing of the stack on this data folder moves inside the block; gives the monotonic time when halting began.

    Raises Unavailable when it cannot be halted, Conflict if something moved meanwhile.
    """
    prefix = processes.run_prefix(data_dir)
    holder = subprocess.Popen(
        [sys.executable, "-m", "drystone.stack.data.freeze", prefix],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # who asked may be gone: then there is nobody to tell
        start_new_session=True,  # a Ctrl-C is for the asker
        env={"PATH": "/usr/bin:/bin", **import_path()},
    )
    assert holder.stdin
    assert holder.stdout
    try:
        holder.stdout.readline()  # it has imported what it needs
        began = time.monotonic()
        holder.stdin.write(b"go\n")
        holder.stdin.flush()
        if holder.stdout.readline() != FROZEN:
            raise Unavailable(
                "stack.not_frozen",
                "The processes of the stack could not be halted.",
                hint="run ./drystone down, then this",
            )
        halted = _identities(prefix)
        yield began
        if _moving(prefix) or _identities(prefix) != halted:
            raise Conflict(
                "stack.changed_meanwhile",
                "A process of the stack was started or ended while its files were copied.",
                hint="run it again when ./drystone status says healthy",
            )
    finally:
        holder.stdin.close()
        holder.stdout.close()
        if holder.wait() != 0:
            thaw(prefix)


def thaw(prefix: str) -> None:
    """Let the processes of a run go on; harmless when they do. Needed when asker and holder were killed together."""
    for process in _freezable(prefix):
        processes.send(process, signal.SIGCONT)


def _freezable(prefix: str) -> list[processes.Process]:
    return [each for each in processes.marked(prefix) if each.service != processes.GUARDIAN]


def _moving(prefix: str) -> list[processes.Process]:
    return [each for each in _freezable(prefix) if not processes.is_halted(each.pid)]


def _identities(prefix: str) -> set[tuple[int, str]]:
    return {(each.pid, each.started) for each in _freezable(prefix)}


def _freeze(prefix: str) -> bool:
    """Halt all; False if that did not work in time."""
    deadline = time.monotonic() + FREEZE_TIMEOUT_S
    # One may have started another before it halted: look until nobody moves.
    while moving := _moving(prefix):
        if time.monotonic() > deadline:
            return False
        for process in moving:
            processes.send(process, signal.SIGSTOP)
        time.sleep(0.002)
    return True


def main(prefix: str) -> None:
    _say(b"here\n")
    if not sys.stdin.buffer.readline():
        return
    try:
        if _freeze(prefix):
            _say(FROZEN)
            sys.stdin.buffer.read()
    finally:
        thaw(prefix)


def _say(word: bytes) -> None:
    sys.stdout.buffer.write(word)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1])

"""A terminal of a given width, as a person has one: a pty."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import struct
import termios
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

OnTerminal = Callable[[int, Callable[[], object]], list[str]]


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> OnTerminal:
    """Calls what is given with both outputs on a terminal so many columns wide; the lines that stand there then."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")

    def run(width: int, show: Callable[[], object]) -> list[str]:
        # rich asks the process's own terminal, which under pytest is none.
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("LINES", "50")
        master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
        # Read meanwhile: a terminal holds few kilobytes that nobody has read.
        with os.fdopen(master, "rb", buffering=0) as said_there, ThreadPoolExecutor(1) as beside:
            reading = beside.submit(lambda: b"".join(_parts(said_there)))
            with (
                os.fdopen(slave, "w") as screen,
                contextlib.redirect_stdout(screen),
                contextlib.redirect_stderr(screen),
            ):
                show()
            said = reading.result().decode()
        return [line.rstrip() for line in said.replace("\r\n", "\n").removesuffix("\n").split("\n")]

    return run


def _parts(terminal: io.FileIO) -> Iterator[bytes]:
    """What was written; Linux says EIO where the last writer has gone."""
    with contextlib.suppress(OSError):
        while part := terminal.read(65536):
            yield part

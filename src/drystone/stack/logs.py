"""What the processes say: to a file each, with the time in front and a size limit, and merged to the terminal."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TextIO

MAX_BYTES = 10_000_000  # then the file becomes <name>.log.1; that is all that is kept
LAST_LINES = 30
COLOURS = {
    "postgres": 34,
    "redis": 31,
    "objects": 35,
    "web": 32,
    "worker": 36,
    "honcho": 90,
    "migrate": 33,
    "model": 33,
}
# SeaweedFS tells a hundred harmless things at each start: on the terminal only its warnings and errors are shown.
SHOWN = {"objects": re.compile(r"[WEF]\d{4} ")}
TIMED = re.compile(r"(?P<to_ms>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})\d{3}Z (?P<text>.*)")
# honcho 2.0 prints `12:30:01 web.1    | text`; its own words come as `system`.
HONCHO_LINE = re.compile(r"\d\d:\d\d:\d\d (?P<process>[\w-]+)(?:\.\d+)?\s*\| ?(?P<text>.*)")


class LogFile:
    """One process' log. Thread-safe; a full disk loses lines, never the process that speaks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file: IO[str] | None = None
        self.last: deque[str] = deque(maxlen=LAST_LINES)

    def write(self, line: str) -> None:
        with self._lock:
            self.last.append(line)
            try:
                self._write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ} {line}\n")
            except OSError:
                self._close()

    def _write(self, line: str) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8", errors="replace")
            self._path.chmod(0o600)
        self._file.write(line)
        self._file.flush()
        if self._file.tell() > MAX_BYTES:
            self._close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._file:
            with contextlib.suppress(OSError):  # what could not be written before cannot be flushed either
                self._file.close()
        self._file = None


class Logs:
    """The log files of a run, and the terminal if there is one to talk to."""

    def __init__(self, folder: Path, terminal: Terminal | None = None) -> None:
        self._folder = folder
        self._terminal = terminal
        self._files: dict[str, LogFile] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> LogFile:
        with self._lock:
            return self._files.setdefault(name, LogFile(self._folder / f"{name}.log"))

    def write(self, name: str, line: str) -> None:
        self.of(name).write(line)
        if self._terminal and (name not in SHOWN or SHOWN[name].match(line)):
            self._terminal.write(name, line)

    def last(self, name: str, count: int = LAST_LINES) -> list[str]:
        return list(self.of(name).last)[-count:]

    def write_file(self, name: str, text: str) -> None:
        """Write lines to the file only."""
        for line in text.splitlines():
            self.of(name).write(line)

    def follow(
        self,
        name: str,
        process: subprocess.Popen[bytes],
        split: Callable[[str], tuple[str, str]] | None = None,
        *,
        listen: Callable[[str], None] | None = None,
    ) -> threading.Thread:
        """Read what the process says until it ends. The process must have been started with stdout=PIPE.

        split: tells whose line it is and what is left of it, when the process speaks for several.
        listen: hears every line too.
        """
        assert process.stdout

        def pump(stream: IO[bytes]) -> None:
            with stream:
                for raw in iter(stream.readline, b""):
                    line = raw.decode("utf-8", "replace").rstrip("\r\n")
                    self.write(*(split(line) if split else (name, line)))
                    if listen:
                        listen(line)

        thread = threading.Thread(target=pump, args=(process.stdout,), name=f"log-{name}", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        for file in self._files.values():
            file.close()


class Terminal:
    """Prefixed, coloured lines on a stream, written by a thread: a stopped terminal must not stop a server."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colours = use_colour(stream)
        self._lines: queue.Queue[str | None] = queue.Queue(maxsize=10_000)
        self._thread = threading.Thread(target=self._print, name="terminal", daemon=True)
        self._thread.start()

    def write(self, name: str, line: str) -> None:
        prefix = f"{name:<8} |"
        if self._colours:
            prefix = f"\033[{COLOURS.get(name, 37)}m{prefix}\033[0m"
        self._put(f"{prefix} {line}\n")

    def say(self, text: str) -> None:
        """A line of our own, without a prefix."""
        self._put(text + "\n")

    def close(self) -> None:
        """Write what is left; wait no longer than a stopped terminal deserves."""
        self._put(None)
        self._thread.join(timeout=2)

    def _put(self, line: str | None) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            return  # the log files have it

    def _print(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line)
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                return  # nobody reads any more
            except UnicodeEncodeError:
                self._stream.write(line.encode("ascii", "replace").decode())


def use_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def split_honcho(line: str) -> tuple[str, str]:
    """The process a line of honcho's output belongs to, and what it said."""
    match = HONCHO_LINE.fullmatch(line)
    if not match:
        return "honcho", line
    name = match["process"]
    return ("honcho" if name == "system" else name), match["text"]


def names(folder: Path) -> list[str]:
    """Every log there is."""
    return sorted(path.stem for path in folder.glob("*.log"))


def readable(line: str) -> str:
    """A line of a file for people: its time to the millisecond, and only once."""
    time_and_text = TIMED.fullmatch(line)
    if not time_and_text:
        return line
    text = time_and_text["text"]
    said = TIMED.fullmatch(text)  # our own processes tell the time too
    return f"{time_and_text['to_ms']}Z {said['text'] if said else text}"


def _merged(folder: Path, wanted: list[str]) -> list[str]:
    # What `up --detach` wrote has no times; all but a crash before its start is in `up` too.
    return wanted or [name for name in names(folder) if name != "detached"]


def _is_shown(name: str, line: str, wanted: list[str]) -> bool:
    """Whether a line of a file is worth a place among those of the others."""
    return name in wanted or name not in SHOWN or bool(SHOWN[name].match(line.partition(" ")[2]))


def tail(folder: Path, wanted: list[str], count: int) -> list[tuple[str, str]]:
    """The last `count` lines in the order of time: (name, line with its time).

    wanted: these logs, whole; none: of all, without the harmless words of the talkative.
    """
    lines = []
    for name in _merged(folder, wanted):
        path = folder / f"{name}.log"
        for source in (path.with_name(path.name + ".1"), path):
            if source.exists():
                text = source.read_text(encoding="utf-8", errors="replace").splitlines()
                shown = (line for line in text if _is_shown(name, line, wanted))
                lines += [(name, line) for line in deque(shown, maxlen=count)]
    lines.sort(key=lambda each: each[1][:27])
    return lines[-count:] if count else []


def follow(folder: Path, wanted: list[str], *, every_s: float = 0.2) -> Iterator[tuple[str, str]]:
    """Lines written from now on, for ever. A log that was rotated is followed into its new file."""
    ends = {name: _end(folder / f"{name}.log") for name in _merged(folder, wanted)}
    while True:
        for name in _merged(folder, wanted):
            path = folder / f"{name}.log"
            inode, offset = ends.get(name, (0, 0))
            now, size = _end(path)
            if now != inode:
                offset = 0
            if size > offset:
                with path.open("rb") as file:
                    file.seek(offset)
                    whole, _, _ = file.read().rpartition(b"\n")
                offset += len(whole) + 1 if whole else 0
                for line in whole.decode("utf-8", "replace").splitlines():
                    if _is_shown(name, line, wanted):
                        yield name, line
            ends[name] = (now, offset)
        time.sleep(every_s)


def _end(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_size

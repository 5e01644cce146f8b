"""Where output goes: data to standard output, talk to standard error; colours and widths only on a terminal.

rich looks at NO_COLOR itself.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

from drystone.core.controls import is_steering

if TYPE_CHECKING:
    from rich.console import Console

_WITHOUT_LIMIT = 1_000_000
# JSON up to this length is read as easily on one line.
_SHORT = 60


# Commands as texts name them, `drystone up` or `./drystone up`; all there are, as a test says.
_COMMANDS = (
    "add", "ask", "audit", "backup", "bundle", "catalogue", "collections", "db", "deletions", "demo", "doctor", "documents", "down",
    "drafts", "embedding", "entities", "env", "eval", "export", "jobs", "keys", "logs", "mcp", "metrics", "model", "modules", "observe",
    "prepare", "profiles", "readers", "reset", "restore", "scrub", "search", "series", "serve", "snapshot", "status", "sync", "test", "up",
    "vectors", "verify", "wait", "worker",
)  # fmt: skip
_NAMED = re.compile(rf"(?<![\w./-])(?:\./)?drystone(?= (?:{'|'.join(_COMMANDS)})\b)")


def program() -> str:
    """What was typed to run this program, as its launcher says."""
    return os.environ.get("DRYSTONE_PROGRAM") or "drystone"


def as_typed(text: str) -> str:
    """A text whose commands can be typed as they stand there: ./drystone up, where that is how this one was."""
    return _NAMED.sub(lambda _: program(), text)


def is_terminal() -> bool:
    """Whether a person reads standard output; otherwise nothing is coloured, wrapped or cut."""
    return sys.stdout.isatty()


def out() -> Console:
    """Standard output."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, soft_wrap=not is_terminal(), width=_width())


def err() -> Console:
    """Standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def say(sentence: str) -> None:
    """Talk to the person, beside the data."""
    told = "\n".join(clean(line) for line in sentence.split("\n"))
    err().print(wrapped(told, sys.stderr), soft_wrap=True, style="dim")


def wrapped(text: str, stream: TextIO, *, indent: int = 2) -> str:
    """Text as wide as the stream's terminal, what runs over set in below its line; in one line where no terminal is there.

    Words stay whole, for paths, hashes and addresses are copied. Commands are named as they can be typed.
    """
    text = as_typed(text)
    if not stream.isatty():
        return text
    width = max(_columns(stream), 20)
    return "\n".join(_folded(line, width, indent) for line in text.split("\n"))


def _folded(line: str, width: int, indent: int) -> str:
    import textwrap

    if len(line) <= width:
        return line
    below = " " * (len(line) - len(line.lstrip()) + indent)
    parts = textwrap.wrap(line, width, subsequent_indent=below, break_long_words=False, break_on_hyphens=False)
    return "\n".join(parts)


def _columns(stream: TextIO) -> int:
    """COLUMNS beats what the terminal says of itself, as with rich."""
    given = os.environ.get("COLUMNS", "")
    return int(given) if given.isdecimal() and int(given) else os.get_terminal_size(stream.fileno()).columns or 80


def print_json(value: Any) -> None:
    """One JSON object, indented, as the API's answer reads. What could steer a terminal is escaped: it is the same JSON."""
    sys.stdout.write(_escaped(json.dumps(value, ensure_ascii=False, indent=2)) + "\n")


def as_json(value: Any) -> str:
    """JSON for people: on one line where that is short, else indented. What could steer a terminal is escaped."""
    line = json.dumps(value, ensure_ascii=False)
    is_short = isinstance(value, str) or len(line) <= _SHORT
    return _escaped(line if is_short else json.dumps(value, ensure_ascii=False, indent=2))


def _escaped(text: str) -> str:
    """JSON whose strings hold no controls: json escapes those of ASCII only, and a terminal knows others."""
    steering = {c for c in set(text) if c != "\n" and is_steering(c)}
    for c in steering:
        text = text.replace(c, json.dumps(c)[1:-1])
    return text


def print_row(*cells: object) -> None:
    """A line for programs: cells between tabs, empty for None."""
    sys.stdout.write("\t".join("" if cell is None else clean(str(cell)) for cell in cells) + "\n")


def clean(text: str) -> str:
    """Text on one line that cannot steer a terminal: controls, and the marks that turn the direction, become spaces."""
    return "".join(" " if is_steering(c) else c for c in text)


def size(size_bytes: int) -> str:
    """Bytes for people, in powers of ten: 999 B, 1.2 kB, 45 MB."""
    value, unit = float(size_bytes), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.1f} {unit}" if unit != "B" and value < 9.95 else f"{value:.0f} {unit}"


def _width() -> int | None:
    return None if is_terminal() else _WITHOUT_LIMIT

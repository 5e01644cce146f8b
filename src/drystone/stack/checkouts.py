"""Which other checkouts this user has, so that a new one takes ports that none of them was given, running or not.

One list of paths per user; the ports themselves stand in each checkout's `.env`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

MOST = 200  # checkouts; a list that grew beyond any use must not make a start slow
# A port in one of our URLs, or alone: 127.0.0.1:15432, API_PORT=8310.
_PORT = re.compile(r"^(?:[A-Z_]+_PORT=|[A-Z_]+URL=\S*:)(\d{2,5})(?:/\S*)?$", re.MULTILINE)
_S3 = re.compile(r"^S3_ENDPOINT_URL=\S*:(\d{2,5})$", re.MULTILINE)


def ports_of_others(env_file: Path) -> set[int]:
    """Every port that the `.env` files of this user's other checkouts name. Empty when no list can be read."""
    found: set[int] = set()
    for other in _listed():
        if other != env_file.resolve():
            with contextlib.suppress(OSError, ValueError):
                text = other.read_text(encoding="utf-8") if other.is_file() else ""
                found |= {int(port) for port in _PORT.findall(text)}
                # The S3 store has its nine neighbours too.
                found |= {int(port) + offset for port in _S3.findall(text) for offset in (*range(9), 10_008)}
    return found


def remember(env_file: Path) -> None:
    """Add this checkout to the list, and drop those that are gone. A list that cannot be written is done without."""
    path = _list()
    if path is None:
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        kept = [each for each in _listed() if _is_there(each) and each != env_file.resolve()]
        draft.write_text("".join(f"{each}\n" for each in (*kept, env_file.resolve())), encoding="utf-8")
        draft.replace(path)
    with contextlib.suppress(OSError):
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def choosing() -> Iterator[None]:
    """One at a time of this user's checkouts chooses its ports, and is remembered before the next does."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            if path := _list():
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                file = held.enter_context(path.with_name("checkouts.lock").open("w"))
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_there(env_file: Path) -> bool:
    try:
        return env_file.is_file()
    except (OSError, ValueError):
        return False


def _listed() -> list[Path]:
    path = _list()
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path and path.is_file() else []
        return [Path(line) for line in lines[-MOST:] if line]
    except (OSError, ValueError):
        return []


def _list() -> Path | None:
    """`checkouts` in the user's state folder (XDG base directories); None where there is no home."""
    if state := os.environ.get("XDG_STATE_HOME"):
        return Path(state) / "drystone" / "checkouts"
    with contextlib.suppress(RuntimeError):
        return Path.home() / ".local" / "state" / "drystone" / "checkouts"
    return None

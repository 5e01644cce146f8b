"""Which other checkouts this user has, so that a new one takes ports that none of them was given, running or not.

One list of paths per user; the ports themselves stand in each checkout's `.env`.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

# A port in one of our URLs, or alone: 127.0.0.1:15432, API_PORT=8310.
_PORT = re.compile(r"^(?:API_PORT=|[A-Z_]+URL=\S*:)(\d{2,5})(?:/\S*)?$", re.MULTILINE)
_S3 = re.compile(r"^S3_ENDPOINT_URL=\S*:(\d{2,5})$", re.MULTILINE)


def ports_of_others(env_file: Path) -> set[int]:
    """Every port that the `.env` files of this user's other checkouts name. Empty when no list can be read."""
    found: set[int] = set()
    for other in _listed():
        if other != env_file.resolve():
            with contextlib.suppress(OSError, UnicodeDecodeError):
                text = other.read_text(encoding="utf-8")
                found |= {int(port) for port in _PORT.findall(text)}
                # The S3 store has its nine neighbours too.
                found |= {int(port) + offset for port in _S3.findall(text) for offset in (*range(9), 10_008)}
    return found


def remember(env_file: Path) -> None:
    """Add this checkout to the list, and drop those that are gone. A list that cannot be written is done without."""
    path = _list()
    if path is None:
        return
    kept = [each for each in _listed() if each.exists() and each != env_file.resolve()]
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.write_text("".join(f"{each}\n" for each in (*kept, env_file.resolve())), encoding="utf-8")
        draft.replace(path)


def _listed() -> list[Path]:
    path = _list()
    try:
        return [Path(line) for line in path.read_text(encoding="utf-8").splitlines() if line] if path else []
    except (OSError, UnicodeDecodeError):
        return []


def _list() -> Path | None:
    """`checkouts` in the user's state folder (XDG base directories); None where there is no home."""
    if state := os.environ.get("XDG_STATE_HOME"):
        return Path(state) / "drystone" / "checkouts"
    with contextlib.suppress(RuntimeError):
        return Path.home() / ".local" / "state" / "drystone" / "checkouts"
    return None

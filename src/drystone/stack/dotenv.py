"""The project's `.env`: written once from the example with secrets and ports of its own, and read by everybody alike.

Of the many ways to write a line, only those are allowed that honcho, python-dotenv and sh read the same.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from drystone.core import settings
from drystone.core.errors import Invalid, Unavailable
from drystone.stack import ports

# KEY=plain, or KEY='no quote, backslash or ${ inside'.
ALLOWED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(?:([A-Za-z0-9_./:@%+,=-]+)|'((?:(?!\$\{)[^'\\\n\r])*)')")
SECRET_BYTES = 32  # 43 characters of [A-Za-z0-9_-]
# The ports in the example, and which others each needs, told from itself: `weed mini` listens on ten.
EXAMPLE_PORTS = {8310: (0,), 15432: (0,), 16379: (0,), 18333: (*range(9), 10_008)}


def problems(text: str) -> list[str]:
    """A line for each line of an `.env` that its readers could understand differently. Never shows a value."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#") and not ALLOWED.fullmatch(line):
            name = re.match(r"[A-Za-z_][A-Za-z0-9_]*(?==)", line)
            found.append(f"line {number}{f' ({name.group()})' if name else ''}")
    return found


def parse(text: str) -> dict[str, str]:
    """Name -> value. Raises Invalid when a line is not one of the allowed kinds."""
    if wrong := problems(text):
        raise Invalid(
            "stack.env_lines",
            f".env holds lines that its readers understand differently: {', '.join(wrong)}.",
            hint="write KEY=value with letters, digits and _./:@%+,=- or KEY='value' without quotes, backslashes and ${",
        )
    matches = (ALLOWED.fullmatch(line) for line in text.splitlines())
    return {match[1]: match[2] or match[3] or "" for match in matches if match}


def compose(example: str, *, port_of: Mapping[int, int]) -> str:
    """The example with a random secret for each placeholder, and its ports replaced.

    The same placeholder gets the same secret on every line. port_of: a port of the example -> the port to use.
    """
    chosen: dict[str, str] = {}

    def secret(match: re.Match[str]) -> str:
        return chosen.setdefault(match.group(), secrets.token_urlsafe(SECRET_BYTES))

    def replace_port(line: str) -> str:
        # All at once: the new number of one may be the old number of another.
        return re.sub(r"(?<=[:=])\d+\b", lambda match: str(port_of.get(int(match.group()), match.group())), line)

    lines = []
    for line in example.splitlines():
        lines.append(line if line.startswith("#") else replace_port(settings.PLACEHOLDER.sub(secret, line)))
    return "\n".join(lines) + "\n"


def choose_ports(wanted: Literal["default", "free"]) -> dict[int, int]:
    """A port of the example -> the port to use: itself where it is free and "default" is wanted, else a free one."""
    chosen: dict[int, int] = {}
    taken: set[int] = set()
    for port, offsets in EXAMPLE_PORTS.items():
        keep = wanted == "default" and all(ports.is_free(port + offset) for offset in offsets)
        chosen[port] = port if keep else ports.find(offsets, taken=taken | set(EXAMPLE_PORTS))
        taken.update(chosen[port] + offset for offset in offsets)
    return chosen


def make_environment(
    *, data_dir: Path, model_dir: Path, ports: Literal["default", "free"] = "free", **changes: str
) -> dict[str, str]:
    """A complete environment for a stack of its own: random secrets, ports (the API's too), and these folders."""
    environment = parse(compose(settings.example(), port_of=choose_ports(ports)))
    return environment | {"DRYSTONE_DATA_DIR": str(data_dir), "DRYSTONE_MODEL_DIR": str(model_dir)} | changes


def create(path: Path) -> bool:
    """Write `.env` with mode 0600 if there is none; True if it was written. An existing file is never touched."""
    if path.exists():
        return False
    text = compose(settings.example(), port_of=choose_ports("default"))
    draft = path.with_name(f".env.new-{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # link() refuses to overwrite and shows the whole file at once, also to a second `up` that started with us.
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError as exc:
        raise Unavailable(
            "stack.env_not_written",
            f"{path} cannot be written: {exc.strerror}.",
            hint="make the folder writable, or set all variables of .env.example in the shell",
        ) from exc
    finally:
        draft.unlink(missing_ok=True)
    return True


def read(path: Path, shell: Mapping[str, str]) -> dict[str, str]:
    """What `.env` and the shell say together; the shell beats the file, and empty means not said."""
    try:
        in_file = parse(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except UnicodeDecodeError as exc:
        raise Invalid("stack.env_encoding", f"{path} is not UTF-8.", hint="save it as UTF-8") from exc
    return in_file | {name: value for name, value in shell.items() if value}

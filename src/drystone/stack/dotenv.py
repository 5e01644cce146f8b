"""The project's `.env`: written once from the example with secrets and ports of its own, and read by everybody alike.

Of the many ways to write a line, only those are allowed that honcho, python-dotenv and sh read the same.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

from drystone.core import settings
from drystone.core.errors import Invalid, Unavailable
from drystone.stack import checkouts, ports

# KEY=plain, or KEY='no quote, backslash or ${ inside'.
ALLOWED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(?:([A-Za-z0-9_./:@%+,=-]+)|'((?:(?!\$\{)[^'\\\n\r])*)')")
ALLOWED_IN_WORDS = "KEY=value with letters, digits and _./:@%+,=- or KEY='value' without quotes, backslashes and ${"
SECRET_BYTES = 32  # 43 characters of [A-Za-z0-9_-]
# The ports in the example, and which others each needs, told from itself: `weed mini` listens on ten.
EXAMPLE_PORTS = {
    8310: (0,), 8311: (0,), 13000: (0,), 15432: (0,), 16379: (0,), 18333: (*range(9), 10_008), 19090: (0,),
}  # fmt: skip
_USUAL = {port + offset for port, offsets in EXAMPLE_PORTS.items() for offset in offsets}
# Which port of the example a variable names is part of its value there.
PORT = re.compile(r"(?<=[:=])\d+\b")
# A line that is missing can be made when those of the same server are as we write them.
SERVERS = (
    ("API_PORT",),
    ("METRICS_TOKEN",),
    ("WORKER_METRICS_PORT",),
    ("PROMETHEUS_PORT",),
    ("GRAFANA_PORT",),
    ("DRYSTONE_API_KEY",),
    ("DATABASE_URL", "MIGRATION_DATABASE_URL", "POSTGRES_SUPERUSER_PASSWORD"),
    ("REDIS_URL", "CELERY_BROKER_URL"),
    ("S3_ENDPOINT_URL", "S3_SECRET_ACCESS_KEY"),
)
PortChoice = Literal["default", "free", "random"]
"""default: the example's ports, taken or not. free: those where they are free, others where not. random: always others."""


def unsafe_lines(text: str) -> list[tuple[int, str]]:
    """Number and name (empty if none can be told) of each line that its readers could understand differently."""
    found = []
    for number, line in enumerate(_lines(text), start=1):
        if line.strip() and not line.startswith("#") and not ALLOWED.fullmatch(line):
            name = re.match(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*(?:=|$)", line)
            found.append((number, name[1] if name else ""))
    return found


def problems(text: str) -> list[str]:
    """A line for each line of an `.env` that its readers could understand differently. Never shows a value."""
    return [f"line {number}{f' ({name})' if name else ''}" for number, name in unsafe_lines(text)]


def parse(text: str) -> dict[str, str]:
    """Name -> value. Raises Invalid when a line is not one of the allowed kinds."""
    if wrong := problems(text):
        raise Invalid(
            "stack.env_lines",
            f".env holds lines that its readers understand differently: {', '.join(wrong)}.",
            hint=f"write {ALLOWED_IN_WORDS}",
        )
    matches = (ALLOWED.fullmatch(line) for line in _lines(text))
    return {match[1]: match[2] or match[3] or "" for match in matches if match}


def _lines(text: str) -> list[str]:
    # A carriage return stays: sh takes it for a part of the value.
    return [line.removesuffix("\n") for line in text.splitlines(keepends=True)]


def compose(example: str, *, port_of: Mapping[int, int], secret_of: Mapping[str, str] | None = None) -> str:
    """The example with a random secret for each placeholder, and its ports replaced.

    The same placeholder gets the same secret on every line. port_of: a port of the example -> the port to use.
    secret_of: placeholders whose secret is known already.
    """
    chosen = dict(secret_of or {})

    def secret(match: re.Match[str]) -> str:
        return chosen.setdefault(match.group(), secrets.token_urlsafe(SECRET_BYTES))

    def replace_ports(line: str) -> str:
        # All at once: the new number of one may be the old number of another.
        return PORT.sub(lambda match: str(port_of.get(int(match.group()), match.group())), line)

    lines = []
    for line in example.splitlines():
        lines.append(line if line.startswith("#") else replace_ports(settings.PLACEHOLDER.sub(secret, line)))
    return "\n".join(lines) + "\n"


def choose_ports(
    wanted: PortChoice, *, fixed: Mapping[int, int] | None = None, avoid: Collection[int] = ()
) -> dict[int, int]:
    """A port of the example -> the port to use. fixed: those that are decided already. avoid: count as taken."""
    chosen = dict(fixed or {})
    taken = {*avoid, *(port + offset for example, port in chosen.items() for offset in EXAMPLE_PORTS[example])}
    for port, offsets in EXAMPLE_PORTS.items():
        if port in chosen:
            continue
        own = {port + offset for offset in offsets}
        is_free = wanted == "free" and not own & taken and all(ports.is_choosable(each) for each in own)
        keep = wanted == "default" or is_free
        chosen[port] = port if keep else ports.find(offsets, taken=taken | _USUAL)
        taken.update(chosen[port] + offset for offset in offsets)
    return chosen


def make_environment(*, data_dir: Path, model_dir: Path, **changes: str) -> dict[str, str]:
    """A complete environment for a stack of its own: random secrets, ports (the API's too), and these folders."""
    environment = parse(compose(settings.example(), port_of=choose_ports("random")))
    return environment | {"DRYSTONE_DATA_DIR": str(data_dir), "DRYSTONE_MODEL_DIR": str(model_dir)} | changes


def create(path: Path, *, ports: PortChoice = "free") -> bool:
    """Write `.env` with mode 0600 if there is none; True if it was written. An existing file is never touched."""
    if path.exists():
        return False
    with checkouts.choosing():
        return _create(path, choose_ports(ports, avoid=checkouts.ports_of_others(path)))


def _create(path: Path, port_of: Mapping[int, int]) -> bool:
    text = compose(settings.example(), port_of=port_of)
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
        raise _not_written(path, exc) from exc
    finally:
        draft.unlink(missing_ok=True)
    checkouts.remember(path)
    return True


def complete(path: Path, shell: Mapping[str, str], *, ports: PortChoice = "free") -> list[str]:
    """Add the lines that `.env` lacks and that are ours to choose: secrets, and free ports; the names of what was added.

    Nothing that stands in the file is changed. What the shell says is not lacking. Of a server whose other lines are
    not as we write them (it is somewhere else, or its user's own) nothing is made up.
    """
    if not _missing(read(path, shell)):
        return []  # a file that is complete need not be writable
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # of two that start at once, one adds
            said = read(path, shell)
            if missing := _missing(said):
                _append(file, _made(missing, said, ports, checkouts.ports_of_others(path)))
                checkouts.remember(path)
    except OSError as exc:
        raise _not_written(path, exc) from exc
    return missing


def _made(missing: Sequence[str], said: Mapping[str, str], wanted: PortChoice, avoid: Collection[int]) -> list[str]:
    secret_of, fixed = _known(said)
    text = compose(settings.example(), port_of=choose_ports(wanted, fixed=fixed, avoid=avoid), secret_of=secret_of)
    return [line for line in text.splitlines() if line.partition("=")[0] in missing]


def _append(file: BinaryIO, lines: Sequence[str]) -> None:
    before = file.read()
    if os.fstat(file.fileno()).st_mode & 0o077:
        os.fchmod(file.fileno(), 0o600)  # it holds secrets from now on
    start = b"\n" if before and not before.endswith(b"\n") else b""
    file.write(start + "".join(f"{line}\n" for line in lines).encode())
    file.flush()
    os.fsync(file.fileno())


def _missing(said: Mapping[str, str]) -> list[str]:
    return [name for server in SERVERS for name in _can_be_made(server, said)]


def _can_be_made(server: tuple[str, ...], said: Mapping[str, str]) -> list[str]:
    if any(name in said and not _bindings(name, said[name]) for name in server):
        return []
    return [name for name in server if name not in said]


def _known(said: Mapping[str, str]) -> tuple[dict[str, str], dict[int, int]]:
    """The secrets and ports that what is said has decided: placeholder -> secret, port of the example -> port."""
    secret_of: dict[str, str] = {}
    port_of: dict[int, int] = {}
    for name in (name for server in SERVERS for name in server if name in said):
        if not (found := _bindings(name, said[name])):
            continue
        for key, value in found:
            if key.isdigit():
                port_of.setdefault(int(key), int(value))
            else:
                secret_of.setdefault(key, value)
    return secret_of, port_of


def _bindings(name: str, value: str) -> list[tuple[str, str]]:
    """What stands in `value` where the example has a placeholder or a port; nothing when it is of another shape."""
    line = next(line for line in settings.example().splitlines() if line.startswith(f"{name}="))
    example = line.partition("=")[2]
    holes = re.compile(rf"{settings.PLACEHOLDER.pattern}|(?<=:)\d+\b|^\d+$")
    keys = holes.findall(example)
    texts = [re.escape(text) for text in holes.split(example)]
    holes_as = [r"(\d{1,5})" if key.isdigit() else r"([^@:/]+)" for key in keys]
    pattern = texts[0] + "".join(hole + text for hole, text in zip(holes_as, texts[1:], strict=True))
    match = re.fullmatch(pattern, value)
    return list(zip(keys, match.groups(), strict=True)) if match else []


def _not_written(path: Path, exc: OSError) -> Unavailable:
    return Unavailable(
        "stack.env_not_written",
        f"{path} cannot be written: {exc.strerror}.",
        hint="make the folder writable, or set all variables of .env.example in the shell",
    )


def read(path: Path, shell: Mapping[str, str]) -> dict[str, str]:
    """What `.env` and the shell say together; the shell beats the file, and empty means not said."""
    try:
        in_file = parse(path.read_bytes().decode()) if path.is_file() else {}
    except UnicodeDecodeError as exc:
        raise Invalid("stack.env_encoding", f"{path} is not UTF-8.", hint="save it as UTF-8") from exc
    except PermissionError as exc:
        raise settings.unreadable(path) from exc
    return in_file | {name: value for name, value in shell.items() if value}

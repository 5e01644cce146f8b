"""PostgreSQL's own clients: those beside our server, or for a server elsewhere the first on this machine that are new enough."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from drystone.core.errors import Unavailable
from drystone.core.settings import Settings
from drystone.stack import probes, providers
from drystone.stack.services import POSTGRES


def find(settings: Settings, *names: str) -> dict[str, Path]:
    """The clients of these names, all from one folder, and none older than the server, which must be up.

    Raises Unavailable with what was tried.
    """
    server, tried = _server_major(settings), []
    for folder in _folders(settings):
        found = {name: folder / name for name in names}
        lacks = next((name for name, path in found.items() if not os.access(path, os.X_OK)), None)
        if lacks is not None:
            tried.append(f"{folder}: no {lacks}")
            continue
        version = _version(found[names[0]])
        if version and int(version.split(".")[0]) >= server:
            return found
        tried.append(f"{folder}: {version or 'does not run'}")
    raise Unavailable(
        "backup.no_client",
        f"The server is PostgreSQL {server}, and no {', '.join(names)} of {server} or newer was found. Tried:\n"
        + "\n".join(f"  {line}" for line in tried),
        hint="install the wheels (uv sync --group servers) or PostgreSQL's client programs, or name their folder in POSTGRES_BIN",
    )


def _folders(settings: Settings) -> Iterator[Path]:
    """Where they may be, the likeliest first, each once."""
    seen: set[Path] = set()
    for folder in _places(settings):
        resolved = folder.resolve()
        if resolved not in seen and resolved.is_dir():
            seen.add(resolved)
            yield resolved


def _places(settings: Settings) -> Iterator[Path]:
    if settings.stack.postgres_bin:
        yield Path(settings.stack.postgres_bin)
    if not POSTGRES.is_external(settings):
        yield POSTGRES.resolve(settings).path.parent
    with contextlib.suppress(Unavailable):  # not installed
        yield providers.postgres("", "wheel").path.parent
    for entry in os.get_exec_path():
        if (Path(entry) / "pg_dump").is_file():
            yield Path(entry)
    for pattern in providers.POSTGRES_FOLDERS:
        yield from sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)


def _version(program: Path) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, errors="replace", check=False).stdout
    found = re.search(r"PostgreSQL\) (\d+(?:\.\d+)*)", said)
    return found[1] if found else ""


def _server_major(settings: Settings) -> int:
    found: list[int] = []

    async def ask(url: str) -> None:
        async with probes.postgres_session(dsn=url) as connection:
            found.append(int(await connection.fetchval("SHOW server_version_num")) // 10_000)

    try:
        probes.run(partial(ask, settings.database.migration_url.get_secret_value()))
    except probes.NotYet as exc:
        raise Unavailable(
            "database.unavailable",
            f"PostgreSQL cannot be reached: {exc}.",
            hint="a backup needs the stack to be up: ./drystone up --detach",
        ) from exc
    except probes.WrongPassword as exc:
        raise Unavailable(
            "database.unavailable", f"PostgreSQL refuses the owner: {exc}.", hint="check MIGRATION_DATABASE_URL"
        ) from exc
    return found[0]

"""The start scripts of devenv, without devenv: with real servers and an `.env` of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from drystone.core import settings as core_settings
from drystone.core.settings import Settings
from drystone.stack import bootstrap, dotenv, privileges, probes, providers
from drystone.stack.probes import NotYet

ROOT = Path(__file__).parent.parent.parent.parent
DEADLINE_S = 20


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with an `.env` and nothing else."""
    folder = tmp_path / "a projèct"
    folder.mkdir()
    dotenv.create(folder / ".env", ports="random")
    return folder


@contextmanager
def _started(name: str, arguments: Sequence[str], prefix: Sequence[str], environment: dict[str, str]) -> Iterator[None]:
    """The server of nix/scripts/NAME.sh, as `devenv up` starts it; stopped as devenv stops it, or faster."""
    secrets, script = (ROOT / "nix" / path for path in ("secrets.sh", f"scripts/{name}.sh"))
    text = f"set -euo pipefail\n{secrets.read_text()}\n{script.read_text()}"
    with subprocess.Popen([*prefix, "bash", "-c", text, name, *arguments], env=environment) as server:
        try:
            yield
        finally:
            server.send_signal(signal.SIGINT)


def _wait(ask: Callable[[], None]) -> None:
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            return ask()
        except NotYet:
            assert time.monotonic() < until


def test_redis_takes_the_password_of_the_env_file_and_keeps_it_private(project: Path) -> None:
    settings = core_settings.load(project, {})
    programs = project / "programs"
    programs.mkdir()
    (programs / "redis-server").symlink_to(providers.redis("").path)
    conf = project / "base.conf"
    conf.write_text(f"bind 127.0.0.1\nport {settings.redis.parts.port}\nappendonly yes\n")
    folder = project / "redis"
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "DEVENV_ROOT": str(project),
        "REDISDATA": str(folder),
    }

    with _started("start-redis", [str(conf)], [], environment):
        _wait(lambda: probes.redis(settings.redis))  # which also sees it refuse who has no password

    assert (folder / "redis.conf").stat().st_mode & 0o077 == 0
    assert (folder / "appendonlydir").is_dir()


def test_postgres_takes_the_password_of_the_env_file_also_when_that_is_made_anew(project: Path) -> None:
    program = providers.postgres("").path
    lowered = privileges.for_server(program, project)
    port = core_settings.load(project, {}).database.parts.port
    programs = project / "programs"
    programs.mkdir()
    devenvs = programs / "start-postgres"  # devenv's own script writes postgresql.conf first
    devenvs.write_text(
        f'#!/bin/sh\nexec postgres -D "$PGDATA" -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=\n'
    )
    devenvs.chmod(0o755)
    environment = {
        "PATH": f"{programs}:{program.parent}:{os.environ['PATH']}",
        "DEVENV_ROOT": str(project),
        "PGDATA": str(project / "state" / "postgres"),
    }
    lowered.hand_over(project)
    lowered.hand_over(project / ".env")

    initdb_args = re.findall(
        r'"(--[\w=.-]+)"', (ROOT / "devenv.nix").read_text().split("initdbArgs = [")[1].split("]")[0]
    )
    for _ in range(2):
        settings = core_settings.load(project, {})
        with _started("start-postgres-with-secret", initdb_args, lowered.prefix, environment):
            _wait(partial(_make_all_in, settings))
        _change_the_superuser_password(project / ".env")


def _make_all_in(settings: Settings) -> None:
    probes.run(lambda: bootstrap.postgres(settings.database))


def _change_the_superuser_password(env_file: Path) -> None:
    text = re.sub(
        r"(?m)^POSTGRES_SUPERUSER_PASSWORD=.*$", "POSTGRES_SUPERUSER_PASSWORD=another-password", env_file.read_text()
    )
    env_file.write_text(text)

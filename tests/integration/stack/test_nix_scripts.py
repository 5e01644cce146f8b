"""The start scripts of devenv, without devenv: with real servers and an `.env` of their own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drystone.core import settings as core_settings
from drystone.core.settings import Settings
from drystone.stack import dotenv, probes, providers
from drystone.stack.probes import NotYet

NIX = Path(__file__).parent.parent.parent.parent / "nix"
DEADLINE_S = 10


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with an `.env` and nothing else."""
    dotenv.create(tmp_path / ".env", ports="random")
    return tmp_path


@pytest.fixture
def redis(project: Path) -> Iterator[tuple[Settings, Path]]:
    """Redis as `devenv up` starts it: settings, and its data folder."""
    settings = core_settings.load(project, {})
    programs = project / "programs"
    programs.mkdir()
    (programs / "redis-server").symlink_to(providers.redis("").path)
    conf = project / "base.conf"
    conf.write_text(f"bind 127.0.0.1\nport {settings.redis.parts.port}\nappendonly yes\n")
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "DEVENV_ROOT": str(project),
        "REDISDATA": str(project / "redis data"),
    }
    script = f"set -euo pipefail\n{(NIX / 'secrets.sh').read_text()}\n{(NIX / 'scripts/start-redis.sh').read_text()}"
    with subprocess.Popen(["bash", "-c", script, "start-redis", str(conf)], env=environment) as server:
        yield settings, project / "redis data"
        server.terminate()


def test_redis_takes_the_password_of_the_env_file_and_keeps_it_private(redis: tuple[Settings, Path]) -> None:
    settings, folder = redis
    until = time.monotonic() + DEADLINE_S

    while True:
        try:
            probes.redis(settings.redis)  # refuses who has no password, too
            break
        except NotYet:
            assert time.monotonic() < until

    assert (folder / "redis.conf").stat().st_mode & 0o077 == 0
    assert (folder / "appendonlydir").is_dir()

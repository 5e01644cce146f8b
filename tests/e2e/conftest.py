"""A whole `up` in a folder of its own: the project's code, its own .env, ports and data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest

from drystone import invariants
from drystone.adapters.objects import Objects
from drystone.core import settings as core_settings
from drystone.core.db import make_engine, make_sessions
from drystone.core.settings import Settings
from drystone.invariants import Limits, Verdict
from drystone.stack import dotenv
from tests import canaries

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Stack:
    """A project's folder, and what is run in it."""

    folder: Path

    @cached_property
    def settings(self) -> Settings:
        return core_settings.load(self.folder, shell={})

    def run(self, *arguments: str, check: bool = True, key: str | None = None) -> subprocess.CompletedProcess[str]:
        """`drystone …` in this stack's folder. key: in place of the one in .env."""
        done = subprocess.run(
            [sys.executable, "-m", "drystone.cli.main", *arguments],
            cwd=self.folder,
            env=shell_of(self.folder) | ({} if key is None else {"DRYSTONE_API_KEY": key}),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        canaries.note(self.folder, arguments, done.stdout + done.stderr)
        assert not check or done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def follow(self, folder: Path, block: str) -> str:
        """Do what a block of a guide says, in a folder where `./drystone` and `.env` are those of this stack; what was printed."""
        launcher = folder / "drystone"
        launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m drystone.cli.main "$@"\n')
        launcher.chmod(0o755)
        (folder / ".env").write_text((self.folder / ".env").read_text())
        done = subprocess.run(
            ["bash", "-ec", block],
            cwd=folder,
            env=shell_of(self.folder),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        canaries.note(self.folder, ("guide",), done.stdout + done.stderr)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def status(self) -> dict[str, dict[str, Any]]:
        """name -> row of `drystone status`."""
        rows = json.loads(self.run("status", "--json", check=False).stdout)["services"]
        return {row["name"]: row for row in rows}

    def client(self) -> httpx.AsyncClient:
        """A client with the first key."""
        api = self.settings.api
        return httpx.AsyncClient(
            base_url=f"http://{api.host}:{api.port}",
            headers={"Authorization": f"Bearer {api.key.get_secret_value()}"},
            timeout=10,
        )


async def verdict(stack: Stack) -> Verdict:
    """What the invariants say of a stack's data, every blob read."""
    engine = make_engine(stack.settings.database.url.get_secret_value(), pool_size=3)
    try:
        limits = Limits.of(stack.settings.worker, rehash=True)
        return await invariants.check(make_sessions(engine), Objects.open_s3(stack.settings.s3), limits)
    finally:
        await engine.dispose()


def project_folder(folder: Path, **changes: str) -> Stack:
    """A folder that is a project: our code, and an `.env`, data and ports of its own. Nothing runs yet."""
    (folder / "data").mkdir(parents=True)
    for name in ("Procfile", "alembic.ini", "migrations", "pyproject.toml", "src"):
        (folder / name).symlink_to(ROOT / name)
    environment = dotenv.make_environment(
        data_dir=folder / "data",
        model_dir=ROOT / ".drystone" / "models",
        ENVIRONMENT="test",
        JOB_SWEEP_S="2",
        **changes,
    )
    (folder / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in environment.items()))
    (folder / ".env").chmod(0o600)
    return Stack(folder)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack brought up as a person would, and taken down again. pytest keeps the folder, with the logs, for three runs."""
    stack = project_folder(tmp_path_factory.mktemp("up"))
    try:
        stack.run("up", "--detach")
        yield stack
    finally:
        stack.run("down", check=False)


def shell_of(folder: Path) -> dict[str, str]:
    """The shell without what this test run itself was given: only the folder's .env counts."""
    mine = {name: value for name, value in os.environ.items() if name not in core_settings.variables()}
    return mine | {"DRYSTONE_ROOT": str(folder)}

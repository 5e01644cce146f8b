"""Which stack is measured: one of its own in a temporary folder, or the project's running one."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.report import ROOT, say
from drystone.core import settings as core_settings
from drystone.core.settings import Settings
from drystone.stack import dotenv

_OF_A_PROJECT = ("Procfile", "pyproject.toml", "alembic.ini", "migrations")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--running",
        action="store_true",
        help="measure the project's running stack instead of a fresh one; collections named bench-… are made and deleted",
    )


@contextlib.contextmanager
def chosen(arguments: argparse.Namespace) -> Iterator[Settings]:
    """Settings of the stack to measure; it is up inside the block."""
    if arguments.running:
        yield core_settings.load(ROOT)
        return
    with temporary_root() as root:
        say("starting a stack of its own …")
        took_s = command(root, "up", "--detach")
        try:
            say(f"up after {took_s:.1f} s")
            yield settings_of(root)
        finally:
            command(root, "down")


@contextlib.contextmanager
def temporary_root(*, model_dir: Path | None = None) -> Iterator[Path]:
    """A folder that is a project: our code, its own `.env`, data and free ports. Gone afterwards.

    model_dir: default is the project's own cache, so that the model is not built again.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C does: what was begun is stopped
    with tempfile.TemporaryDirectory(prefix="drystone-bench-", ignore_cleanup_errors=True) as name:
        root = Path(name)
        for each in _OF_A_PROJECT:
            (root / each).symlink_to(ROOT / each)
        environment = dotenv.make_environment(
            data_dir=root / ".drystone", model_dir=model_dir or ROOT / ".drystone" / "models"
        )
        lines = [f"{key}={value or chr(39) * 2}" for key, value in environment.items()]
        (root / ".env").write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield root


def settings_of(root: Path) -> Settings:
    """What a temporary stack runs with."""
    return core_settings.load(root, shell={})


def command(root: Path, *arguments: str) -> float:
    """Run `drystone …` for the project in root; the seconds it took. Its words are shown when it fails."""
    # A variable of ours in the shell would beat the folder's .env.
    environment = {name: value for name, value in os.environ.items() if name not in core_settings.variables()}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "drystone.cli.main", *arguments],
        env=environment | {"DRYSTONE_ROOT": str(root)},
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"drystone {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}")
    return time.monotonic() - began

"""Seconds to healthy and memory: servers alone, `up` cold and warm, a test database, from a fresh clone.

    python -m benchmarks.stack [--runs 3] [--no-clone]

Everything happens in temporary folders, on ports of its own, and is stopped at the end. The clone is of the last
commit, with an empty home and empty caches; what it downloads counts.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks import measures, report, stacks
from benchmarks import memory as programs_memory
from benchmarks.report import ROOT, say
from drystone import schema
from drystone.core.settings import Settings
from drystone.stack import state
from drystone.stack.supervise import Servers

# How this machine reaches the internet and its mirrors belongs to the machine, not to the home that is emptied.
_KEPT = ("PATH", "LANG", "LC_ALL", "TERM", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_KEPT_PREFIXES = ("PIP_", "UV_", "HTTP_", "HTTPS_", "NO_PROXY", "ALL_PROXY", "http_", "https_", "no_proxy", "all_proxy")


def servers_alone(runs: int) -> dict[str, Any]:
    """PostgreSQL, Redis and S3 from start to ready: on an empty folder, then on the same folder again."""
    cold, warm = [], []
    for _ in range(runs):
        with stacks.temporary_root() as root:
            cold.append(_start_and_stop(root))
            warm.append(_start_and_stop(root))
    return _cold_and_warm(cold, warm)


def _start_and_stop(root: Path) -> dict[str, float]:
    began = time.monotonic()
    with Servers(stacks.settings_of(root), root) as servers:
        return {"all": time.monotonic() - began} | servers.seconds


def _cold_and_warm(cold: list[dict[str, float]], warm: list[dict[str, float]]) -> dict[str, Any]:
    """The spread of each part over the runs: part -> cold_s and warm_s."""
    return {
        part: {
            "cold_s": measures.spread([run[part] for run in cold]),
            "warm_s": measures.spread([run[part] for run in warm]),
        }
        for part in cold[0]
    }


def test_database(runs: int) -> dict[str, Any]:
    """A migrated database for a test: cloned from the template, as the test suite does, or migrated from empty."""
    with stacks.temporary_root() as root, Servers(stacks.settings_of(root), root, durable=False):
        settings = stacks.settings_of(root)
        migrated_s = _seconds(lambda: asyncio.run(schema.migrate(settings, root)))
        cloned_s = [_seconds(functools.partial(asyncio.run, _clone(settings, run))) for run in range(runs * 3)]
    return {"clone_s": measures.spread(cloned_s), "migrate_s": round(migrated_s, 3)}


async def _clone(settings: Settings, number: int) -> None:
    parts = settings.database.parts
    password = settings.database.superuser_password.get_secret_value()
    connection = await asyncpg.connect(
        host=parts.host, port=parts.port, user="postgres", password=password, database="postgres", ssl=False
    )
    try:
        await connection.execute(f'CREATE DATABASE "clone_{number}" TEMPLATE "{parts.database}"')
    finally:
        await connection.close()


def _seconds(do: Callable[[], object]) -> float:
    began = time.monotonic()
    do()
    return time.monotonic() - began


def whole_stack(runs: int) -> dict[str, Any]:
    """`up --detach` to healthy: the first time, model and all, and again on the same data; memory once it is warm."""
    cold, warm = [], []
    memory: dict[str, Any] = {}
    for run in range(runs):
        with (
            tempfile.TemporaryDirectory(prefix="drystone-bench-model-") as models,
            stacks.temporary_root(model_dir=Path(models)) as root,
        ):
            cold.append(_up(root))
            stacks.command(root, "down")
            try:
                warm.append(_up(root))
                stacks.command(root, "verify")  # a search and a job: what is loaded late is loaded
                memory = memory or programs_memory.by_program(stacks.settings_of(root))
            finally:
                stacks.command(root, "down")
        say(f"up, run {run + 1}: cold {cold[-1]['all']:.1f} s, warm {warm[-1]['all']:.1f} s")
    return _cold_and_warm(cold, warm) | {"memory": memory}


def _up(root: Path) -> dict[str, float]:
    """Seconds of the whole command, and of each service from its start to ready."""
    try:
        took_s = stacks.command(root, "up", "--detach")
    except BaseException:
        stacks.command(root, "down")
        raise
    run = state.read(stacks.settings_of(root).general.data_dir / "run")
    return {"all": took_s} | {name: each.seconds for name, each in run.services.items()} if run else {"all": took_s}


def clone_to_healthy() -> dict[str, float]:
    """`git clone`, then `./drystone up --detach` with nothing in home and caches."""
    with tempfile.TemporaryDirectory(prefix="drystone-bench-clone-", ignore_cleanup_errors=True) as name:
        home, checkout = Path(name) / "home", Path(name) / "drystone"
        home.mkdir()
        environment = {
            key: value for key, value in os.environ.items() if key in _KEPT or key.startswith(_KEPT_PREFIXES)
        }
        environment |= {"HOME": str(home), "PATH": _path_without_venv(environment["PATH"])}
        began = time.monotonic()
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], env=environment, check=True)
        cloned_s = time.monotonic() - began
        try:
            _run(checkout, environment, "up", "--detach")
            healthy_s = time.monotonic() - began
        finally:
            _run(checkout, environment, "down")
    return {"clone_s": round(cloned_s, 2), "healthy_s": round(healthy_s, 1)}


def _run(checkout: Path, environment: dict[str, str], *arguments: str) -> None:
    done = subprocess.run(
        ["./drystone", *arguments],
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"./drystone {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}")


def _path_without_venv(path: str) -> str:
    return os.pathsep.join(part for part in path.split(os.pathsep) if not Path(part).is_relative_to(ROOT))


def _rows(name: str, parts: dict[str, Any]) -> list[tuple[object, ...]]:
    return [
        (name if part == "all" else f"  {part}", spreads["cold_s"]["median"], spreads["warm_s"]["median"])
        for part, spreads in parts.items()
        if "cold_s" in spreads
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stack", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-clone", action="store_true", help="leave out the clone and its downloads")
    arguments = parser.parse_args()
    results: dict[str, Any] = {
        "servers": servers_alone(arguments.runs),
        "up": whole_stack(arguments.runs),
        "test_database": test_database(arguments.runs),
    }
    rows = [*_rows("servers alone", results["servers"]), *_rows("up --detach", results["up"])]
    cloned, migrated = results["test_database"]["clone_s"]["median"], results["test_database"]["migrate_s"]
    rows.append(("test database: migrated, cloned", migrated, cloned))
    if not arguments.no_clone:
        say("cloning into an empty home …")
        results["clone"] = clone_to_healthy()
        rows.append(("clone to healthy", results["clone"]["healthy_s"], ""))
    report.table("Seconds to healthy", ("what", "cold", "warm"), rows)
    memory = results["up"]["memory"]
    report.table("Memory", ("program", "PSS MB", "RSS MB", "processes"), [(k, *v.values()) for k, v in memory.items()])
    report.save("stack", results)


if __name__ == "__main__":
    main()

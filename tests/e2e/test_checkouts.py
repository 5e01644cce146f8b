"""Where a checkout may lie and beside what: the real launcher, on the strangest path, without a network, twice."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drystone.core import settings as core_settings
from tests.e2e.conftest import ROOT, Stack

FILES = ("Procfile", "README.md", "LICENSE", "alembic.ini", "drystone", "pyproject.toml", "uv.lock")
NAME = "naïve façade 日本語 it's 100 % of {it}"
IN_A_ROOM_WITHOUT_NETWORK = ("unshare", "--user", "--map-root-user", "--net", "sh", "-c")


@dataclass(frozen=True)
class Checkout:
    """A copy of the project with an environment of its own, set up by the launcher."""

    root: Path

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command in this folder, as from a fresh shell that has uv."""
        tools = ROOT / ".drystone" / "tools" / "bin"
        ours = {name: value for name, value in os.environ.items() if name not in core_settings.variables()}
        path = os.pathsep.join([ours.get("PATH", os.defpath), str(tools)])
        done = subprocess.run(
            argv, cwd=self.root, env=ours | {"PATH": path}, capture_output=True, text=True, check=False, timeout=280
        )
        assert not check or done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done


def make_checkout(root: Path) -> Checkout:
    root.mkdir(parents=True)
    for folder in ("src", "migrations"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, root / name)
    if (models := ROOT / ".drystone" / "models").is_dir():  # building it takes as long as all the rest
        shutil.copytree(models, root / ".drystone" / "models")
    made = Checkout(root)
    made.run("./drystone", "--version")
    return made


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout at the end of a path of 200 characters with spaces, letters of all kinds and signs."""
    above = tmp_path_factory.mktemp("strange") / NAME
    made = make_checkout(above / ("x" * (199 - len(str(above)))))
    yield made
    made.run("./drystone", "down", check=False)


def test_once_set_up_it_runs_from_the_strangest_path_without_a_network(strange: Checkout) -> None:
    if strange.run(*IN_A_ROOM_WITHOUT_NETWORK, "ip link set lo up", check=False).returncode != 0:
        pytest.skip("user namespaces are forbidden here, or there is no ip(8)")
    assert len(str(strange.root)) == 200

    told = strange.run(
        *IN_A_ROOM_WITHOUT_NETWORK,
        "ip link set lo up && ./drystone up --offline --detach && ./drystone status && ./drystone verify"
        " && ./drystone down",
    )

    assert "Healthy after" in told.stderr
    assert told.stdout.count("ok    ") == 8
    assert told.stderr.endswith("Stopped.\n")


# A web that answers and a worker that does nothing: what is tested is beside them.
LIGHT = "web: exec python -m http.server --bind 127.0.0.1 $API_PORT\nworker: exec sleep 600\n"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Stack, Stack]]:
    """Two checkouts without an `.env`, and nothing that runs."""
    folders = [tmp_path / name for name in ("one", "other one")]
    for folder in folders:
        for name in ("alembic.ini", "migrations", "pyproject.toml", "src"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).symlink_to(ROOT / name)
        (folder / "Procfile").write_text(LIGHT)
        (folder / "health").mkdir()
        (folder / "health" / "ready").touch()
        (folder / ".drystone").mkdir()
        (folder / ".drystone" / "models").symlink_to(ROOT / ".drystone" / "models")
    one, other = (Stack(folder) for folder in folders)
    yield one, other
    for stack in (one, other):
        stack.run("down", check=False)


def test_two_checkouts_side_by_side_are_both_healthy_on_ports_that_stay(pair: tuple[Stack, Stack]) -> None:
    for stack in pair:
        stack.run("up", "--detach")
    for stack in pair:
        assert stack.run("status").returncode == 0

    one, other = (ports_of(stack) for stack in pair)
    assert set(one) == {"postgres", "redis", "objects", "web"}
    assert not set(one.values()) & set(other.values())
    for stack, ports in zip(pair, (one, other), strict=True):
        text = (stack.folder / ".env").read_text()
        assert all(f":{port}" in text or f"={port}" in text for port in ports.values())

    pair[1].run("down")
    env = pair[1].folder / ".env"
    env.write_text(env.read_text().replace(f":{other['redis']}/", f":{one['redis']}/"))
    refused = pair[1].run("up", "--detach", check=False)
    folder = pair[0].folder
    assert refused.returncode == 69
    assert (
        f"Port {one['redis']}, which REDIS_URL needs, is taken by pid {pair[0].status()['redis']['pid']} (valkey-server)"
        f" in {folder}/.drystone/redis, of the Drystone checkout {folder}.\n"
        f"hint: run drystone down in {folder}, or change the port in .env, in REDIS_URL and CELERY_BROKER_URL"
        in refused.stderr
    )


def ports_of(stack: Stack) -> dict[str, int]:
    return {name: row["port"] for name, row in stack.status().items() if row["port"]}

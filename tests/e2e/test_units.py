"""The systemd units: systemd accepts them, and what they say, done by hand line for line, is a stack that works."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from drystone.stack import dotenv, export, probes
from tests.e2e.conftest import Stack, project_folder

ORDER = ("postgres", "redis", "objects", "migrate", "web", "worker")
PROGRAMS = {"postgres": "postgres", "redis": "valkey-server", "objects": "weed", "web": "uvicorn", "worker": "drystone"}
CLEAN = (0, -signal.SIGTERM, -signal.SIGINT)  # what systemd does not call a failure
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze here")


class Unit:
    """A unit file as systemd reads it, as far as ours go: a key may have several values."""

    def __init__(self, path: Path) -> None:
        self._values: dict[str, list[str]] = {}
        for line in path.read_text().splitlines():
            if "=" in line and not line.startswith("#"):
                key, _, value = line.partition("=")
                self._values.setdefault(key, []).append(value)

    def __getitem__(self, key: str) -> str:
        (value,) = self._values[key]
        return value

    def path(self, key: str) -> Path:
        return Path(self[key].replace("%%", "%"))

    def commands(self, key: str, main_pid: int = 0) -> list[list[str]]:
        """The words of each line."""
        return [
            [str(main_pid) if word == "$MAINPID" else word.replace("%%", "%") for word in shlex.split(line)]
            for line in self._values.get(key, [])
        ]


@dataclass
class Host:
    """Does by hand what systemd would do with our units."""

    stack: Stack
    units: dict[str, Unit]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        unit = self.units[name]
        for argv in unit.commands("ExecStartPre"):
            self._run(unit, argv)
        if unit["Type"] == "oneshot":
            for argv in unit.commands("ExecStart"):
                self._run(unit, argv)
            return
        (argv,) = unit.commands("ExecStart")
        with (self.stack.folder / f"{name}.txt").open("ab") as journal:
            main = subprocess.Popen(
                argv,
                cwd=unit.path("WorkingDirectory"),
                env=environment_of(unit),
                stdout=journal,
                stderr=journal,
                start_new_session=True,
            )
        self.running[name] = main
        for argv in unit.commands("ExecStartPost", main.pid):
            self._run(unit, argv)

    def _run(self, unit: Unit, argv: list[str]) -> None:
        done = subprocess.run(
            argv,
            cwd=unit.path("WorkingDirectory"),
            env=environment_of(unit),
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"

    def stop(self, name: str) -> int:
        """Ask the head of a service to stop, and kill it when its unit's patience ends; its exit code."""
        main, unit = self.running[name], self.units[name]
        main.send_signal(signal.Signals[unit["KillSignal"]])
        try:
            return main.wait(float(unit["TimeoutStopSec"]))
        except subprocess.TimeoutExpired:
            main.kill()
            return main.wait()


def environment_of(unit: Unit) -> dict[str, str]:
    given = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(Path.home())}
    return given | dotenv.parse(unit.path("EnvironmentFile").read_text())


def write_units(stack: Stack, folder: Path) -> dict[str, Unit]:
    stack.run("export", "systemd", str(folder), "--run-as", "drystone")
    return {name: Unit(folder / f"drystone-{name}.service") for name in ORDER}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("a house with 100 % späces")
    stack = project_folder(folder)
    made = Host(stack, write_units(stack, folder / "units"))
    yield made
    for main in made.running.values():
        main.kill()
        main.wait()


def test_what_the_units_say_done_by_hand_is_a_stack_that_works_and_stops_well(host: Host) -> None:
    for name in ORDER:
        host.start(name)
    until_ready(host.stack)
    host.stack.run("verify")
    heads = {name: psutil.Process(main.pid) for name, main in host.running.items()}
    for name, program in PROGRAMS.items():  # the server itself, not somebody who watches it
        assert program in {Path(word).name for word in heads[name].cmdline()[:2]}, name
    everyone = [each for head in heads.values() for each in (head, *head.children(recursive=True))]

    host.running["redis"].kill()
    host.running["redis"].wait()
    host.start("redis")  # as `Restart=always` would
    until_ready(host.stack)

    for name in reversed(PROGRAMS):
        # The S3 store hangs in its goodbyes now and then.
        assert host.stop(name) in (*CLEAN, *([-signal.SIGKILL] if name == "objects" else [])), name
    assert [each for each in everyone if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []


def until_ready(stack: Stack) -> None:
    """Wait until everything can be used; a unit is active when its own process answers."""
    api, deadline = stack.settings.api, time.monotonic() + 120
    while probes.http_status(f"http://{api.host}:{api.port}/health/ready") != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@needs_systemd
@pytest.mark.parametrize("manager", ["system", "user"])
def test_systemd_accepts_them_without_a_word(host: Host, tmp_path: Path, manager: str) -> None:
    units = tmp_path / "units"
    host.stack.run("export", "systemd", str(units), *(["--user"] if manager == "user" else ["--run-as", "drystone"]))

    assert verified(units, manager) == ""

    unit = units / "drystone-postgres.service"
    unit.write_text(unit.read_text().replace("KillMode=mixed", "KillMode=mixt"))
    assert "Failed to parse kill mode" in verified(units, manager)


@needs_systemd
@pytest.mark.parametrize("name", ["100 % naïve $HOME ${x}", 'it\'s 1 "quoted" $HOME \\'])
def test_systemd_accepts_a_python_on_a_strange_path(tmp_path: Path, name: str) -> None:
    strange = tmp_path / name
    strange.mkdir()
    (strange / "python").symlink_to(sys.executable)
    site = export.Site(strange, strange / "python", (strange,), ORDER, None, has_backoff=False)

    export.write(site, tmp_path / "units")

    assert verified(tmp_path / "units", "user") == ""


def verified(units: Path, manager: str) -> str:
    """What `systemd-analyze verify` has to say of our units; it also reads those of this machine."""
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:  # short: sockets of others are named below it
        done = subprocess.run(
            ["systemd-analyze", "verify", f"--{manager}", *map(str, sorted(units.iterdir()))],
            env=os.environ | {"XDG_RUNTIME_DIR": runtime},
            capture_output=True,
            text=True,
            check=False,
        )
    said = (done.stdout + done.stderr).splitlines()
    return "\n".join(line for line in said if "drystone" in line)


def test_the_units_hold_no_secret(host: Host) -> None:
    text = "".join(path.read_text() for path in (host.stack.folder / "units").iterdir())
    values = dotenv.parse((host.stack.folder / ".env").read_text()).values()
    secrets = {word for value in values for word in value.replace("@", ":").replace(".", ":").split(":")}

    assert [secret for secret in secrets if len(secret) >= 40 and secret in text] == []
    assert sum(len(secret) >= 40 for secret in secrets) >= 5


def test_servers_elsewhere_get_no_unit_and_only_what_is_wanted_is_written(host: Host, tmp_path: Path) -> None:
    elsewhere = project_folder(tmp_path / "elsewhere", REDIS_PROVIDER="external")
    elsewhere.run("export", "systemd", str(tmp_path / "a"), "--run-as", "drystone")
    host.stack.run(
        "export", "systemd", str(tmp_path / "b"), "--run-as", "drystone", "--only", "web", "--only", "migrate"
    )

    assert not (tmp_path / "a" / "drystone-redis.service").exists()
    assert "redis" not in (tmp_path / "a" / "drystone-web.service").read_text()
    assert "network-online.target" in Unit(tmp_path / "a" / "drystone-web.service")["Wants"]
    assert {path.name for path in (tmp_path / "b").iterdir()} == {
        "drystone.target",
        "drystone-migrate.service",
        "drystone-web.service",
    }


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--run-as", "root"], 2, "PostgreSQL does not run as root"),
        (["--run-as", "a b"], 2, "no name of a user"),
        (["--run-as", "drystone", "--only", "nginx"], 4, "no unit for nginx"),
    ],
)
def test_what_cannot_be_exported_is_told(
    host: Host, tmp_path: Path, arguments: list[str], code: int, word: str
) -> None:
    done = host.stack.run("export", "systemd", str(tmp_path), *arguments, check=False)

    assert done.returncode == code
    assert word in done.stderr
    assert "hint: " in done.stderr
    assert list(tmp_path.iterdir()) == []

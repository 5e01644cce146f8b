"""`serve` and `wait`, as a supervisor other than `up` calls them: one server in the foreground, and whether it is ready."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest

from drystone.core.errors import Conflict, Unavailable
from drystone.stack import commands, dotenv
from drystone.stack.project import Project, open_project
from drystone.stack.serve import wait
from drystone.stack.state import RunLock
from drystone.stack.up import Plan


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "Procfile").write_text("web: exec sleep 60\n")
    environment = dotenv.make_environment(data_dir=tmp_path / "data", model_dir=tmp_path / "models")
    (tmp_path / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in environment.items()))
    return open_project(tmp_path, shell={})


@pytest.fixture
def redis(project: Project) -> Iterator[subprocess.Popen[bytes]]:
    process = start(project, "redis")
    yield process
    process.kill()
    process.communicate()


def start(project: Project, name: str, *, said: IO[bytes] | int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "drystone.cli.main", "serve", name]
    shell = {name: value for name, value in os.environ.items() if name not in project.environment}
    shell["DRYSTONE_ROOT"] = str(project.root)
    return subprocess.Popen(argv, cwd=project.root, env=shell, stdout=said, stderr=subprocess.PIPE)


def test_a_served_server_is_the_very_process_that_was_started(project: Project, redis: subprocess.Popen[bytes]) -> None:
    wait(project, "redis", pid=redis.pid)

    assert psutil.Process(redis.pid).name() == "valkey-server"
    assert project.settings.redis.parts.password not in " ".join(psutil.Process(redis.pid).cmdline())
    assert "DATABASE_URL" not in psutil.Process(redis.pid).environ()  # it gets what it needs, not all that we know
    # Not ours to end, nor to start beside it.
    told = rf"Another supervisor runs this project: redis \(pid {redis.pid}\)"
    with pytest.raises(Conflict, match=told):
        commands.take_down(project, talk=io.StringIO())
    with pytest.raises(Conflict, match=told):
        commands.run(Plan(project.root), out=io.StringIO(), talk=io.StringIO())
    assert redis.poll() is None
    redis.send_signal(signal.SIGTERM)
    assert redis.wait(10) == 0
    assert not commands.take_down(project, talk=io.StringIO())


def test_a_served_server_that_does_not_get_over_a_full_disk_is_ended(tmp_path: Path) -> None:
    server = "echo begun; echo no space left on device; exec sleep 60"
    become = f"""
import os, re
from pathlib import Path
from drystone.stack import fulldisk, guardian

fulldisk.watch_myself(re.compile("no space left"), Path({str(tmp_path)!r}), guardian.import_path())
os.execv("/bin/sh", ["sh", "-c", {server!r}])
"""

    served = subprocess.run([sys.executable, "-c", become], capture_output=True, text=True, timeout=30, check=False)

    assert served.returncode == -signal.SIGKILL
    assert served.stdout.splitlines()[:2] == ["begun", "no space left on device"]
    assert "there is room again" in served.stdout


def test_what_a_served_store_says_is_passed_on_and_nobody_stays_behind(project: Project) -> None:
    log = project.root / "said"
    with log.open("wb") as said:
        process = start(project, "objects", said=said)
    wait(project, "objects", pid=process.pid)
    watcher = psutil.Process(process.pid).children()
    assert [each.name() for each in watcher] != []

    process.send_signal(signal.SIGTERM)
    process.communicate()

    assert psutil.wait_procs(watcher, timeout=10)[1] == []
    assert "volume" in log.read_text()


def test_waiting_ends_when_the_process_is_gone(project: Project) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()

    with pytest.raises(Unavailable, match="redis ended before it was ready"):
        wait(project, "redis", timeout_s=60, pid=ended.pid)


def test_waiting_ends_when_the_time_is_over_and_names_the_log(project: Project) -> None:
    with pytest.raises(Unavailable, match=r"web was not ready after 0 s: .*does not answer") as late:
        wait(project, "web", timeout_s=0.1)

    assert late.value.hint == "see its log, under systemd: journalctl -u drystone-web"


def test_nothing_is_served_beside_an_up_on_the_same_data(project: Project) -> None:
    lock = RunLock(project.run_dir)
    assert lock.acquire()

    assert f"`up` runs on this data folder, as process {os.getpid()}" in refused(project, "redis")

    lock.release()


def test_a_taken_port_is_told(project: Project) -> None:
    with socket.create_server(("127.0.0.1", project.settings.redis.parts.port)):
        assert f"which REDIS_URL needs, is taken by pid {os.getpid()} " in refused(project, "redis")


def test_an_unknown_name_is_told(project: Project) -> None:
    assert "hint: there is: postgres, redis, objects, web\n" in refused(project, "nobody")


def test_a_server_elsewhere_is_not_served(project: Project) -> None:
    text = (project.root / ".env").read_text()
    (project.root / ".env").write_text(text.replace("REDIS_PROVIDER='auto'", "REDIS_PROVIDER='external'"))

    assert "somebody else runs" in refused(project, "redis")


def refused(project: Project, name: str) -> str:
    process = start(project, name)
    _, said = process.communicate(timeout=30)
    assert process.returncode in (4, 5), said
    return said.decode()


def test_a_process_of_the_procfile_becomes_its_command(project: Project) -> None:
    process = start(project, "web")
    try:
        until_named(process, "sleep")
    finally:
        process.kill()
        process.communicate()


def until_named(process: subprocess.Popen[bytes], name: str) -> None:
    seen = ""
    while seen != name:
        assert process.poll() is None, seen
        seen = psutil.Process(process.pid).name()

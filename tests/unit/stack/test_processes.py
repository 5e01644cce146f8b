from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drystone.stack import ports, processes, root

# Starts a child without our environment, tells its pid, and waits.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={})
print(child.pid, flush=True)
time.sleep(60)
"""


def test_marked_processes_and_their_descendants_are_found_and_ended(tmp_path: Path) -> None:
    run_id = processes.new_run_id(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env=os.environ | processes.mark(run_id, processes.APP),
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())

        found = {each.pid: each for each in processes.marked(processes.run_prefix(tmp_path))}
        assert set(found) == {parent.pid, child}
        assert found[child].service == processes.APP

        assert processes.end_run(run_id, grace_s=2) == 2
        assert not processes.is_alive(found[child])
        assert parent.wait() == -signal.SIGTERM


def test_runs_on_other_folders_and_ourselves_are_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(
        ["sleep", "60"], env=os.environ | processes.mark(processes.new_run_id(tmp_path / "a"), "redis")
    ) as other:
        assert processes.end_run(processes.run_prefix(tmp_path / "b")) == 0
        assert other.poll() is None
        other.kill()


def test_a_later_process_with_the_same_pid_is_another_one() -> None:
    me = processes.find(os.getpid())
    assert me

    assert processes.is_alive(me)
    assert not processes.is_alive(processes.Process(me.pid, me.parent, me.session, started="long ago"))


def test_memory_counts_the_whole_tree() -> None:
    assert processes.memory_bytes(os.getpid()) > 5_000_000


def test_nobody_holds_a_free_port() -> None:
    port = ports.find((0,))

    assert ports.is_free(port)
    assert ports.holder(port) is None


def test_the_root_is_named_or_found_above(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "a" / "b").mkdir(parents=True)
    for name in ("Procfile", "pyproject.toml"):
        (project / name).touch()

    assert root.find({}, start=project / "a" / "b") == project
    assert root.find({"DRYSTONE_ROOT": str(tmp_path)}, start=project) == tmp_path
    assert (root.find({}, start=tmp_path) / "drystone").exists()  # our own checkout


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_how_a_process_ended_is_known_before_its_parent_asks() -> None:
    process = subprocess.Popen(["sleep", "60"])
    assert processes.exit_code(process.pid) is None

    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    assert processes.exit_code(process.pid) == -signal.SIGKILL
    assert process.wait() == -signal.SIGKILL
    assert processes.exit_code(process.pid) is None

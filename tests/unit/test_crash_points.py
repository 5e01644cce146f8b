"""Crash points: nothing while unarmed, exactly what was ordered once armed, and a proof that it happened."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drystone.core import crash_points

SOURCE = Path(crash_points.__file__).parent.parent
FORK_AND_WAIT = """
import os, signal
child = os.fork()
if not child:
    signal.pause()
print(child, flush=True)
print(os.WTERMSIG(os.waitpid(child, 0)[1]), flush=True)
"""
PASS_TWICE = """
import sys
from pathlib import Path
from drystone.core import crash_points
crash_points.arm(Path(sys.argv[1]))
for _ in range(2):
    crash_points.reach("after_claim")
    print("passed", flush=True)
"""
HALT_IN_A_THREAD = """
import os, sys, threading, time
from pathlib import Path
from drystone.core import crash_points
crash_points.arm(Path(sys.argv[1]))

def work():
    while True:
        crash_points.reach("before_publish")
        os.write(1, b".")

threading.Thread(target=work, daemon=True).start()
time.sleep(20)
"""


@pytest.fixture
def armed(tmp_path: Path) -> Iterator[Path]:
    crash_points.arm(tmp_path)
    yield tmp_path
    crash_points.arm(None)


def test_an_unarmed_point_is_passed(tmp_path: Path) -> None:
    crash_points.order(tmp_path, "after_claim", "fail")

    crash_points.reach("after_claim")

    assert crash_points.reached(tmp_path, "after_claim") == []


def test_a_point_acts_as_often_as_ordered_after_the_passes_it_was_to_skip(armed: Path) -> None:
    crash_points.order(armed, "after_claim", "fail", skip=1, times=2)
    outcomes = []

    for _ in range(4):
        try:
            crash_points.reach("after_claim")
            outcomes.append("passed")
        except crash_points.Armed:
            outcomes.append("failed")

    assert outcomes == ["passed", "failed", "failed", "passed"]
    assert crash_points.reached(armed, "after_claim") == [os.getpid()] * 2


def test_a_kill_at_the_second_pass_leaves_its_proof(tmp_path: Path) -> None:
    crash_points.order(tmp_path, "after_claim", "kill", skip=1)

    ended = subprocess.run(
        [sys.executable, "-c", PASS_TWICE, str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "passed\n")
    assert len(crash_points.reached(tmp_path, "after_claim")) == 1


def test_a_thread_that_is_halted_goes_no_step_further(tmp_path: Path) -> None:
    crash_points.order(tmp_path, "before_publish", "halt", times=200)

    process = subprocess.Popen([sys.executable, "-c", HALT_IN_A_THREAD, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout
    os.set_blocking(process.stdout.fileno(), False)
    steps = []
    try:
        for _ in range(200):
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            steps.append(len(process.stdout.read() or b""))
            process.send_signal(signal.SIGCONT)
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()

    assert steps == [0] + [1] * 199


def test_another_point_is_passed(armed: Path) -> None:
    crash_points.order(armed, "after_claim", "fail")

    crash_points.reach("after_put")

    assert crash_points.reached(armed, "after_put") == []


def test_a_child_is_killed_only_where_one_is_waited_for(armed: Path) -> None:
    crash_points.order(armed, "mid_parse", "kill_child")
    forker = subprocess.Popen([sys.executable, "-c", FORK_AND_WAIT], stdout=subprocess.PIPE, text=True)
    assert forker.stdout
    child = int(forker.stdout.readline())

    crash_points.reach("mid_parse")
    assert crash_points.reached(armed, "mid_parse") == []
    crash_points.reach("mid_parse", forker=forker.pid)

    assert forker.stdout.readline() == f"{signal.SIGKILL.value}\n"
    assert crash_points.victims(armed, "mid_parse") == [child]
    assert forker.wait(10) == 0
    forker.stdout.close()


def test_every_point_stands_in_the_code_and_every_one_in_the_code_is_known() -> None:
    said = {name for path in SOURCE.rglob("*.py") for name in re.findall(r'reach\("(\w+)"', path.read_text())}

    assert said == set(crash_points.POINTS)

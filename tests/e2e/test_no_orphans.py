"""`kill -9` of any process of a running stack: the rest mends itself, and within five seconds nothing is left over."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from drystone.stack import processes, state
from tests.e2e.conftest import Stack

WITHIN_S = 30.0  # some milliseconds on a quiet machine; what stands back may wait for its processor
BACK_S = 240.0  # some seconds; what is asked for is that it happens, and a busy machine takes its time
KILLED = ("postgres", "redis", "objects", "guardian", "web", "worker", "pool process", "honcho")


def until(condition: Callable[[], Any], what: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


def up_pid(stack: Stack) -> int:
    now = state.read(stack.settings.general.data_dir / "run")
    assert now
    return now.pid


def pid_of(stack: Stack, name: str) -> int:
    now = state.read(stack.settings.general.data_dir / "run")
    assert now
    if name == "pool process":
        children = psutil.Process(pid_of(stack, "worker")).children()
        return next(int(each.pid) for each in children if "spawn_main" in " ".join(each.cmdline()))
    pid = now.services[name].pid
    assert pid
    return pid


def everything(stack: Stack) -> set[psutil.Process]:
    """Every process of this stack: found by what it says of itself, by where it works, and by its parents."""
    marked = {each.pid for each in processes.marked(processes.run_prefix(stack.settings.general.data_dir))}
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            words = [*process.cmdline(), process.cwd(), *process.environ().values()]
            if process.pid in marked or str(stack.folder) in " ".join(words):
                found |= {process, *process.children(recursive=True)}
    return {each for each in found if is_alive(each)} - {psutil.Process(), *psutil.Process().parents()}


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def unaccounted(stack: Stack) -> list[str]:
    """What belongs to the stack, but no longer hangs on its `up`."""
    seen = everything(stack)  # before its parents are asked: who is started meanwhile is not in it
    head = psutil.Process(up_pid(stack))
    loose = seen - {head, *head.children(recursive=True)}
    return [told(each) for each in loose if is_alive(each)]


def told(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:100]}"
    except psutil.NoSuchProcess:
        return f"{process.pid} is gone"


@pytest.mark.parametrize("name", KILLED)
def test_what_is_killed_leaves_no_orphan_and_comes_back(up: Stack, name: str) -> None:
    victim = psutil.Process(pid_of(up, name))
    below = victim.children(recursive=True)

    victim.kill()

    until(lambda: not any(is_alive(each) for each in below), f"what {name} had started is gone", WITHIN_S)
    until(lambda: not unaccounted(up), f"nothing hangs loose after {name}", WITHIN_S)
    until(lambda: is_back(up, name, victim.pid), f"{name} is back", BACK_S)
    until(lambda: up.run("status", check=False).returncode == 0, "healthy again", BACK_S)
    assert unaccounted(up) == []


def is_back(stack: Stack, name: str, before: int) -> bool:
    try:
        return pid_of(stack, name) != before and is_alive(psutil.Process(pid_of(stack, name)))
    except (AssertionError, StopIteration, psutil.NoSuchProcess):
        return False


def test_every_kill_was_told(up: Stack) -> None:
    """After the tests above; the pool process' end is told by the worker, which replaces it."""
    services = up.status()

    for name in ("postgres", "redis", "objects", "guardian", "web", "worker"):
        assert any(each["reason"].startswith(name) for each in services[name]["story"]), name
    assert "SIGKILL" in up.run("logs", "worker", "-n", "1000").stdout


def test_when_up_is_killed_nothing_at_all_is_left(up: Stack) -> None:
    """The last test of this stack."""
    before = everything(up)
    assert len(before) > 10

    os.kill(up_pid(up), 9)

    until(lambda: not everything(up), "everything is gone", WITHIN_S)

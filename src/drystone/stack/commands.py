"""What people ask of a stack: `up` in the foreground or detached, `down`, `status`.

Whoever holds the lock of the data folder is the one `up`; the others ask its lock and its state file.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from drystone.core.errors import Conflict, Unavailable
from drystone.stack import processes, state
from drystone.stack.data import freeze
from drystone.stack.project import Project, open_project, write_environment
from drystone.stack.state import Restart, RunLock, RunState, ServiceState
from drystone.stack.up import Plan, Run

DOWN_TIMEOUT_S = 30.0


def run(plan: Plan, *, out: TextIO, talk: TextIO) -> int:
    """Bring the stack up, stay, and take it down when asked; the exit code.

    out: the logs go there. talk: what we ourselves have to say. Raises DrystoneError when it cannot be brought up or
    kept up; then everything has been stopped.
    """
    write_environment(plan.root, talk)
    project = open_project(plan.root)
    lock = RunLock(project.run_dir)
    if not lock.acquire():
        return wait_for_other(project, talk, metrics=plan.metrics)
    try:
        _check_not_served(project)
        return Run(plan, project, out, talk).run()
    finally:
        lock.release()


def served(project: Project) -> str:
    """The servers and processes of this project that another supervisor runs, in words; empty when there are none."""
    everyone = [each for each in processes.marked(processes.served_run_id(project.data_dir)) if each.is_served]
    pids = {each.pid for each in everyone}
    return ", ".join(f"{each.service} (pid {each.pid})" for each in everyone if each.parent not in pids)


def _check_not_served(project: Project) -> None:
    """Raise Conflict when another supervisor runs this project's servers or processes."""
    if named := served(project):
        raise Conflict(
            "stack.is_served",
            f"Another supervisor runs this project: {named}.",
            hint="stop it there; under systemd: systemctl stop drystone.target",
        )


def wait_for_other(project: Project, talk: TextIO, *, metrics: bool = False) -> int:
    """Say that the stack is up already, after waiting for it if it is still starting; the exit code.

    metrics: Prometheus is wanted beside it. Raises Conflict where the one that runs was started without.
    """
    lock = RunLock(project.run_dir)
    while (pid := lock.holder()) is not None:
        _check_not_busy(lock, pid)
        now = state.read(project.run_dir)
        if now and now.pid == pid and now.status == "healthy":
            if metrics and "prometheus" not in now.services:
                raise Conflict(
                    "stack.without_metrics",
                    f"The stack runs already, without Prometheus: pid {pid}, {now.url}.",
                    hint="./drystone down, then ./drystone up --with metrics",
                )
            print(f"Already running: pid {pid}, {now.url}", file=talk)
            return 0
        time.sleep(0.1)
    now = state.read(project.run_dir)
    raise Unavailable(
        "stack.other_ended",
        f"Another `up` was starting, but ended: {(now and now.reason) or 'it was stopped'}.",
        hint="run it again",
    )


def _check_not_busy(lock: RunLock, pid: int) -> None:
    """Raise Conflict when the lock is held for something else than to run the stack, which must not be cut short."""
    if doing := lock.doing():
        raise Conflict(
            "stack.busy",
            f"Process {pid} works on the data of this stack: {doing}.",
            hint="wait until it has ended, then run this again",
        )


def run_detached(plan: Plan, *, talk: TextIO) -> int:
    """Start `up` in the background and return when it is healthy; the exit code. Raises Unavailable with its reason."""
    write_environment(plan.root, talk)
    project = open_project(plan.root)
    if RunLock(project.run_dir).holder() is not None:
        return wait_for_other(project, talk, metrics=plan.metrics)
    process, log, offset = _spawn_detached(plan, project)
    print(f"Starting in the background. Its log:\n  {log}", file=talk)
    try:
        while process.poll() is None:
            now = state.read(project.run_dir)
            if now and now.pid == process.pid and now.status in ("stopping", "failed"):
                process.wait()  # what it says at its end is told below
                break
            offset = _copy(log, offset, talk)
            if now and now.pid == process.pid and now.status == "healthy":
                time.sleep(0.1)
                _copy(log, offset, talk)
                process.returncode = 0  # it runs on without us: nothing to wait for, whatever Popen thinks
                return 0
            time.sleep(0.05)
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise
    if process.returncode == 0:  # it found another `up`, healthy
        _copy(log, offset, talk)
        return 0
    now = state.read(project.run_dir)
    reason = now.reason if now and now.pid == process.pid and now.reason else f"exit code {process.returncode}"
    hint = _copy_until(log, offset, talk, reason) or "drystone doctor looks for the cause"
    raise Unavailable(
        "stack.not_started",
        f"The stack did not start: {reason}",
        hint=f"{hint}; the whole story is in {log}",
    )


def _spawn_detached(plan: Plan, project: Project) -> tuple[subprocess.Popen[bytes], Path, int]:
    log = project.data_dir / "logs" / "detached.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = log.open("ab")
        log.chmod(0o600)
    except OSError as exc:
        raise Unavailable(
            "stack.folder_not_writable",
            f"{log} cannot be written: {exc.strerror}.",
            hint="make it writable, or set DRYSTONE_DATA_DIR to a folder that is",
        ) from exc
    with file:
        offset = file.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "drystone.stack", replace(plan, echo=False).to_json()],
            cwd=project.root,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    return process, log, offset


def _copy(log: Path, offset: int, talk: TextIO) -> int:
    """Write what was added to the file since `offset`; the new offset."""
    with log.open("rb") as file:
        file.seek(offset)
        added = file.read()
    talk.write(added.decode("utf-8", "replace"))
    talk.flush()
    return offset + len(added)


def _copy_until(log: Path, offset: int, talk: TextIO, reason: str) -> str:
    """Write what was added since `offset`, without the reason at its end, which whoever called tells; the hint that it has."""
    with log.open("rb") as file:
        file.seek(offset)
        added = file.read().decode("utf-8", "replace")
    story, found, hint = added.rpartition(f"{reason}\nhint: ")
    talk.write(story if found else added)
    talk.flush()
    return hint.strip() if found else ""


def running_url(project: Project) -> str | None:
    """Where the API of the running stack listens: a shell's API_PORT may have told only `up`. None when none runs."""
    now = state.read(project.run_dir)
    return now.url if now and RunLock(project.run_dir).holder() == now.pid else None


def take_down(project: Project, *, talk: TextIO) -> bool:
    """Stop the stack and wait until all is gone; False if nothing was running."""
    lock = RunLock(project.run_dir)
    pid = lock.holder()
    freeze.thaw(processes.run_prefix(project.data_dir))  # whoever halted them for a snapshot may have been killed
    if pid:
        _check_not_busy(lock, pid)
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)  # it may have been paused
        deadline = time.monotonic() + DOWN_TIMEOUT_S
        while lock.holder() == pid and time.monotonic() < deadline:
            time.sleep(0.05)
        if lock.holder() == pid:
            print(f"It does not stop: ending process {pid} by force.", file=talk)
            os.kill(pid, signal.SIGKILL)
    left = processes.end_run(processes.run_prefix(project.data_dir))
    if lock.killed() and lock.acquire():
        lock.release()  # what it left behind is gone, so its name may go too
    if left and not pid:
        print(f"Ended {left} processes that an earlier run had left behind.", file=talk)
    _check_not_served(project)
    return bool(pid or left)


@dataclass(frozen=True)
class Row:
    """One line of `status`."""

    name: str
    state: str
    pid: int | None
    port: int | None
    uptime_s: float | None
    restarts: int
    provider: str
    memory_bytes: int | None
    story: tuple[Restart, ...] = ()


def status(project: Project) -> tuple[RunState | None, list[Row]]:
    """The last run's state (None if there was none) with `status` told as it is now, and a row per service."""
    last = state.read(project.run_dir)
    if not last:
        return None, []
    runs = RunLock(project.run_dir).holder() == last.pid
    if not runs and last.status not in ("stopped", "failed"):
        last = replace(last, status="stopped", reason="it was killed")
    pids = {each.pid for each in last.services.values() if each.pid}
    names = list(last.services)
    by_us = names.index("honcho") + 1 if "honcho" in names else len(names)
    names[by_us:] = sorted(names[by_us:])  # honcho starts them in any order
    return last, [_row(name, last.services[name], runs, pids) for name in names]


def story(rows: list[Row]) -> list[tuple[Restart, list[str]]]:
    """All restarts in the order of time, each once, with the names of what was started again together."""
    told: dict[Restart, list[str]] = {}
    for row in rows:
        for restart in row.story:
            told.setdefault(restart, []).append(row.name)
    return sorted(told.items(), key=lambda each: each[0].at)


def _row(name: str, service: ServiceState, runs: bool, pids: set[int]) -> Row:
    alive = runs and service.pid is not None and processes.find(service.pid) is not None
    has_no_pid = service.state in ("external", "starting", "restarting")
    now_state = service.state if alive or (runs and has_no_pid) else "stopped"
    if alive and service.pid and processes.is_paused(service.pid):
        now_state = "paused"
    return Row(
        name=name,
        state=now_state,
        pid=service.pid if alive else None,
        port=service.port,
        uptime_s=time.time() - service.started_at if alive else None,
        restarts=len(service.restarts),
        provider=service.provider,
        memory_bytes=processes.memory_bytes(service.pid, without=pids) if alive and service.pid else None,
        story=service.restarts,
    )

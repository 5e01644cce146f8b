"""Our own processes: honcho with the Procfile as one child, and commands that run to their end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from drystone.core.errors import Unavailable
from drystone.core.settings import ApiSettings
from drystone.stack import ports, probes, processes
from drystone.stack.logs import Logs, split_honcho
from drystone.stack.patience import TELL_EVERY_S, Patience
from drystone.stack.supervise import Died, Stopped, how_it_ended, port_taken, told_end

# honcho ends its children by force five seconds after it asked them.
HONCHO_STOP_S = 7.0
HONCHO_NOTICES_S = 1.0
PORT_FREES_S = 3.0
LOOK_EVERY_S = 0.5
# Readiness asks the model and every server: asked all the time it would slow down what it waits for.
LOOK_AGAIN_S = 0.15
# A busy machine may take longer for an answer than one that has nothing else to do, whatever the answer is.
ANSWER_S = 5.0


@dataclass(frozen=True)
class Hook:
    """A command of a start-up.

    early: starts beside the servers instead of after them. held: its standard input ends when the servers are ready, so
    that it can load what it needs before.
    """

    name: str
    argv: tuple[str, ...]
    early: bool = False
    held: bool = False


def environment(merged: Mapping[str, str], root: Path) -> dict[str, str]:
    """What our processes see: the merged settings, and our programs first on PATH."""
    programs = str(Path(sys.executable).parent)
    return {
        **merged,
        "PATH": os.pathsep.join([programs, merged.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "DRYSTONE_ROOT": str(root),
    }


class App:
    """Honcho and what it runs, as one thing: it stops all when one ends, so it is started and stopped as a whole."""

    name = "app"

    def __init__(
        self,
        root: Path,
        procfile: Path,
        env: Mapping[str, str],
        *,
        ready_url: str,
        ready_timeout_s: float,
        api: ApiSettings,
        run_id: str,
        logs: Logs,
        stop: threading.Event,
        on_pid: Callable[[str, int], None] = lambda name, pid: None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.seconds = 0.0
        self._root = root
        self._procfile = procfile
        self._env = dict(env)
        self._ready_url = ready_url
        self._ready_timeout_s = ready_timeout_s
        self._api = api
        self._run_id = run_id
        self._logs = logs
        self._stop = stop
        self._on_pid = on_pid
        self._tell = tell
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None
        self._asked = threading.Event()
        self._first_end: str | None = None
        self._dead_since: float | None = None
        self._next_look = 0.0
        self._leaders: dict[str, int] = {}  # what honcho started

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it and return when the readiness URL answers 200. Raises Died, Unavailable or Stopped."""
        began = time.monotonic()
        # After kill -9 of honcho its children live on, and would hold the port.
        processes.end_app(self._run_id, sessions=self._leaders.values())
        if self._process:
            self._process.wait()
        self._leaders = {}
        self._dead_since = None
        self._wait_for_port()
        if self._stop.is_set():
            raise Stopped
        self._first_end = None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "honcho", "-e", os.devnull, "--no-colour", "-f", str(self._procfile), "start"],
            cwd=self._root,
            env=self._env | {"PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._on_pid("honcho", self._process.pid)
        self._pump = self._logs.follow("honcho", self._process, split=self._split)
        self._wait_ready()
        self.seconds = time.monotonic() - began

    def _wait_for_port(self) -> None:
        # What we have just ended may need a moment to be gone; a stranger stays.
        deadline = time.monotonic() + PORT_FREES_S
        while not ports.is_free(self._api.port, self._api.host):
            if time.monotonic() > deadline or self._stop.is_set():
                raise port_taken("API_PORT", self._api.port)
            time.sleep(0.05)

    def _check_it_is_ours(self) -> None:
        """Whoever took the port after we looked may answer as well as our own web process would."""
        holder = ports.holder(self._api.port)
        if holder is None and sys.platform != "linux":
            return  # nobody to ask; Linux would have shown us a process of our own
        if holder is None or holder.pid not in {each.pid for each in processes.marked(self._run_id)}:
            raise port_taken("API_PORT", self._api.port)

    def _split(self, line: str) -> tuple[str, str]:
        name, text = split_honcho(line)
        if name == "honcho":
            if started := re.fullmatch(r"([\w-]+)\.\d+ started \(pid=(\d+)\)", text):
                self._leaders[started[1]] = int(started[2])
                self._on_pid(started[1], int(started[2]))
            elif (ended := re.fullmatch(r"([\w-]+)\.\d+ stopped \(rc=(-?\d+)\)", text)) and not self._first_end:
                self._first_end = told_end(ended[1], int(ended[2]), self._logs)
        return name, text

    def _wait_ready(self) -> None:
        status: int | None = None
        patience = Patience(self._ready_timeout_s, work_s=lambda: self._work_s(status), tell=self._tell)
        while True:
            if self._stop.is_set():
                raise Stopped
            if (reason := self.death()) is not None:
                raise Died("stack.app_died", reason, service=self.name)
            status, why = probes.health(self._ready_url, timeout_s=ANSWER_S)
            if status == 200:
                self._check_it_is_ours()
                return
            answer = (f"answers {status}" if status else "does not answer") + (f": {why.rstrip('.')}" if why else "")
            if patience.is_over(status, what=f"{self._ready_url} {answer}"):
                raise Unavailable(
                    "stack.not_ready",
                    f"web and worker are not ready after {patience.waited_s:.0f} s, and nothing moves:"
                    f" {self._ready_url} {answer}.",
                    hint="see their logs: drystone logs web worker",
                    service=self.name,
                )
            self._stop.wait(LOOK_AGAIN_S)

    def _work_s(self, status: int | None) -> float:
        """What web and worker have used; once web answers, without web, which our own questions keep busy."""
        apart = [] if status is None else [pid for name, pid in self._leaders.items() if name == "web"]
        return processes.work_s(self._run_id, processes.APP, apart=apart)

    def death(self) -> str | None:
        """Which of its processes ended first, and how; None while it runs."""
        if not self._process:
            return None
        if self._process.poll() is None:
            return self._unnoticed_death()
        if self._pump:
            self._pump.join(timeout=0.5)
        return self._first_end or f"honcho {how_it_ended(self._process.returncode)}"

    def _unnoticed_death(self) -> str | None:
        """Honcho takes a process for alive while anything it started holds its output open; we look for ourselves."""
        if self._first_end or time.monotonic() < self._next_look:
            return None  # honcho has noticed, and is stopping the others
        self._next_look = time.monotonic() + LOOK_EVERY_S
        dead = [name for name, pid in self._leaders.items() if not processes.is_running(pid)]
        if not dead or not self._process:
            self._dead_since = None
            return None
        self._dead_since = self._dead_since or time.monotonic()
        if time.monotonic() - self._dead_since < HONCHO_NOTICES_S:
            return None
        code = processes.exit_code(self._leaders[dead[0]])
        how = "ended" if code is None else how_it_ended(code)
        return f"{dead[0]} {how}, and something it started still holds its output open"

    def wait_dead(self, stop: threading.Event) -> str | None:
        while not stop.is_set():
            if (reason := self.death()) is not None:
                return reason
            stop.wait(0.1)
        return None

    def was_asked(self) -> bool:
        asked = self._asked.is_set()
        self._asked.clear()
        return asked

    def reload(self) -> None:
        """End it well; whoever keeps it starts it again."""
        if self._process and self._process.poll() is None:
            self._asked.set()
            self._process.send_signal(signal.SIGTERM)

    def stop(self, hurry: threading.Event) -> None:
        """End it well, in a hurry by force; nothing it started is left."""
        if self._process and self._process.poll() is None and not hurry.is_set():
            self._process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + HONCHO_STOP_S
            while self._process.poll() is None and time.monotonic() < deadline and not hurry.is_set():
                time.sleep(0.02)
        processes.end_app(self._run_id, grace_s=0.0 if hurry.is_set() else 2.0, sessions=self._leaders.values())
        if self._process:
            self._process.wait()
        if self._pump:
            self._pump.join(timeout=2)


def run_hook(
    hook: Hook,
    root: Path,
    env: Mapping[str, str],
    *,
    logs: Logs,
    stop: threading.Event,
    go: threading.Event,
    tell: Callable[[str], None] = lambda text: None,
) -> float:
    """Run a command to its end; the seconds it took. Raises Unavailable if it failed, Stopped if it was called off.

    go: lets a held command go on.
    """
    began = told = time.monotonic()
    if stop.is_set():
        raise Stopped
    process = subprocess.Popen(
        hook.argv,
        cwd=root,
        env=dict(env),
        stdin=subprocess.PIPE if hook.held else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    pump = logs.follow(hook.name, process)
    while process.poll() is None and not stop.is_set():
        if process.stdin and go.is_set():
            process.stdin.close()
        if time.monotonic() - told >= TELL_EVERY_S:
            told = time.monotonic()
            tell(f"Still waiting after {told - began:.0f} s: {hook.name} runs.")
        time.sleep(0.02)
    if process.stdin:
        process.stdin.close()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise Stopped
    pump.join(timeout=2)
    if process.returncode != 0:
        raise Unavailable(
            "stack.hook_failed",
            f"{hook.name} {how_it_ended(process.returncode)}.",
            hint=f"see its log: drystone logs {hook.name}",
            service=hook.name,
        )
    return time.monotonic() - began

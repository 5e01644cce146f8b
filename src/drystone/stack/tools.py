"""What `up --with metrics` starts beside the stack: programs of PATH that nothing needs, kept like servers."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from drystone.stack import monitoring, ports, probes, processes
from drystone.stack.logs import Logs
from drystone.stack.patience import Patience
from drystone.stack.project import Project
from drystone.stack.services import LOOPBACK
from drystone.stack.supervise import (
    PORT_FREES_S,
    READY_TIMEOUT_S,
    Died,
    Stopped,
    port_taken,
    told_end,
    wait_until_ready,
)

STOP_S = 10.0


@dataclass(frozen=True)
class Recipe:
    """A tool: how it is started, and where it says that it is ready. argv: made at each start."""

    name: str
    variable: str
    port: int
    folder: Path
    argv: Callable[[], list[str]]
    ready_path: str
    environment: dict[str, str] = field(default_factory=dict)


def recipes(project: Project) -> list[Recipe]:
    """Prometheus, and Grafana where there is one. Raises Unavailable where there is no Prometheus."""
    own, folder = project.settings.monitoring, project.data_dir / "prometheus"
    monitoring.find_prometheus()
    found = [
        Recipe(
            "prometheus",
            "PROMETHEUS_PORT",
            own.prometheus_port,
            folder,
            lambda: monitoring.prometheus_argv(project, folder),
            "/-/ready",
        )
    ]
    of_grafana = project.data_dir / "grafana"
    if (program := monitoring.find_grafana()) is not None:
        environment = monitoring.grafana_environment(project, of_grafana)
        found.append(
            Recipe(
                "grafana",
                "GRAFANA_PORT",
                own.grafana_port,
                of_grafana,
                lambda: monitoring.grafana_argv(program, of_grafana),
                "/api/health",
                environment,
            )
        )
    return found


class Tool:
    """One tool of this run: a child process, started and stopped any number of times."""

    def __init__(self, recipe: Recipe, *, run_id: str, logs: Logs, stop: threading.Event) -> None:
        self.recipe = recipe
        self.name = recipe.name
        self.seconds = 0.0
        self.program = ""
        self._run_id = run_id
        self._logs = logs
        self._stop = stop
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it and return when it is ready. Raises Died, Unavailable, Conflict or Stopped."""
        began = time.monotonic()
        self._wait_for_port()
        argv = self.recipe.argv()
        self.program = argv[0]
        kept = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")
        environment = {name: os.environ[name] for name in kept if name in os.environ} | self.recipe.environment
        self._process = subprocess.Popen(
            argv,
            cwd=self.recipe.folder,
            env=environment | processes.mark(self._run_id, self.name),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._logs.follow(self.name, self._process)
        hint = f"see its log: drystone logs {self.name}"
        wait_until_ready(
            self.name,
            self._ask,
            patience=Patience(READY_TIMEOUT_S, longest=1),
            hint=hint,
            still_lives=self._still_lives,
            stop=self._stop,
        )
        self.seconds = time.monotonic() - began

    def _wait_for_port(self) -> None:
        deadline = time.monotonic() + (PORT_FREES_S if self._process else 0.0)
        while not ports.is_free(self.recipe.port):
            if time.monotonic() > deadline:
                raise port_taken(self.recipe.variable, self.recipe.port)
            time.sleep(0.05)

    def _ask(self) -> None:
        if probes.http_status(f"http://{LOOPBACK}:{self.recipe.port}{self.recipe.ready_path}") != 200:
            raise probes.NotYet("it does not answer yet")

    def _still_lives(self) -> None:
        if self._stop.is_set():
            raise Stopped
        if (reason := self.death()) is not None:
            raise Died("stack.tool_died", reason, service=self.name)

    def death(self) -> str | None:
        """How it ended, in words; None while it runs."""
        if self._process is None or self._process.poll() is None:
            return None
        return told_end(self.name, self._process.returncode, self._logs)

    def wait_dead(self, stop: threading.Event) -> str | None:
        while not stop.is_set():
            if (reason := self.death()) is not None:
                return reason
            stop.wait(0.1)
        return None

    def was_asked(self) -> bool:
        return False

    def stop(self, hurry: threading.Event) -> None:
        """Stop it well, in a hurry or after some seconds by force."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while self._process.poll() is None and time.monotonic() < deadline and not hurry.is_set():
            time.sleep(0.02)
        self._process.kill()
        self._process.wait()

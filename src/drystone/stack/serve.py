"""One server, or one process of the Procfile, in the foreground: for systemd and others who supervise instead of `up`.

This process becomes the server (exec), so whoever started us signals and waits for the real one.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from drystone.core.errors import Conflict, NotFound
from drystone.stack import app, fulldisk, guardian, probes, processes
from drystone.stack.patience import Patience
from drystone.stack.project import Project
from drystone.stack.services import ALL, Service
from drystone.stack.state import RunLock
from drystone.stack.supervise import (
    PORT_FREES_S,
    READY_TIMEOUT_S,
    Died,
    check_ports,
    make_folders,
    told_of_password,
    wait_until_ready,
)

SERVERS = {service.name: service for service in ALL}


def serve(project: Project, name: str) -> NoReturn:
    """Become the server or process `name`. Raises NotFound, Conflict and what preparing it raises."""
    if pid := RunLock(project.run_dir).holder():
        raise Conflict(
            "stack.is_up",
            f"{name} is not started: `up` runs on this data folder, as process {pid}.",
            hint="stop that one with ./drystone down",
        )
    if name in SERVERS:
        _become_server(project, SERVERS[name])
    _become_process(project, name)


def _become_server(project: Project, service: Service) -> NoReturn:
    settings = project.settings
    if service.is_external(settings):
        raise Conflict(
            "stack.is_external",
            f"{service.name} is not ours to start: the settings name a server that somebody else runs.",
            hint=f"leave it out, or change {service.variable}",
        )
    make_folders(project.data_dir)
    launch = service.launch(settings, project.data_dir, durable=True)
    check_ports(service, settings, patience_s=PORT_FREES_S)
    service.prepare(launch)
    argv = service.argv(launch)
    os.chdir(launch.folder)
    if service.stays_full:
        fulldisk.watch_myself(service.stays_full, launch.folder, guardian.import_path())
    marked = service.environment(launch) | _mark(project, service.name)
    os.execvpe(argv[0], argv, marked)  # noqa: S606  no shell is wanted


def _become_process(project: Project, name: str) -> NoReturn:
    commands = procfile(project.root)
    if name not in commands:
        raise NotFound(
            "stack.no_such_process",
            f"There is nothing called {name} to run.",
            hint=f"there is: {', '.join([*SERVERS, *commands])}",
        )
    os.chdir(project.root)
    marked = app.environment(project.environment, project.root) | _mark(project, processes.APP)
    os.execve("/bin/sh", ["sh", "-c", commands[name]], marked)  # noqa: S606


def _mark(project: Project, service: str) -> dict[str, str]:
    """By this a snapshot sees that the stack runs; `up` and `down` leave it alone."""
    return processes.mark(processes.served_run_id(project.data_dir), service)


def procfile(root: Path) -> dict[str, str]:
    """What the Procfile runs: name -> command."""
    from honcho.environ import parse_procfile

    return dict(parse_procfile((root / "Procfile").read_text(encoding="utf-8")).processes)


def wait(project: Project, name: str, *, timeout_s: float = READY_TIMEOUT_S, pid: int | None = None) -> None:
    """Return when `name` is ready; a server of ours has got its roles, database, extensions or bucket by then.

    pid: its process; when that is gone, waiting is over. Raises Unavailable, Died, Conflict or NotFound.
    """

    def still_lives() -> None:
        if pid is not None and not processes.is_running(pid):
            raise Died("stack.server_died", f"{name} ended before it was ready.", hint=_log_of(name), service=name)

    patience = Patience(timeout_s, longest=1)
    wait_until_ready(name, _question(project, name), patience=patience, still_lives=still_lives, hint=_log_of(name))


def _question(project: Project, name: str) -> Callable[[], None]:
    """What to ask whether it is ready."""
    if name == "web":
        return functools.partial(_ask_web, project)
    if name not in SERVERS:
        raise NotFound(
            "stack.no_such_server",
            f"Nobody can ask {name}.",
            hint=f"these can be asked: {', '.join([*SERVERS, 'web'])}",
        )
    return functools.partial(_ask_server, project, SERVERS[name])


def _ask_server(project: Project, service: Service) -> None:
    ask = service.check if service.is_external(project.settings) else service.ready
    with told_of_password(service):
        ask(project.settings)


def _ask_web(project: Project) -> None:
    # Not /health/ready: without a worker, or while a server is away, starting web anew would not help.
    url = f"{project.url}/health/live"
    if (status := probes.http_status(url)) != 200:
        raise probes.NotYet(f"{url} answers {status}" if status else f"{url} does not answer")


def _log_of(name: str) -> str:
    return f"see its log, under systemd: journalctl -u drystone-{name}"

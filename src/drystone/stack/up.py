"""`drystone up`: servers, migrations, web and worker, from nothing to healthy; and back to nothing at the end.

One thread directs; the main thread only waits for signals. Whoever holds the lock of the data folder is the one `up`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from drystone.core import settings as core_settings
from drystone.core.errors import Conflict, DrystoneError, Unavailable
from drystone.core.settings import Settings
from drystone.stack import app as own
from drystone.stack import dotenv, ports, processes, state
from drystone.stack.app import App, Hook
from drystone.stack.data import freeze
from drystone.stack.keeper import Keeper
from drystone.stack.logs import Logs, Terminal
from drystone.stack.state import Restart, RunLock, RunState, ServiceState, StateFile
from drystone.stack.supervise import Server, Servers, Stopped, how_it_ended, port_taken

CLI = (sys.executable, "-m", "drystone.cli.main")
# Both load their libraries while the servers start.
HOOKS = (
    Hook("migrate", (*CLI, "db", "migrate", "--held"), early=True, held=True),
    Hook("model", (*CLI, "model", "prepare"), early=True),
)
HEALTHY_TIMEOUT_S = 180.0
DOWN_TIMEOUT_S = 30.0
STOPPED_EARLY = 130


@dataclass(frozen=True)
class Plan:
    """What to bring up.

    procfile: default <root>/Procfile. ready_url: answers 200 when web and worker are healthy; default /health/ready of
    the API. durable: False for throw-away stacks. echo: repeat all logs on standard output.
    """

    root: Path
    procfile: Path | None = None
    hooks: tuple[Hook, ...] = HOOKS
    ready_url: str | None = None
    reload: bool = False
    durable: bool = True
    echo: bool = True
    healthy_timeout_s: float = HEALTHY_TIMEOUT_S

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        raw: dict[str, Any] = json.loads(text)
        hooks = tuple(Hook(**each | {"argv": tuple(each["argv"])}) for each in raw.pop("hooks", []))
        procfile = raw.pop("procfile", None)
        return cls(root=Path(raw.pop("root")), hooks=hooks, procfile=Path(procfile) if procfile else None, **raw)


@dataclass(frozen=True)
class Project:
    """A project's folder with its settings, as every stack command needs it."""

    root: Path
    environment: dict[str, str]
    settings: Settings

    @property
    def data_dir(self) -> Path:
        return self.settings.general.data_dir

    @property
    def run_dir(self) -> Path:
        return self.data_dir / "run"

    @property
    def url(self) -> str:
        api = self.settings.api
        host = "127.0.0.1" if api.host in ("0.0.0.0", "::") else api.host  # noqa: S104  compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{api.port}"


def open_project(root: Path, *, shell: Mapping[str, str] | None = None) -> Project:
    """Read a project's settings from `.env` and the shell (default: ours). Raises SettingsError or Invalid."""
    root = root.resolve()
    environment = dotenv.read(root / ".env", os.environ if shell is None else shell)
    return Project(root, environment, core_settings.absolute(core_settings.parse(environment), root))


def write_environment(root: Path, talk: TextIO, *, ports: dotenv.PortChoice = "free") -> None:
    """Write `.env`, or add what it lacks, and say so."""
    path = root / ".env"
    data_dir = Path(os.environ.get("DRYSTONE_DATA_DIR") or core_settings.DATA_DIR)
    pid = RunLock(root / data_dir / "run").holder() if not path.exists() else None
    if pid:
        raise Conflict(
            "stack.env_lost",
            f"{path} is gone, while process {pid} runs the stack that was started with it.",
            hint="put it back; or run ./drystone down first, and then up, which writes another",
        )
    if dotenv.create(path, ports=ports):
        print("Wrote .env with new secrets.", file=talk)
    elif added := dotenv.complete(path, os.environ, ports=ports):
        print(f"Added to .env: {', '.join(added)}.", file=talk)


def run(plan: Plan, *, out: TextIO, talk: TextIO) -> int:
    """Bring the stack up, stay, and take it down when asked; the exit code.

    out: the logs go there. talk: what we ourselves have to say. Raises DrystoneError when it cannot be brought up or
    kept up; then everything has been stopped.
    """
    write_environment(plan.root, talk)
    project = open_project(plan.root)
    lock = RunLock(project.run_dir)
    if not lock.acquire():
        return wait_for_other(project, talk)
    try:
        _check_not_served(project)
        return _Run(plan, project, out, talk).run()
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


class _Run:
    """One run of the stack, from taking the lock to letting go of it."""

    def __init__(self, plan: Plan, project: Project, out: TextIO, talk: TextIO) -> None:
        self._plan = plan
        self._project = project
        self._talk = Terminal(talk)
        self._out = Terminal(out) if plan.echo else None
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._signals: list[int] = []
        self._failure: DrystoneError | None = None
        self._crash: BaseException | None = None
        self._changed = threading.Event()
        self._healthy = threading.Event()
        self._servers_ready = threading.Event()
        self._keepers: list[Keeper] = []
        self._hook_seconds: dict[str, float] = {}
        self._began = time.monotonic()
        self._logs = Logs(project.data_dir / "logs", self._out)
        self._servers = Servers(
            project.settings,
            project.root,
            durable=plan.durable,
            logs=self._logs,
            stop=self._stop,
            hurry=self._hurry,
            on_ready=self._server_ready,
        )
        run_id = self._servers.run_id
        self._state = StateFile(
            project.run_dir / "state.json",
            RunState(
                run_id,
                os.getpid(),
                project.url,
                started_at=time.time(),
                services={server.name: ServiceState(port=server.port) for server in self._servers}
                | {processes.GUARDIAN: ServiceState()},
            ),
        )
        self._env = own.environment(project.environment, project.root) | processes.mark(run_id, processes.APP)
        self._app = App(
            project.root,
            plan.procfile or project.root / "Procfile",
            self._env,
            ready_url=plan.ready_url or f"{project.url}/health/ready",
            ready_timeout_s=plan.healthy_timeout_s,
            api=project.settings.api,
            run_id=run_id,
            logs=self._logs,
            stop=self._stop,
            on_pid=self._app_process_started,
        )

    def run(self) -> int:
        with self._signals_noted():
            director = threading.Thread(target=self._direct, name="director")
            director.start()
            while director.is_alive():
                director.join(0.1)
                # An Event must not be set inside a signal handler: its lock may be held by the interrupted code.
                if self._signals:
                    self._stop.set()
                if len(self._signals) > 1:
                    self._hurry.set()
        return self._end()

    @contextlib.contextmanager
    def _signals_noted(self) -> Iterator[None]:
        def note(signum: int, frame: FrameType | None) -> None:
            self._signals.append(signum)

        before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _direct(self) -> None:
        try:
            self._state.set()
            self._clean_up_after_the_last()
            self._start()
            while not self._stop.wait(0.25):
                self._watch_guardian()
        except Stopped:
            pass
        except DrystoneError as exc:
            self._failure = self._failure or exc
        except BaseException as exc:  # noqa: BLE001  raised again in the main thread, when everything is stopped
            self._crash = exc
        finally:
            self._shut_down()

    def _clean_up_after_the_last(self) -> None:
        if count := processes.end_run(processes.run_prefix(self._project.data_dir)):
            self._say(f"Ended {count} processes that an earlier run had left behind.")

    def _start(self) -> None:
        api = self._project.settings.api
        if not ports.is_free(api.port, api.host):
            raise port_taken("API_PORT", api.port)
        with ThreadPoolExecutor(max_workers=4) as pool:
            early = [pool.submit(self._run_hook, hook) for hook in self._plan.hooks if hook.early]
            try:
                self._servers.start()
                self._guardian_ready()
                self._servers_ready.set()
                for hook in self._plan.hooks:
                    if not hook.early:
                        self._run_hook(hook)
                _raise_first(early)
            except BaseException:
                self._stop.set()
                raise
        self._keep_all()

    def _run_hook(self, hook: Hook) -> None:
        env = self._env | {processes.SERVICE: processes.HOOK}
        self._hook_seconds[hook.name] = own.run_hook(
            hook, self._project.root, env, logs=self._logs, stop=self._stop, go=self._servers_ready
        )
        self._say(f"{hook.name:<9} done   {self._hook_seconds[hook.name]:5.1f} s")

    def _keep_all(self) -> None:
        for server in self._servers:
            if not server.is_external:
                self._keep(server, start_first=False)
        self._keep(self._app, start_first=True, revive=self._changed if self._plan.reload else None)
        if self._plan.reload:
            threading.Thread(target=self._watch_source, name="reload", daemon=True).start()

    def _keep(self, kept: Server | App, *, start_first: bool, revive: threading.Event | None = None) -> None:
        keeper = Keeper(
            kept,
            self._stop,
            start_first=start_first,
            on_restart=self._restarting,
            on_ready=self._app_ready if kept is self._app else self._server_back,
            give_up=self._give_up,
            revive=revive,
        )
        self._keepers.append(keeper)
        keeper.start()

    def _watch_source(self) -> None:
        import watchfiles

        for _ in watchfiles.watch(self._project.root / "src", stop_event=self._stop, raise_interrupt=False):
            self._say("The source has changed: web and worker start anew.")
            self._changed.set()
            self._app.reload()

    # What happens on the way is told to whoever watches: state.json for programs, a line for people.

    def _server_ready(self, server: Server) -> None:
        self._state.service(
            server.name,
            state="external" if server.is_external else "ready",
            pid=server.pid,
            port=server.port,
            provider=server.provider,
            started_at=time.time(),
            seconds=round(server.seconds, 3),
        )
        self._say(f"{server.name:<9} ready  {server.seconds:5.1f} s  port {server.port}, {server.provider}")

    def _server_back(self, name: str) -> None:
        self._server_ready(self._servers[name])

    def _app_process_started(self, name: str, pid: int) -> None:
        port = self._project.settings.api.port if name == "web" else None
        self._state.service(name, state="starting", pid=pid, port=port, started_at=time.time())

    def _app_ready(self, name: str) -> None:
        for process in ["honcho", *self._app_processes()]:
            self._state.service(process, state="ready", seconds=round(self._app.seconds, 3))
        seconds = round(time.monotonic() - self._began, 3)
        self._say(f"web and worker ready {self._app.seconds:.1f} s")
        if not self._healthy.is_set():
            self._say(self._summary(seconds))  # before the state: who waits for that shows what was said until then
            self._state.set(status="healthy", seconds=seconds)
            self._healthy.set()

    def _app_processes(self) -> list[str]:
        kept = {server.name for server in self._servers} | {processes.GUARDIAN, "honcho"}
        return [name for name in self._state.state.services if name not in kept]

    def _restarting(self, name: str, reason: str) -> None:
        self._say(f"{reason}. Starting {'web and worker' if name == 'app' else name} again.")
        restart = Restart(time.time(), reason)
        for each in ["honcho", *self._app_processes()] if name == "app" else [name]:
            self._state.service(each, state="restarting", restarted=restart)

    def _guardian_ready(self) -> None:
        self._state.service(processes.GUARDIAN, state="ready", pid=self._servers.guardian.pid, started_at=time.time())

    def _watch_guardian(self) -> None:
        if (code := self._servers.guardian.ensure()) is not None:
            self._restarting(processes.GUARDIAN, f"guardian {how_it_ended(code)}")
            self._guardian_ready()

    def _give_up(self, error: DrystoneError) -> None:
        self._failure = self._failure or error
        self._stop.set()

    def _summary(self, seconds: float) -> str:
        url = self._project.url
        return "\n".join(
            [
                "",
                f"Healthy after {seconds:.1f} s.",
                "",
                f"  API    {url}/api/v1",
                f"  docs   {url}/docs",
                "  next   ./drystone add PATH   and   ./drystone search QUESTION",
                f"  stop   {'Ctrl-C' if self._plan.echo else './drystone down'}",
                "",
            ]
        )

    def _say(self, text: str) -> None:
        self._logs.write_file("up", text)
        self._talk.say(text)

    # The end.

    def _shut_down(self) -> None:
        self._stop.set()
        self._state.set(status="stopping")
        self._say("Stopping.")
        for keeper in self._keepers:
            keeper.join()
        self._app.stop(self._hurry)
        self._servers.stop()
        error = self._failure or self._crash
        services = {name: replace(each, state="stopped", pid=None) for name, each in self._state.state.services.items()}
        self._state.set(
            status="failed" if error else "stopped",
            reason=self._failure.message if self._failure else repr(self._crash) if self._crash else "",
            services=services,
        )
        self._say("Stopped.")

    def _end(self) -> int:
        if self._failure:
            self._tell_last_lines(str(self._failure.values.get("service", "")))
        for terminal in (self._out, self._talk):
            if terminal:
                terminal.close()
        self._logs.close()
        if error := self._failure or self._crash:
            raise error
        return 0 if self._healthy.is_set() else STOPPED_EARLY

    def _tell_last_lines(self, service: str) -> None:
        for name in self._app_processes() if service == "app" else [service]:
            if lines := self._logs.last(name, 15):
                self._talk.say(f"The last lines of {name}:")
                for line in lines:
                    self._talk.say(f"  {line}")


def _raise_first(futures: list[Future[None]]) -> None:
    for future in futures:
        future.result()


# --- from outside: the other commands ---


def wait_for_other(project: Project, talk: TextIO) -> int:
    """Say that the stack is up already, after waiting for it if it is still starting; the exit code."""
    lock = RunLock(project.run_dir)
    while (pid := lock.holder()) is not None:
        _check_not_busy(lock, pid)
        now = state.read(project.run_dir)
        if now and now.pid == pid and now.status == "healthy":
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
        return wait_for_other(project, talk)
    process, log, offset = _spawn_detached(plan, project)
    print(f"Starting in the background; its words are in {log}.", file=talk)
    try:
        while process.poll() is None:
            offset = _copy(log, offset, talk)
            now = state.read(project.run_dir)
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
    _copy(log, offset, talk)
    if process.returncode == 0:  # it found another `up`, healthy
        return 0
    now = state.read(project.run_dir)
    reason = now.reason if now and now.pid == process.pid and now.reason else f"exit code {process.returncode}"
    raise Unavailable(
        "stack.not_started",
        f"The stack did not start: {reason}",
        hint=f"the whole story is in {log}; drystone doctor looks for the cause",
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

"""`drystone up`: servers, migrations, web and worker, from nothing to healthy; and back to nothing at the end.

One thread directs; the main thread only waits for signals.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from drystone.core.errors import DrystoneError
from drystone.stack import app as own
from drystone.stack import ports, processes, tools
from drystone.stack.app import App, Hook
from drystone.stack.keeper import Keeper
from drystone.stack.logs import Logs, Terminal
from drystone.stack.project import Project
from drystone.stack.state import Restart, RunState, ServiceState, StateFile
from drystone.stack.supervise import Server, Servers, Stopped, how_it_ended, port_taken
from drystone.stack.tools import Tool

CLI = (sys.executable, "-m", "drystone.cli.main")
# Both load their libraries while the servers start.
HOOKS = (
    Hook("migrate", (*CLI, "db", "migrate", "--held"), early=True, held=True),
    Hook("model", (*CLI, "model", "prepare"), early=True),
)
# Without any progress; while there is some, `up` waits on.
HEALTHY_TIMEOUT_S = 180.0
STOPPED_EARLY = 130


@dataclass(frozen=True)
class Plan:
    """What to bring up.

    procfile: default <root>/Procfile. ready_url: answers 200 when web and worker are healthy; default /health/ready of
    the API. durable: False for throw-away stacks. echo: repeat all logs on standard output. metrics: Prometheus too.
    """

    root: Path
    procfile: Path | None = None
    hooks: tuple[Hook, ...] = HOOKS
    ready_url: str | None = None
    reload: bool = False
    durable: bool = True
    echo: bool = True
    metrics: bool = False
    healthy_timeout_s: float = HEALTHY_TIMEOUT_S

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        raw: dict[str, Any] = json.loads(text)
        hooks = tuple(Hook(**each | {"argv": tuple(each["argv"])}) for each in raw.pop("hooks", []))
        procfile = raw.pop("procfile", None)
        return cls(root=Path(raw.pop("root")), hooks=hooks, procfile=Path(procfile) if procfile else None, **raw)


class Run:
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
            tell=self._say,
        )
        run_id = self._servers.run_id
        self._tools = [
            Tool(recipe, run_id=run_id, logs=self._logs, stop=self._stop)
            for recipe in (tools.recipes(project) if plan.metrics else ())
        ]
        self._state = StateFile(
            project.run_dir / "state.json",
            RunState(
                run_id,
                os.getpid(),
                project.url,
                started_at=time.time(),
                services={server.name: ServiceState(port=server.port) for server in self._servers}
                | {tool.name: ServiceState(port=tool.recipe.port) for tool in self._tools}
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
            tell=self._say,
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
            hook, self._project.root, env, logs=self._logs, stop=self._stop, go=self._servers_ready, tell=self._say
        )
        self._say(f"{hook.name:<9} done   {self._hook_seconds[hook.name]:5.1f} s")

    def _keep_all(self) -> None:
        for server in self._servers:
            if not server.is_external:
                self._keep(server, start_first=False)
        for tool in self._tools:
            self._keep(tool, start_first=True)
        self._keep(self._app, start_first=True, revive=self._changed if self._plan.reload else None)
        if self._plan.reload:
            threading.Thread(target=self._watch_source, name="reload", daemon=True).start()

    def _keep(self, kept: Server | App | Tool, *, start_first: bool, revive: threading.Event | None = None) -> None:
        keeper = Keeper(
            kept,
            self._stop,
            start_first=start_first,
            on_restart=self._restarting,
            on_ready=self._told_ready(kept),
            give_up=partial(self._go_on_without, kept) if isinstance(kept, Tool) else self._give_up,
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

    def _told_ready(self, kept: Server | App | Tool) -> Callable[[str], None]:
        if isinstance(kept, Tool):
            return lambda _name: self._tool_ready(kept)
        return self._app_ready if kept is self._app else self._server_back

    def _tool_ready(self, tool: Tool) -> None:
        self._state.service(
            tool.name,
            state="ready",
            pid=tool.pid,
            port=tool.recipe.port,
            provider=tool.program,
            started_at=time.time(),
            seconds=round(tool.seconds, 3),
        )
        self._say(f"{tool.name:<9} ready  {tool.seconds:5.1f} s  http://127.0.0.1:{tool.recipe.port}")

    def _go_on_without(self, tool: Tool, error: DrystoneError) -> None:
        """Nothing needs a tool: the stack runs on."""
        self._state.service(tool.name, state="stopped", pid=None)
        self._say(f"Going on without {tool.name}: {error}")

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
        kept = {each.name for each in (*self._servers, *self._tools)} | {processes.GUARDIAN, "honcho"}
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
                f"  pages  {url}/",
                f"  API    {url}/api/v1",
                f"  docs   {url}/docs",
                "  key    DRYSTONE_API_KEY in .env: sign in to the pages with it",
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
        has_started = any(each.pid for each in self._state.state.services.values())
        if has_started:
            self._say("Stopping.")
        for keeper in self._keepers:
            keeper.join()
        for tool in self._tools:
            tool.stop(self._hurry)
        self._app.stop(self._hurry)
        self._servers.stop()
        error = self._failure or self._crash
        services = {name: replace(each, state="stopped", pid=None) for name, each in self._state.state.services.items()}
        self._state.set(
            status="failed" if error else "stopped",
            reason=self._failure.message if self._failure else repr(self._crash) if self._crash else "",
            services=services,
        )
        if has_started:
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

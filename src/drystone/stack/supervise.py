"""Starts, asks, stops and restarts the three servers as direct children.

    with Servers(settings, root) as servers:
        ...

gives running servers with roles, database, extensions and bucket, and leaves nothing behind, also when it is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from drystone.core.errors import Conflict, DrystoneError, Invalid, Unavailable
from drystone.core.settings import Settings, absolute
from drystone.stack import ports, probes, processes
from drystone.stack.data import swap
from drystone.stack.fulldisk import FullDisk
from drystone.stack.guardian import Guardian
from drystone.stack.logs import Logs
from drystone.stack.patience import Patience
from drystone.stack.services import ALL, Launch, Service

# With the same answer all the time.
READY_TIMEOUT_S = 60.0
# A cluster that recovers from its log says so and may take its time.
RECOVERY_TIMEOUT_S = 600.0
PORT_FREES_S = 3.0
# After kill -9 PostgreSQL refuses its folder until the kernel has let go of the old one's memory.
STALE_RETRY_S = 10.0
STALE = re.compile(
    r"lock file .* already exists|pre-existing shared memory block|is already in use|Address already in use"
)
# Variables that name the same server: a port is changed in both.
SAME_PORT = {"DATABASE_URL": ("MIGRATION_DATABASE_URL",), "REDIS_URL": ("CELERY_BROKER_URL",)}
MIN_FREE_BYTES = 200_000_000


class Stopped(Exception):
    """The start was called off."""


class Died(Unavailable):
    """A process ended by itself; the message says how."""


class Server:
    """One server of this run: a child process, started and stopped any number of times."""

    def __init__(
        self,
        service: Service,
        settings: Settings,
        data_dir: Path,
        *,
        run_id: str,
        logs: Logs,
        durable: bool,
        stop: threading.Event,
        hurry: threading.Event,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.service = service
        self.name = service.name
        self.seconds = 0.0
        self.is_external = service.is_external(settings)
        self._settings = settings
        self._data_dir = data_dir
        self._run_id = run_id
        self._logs = logs
        self._durable = durable
        self._stop = stop
        self._hurry = hurry
        self._tell = tell
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None
        self._launch: Launch | None = None
        self._port_was_ours = False
        self._was_asked_to_stop = False
        self._full_disk = FullDisk(service.stays_full, data_dir / service.name) if service.stays_full else None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def port(self) -> int:
        return self.service.ports(self._settings)[0]

    @property
    def provider(self) -> str:
        return str(self._launch.program) if self._launch else "external"

    def start(self) -> None:
        """Start it and return when it is ready. Raises Died, Unavailable, Conflict or Stopped."""
        began = time.monotonic()
        if self.is_external:
            with told_of_password(self.service):
                self._wait(lambda: self.service.check(self._settings), READY_TIMEOUT_S)
        else:
            self._start()
        self.seconds = time.monotonic() - began

    def _start(self) -> None:
        self._launch = launch = self.service.launch(self._settings, self._data_dir, durable=self._durable)
        # Our own last process may need a moment to be gone; a stranger's port is told at once.
        check_ports(self.service, self._settings, patience_s=PORT_FREES_S if self._port_was_ours else 0.0)
        self.service.prepare(launch)
        deadline = time.monotonic() + STALE_RETRY_S
        while True:
            self._spawn(launch)
            try:
                self._wait(lambda: self.service.ready(self._settings), READY_TIMEOUT_S)
            except Died:
                said = "\n".join(self._logs.last(self.name, 5))
                if not STALE.search(said) or time.monotonic() > deadline or self._stop.wait(0.25):
                    raise
            except probes.WrongPassword as exc:
                self._repair(launch, exc)
            except BaseException:
                self.stop()
                raise
            else:
                return

    def _spawn(self, launch: Launch) -> None:
        if self._stop.is_set():
            raise Stopped
        self._process = subprocess.Popen(
            self.service.argv(launch),
            env=self.service.environment(launch) | processes.mark(self._run_id, self.name),
            cwd=launch.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us: we stop the servers when nobody needs them any more
        )
        self._port_was_ours = True
        self._was_asked_to_stop = False
        listen = self._full_disk.listen if self._full_disk else None
        self._pump = self._logs.follow(self.name, self._process, listen=listen)

    def _wait(self, ask: Callable[[], None], timeout_s: float) -> None:
        """Ask until the server is ready, dead or late."""

        def still_lives() -> None:
            if self._stop.is_set():
                raise Stopped
            if (reason := self.death()) is not None:
                raise Died("stack.server_died", reason, service=self.name)

        hint = f"see its log: drystone logs {self.name}"
        if self.is_external:
            hint = not_running(self.service)
        patience = Patience(timeout_s, tell=self._tell)  # its work is no sign: to be asked keeps it busy
        wait_until_ready(self.name, ask, patience=patience, hint=hint, still_lives=still_lives, stop=self._stop)

    def _repair(self, launch: Launch, wrong: probes.WrongPassword) -> None:
        self.stop()
        if not self.service.repair:
            with told_of_password(self.service):
                raise wrong
        self._logs.write(self.name, "drystone: the password in the settings is new; setting it in the data folder")
        self.service.repair(launch)

    def death(self) -> str | None:
        """How it ended, in words; None while it runs."""
        if not self._process or self._process.poll() is None:
            return None
        if self._pump:
            self._pump.join(timeout=0.5)
        return told_end(self.name, self._process.returncode, self._logs)

    def wait_dead(self, stop: threading.Event) -> str | None:
        """Wait until it ended; how, or None if `stop` was set before. One that does not get over a full disk is stopped."""
        while not stop.is_set():
            if (reason := self.death()) is not None:
                return reason
            if self._full_disk and self._full_disk.is_over():
                self.stop()
                return f"{self.name} says that its disk is full, and there is room again"
            stop.wait(0.05)
        return None

    def was_asked(self) -> bool:
        return False

    def ask_to_stop(self) -> None:
        """Begin to stop it well. Asks once: a second signal makes some servers hang or forget their manners."""
        if self._process and self._process.poll() is None and not self._was_asked_to_stop and not self._hurry.is_set():
            self._was_asked_to_stop = True
            self._process.send_signal(self.service.stop_signal)

    def stop(self) -> None:
        """Stop it well, or at once in a hurry; by force if that does not help."""
        self.ask_to_stop()
        self._wait_stopped(self.service.stop_s, patient=True)
        for signum, wait_s in ((self.service.quit_signal, 3.0), (signal.SIGKILL, 5.0)):
            if self._process and self._process.poll() is None:
                self._logs.write(self.name, f"drystone: it does not stop; sending {signum.name}")
                self._process.send_signal(signum)
                self._wait_stopped(wait_s, patient=False)
        if self._pump:
            self._pump.join(timeout=2)

    def _wait_stopped(self, timeout_s: float, *, patient: bool) -> None:
        deadline = time.monotonic() + timeout_s
        while self._process and self._process.poll() is None and time.monotonic() < deadline:
            if patient and self._hurry.is_set():
                return
            time.sleep(0.01)

    def kill(self, signum: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal, as a fault would; returns when the process itself is gone if the signal was SIGKILL."""
        assert self._process
        self._process.send_signal(signum)
        if signum == signal.SIGKILL:
            self._process.wait()


class Servers:
    """The three servers, started in parallel and ready inside the `with` block; a guardian ends them if we are killed.

    durable: False gives up safety against power loss, for throw-away stacks. logs: where they speak; default: files
    only. stop: calls off a start. hurry: makes a stop one by force. The caller sees to it that nobody else uses the data
    folder at the same time.
    """

    def __init__(
        self,
        settings: Settings,
        root: Path,
        *,
        durable: bool = True,
        logs: Logs | None = None,
        stop: threading.Event | None = None,
        hurry: threading.Event | None = None,
        on_ready: Callable[[Server], None] = lambda server: None,
        tell: Callable[[str], None] = lambda text: None,
        services: Sequence[Service] = ALL,
    ) -> None:
        self.settings = absolute(settings, root)
        self.data_dir = self.settings.general.data_dir
        self.run_id = processes.new_run_id(self.data_dir)
        self.logs = logs or Logs(self.data_dir / "logs")
        self.guardian = Guardian(self.run_id, self.data_dir / "logs" / "guardian.log")
        self._stop = stop or threading.Event()
        hurry = hurry or threading.Event()
        self._on_ready = on_ready
        self._servers = {
            service.name: Server(
                service,
                self.settings,
                self.data_dir,
                run_id=self.run_id,
                logs=self.logs,
                durable=durable,
                stop=self._stop,
                hurry=hurry,
                tell=tell,
            )
            for service in services
        }

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __iter__(self) -> Iterator[Server]:
        return iter(self._servers.values())

    def __getitem__(self, name: str) -> Server:
        return self._servers[name]

    @property
    def seconds(self) -> dict[str, float]:
        """From start to ready, of each server's last start."""
        return {name: server.seconds for name, server in self._servers.items()}

    def pid(self, name: str) -> int:
        pid = self._servers[name].pid
        assert pid is not None
        return pid

    def start(self) -> None:
        """Start all; if one fails, its error is raised and the others are called off."""
        make_folders(self.data_dir)
        for server in self._servers.values():
            if server.is_external:
                continue
            for port in server.service.ports(self.settings):
                if port > ports.LAST:
                    raise Invalid(
                        "stack.port_range",
                        f"{server.service.variable} makes {server.name} listen on port {port} too, which does not exist.",
                        hint=f"choose a port below {ports.LAST - 10_008}: the S3 store needs eight neighbours and +10008",
                    )
                if not ports.is_free(port):
                    raise port_taken(server.service.variable, port)
        self.guardian.start()
        called_off = self._stop
        with ThreadPoolExecutor(max_workers=len(self._servers)) as pool:
            futures = [pool.submit(self._start_one, server) for server in self._servers.values()]
            try:
                errors = [error for future in futures if (error := future.exception())]
            except BaseException:
                called_off.set()
                raise
        for error in sorted(errors, key=lambda each: isinstance(each, Stopped)):
            raise error

    def _start_one(self, server: Server) -> None:
        try:
            server.start()
        except BaseException:
            self._stop.set()  # the others need not go on
            raise
        self._on_ready(server)

    def stop(self) -> None:
        """Stop all, in reverse order, and wait until they are gone; anything left is ended by force."""
        servers = list(reversed(self._servers.values()))
        for server in servers:
            server.ask_to_stop()
        for server in servers:
            server.stop()
        processes.end_servers(self.run_id, grace_s=1.0)
        for server in servers:
            if server.service.clean and not server.is_external:
                server.service.clean(self.settings)
        self.guardian.dismiss()
        self.logs.close()

    def restart(self, name: str) -> None:
        """Stop one server well and start it again."""
        self._servers[name].stop()
        self._servers[name].start()

    def kill(self, name: str, signum: signal.Signals = signal.SIGKILL) -> None:
        """Let one server die, as a fault would; nothing starts it again but `start_again`."""
        self._servers[name].kill(signum)

    def start_again(self, name: str) -> None:
        """Start a server that was killed."""
        self._servers[name].start()


def make_folders(data_dir: Path) -> None:
    """Make the data folder and what is always in it. Raises Unavailable, also when the disk is nearly full."""
    try:
        for folder in (data_dir, data_dir / "logs", data_dir / "run"):
            folder.mkdir(parents=True, exist_ok=True)
        with (data_dir / "run" / "swap.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # a service manager starts several servers at once
            swap.finish(data_dir)
        free = shutil.disk_usage(data_dir).free
    except OSError as exc:
        raise Unavailable(
            "stack.folder_not_writable",
            f"{exc.filename or data_dir} cannot be made: {exc.strerror}.",
            hint="make the folder writable, or set DRYSTONE_DATA_DIR to one that is",
        ) from exc
    if free < MIN_FREE_BYTES:
        raise Unavailable(
            "stack.disk_full",
            f"Only {free // 1_000_000} MB are free on the disk of {data_dir}.",
            hint="free some space, or set DRYSTONE_DATA_DIR to another disk",
        )


def check_ports(service: Service, settings: Settings, *, patience_s: float = 0.0) -> None:
    """Raise Conflict if a port of the server is still taken after patience_s."""
    deadline = time.monotonic() + patience_s
    for port in service.ports(settings):
        while not ports.is_free(port):
            if time.monotonic() > deadline:
                raise port_taken(service.variable, port)
            time.sleep(0.05)


def prepare_running(settings: Settings) -> Iterator[tuple[str, float]]:
    """Make roles, database, extensions and bucket in servers that run already, whoever started them, and ask each.

    Gives each service's name and the seconds it took. Raises Unavailable, Conflict, Invalid.
    """
    if not settings.database.superuser_password.get_secret_value():
        raise Invalid(
            "stack.no_superuser_password",
            "Roles, database and extensions are made by PostgreSQL's superuser, whose password is not known.",
            hint="set POSTGRES_SUPERUSER_PASSWORD in .env or in the shell",
        )
    for service in ALL:
        began = time.monotonic()
        with told_of_password(service):
            ask = functools.partial(service.ready, settings)
            wait_until_ready(
                service.name, ask, patience=Patience(READY_TIMEOUT_S, longest=1), hint=not_running(service)
            )
        yield service.name, time.monotonic() - began


def not_running(service: Service) -> str:
    """The hint for a server that is not ours to start."""
    return f"it is not ours to start: does it run, and is {service.variable} right?"


def wait_until_ready(
    name: str,
    ask: Callable[[], None],
    *,
    patience: Patience,
    hint: str,
    still_lives: Callable[[], None] = lambda: None,
    stop: threading.Event | None = None,
) -> None:
    """Ask until there is no NotYet. still_lives: raises when asking on is useless. Raises Unavailable when patience is over."""
    stop, pause_s = stop or threading.Event(), 0.02
    while True:
        still_lives()
        try:
            return ask()
        except probes.NotYet as exc:
            quiet_s = RECOVERY_TIMEOUT_S if "starting up" in str(exc) else None
            if patience.is_over(str(exc), what=f"{name}: {exc}", quiet_s=quiet_s):
                raise Unavailable(
                    "stack.not_ready",
                    f"{name} was not ready after {patience.waited_s:.0f} s: {exc}.",
                    hint=hint,
                    service=name,
                ) from exc
        stop.wait(pause_s)
        pause_s = min(pause_s * 1.3, 0.1)


@contextlib.contextmanager
def told_of_password(service: Service) -> Iterator[None]:
    """Turns the WrongPassword of a probe into an error for people."""
    try:
        yield
    except probes.WrongPassword as exc:
        if 'user "postgres"' in str(exc):
            raise Conflict(
                "stack.wrong_password",
                f"postgres does not accept the password in POSTGRES_SUPERUSER_PASSWORD: {exc}.",
                hint="correct it in .env: it is the one of the superuser `postgres` of that server",
            ) from exc
        raise Conflict(
            "stack.wrong_password",
            f"{service.name} does not accept the name and password of {service.variable}: {exc}.",
            hint="use the .env that its data was made with; in a server of your own, `drystone prepare` makes the roles",
        ) from exc


def all_with_port(variable: str) -> str:
    """The variables in which the port of one stands, in words."""
    return " and ".join((variable, *SAME_PORT.get(variable, ())))


def port_taken(variable: str, port: int) -> DrystoneError:
    """The error for a port that another process holds."""
    held_by = ports.holder(port)
    stop = f"run ./drystone down in {held_by.checkout}" if held_by and held_by.checkout else "stop that process"
    return Conflict(
        "stack.port_taken",
        f"Port {port}, which {variable} needs, is taken by {held_by or 'a process that this user may not see'}.",
        hint=f"{stop}, or change the port in .env, in {all_with_port(variable)}",
        variable=variable,
        port=port,
    )


def told_end(name: str, code: int, logs: Logs) -> str:
    """How a process ended, with its last words; who is killed has no time for any."""
    last = logs.last(name, 1) if code != -signal.SIGKILL else []
    return f"{name} {how_it_ended(code)}" + (f"; last line: {last[0]}" if last else "")


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"ended with exit code {code}"

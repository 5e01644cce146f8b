"""The stack that is disturbed: a whole `up` in a folder of its own, its S3 store behind a proxy, its embedder ours."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil

from drystone import invariants
from drystone.adapters.objects import Objects
from drystone.core.db import make_engine, make_sessions
from drystone.core.reach import OF_CONNECTION
from drystone.core.settings import Settings
from drystone.invariants import Limits, Verdict
from drystone.stack import processes
from tests.e2e.conftest import Stack, project_folder
from tests.faults.network import DIMENSION, Network

LEASE_S, GRACE_S = 5, 12
_PROCFILE = """\
web: export S3_ENDPOINT_URL=http://127.0.0.1:{port}; exec uvicorn --factory drystone.web:create_app --host "$API_HOST" --port "$API_PORT" --loop asyncio --no-access-log --log-level warning --http drystone.http.connections:Protocol
worker: export S3_ENDPOINT_URL=http://127.0.0.1:{port}; exec drystone worker
"""


@dataclass(frozen=True)
class Site:
    """A running stack with what is needed to disturb it and to look at it.

    crash: the folder that arms crash points. disk: a file system of its own that `data` lies on; None where none can be made.
    """

    stack: Stack
    network: Network
    crash: Path
    disk: Path | None = None

    @property
    def settings(self) -> Settings:
        return self.stack.settings

    @property
    def data(self) -> Path:
        return self.stack.folder / "data"

    def up(self) -> None:
        """Bring it up, as whoever supervises the machine would."""
        self.stack.run("up", "--detach")

    def pid(self, name: str) -> int:
        """The pid of `web`, `worker`, `postgres`, `redis`, `objects` or `up`, as state.json says."""
        state = self._state()
        return int(state["pid"] if name == "up" else state["services"][name]["pid"])

    def dead(self) -> list[str]:
        """The services whose process is gone and not yet started again, as state.json and the machine say."""
        services = self._state()["services"]
        return [name for name, each in services.items() if each.get("pid") and is_gone(each["pid"])]

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.data / "run" / "state.json").read_text())
        return state

    def pool(self) -> list[psutil.Process]:
        """The worker's pool processes."""
        children = psutil.Process(self.pid("worker")).children()
        return [child for child in children if "spawn_main" in _line(child)]

    def zygotes(self) -> list[psutil.Process]:
        return [child for process in self.pool() for child in process.children() if "parsing.zygote" in _line(child)]

    def client(self) -> httpx.AsyncClient:
        return self.stack.client()

    async def ask(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of a statement, through a connection of its own."""
        connection = await asyncpg.connect(
            self.settings.database.url.get_secret_value(), timeout=5, server_settings=OF_CONNECTION
        )
        try:
            return [dict(row) for row in await connection.fetch(statement, *values)]
        finally:
            await connection.close()

    def objects(self) -> Objects:
        """The store itself, not through the proxy."""
        return Objects.open_s3(self.settings.s3)

    async def check(self, *, rehash: bool = False, orphan_s: float = 900.0) -> Verdict:
        """All invariants, when no work is left."""
        engine = make_engine(self.settings.database.url.get_secret_value(), pool_size=2)
        limits = Limits(lease_s=LEASE_S, orphan_s=orphan_s, pending_s=0, rehash=rehash)
        try:
            return await invariants.check(make_sessions(engine), self.objects(), limits)
        finally:
            await engine.dispose()

    async def check_after(self, seconds: float) -> Verdict:
        """All invariants and every blob, once the sweep has had its time; at once where it needs none."""
        deadline = time.monotonic() + seconds
        while not (verdict := await self.check(rehash=True, orphan_s=GRACE_S)).holds and time.monotonic() < deadline:
            await asyncio.sleep(1)
        return verdict

    def everyone(self) -> list[psutil.Process]:
        """Every process of this stack: `up`, the guardian, the servers, web, worker and what they started."""
        marked = processes.marked(processes.run_prefix(self.settings.general.data_dir))
        pids = {self.pid("up"), *(each.pid for each in marked)}
        return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Site]:
    """A stack that is brought up, and taken down at the end."""
    with Network() as between, _disk(folder.parent / f"{folder.name}.disk") as disk:
        crash = folder.parent / f"{folder.name}.crash"
        crash.mkdir(parents=True)
        site = Site(_project(folder, between, crash), between, crash, disk)
        if disk:
            shutil.copytree(site.data, disk / "data")
            site.data.rmdir()
            site.data.symlink_to(disk / "data")
        try:
            site.up()
            yield site
        finally:
            for process in site.everyone():
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGCONT)
            site.stack.run("down", check=False)


def _project(folder: Path, between: Network, crash: Path) -> Stack:
    stack = project_folder(
        folder,
        JOB_LEASE_S=str(LEASE_S),
        JOB_HEARTBEAT_S="2",
        BLOB_GRACE_S=str(GRACE_S),
        PARSE_CPU_S="3",
        PARSE_MEMORY_BYTES=str(256 * 1024 * 1024),
        PARSE_MAX_TEXT_BYTES=str(1_000_000_000),  # no fault of ours ends there
        EMBEDDING_PROVIDER="openai",
        EMBEDDING_URL=between.embedder.url,
        EMBEDDING_MODEL="of-the-fault-tests",
        EMBEDDING_DIMENSION=str(DIMENSION),
        EMBEDDING_TIMEOUT_S="2",
        DRYSTONE_CRASH_POINTS=str(crash),
    )
    (folder / "Procfile").unlink()
    (folder / "Procfile").write_text(_PROCFILE.format(port=between.proxy.port))
    between.proxy.target_port = stack.settings.s3.parts.port
    return stack


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[Path | None]:
    """A small file system of its own; None where this user may not mount one."""
    if not _mount(folder):
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def _mount(folder: Path) -> bool:
    folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3g,mode=0755", "tmpfs", str(folder)], capture_output=True, check=False
    )
    return done.returncode == 0


def until(holds: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def is_halted(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


def host() -> str:
    return socket.gethostname()


def kill(pid: int) -> str:
    """SIGKILL, and the proof: the pid is gone."""
    os.kill(pid, signal.SIGKILL)
    until(lambda: is_gone(pid), f"the end of {pid}")
    return f"pid {pid} is gone"


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""

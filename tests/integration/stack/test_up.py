"""`up` as a process: it comes up, keeps up, and leaves nothing behind, however it ends.

A throw-away project with a tiny web and worker, on real servers and free ports.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import asyncpg
import psutil
import pytest
import redis

from drystone.core.errors import Conflict, Unavailable
from drystone.stack import commands, dotenv
from drystone.stack import state as states
from drystone.stack.app import Hook
from drystone.stack.up import STOPPED_EARLY, Plan

WEB = """\
import http.server, os, pathlib, sys
if pathlib.Path("broken").exists():
    sys.exit("web is broken on purpose")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *_): pass
print("web listens", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["API_PORT"])), Handler).serve_forever()
"""
WORKER = """\
import signal, subprocess, sys, time
# A child without our environment, as a parser has.
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={})
def stop(*_):
    child.kill(); print("worker says goodbye", flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("worker works", flush=True)
while True: time.sleep(60)
"""
ROOT = Path(__file__).parent.parent.parent.parent
PROCFILE = "web: exec python web.py\nworker: exec python worker.py\n"


def eventually(condition: Callable[[], Any], what: str, timeout_s: float = 30) -> Any:
    """Poll until the condition gives something true, and give that."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.03)
    return found


def processes_of(folder: Path) -> list[tuple[psutil.Process, str]]:
    """Everything alive whose command line or working folder is in `folder`: found without the marks that the stack uses."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join([*process.cmdline(), process.cwd()])
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # a zombie counts as gone
            continue
        if str(folder) in words:
            found.append((process, words))
    return found


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@dataclass
class Stack:
    """A project, and the `up` that runs in it."""

    root: Path
    environment: dict[str, str]
    process: subprocess.Popen[str] | None = None
    reload: bool = False
    metrics: bool = False
    healthy_timeout_s: float = 60
    _outputs: list[Path] = field(default_factory=list)

    @property
    def plan(self) -> Plan:
        migrate = Hook("migrate", (sys.executable, "-c", "print('migrated')"))
        early = Hook("model", (sys.executable, "-c", "print('prepared')"), early=True)
        return Plan(
            root=self.root,
            hooks=(migrate, early),
            durable=False,
            reload=self.reload,
            metrics=self.metrics,
            healthy_timeout_s=self.healthy_timeout_s,
        )

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "drystone.stack", self.plan.to_json()]

    @property
    def shell(self) -> dict[str, str]:
        """Our environment without what would beat the project's `.env`."""
        return {name: value for name, value in os.environ.items() if name not in self.environment}

    @property
    def state(self) -> states.RunState | None:
        return states.read(self.root / ".drystone" / "run")

    def start(self) -> subprocess.Popen[str]:
        output = self.root / f"up-{len(self._outputs)}.txt"
        self._outputs.append(output)
        with output.open("w") as file:
            self.process = subprocess.Popen(
                self.command, env=self.shell, stdout=file, stderr=subprocess.STDOUT, text=True, cwd=self.root
            )
        return self.process

    def start_healthy(self) -> states.RunState:
        process = self.start()

        def healthy() -> states.RunState | None:
            assert process.poll() is None, self.output
            now = self.state
            return now if now and now.pid == process.pid and now.status == "healthy" else None

        found = eventually(healthy, "healthy")
        assert isinstance(found, states.RunState)
        return found

    @property
    def output(self) -> str:
        return self._outputs[-1].read_text()

    def pid(self, name: str) -> int:
        pid = self.pid_or_none(name)
        assert pid
        return pid

    def pid_or_none(self, name: str) -> int | None:
        now = self.state
        return now.services[name].pid if now else None

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        assert self.process
        self.process.send_signal(signum)
        return self.process.wait(30)

    def left(self) -> list[str]:
        return [f"{process.pid} {words[:100]}" for process, words in processes_of(self.root)]

    def clean(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(30)
        for process, _ in processes_of(self.root):
            process.kill()


def write_environment(path: Path, environment: dict[str, str]) -> None:
    lines = [f"{name}={value or repr('')}" for name, value in environment.items()]
    path.write_text("\n".join(lines) + "\n")


def make_stack(root: Path) -> Stack:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in (("web.py", WEB), ("worker.py", WORKER), ("Procfile", PROCFILE)):
        (root / name).write_text(text)
    environment = dotenv.make_environment(data_dir=Path(".drystone"), model_dir=Path(".drystone/models"))
    write_environment(root / ".env", environment)
    return Stack(root, environment)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = make_stack(tmp_path / "a projèct")
    yield made
    made.clean()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One `up` that the tests of a module share; each leaves it healthy."""
    made = make_stack(tmp_path_factory.mktemp("running"))
    made.start_healthy()
    yield made
    made.clean()


async def in_postgres(stack: Stack, statement: str) -> object:
    connection = await asyncpg.connect(stack.environment["MIGRATION_DATABASE_URL"], ssl=False)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def web_answers(stack: Stack) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{stack.environment['API_PORT']}/", timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def cli(stack: Stack, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A stack command in a process of its own, as the launcher would run it."""
    code = f"import sys, typer; from drystone.cli import stack; typer.run(stack.{command})"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=stack.shell | {"DRYSTONE_ROOT": str(stack.root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def guardians_of(pid: int) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(pid).children():
        try:
            if "drystone.stack.guardian" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def gone_within(stack: Stack, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while (left := stack.left()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


# --- one running stack; each test leaves it healthy ---


def test_it_tells_what_it_did_and_what_comes_next(running: Stack) -> None:
    eventually(lambda: "stop   " in running.output, "the last line of the summary, which comes after the state")
    text = running.output

    for name in ("postgres", "redis", "objects", "migrate", "model"):
        assert re.search(rf"^{name} +(ready|done) +\d+\.\d s", text, re.MULTILINE)
    assert re.search(r"^web and worker ready \d+\.\d s$", text, re.MULTILINE)
    assert re.search(r"^Healthy after \d+\.\d s\.$", text, re.MULTILINE)
    assert f"http://127.0.0.1:{running.environment['API_PORT']}/docs" in text
    assert "  key    DRYSTONE_API_KEY in .env" in text
    assert "worker   | worker works" in text
    assert "web      | web listens" in text
    assert "\033[" not in text  # no colours: it is not a terminal
    assert not any(secret in text for secret in running.environment.values() if len(secret) == 43)


def test_a_second_up_says_so_and_changes_nothing(running: Stack) -> None:
    before = running.state
    second = subprocess.run(running.command, env=running.shell, capture_output=True, text=True, check=False)

    assert second.returncode == 0
    assert before
    assert f"Already running: pid {before.pid}" in second.stderr
    assert before.url in second.stderr
    talk = io.StringIO()
    assert commands.run_detached(running.plan, talk=talk) == 0
    assert "Already running" in talk.getvalue()
    assert running.state == before


def test_a_second_up_that_wants_prometheus_says_what_to_do(running: Stack) -> None:
    before = running.state

    with pytest.raises(Conflict) as refused:
        commands.run_detached(dataclasses.replace(running.plan, metrics=True), talk=io.StringIO())

    assert refused.value.code == "stack.without_metrics"
    assert "./drystone down" in (refused.value.hint or "")
    assert running.state == before


def test_status_and_logs_tell_what_runs(running: Stack) -> None:
    told = cli(running, "status", "--json")
    services = {each["name"]: each for each in json.loads(told.stdout)["services"]}

    # /health/ready of the tiny web answers 200 as every path does.
    assert told.returncode == 0, told.stderr
    assert list(services) == ["postgres", "redis", "objects", "guardian", "honcho", "web", "worker"]
    assert services["postgres"]["pid"] == running.pid("postgres")
    assert services["postgres"]["memory_bytes"] > 1_000_000
    assert services["redis"]["provider"]
    assert "postgres  ready" in cli(running, "status").stdout

    worker = cli(running, "logs", "worker", "-n", "1")
    assert worker.stdout.endswith("worker works\n")
    unknown = cli(running, "logs", "nobody")
    assert "no log of nobody" in unknown.stderr


def test_a_lost_env_is_not_written_anew_beside_a_running_stack(running: Stack) -> None:
    env_file = running.root / ".env"
    aside = env_file.rename(running.root / "aside")
    try:
        with pytest.raises(Conflict, match="is gone, while process"):
            commands.run_detached(running.plan, talk=io.StringIO())
        assert not env_file.exists()
    finally:
        aside.rename(env_file)


def test_a_paused_process_is_told(running: Stack) -> None:
    pid = json.loads(cli(running, "status", "--json").stdout)["services"][0]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        rows = json.loads(cli(running, "status", "--json").stdout)["services"]
    finally:
        os.kill(pid, signal.SIGCONT)

    assert [row["state"] for row in rows if row["pid"] == pid] == ["paused"]


def test_a_killed_server_is_started_again_alone_with_its_data(running: Stack) -> None:
    with redis.Redis.from_url(running.environment["REDIS_URL"]) as client:
        client.set("kept", "42")
        client.execute_command("WAITAOF", 1, 0, 5000)
    asyncio.run(in_postgres(running, "CREATE TABLE kept AS SELECT 42 AS answer"))
    others = {name: running.pid(name) for name in ("objects", "web", "worker", "honcho")}

    for name in ("redis", "postgres"):
        before = running.pid(name)
        os.kill(before, signal.SIGKILL)
        wait_until_back(running, name, before)

    assert {name: running.pid(name) for name in others} == others
    with redis.Redis.from_url(running.environment["REDIS_URL"]) as client:
        assert client.get("kept") == b"42"
    assert asyncio.run(in_postgres(running, "SELECT answer FROM kept")) == 42
    now = running.state
    assert now
    assert "killed by SIGKILL" in now.services["redis"].restarts[0].reason


def wait_until_back(stack: Stack, name: str, before: int) -> None:
    def is_back() -> bool:
        now = stack.state
        service = now.services[name] if now else None
        return bool(service and service.state == "ready" and service.pid not in (None, before))

    eventually(is_back, f"{name} is back")


@pytest.mark.parametrize("name", ["web", "worker", "honcho"])
def test_when_one_of_web_worker_honcho_dies_all_start_anew_and_the_servers_stay(running: Stack, name: str) -> None:
    servers = {each: running.pid(each) for each in ("postgres", "redis", "objects")}
    before = {each: psutil.Process(running.pid(each)) for each in ("web", "worker", "honcho")}
    children = before["worker"].children(recursive=True)

    os.kill(before[name].pid, signal.SIGKILL)

    for each, process in before.items():
        wait_until_back(running, each, process.pid)
    assert not [process for process in (*before.values(), *children) if is_alive(process)]
    assert web_answers(running)
    assert {each: running.pid(each) for each in servers} == servers


def test_a_killed_guardian_is_replaced(running: Stack) -> None:
    assert running.process

    def guardians() -> list[psutil.Process]:
        assert running.process
        return guardians_of(running.process.pid)

    (before,) = eventually(guardians, "a guardian")
    before.kill()

    (after,) = eventually(lambda: (found := guardians()) and found != [before] and found, "another guardian")
    eventually(lambda: running.pid("guardian") == after.pid, "its pid is told")


def test_status_and_logs_tell_when_and_why_something_was_started_again(running: Stack) -> None:
    killed = {name: running.pid(name) for name in ("redis", "worker", "guardian")}
    for name, pid in killed.items():
        os.kill(pid, signal.SIGKILL)
        wait_until_back(running, name, pid)

    story = [line for line in cli(running, "status").stdout.splitlines() if " started again: " in line][-3:]
    logs = cli(running, "logs", "up", "-n", "1000").stdout
    rows = {each["name"]: each for each in json.loads(cli(running, "status", "--json").stdout)["services"]}

    for line, names, name in zip(story, ("redis", "honcho, web, worker", "guardian"), killed, strict=True):
        at, why = line[:20], line.partition(" started again: ")[2]
        assert line.startswith(f"{at}  {names} started again: {name} was killed by SIGKILL")
        assert why in logs
        for each in names.split(", "):
            assert rows[each]["story"][-1] == {"at": at, "reason": why}
            assert rows[each]["restarts"] == len(rows[each]["story"])
    assert rows["objects"]["story"] == []


def test_zz_kill_9_of_up_leaves_nothing_running(running: Stack) -> None:
    """The last test of the shared stack."""
    assert running.process
    assert len(running.left()) >= 6

    running.process.kill()
    running.process.wait()

    gone_within(running, 10)


# --- a stack for each ---


def test_when_everything_is_killed_the_next_up_ends_what_is_left_and_loses_nothing(stack: Stack) -> None:
    stack.start_healthy()
    asyncio.run(in_postgres(stack, "CREATE TABLE kept AS SELECT 42 AS answer"))
    assert stack.process
    orphans = [psutil.Process(stack.pid(name)) for name in ("postgres", "redis", "objects", "worker")]
    for guardian in guardians_of(stack.process.pid):
        guardian.kill()
    stack.process.kill()
    stack.process.wait()
    assert all(is_alive(each) for each in orphans)

    stack.start_healthy()

    assert not any(is_alive(each) for each in orphans)
    assert "an earlier run had left behind" in stack.output
    assert asyncio.run(in_postgres(stack, "SELECT answer FROM kept")) == 42
    assert stack.stop(signal.SIGINT) == 0
    assert stack.left() == []
    assert "worker says goodbye" in (stack.root / ".drystone/logs/worker.log").read_text()


def test_a_second_ctrl_c_in_a_row_leaves_nothing_either(stack: Stack) -> None:
    stack.start_healthy()
    assert stack.process
    began = time.monotonic()

    stack.process.send_signal(signal.SIGINT)
    eventually(lambda: (now := stack.state) and now.status == "stopping", "it stops")
    stack.process.send_signal(signal.SIGINT)

    assert stack.process.wait(60) == 0
    assert time.monotonic() - began < 30
    assert stack.left() == []


def test_detach_returns_when_all_is_healthy_and_down_ends_it(stack: Stack) -> None:
    talk = io.StringIO()
    assert commands.run_detached(stack.plan, talk=talk) == 0
    assert web_answers(stack)
    assert "Healthy after" in talk.getvalue()

    down = cli(stack, "down")
    assert down.returncode == 0, down.stderr
    assert down.stderr == "Stopped.\n"
    assert stack.left() == []

    assert cli(stack, "down").stderr == "Nothing was running.\n"
    assert cli(stack, "status").returncode == 3


def test_what_dies_six_times_a_minute_ends_up_with_its_story(stack: Stack) -> None:
    (stack.root / "broken").touch()

    process = stack.start()

    assert process.wait(60) == 69
    assert "app died 6 times in a row" in stack.output
    assert "web is broken on purpose" in stack.output
    assert "hint: " in stack.output
    now = stack.state
    assert now
    assert now.status == "failed"
    assert len(now.services["web"].restarts) == 5
    assert stack.left() == []


def test_reload_starts_web_and_worker_anew_when_the_source_changes(stack: Stack) -> None:
    (stack.root / "src").mkdir()
    stack.reload = True
    stack.start_healthy()
    before = {name: stack.pid(name) for name in ("web", "worker", "redis")}

    # The watch begins after the start, so change something again until it is noticed; not too often, or it waits for quiet.
    eventually(
        lambda: touch_now_and_then(stack.root / "src" / "new.py") and "source has changed" in stack.output, "seen"
    )
    wait_until_back(stack, "web", before["web"])
    wait_until_back(stack, "worker", before["worker"])

    now = stack.state
    assert now
    assert now.services["web"].restarts == ()  # it was asked for, so it is not counted
    assert stack.pid("redis") == before["redis"]


def touch_now_and_then(path: Path) -> bool:
    if not path.exists() or time.time() - path.stat().st_mtime > 1.5:
        path.write_text(str(time.time()))
    return True


def test_a_failed_migration_ends_a_detached_up_with_its_reason(stack: Stack) -> None:
    failing = Hook("migrate", (sys.executable, "-c", "raise SystemExit('relation is in the way')"))
    plan = Plan(root=stack.root, hooks=(failing,), durable=False)
    talk = io.StringIO()

    with pytest.raises(Unavailable, match="migrate ended with exit code 1"):
        commands.run_detached(plan, talk=talk)

    assert "relation is in the way" in talk.getvalue()
    assert stack.left() == []


def test_a_taken_api_port_is_told_before_anything_starts(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", int(stack.environment["API_PORT"]))):
        process = stack.start()
        assert process.wait(20) != 0

    assert f"which API_PORT needs, is taken by pid {os.getpid()} " in stack.output
    assert "Stopp" not in stack.output
    assert stack.left() == []


def test_a_detached_up_tells_its_reason_once_with_what_to_do(stack: Stack) -> None:
    talk = io.StringIO()

    with (
        socket.create_server(("127.0.0.1", int(stack.environment["API_PORT"]))),
        pytest.raises(Unavailable, match="which API_PORT needs, is taken by") as told,
    ):
        commands.run_detached(stack.plan, talk=talk)

    assert "is taken by" not in talk.getvalue()
    assert str(told.value.hint).startswith("stop that process, or change the port in .env")


def test_a_signal_while_starting_leaves_nothing(stack: Stack) -> None:
    process = stack.start()
    eventually((stack.root / ".drystone/redis").exists, "the servers are starting")

    process.send_signal(signal.SIGTERM)

    assert process.wait(20) == STOPPED_EARLY
    assert stack.left() == []


def test_a_stranger_who_answers_on_the_api_port_is_not_taken_for_our_web(stack: Stack) -> None:
    late = f"""
import http.server, time
time.sleep(1)
class Yes(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", {stack.environment["API_PORT"]}), Yes).serve_forever()
"""
    (stack.root / "Procfile").write_text("web: sleep 60\nworker: sleep 60\n")
    stranger = subprocess.Popen([sys.executable, "-c", late])
    try:
        process = stack.start()

        assert process.wait(60) != 0
        taken = f"Port {stack.environment['API_PORT']}, which API_PORT needs, is taken by pid {stranger.pid}"
        assert taken in stack.output
        assert "Healthy" not in stack.output
    finally:
        stranger.kill()
        stranger.wait()


def test_with_metrics_prometheus_runs_beside_the_stack_is_started_again_and_leaves_with_it(stack: Stack) -> None:
    if not shutil.which("prometheus"):
        pytest.skip("no prometheus on PATH; Debian's package prometheus has it")
    shutil.copytree(ROOT / "monitoring", stack.root / "monitoring")
    stack.metrics = True
    stack.start_healthy()
    url = f"http://127.0.0.1:{stack.environment['PROMETHEUS_PORT']}"

    def ready() -> Any:
        now = stack.state.services["prometheus"] if stack.state else None
        return now if now and now.state == "ready" and now.pid else None

    first = eventually(ready, "prometheus is ready")
    with urlopen(f"{url}/api/v1/rules", timeout=5) as response:
        groups = json.load(response)["data"]["groups"]
    os.kill(first.pid, signal.SIGKILL)
    second = eventually(lambda: (now := ready()) and now.restarts and now, "prometheus is started again")
    stack.stop()

    assert len(groups[0]["rules"]) > 10
    assert second.pid != first.pid
    assert stack.left() == []
    assert (stack.root / ".drystone" / "prometheus" / "token").stat().st_mode & 0o777 == 0o600


# --- a start that takes its time ---

BUSY = """\
import time
while time.process_time() < 8: pass
"""
IDLE = """\
import time
print("web waits for nobody knows what", flush=True)
while True: time.sleep(60)
"""


def test_a_start_that_works_is_waited_for_longer_than_one_that_does_nothing(stack: Stack) -> None:
    stack.healthy_timeout_s = 3
    (stack.root / "web.py").write_text(BUSY + WEB)

    stack.start_healthy()

    (seconds,) = re.findall(r"^web and worker ready (\d+\.\d) s$", stack.output, re.MULTILINE)
    assert float(seconds) >= 8  # it cannot have used so much processor in less


UNWELL = WEB.replace("send_response(200)", "send_response(503)").replace(
    'b"ok"', """b'{"checks": [{"name": "worker", "ok": false, "detail": "No worker process is alive."}]}'"""
)


@pytest.mark.parametrize(
    ("web", "why"), [(IDLE, "does not answer."), (UNWELL, "answers 503: No worker process is alive.")]
)
def test_a_start_in_which_nothing_moves_is_given_up_with_the_reason_and_leaves_nothing(
    stack: Stack, web: str, why: str
) -> None:
    stack.healthy_timeout_s = 3
    (stack.root / "web.py").write_text(web)

    code = stack.start().wait(60)

    assert code not in (0, STOPPED_EARLY)
    assert "and nothing moves" in stack.output
    assert f"/health/ready {why}\n" in stack.output
    gone_within(stack, 5)


def test_waiting_can_be_called_off(stack: Stack) -> None:
    (stack.root / "web.py").write_text(IDLE)
    stack.start()
    eventually(lambda: "web waits for nobody knows what" in stack.output, "that it waits for web")

    assert stack.stop(signal.SIGINT) == STOPPED_EARLY
    gone_within(stack, 5)

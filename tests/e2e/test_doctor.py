"""Each fault, planted for real and alone in a running stack, gives its own finding and no other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psutil
import pytest

from drystone import schema
from drystone.cli import doctor
from drystone.stack import ports, processes, state
from drystone.stack.diagnosis.findings import Code, Finding, Report
from tests.e2e.conftest import ROOT, Stack

# Hanging servers may cost two seconds, twice; the rest is for a busy machine.
BOUND_S = 15.0


def eventually(condition: Callable[[], Any], what: str, timeout_s: float = 60) -> Any:
    """Poll until the condition gives something true, and give that."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)
    return found


async def examine(stack: Stack, **shell: str) -> Report:
    # In a thread: it brings event loops of its own.
    return await asyncio.to_thread(doctor.examine, stack.folder, shell)


async def finding(stack: Stack, code: Code, **shell: str) -> Finding:
    """The only one there is."""
    began = time.monotonic()
    report = await examine(stack, **shell)
    assert [each.code for each in report.findings] == [code], report
    assert time.monotonic() - began < BOUND_S
    return report.findings[0]


def pids(stack: Stack, name: str) -> list[int]:
    """A process of the running stack and everything that it started."""
    head = psutil.Process(stack.status()[name]["pid"])
    return [head.pid, *(child.pid for child in head.children(recursive=True))]


@contextlib.contextmanager
def paused(*stopped: int) -> Iterator[None]:
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    eventually(lambda: all(processes.is_paused(pid) for pid in stopped), "they are paused")
    try:
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def superuser(stack: Stack) -> AsyncIterator[Any]:
    settings = stack.settings.database
    password, parts = settings.superuser_password.get_secret_value(), settings.parts
    connection = await asyncpg.connect(
        host=parts.host, port=parts.port, user="postgres", password=password, database=parts.database, ssl=False
    )
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_healthy_running_stack_gives_nothing_and_everything_was_checked(up: Stack) -> None:
    said = json.loads(up.run("doctor", "--json").stdout)

    assert said["findings"] == []
    assert said["skipped"] == {}
    assert {"environment", "ports", "servers", "clock", "model", "schema", "worker"} <= set(said["checks"])
    assert up.run("doctor").stdout.startswith("No fault found. Checked: environment, folders, ")


def test_a_first_key_that_was_changed_after_the_start_is_found(up: Stack) -> None:
    key = f"dsk_other.{secrets.token_urlsafe(32)}"

    done = up.run("doctor", "--json", check=False, key=key)

    assert [each["code"] for each in json.loads(done.stdout)["findings"]] == [Code.KEY_UNKNOWN]
    assert key not in done.stdout


@pytest.mark.parametrize(
    ("revision", "code"), [("0001_access", Code.SCHEMA_BEHIND), ("9999_tomorrow", Code.SCHEMA_AHEAD)]
)
async def test_a_schema_at_another_revision(up: Stack, revision: str, code: Code) -> None:
    async with superuser(up) as connection:
        await connection.execute("update alembic_version set version_num = $1", revision)
        try:
            found = await finding(up, code)
        finally:
            await connection.execute("update alembic_version set version_num = $1", schema.HEAD)

    assert revision in found.message
    assert schema.HEAD in found.message + found.fix


@pytest.mark.parametrize("attribute", ["superuser", "bypassrls"])
async def test_a_role_that_row_level_security_does_not_hold(up: Stack, attribute: str) -> None:
    role = up.settings.database.parts.user
    async with superuser(up) as connection:
        await connection.execute(f'alter role "{role}" {attribute}')
        try:
            found = await finding(up, Code.ROLE_BYPASSES)
        finally:
            await connection.execute(f'alter role "{role}" no{attribute}')

    assert role in found.message


async def test_a_database_without_the_extension(up: Stack) -> None:
    async with superuser(up) as connection:
        await connection.execute("create database bare")
    urls = {
        name: url.get_secret_value().rpartition("/")[0] + "/bare"
        for name, url in (
            ("DATABASE_URL", up.settings.database.url),
            ("MIGRATION_DATABASE_URL", up.settings.database.migration_url),
        )
    }

    found = await finding(up, Code.POSTGRES_NO_VECTOR, **urls)

    assert found.message == "The database bare lacks the extension vector."
    assert "CREATE EXTENSION vector" in found.fix


async def test_another_password_than_the_servers(up: Stack) -> None:
    url = up.settings.redis.url.get_secret_value()
    other = url.replace(up.settings.redis.parts.password, "another-Password-0123456789")

    await finding(up, Code.SERVER_REFUSES, REDIS_URL=other, CELERY_BROKER_URL=other)


async def test_a_database_that_is_not_there(up: Stack) -> None:
    url = up.settings.database.url.get_secret_value().rpartition("/")[0] + "/nowhere"

    owner = up.settings.database.migration_url.get_secret_value().rpartition("/")[0] + "/nowhere"
    found = await finding(up, Code.SERVER_REFUSES, DATABASE_URL=url, MIGRATION_DATABASE_URL=owner)

    assert 'database "nowhere" does not exist' in found.message


@pytest.mark.parametrize("name", ["postgres", "redis", "objects"])
async def test_a_server_that_hangs_is_told_in_bounded_time(up: Stack, name: str) -> None:
    pid = up.status()[name]["pid"]
    with paused(pid):
        found = await finding(up, Code.SERVER_SILENT)

    assert found.message == f"{name} does not answer: it is paused by a signal."
    assert found.fix == f"kill -CONT {pid}"


async def test_the_ports_of_a_running_stack_seen_from_another_checkout(up: Stack, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text((up.folder / ".env").read_text())
    (tmp_path / ".env").chmod(0o600)

    report = await asyncio.to_thread(doctor.examine, tmp_path, {"DRYSTONE_DATA_DIR": str(tmp_path / "data")})

    assert {each.code for each in report.findings} == {Code.PORT_HELD}
    postgres = next(each for each in report.findings if "DATABASE_URL" in each.message)
    assert f"pid {up.status()['postgres']['pid']} (postgres)" in postgres.message
    assert postgres.message.endswith(f", of the Drystone checkout {up.folder}.")
    assert postgres.fix.startswith(f"./drystone down in '{up.folder}', or set another port in DATABASE_URL and ")


async def test_external_servers_that_are_well_give_nothing_and_are_asked_everything(up: Stack, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text((up.folder / ".env").read_text())
    (tmp_path / ".env").chmod(0o600)
    shell = {f"{name}_PROVIDER": "external" for name in ("POSTGRES", "REDIS", "S3")}
    shell |= {
        "DRYSTONE_DATA_DIR": str(tmp_path / "data"),
        "API_PORT": str(ports.find((0,))),
        "WORKER_METRICS_PORT": str(ports.find((0,))),
    }
    for name in ("alembic.ini", "migrations"):
        (tmp_path / name).symlink_to(ROOT / name)

    report = await asyncio.to_thread(doctor.examine, tmp_path, shell)

    assert report.findings == []
    assert {"servers", "clock", "schema"} <= set(report.checks)
    assert list(report.skipped) == ["web", "worker"]


async def test_a_worker_that_is_paused(up: Stack) -> None:
    stopped = pids(up, "worker")
    with paused(*stopped):
        found = await finding(up, Code.WORKER_STUCK)

    assert found.fix.startswith("kill -CONT ")
    assert str(stopped[0]) in found.fix


async def test_workers_that_live_but_take_nothing(up: Stack) -> None:
    """A lock keeps them from claiming what has been due for a minute."""
    job_id = uuid4()
    eventually(lambda: up.status()["worker"]["uptime_s"] > 3 * up.settings.worker.sweep_s, "workers are no beginners")
    async with superuser(up) as connection:
        with paused(*pids(up, "worker")):
            await connection.execute(_DUE_FOR_A_MINUTE, job_id)
            await connection.execute("begin; lock table jobs in exclusive mode")
        found = await finding(up, Code.WORKER_STUCK)
        await connection.execute("rollback")

        assert "1 jobs are due" in found.message
        async with asyncio.timeout(60):
            while await connection.fetchval("select state from jobs where id = $1", job_id) in ("queued", "running"):
                await asyncio.sleep(0.1)
    assert (await examine(up)).findings == []


_DUE_FOR_A_MINUTE = """
insert into jobs (id, workspace_id, kind, subject_id, run_after)
select $1, id, 'documents.ingest', gen_random_uuid(), now() - interval '1 minute' from workspaces limit 1
"""


async def test_a_web_that_hangs_and_an_up_that_is_halted(up: Stack) -> None:
    now = state.read(up.settings.general.data_dir / "run")
    assert now
    for name, pid in (("web", up.status()["web"]["pid"]), ("up", now.pid)):
        with paused(pid):
            found = await finding(up, Code.STACK_HALTED)
            assert found.message.startswith(f"{name} is halted by a signal")
            assert found.fix == f"kill -CONT {pid}"


async def test_a_whole_stack_that_is_halted_is_one_fault(up: Stack) -> None:
    with paused(*(row["pid"] for row in up.status().values())):
        found = await finding(up, Code.STACK_HALTED)

    assert found.fix.startswith("./drystone down")


async def test_no_worker_at_all(up: Stack) -> None:
    """Whoever would start it again is paused meanwhile."""
    now = state.read(up.settings.general.data_dir / "run")
    assert now
    worker = pids(up, "worker")
    with paused(now.pid, up.status()["honcho"]["pid"]):
        for pid in worker:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not any(processes.is_running(pid) for pid in worker), "they are gone")

        report = await asyncio.to_thread(doctor.examine, up.folder, {})
        assert {each.code for each in report.findings} == {Code.STACK_HALTED, Code.WORKER_NONE}

    eventually(lambda: up.status()["worker"]["pid"] not in (None, worker[0]), "another worker")
    eventually(lambda: up.run("status", check=False).returncode == 0, "healthy again")


async def test_zz_servers_that_outlive_a_killed_up_and_its_guardian(up: Stack) -> None:
    """The last test of the shared stack."""
    now = state.read(up.settings.general.data_dir / "run")
    assert now
    guardian = next(each for each in psutil.Process(now.pid).children() if "drystone.stack.guardian" in each.cmdline())
    os.kill(now.pid, signal.SIGSTOP)  # it would start another
    guardian.kill()
    os.kill(now.pid, signal.SIGKILL)
    eventually(lambda: not processes.is_running(now.pid), "up is gone")

    found = await finding(up, Code.STACK_ORPHANS)

    assert f"postgres (pid {now.services['postgres'].pid})" in found.message
    assert processes.is_running(now.services["postgres"].pid or 0)
    up.run("down")
    assert (await examine(up)).findings == []

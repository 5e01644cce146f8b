"""Point-in-time recovery, step by step as docs/guides/backup.md tells it: change, note the time, destroy, recover, and see what was there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from drystone.invariants import ORPHANED
from drystone.stack.data import clients
from drystone.stack.services import POSTGRES
from tests.e2e.conftest import ROOT, Stack, project_folder, verdict

GUIDE = (ROOT / "docs" / "guides" / "backup.md").read_text()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("pitr")
    for above in (folder, *folder.parents[:2]):
        above.chmod(0o755)
    made = project_folder(folder)
    try:
        made.run("up", "--detach")
        yield made
    finally:
        made.run("down", check=False)


def from_guide(name: str, **values: str) -> str:
    """A block of the guide that begins with this comment, with the guide's folders replaced by the test's."""
    found = re.search(rf"```(?:ini|sh)\n(# {re.escape(name)}.*?)```", GUIDE, re.DOTALL)
    assert found, name
    block = found[1]
    for placeholder, value in values.items():
        assert placeholder.replace("__", "/") in block
        block = block.replace(placeholder.replace("__", "/"), value)
    return block


@pytest.mark.timeout(900)
def test_the_guide_recovers_to_a_moment(stack: Stack, tmp_path: Path) -> None:
    data, wal, base = stack.settings.general.data_dir, tmp_path / "wal", tmp_path / "base"
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(0o755)
    wal.mkdir()
    owner = POSTGRES.launch(stack.settings, data, durable=True).privileges
    owner.hand_over(wal)
    local_conf = data / "postgres" / "postgresql.local.conf"

    # 1. Archive.
    stack.run("down")
    local_conf.write_text(from_guide("archiving", __srv__wal=str(wal)))
    owner.hand_over(local_conf)
    stack.run("up", "--detach")
    # 2. A base backup.
    programs = clients.find(stack.settings, "pg_basebackup")
    basebackup(stack, programs["pg_basebackup"], base)
    # 3. Work, and a mistake.
    kept = add(stack, tmp_path, "kept.md", "The lighthouse keeper counted seventeen gannets.")
    stack.run("backup", str(tmp_path / "objects"))
    moment = datetime.now(UTC)
    lost = add(stack, tmp_path, "late.md", "A plumber in Ghent repaired the copper boiler.")
    stack.run("documents", "delete", kept)
    archive_all(stack, wal)
    stack.run("down")
    # 4. The machine's PostgreSQL is lost.
    shutil.rmtree(data / "postgres")
    shutil.copytree(base, data / "postgres", symlinks=True)
    for path in (data / "postgres", *(data / "postgres").rglob("*")):
        owner.hand_over(path)
    # 5. Recover.
    (data / "deletions.jsonl").rename(tmp_path / "deletions.jsonl")
    block = from_guide("recovering", **{"__srv__wal": str(wal), "2026-11-22 14:30:00+00": moment.isoformat(" ")})
    local_conf.write_text(block)
    (data / "postgres" / "recovery.signal").touch()
    for path in (local_conf, data / "postgres" / "recovery.signal"):
        owner.hand_over(path)
    stack.run("up", "--detach")
    assert kept in ids(stack)
    assert lost not in ids(stack)
    assert "gannets" in stack.run("search", "--json", "gannets").stdout
    stack.run("restore", str(tmp_path / "objects"), "--objects-only")
    found_wrong = asyncio.run(verdict(stack)).violations
    assert [each for each in found_wrong if each.harm != ORPHANED] == []


def basebackup(stack: Stack, program: Path, base: Path) -> None:
    parts = stack.settings.database.parts
    subprocess.run(
        [
            program,
            f"--host={parts.host}",
            f"--port={parts.port}",
            "--username=postgres",
            "--no-password",
            f"--pgdata={base}",
            "--wal-method=stream",
            "--checkpoint=fast",
        ],
        env=os.environ | {"PGPASSWORD": stack.settings.database.superuser_password.get_secret_value()},
        check=True,
    )


def archive_all(stack: Stack, wal: Path) -> None:
    """End the segment that is being written, and wait until it is in the archive."""
    segment = asked(stack, "select pg_walfile_name(pg_switch_wal())")
    wait_until((wal / segment).exists)


def asked(stack: Stack, statement: str) -> Any:
    """What the superuser is answered."""
    database = stack.settings.database

    async def ask() -> Any:
        connection = await asyncpg.connect(
            host=database.parts.host,
            port=database.parts.port,
            user="postgres",
            password=database.superuser_password.get_secret_value(),
            database=database.parts.database,
        )
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def add(stack: Stack, folder: Path, name: str, text: str) -> str:
    """The id of a document that is ready now."""
    (folder / name).write_text(text)
    stack.run("add", str(folder / name))
    found = json.loads(stack.run("search", "--json", text).stdout)["hits"]
    return str(next(hit["document"]["id"] for hit in found if hit["document"]["name"] == name))


def ids(stack: Stack) -> set[str]:
    return {row["id"] for row in json.loads(stack.run("documents", "list", "--json", "--limit", "0").stdout)["items"]}


def wait_until(holds: Any) -> None:
    waiting = threading.Event()
    while not holds():
        waiting.wait(0.05)

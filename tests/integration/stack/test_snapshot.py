"""Snapshots of real servers: what was acknowledged comes back, damage is refused, and a kill leaves old or new.

One stack is filled and saved while it is written to; the tests share it, each beginning from what it restores.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import obstore
import psutil
import pytest
from tests.clients import redis_client, s3_store

from drystone.core.errors import Conflict, Invalid, NotFound, Unavailable
from drystone.core.settings import Settings, parse
from drystone.stack import services
from drystone.stack.data import freeze, reset, snapshot, swap
from drystone.stack.data.manifest import Made, Manifest
from drystone.stack.dotenv import make_environment
from drystone.stack.state import RunLock
from drystone.stack.supervise import Servers

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = "0005_keyword_index"


@dataclass
class Found:
    """What the three servers hold."""

    rows: list[int]
    keys: list[int]
    objects: dict[str, bytes]


@dataclass
class Writer:
    """Writes to all three servers, an object always before its row, and notes what was acknowledged."""

    settings: Settings
    acknowledged: list[int] = field(default_factory=list)
    longest_wait_s: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Writer:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._write()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _write(self) -> None:
        connection = await asyncpg.connect(self.settings.database.migration_url.get_secret_value(), ssl=False)
        broker, objects = redis_client(self.settings), s3_store(self.settings)
        number = 1000
        while not self._stop.is_set():
            began = time.monotonic()
            await obstore.put_async(objects, f"during/{number}", os.urandom(10_000))
            await connection.execute("INSERT INTO things VALUES ($1)", number)
            broker.rpush("things", number)
            self.longest_wait_s = max(self.longest_wait_s, time.monotonic() - began)
            self.acknowledged.append(number)
            number += 1
        await connection.close()
        broker.close()


@dataclass
class Stack:
    """A data folder with two snapshots: `hot`, made while `Writer` wrote, and `cold`, made after that."""

    environment: dict[str, str]
    settings: Settings
    writer: Writer
    before_hot: int  # as many writes had been acknowledged when `hot` was asked for
    at_cold: Found

    @property
    def data_dir(self) -> Path:
        return self.settings.general.data_dir

    @property
    def snapshots(self) -> Path:
        return self.data_dir / "snapshots"


async def execute(settings: Settings, *statements: str) -> None:
    connection = await asyncpg.connect(settings.database.migration_url.get_secret_value(), ssl=False)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def look(settings: Settings) -> Found:
    connection = await asyncpg.connect(settings.database.migration_url.get_secret_value(), ssl=False)
    rows = [row["id"] for row in await connection.fetch("SELECT id FROM things ORDER BY id")]
    await connection.close()
    with redis_client(settings) as broker:
        keys = [int(each) for each in broker.lrange("things", 0, -1)]
    objects = s3_store(settings)
    paths = sorted(each["path"] for page in obstore.list(objects) for each in page)
    return Found(rows, keys, {path: bytes(obstore.get(objects, path).bytes()) for path in paths})


def running(settings: Settings) -> Servers:
    return Servers(settings, Path("/"), durable=False)


async def fill(settings: Settings) -> None:
    await execute(
        settings,
        "CREATE TABLE things (id bigint PRIMARY KEY)",
        "INSERT INTO things SELECT generate_series(1, 500)",
        "CREATE TABLE alembic_version (version_num text)",
        f"INSERT INTO alembic_version VALUES ('{SCHEMA}')",
    )
    with redis_client(settings) as broker:
        broker.rpush("things", *range(1, 501))
    for number in range(20):
        obstore.put(s3_store(settings), f"before/{number}", os.urandom(100_000))


async def spoil(settings: Settings) -> None:
    """Other rows, keys and objects, as after a day's work that one regrets."""
    await execute(settings, "DELETE FROM things", "INSERT INTO things VALUES (-1)")
    with redis_client(settings) as broker:
        broker.delete("things")
    objects = s3_store(settings)
    for page in obstore.list(objects):
        for each in page:
            obstore.delete(objects, each["path"])
    obstore.put(objects, "spoilt", b"spoilt")


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    root = tmp_path_factory.mktemp("snapshots with späces")
    environment = make_environment(data_dir=root / "data", model_dir=root / "models")
    settings = parse(environment)
    with running(settings):
        await fill(settings)
        with Writer(settings) as writer:
            before = wait_for_writes(writer, 10)
            await asyncio.to_thread(snapshot.save, settings, "hot")
            wait_for_writes(writer, 10)
        at_cold = await look(settings)
    snapshot.save(settings, "cold")
    return Stack(environment, settings, writer, before, at_cold)


def wait_for_writes(writer: Writer, count: int) -> int:
    """Wait until so many more are acknowledged; how many there are then."""
    wanted, deadline = len(writer.acknowledged) + count, time.monotonic() + 30
    while len(writer.acknowledged) < wanted:
        assert time.monotonic() < deadline, "the servers take no more writes"
        time.sleep(0.01)
    return len(writer.acknowledged)


def digest(folder: Path) -> str:
    """Everything in the servers' folders: names, modes and bytes."""
    sums = hashlib.sha256()
    for path in sorted(path for part in swap.PARTS for path in (folder / part).rglob("*")):
        sums.update(f"{path.relative_to(folder)} {path.stat().st_mode}".encode())
        if path.is_file():
            sums.update(path.read_bytes())
    return sums.hexdigest()


async def test_a_snapshot_of_a_stack_that_is_down_brings_back_rows_keys_and_objects(stack: Stack) -> None:
    with running(stack.settings):
        await spoil(stack.settings)
        assert (await look(stack.settings)).rows == [-1]

    restored = snapshot.restore(stack.settings, "cold")

    with running(stack.settings):
        assert await look(stack.settings) == stack.at_cold
    assert restored.schema == SCHEMA
    assert restored.pause_s == 0
    assert len(stack.at_cold.rows) >= 520


async def test_a_snapshot_of_a_running_stack_holds_all_that_was_acknowledged_and_no_row_without_its_object(
    stack: Stack, tmp_path: Path
) -> None:
    # Another .env: other passwords, other ports.
    other = parse(make_environment(data_dir=stack.data_dir, model_dir=tmp_path))

    restored = snapshot.restore(other, "hot")

    with running(other):
        found = await look(other)
        port = other.database.parts.port
        url = stack.settings.database.url.get_secret_value().replace(
            f":{stack.settings.database.parts.port}/", f":{port}/"
        )
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(url, ssl=False)
    check_pages(other)
    before = set(range(1, 501)) | set(stack.writer.acknowledged[: stack.before_hot])
    assert before <= set(found.rows)
    assert before <= set(found.keys)
    assert {f"during/{number}" for number in found.rows if number >= 1000} <= found.objects.keys()
    assert all(
        found.objects[path] == content for path, content in stack.at_cold.objects.items() if path in found.objects
    )
    assert set(found.rows) < set(stack.at_cold.rows)  # made in the middle of writing, not after it
    assert restored.schema == SCHEMA


def test_the_present_database_can_be_asked_while_it_is_down(stack: Stack) -> None:
    query = "SELECT 'x' || id AS line FROM things WHERE id IN (1, 2) OR id = -1 ORDER BY id"

    assert snapshot.ask_present(stack.settings, query) in (["x1", "x2"], ["x-1"])
    assert snapshot.ask_present(stack.settings, "SELECT 'x' AS line FROM no_such_table") == []


def test_a_statement_is_run_in_what_is_restored_before_it_is_put_in_place(stack: Stack) -> None:
    query = "SELECT 'x' || id AS line FROM things WHERE id = -7"
    seen = []

    snapshot.restore(
        stack.settings,
        "hot",
        statement="INSERT INTO things VALUES (-7)",
        before_swap=lambda: seen.extend(snapshot.ask_present(stack.settings, query)),
    )
    after = snapshot.ask_present(stack.settings, query)
    snapshot.restore(stack.settings, "cold", statement="UPDATE no_such_table SET id = 1")

    assert (seen, after) == ([], ["x-7"])
    assert snapshot.ask_present(stack.settings, query) == []


def test_who_refuses_before_the_swap_keeps_the_present_data(stack: Stack) -> None:
    def refuse() -> None:
        raise Unavailable("test.refused", "No.")

    before = digest(stack.data_dir)
    with pytest.raises(Unavailable, match="No"):
        snapshot.restore(stack.settings, "cold", before_swap=refuse)

    assert digest(stack.data_dir) == before
    assert not (stack.data_dir / "incoming.new").exists()


def check_pages(settings: Settings) -> None:
    """Every page of PostgreSQL has the checksum it was written with; raises CalledProcessError if one has not."""
    launch = services.POSTGRES.launch(settings, settings.general.data_dir, durable=True)
    words = [str(launch.program.path.with_name("pg_checksums")), "--check", "-D", str(launch.folder)]
    subprocess.run([*launch.privileges.prefix, *words], check=True, capture_output=True)


def test_a_running_stack_is_halted_for_a_moment_only_and_nobody_notices_but_by_waiting(stack: Stack) -> None:
    pause_s = snapshot.read(stack.settings, "hot").pause_s

    assert 0 < pause_s < 10  # a shared machine; a quiet one needs a twentieth of a second
    assert stack.writer.longest_wait_s > pause_s / 2  # one write was in the middle of it, and succeeded
    assert len(stack.writer.acknowledged) >= stack.before_hot + 10


def test_what_a_restored_server_needs_is_private_and_secrets_of_env_are_not_in_it(stack: Stack) -> None:
    assert stack.snapshots.stat().st_mode & 0o777 == 0o700
    assert (stack.snapshots / "cold").stat().st_mode & 0o777 == 0o700
    assert "redis/redis.conf" not in [file.path for file in snapshot.read(stack.settings, "cold").files]
    secrets = [
        stack.settings.redis.parts.password,
        stack.settings.database.parts.password,
        stack.settings.s3.secret_access_key.get_secret_value(),
    ]
    contents = (stack.snapshots / "cold" / "data.tar").read_bytes()
    assert b"postgresql.conf" in contents
    assert not any(secret.encode() in contents for secret in secrets)


def test_snapshots_are_listed_oldest_first(stack: Stack) -> None:
    found = snapshot.every(stack.settings)

    assert [each.name for each in found if isinstance(each, Manifest)] == ["hot", "cold"]
    cold = snapshot.read(stack.settings, "cold")
    assert cold.size_bytes == sum(file.size_bytes for file in cold.files)
    assert cold.data_bytes == (stack.snapshots / "cold" / "data.tar").stat().st_size
    assert cold.made_by["postgres"].program == "postgres"
    assert cold.made_by["objects"].program in ("weed", "minio")


# --- refusals, none of which changes anything ---


@pytest.fixture
def copy(stack: Stack) -> Iterator[Path]:
    """A snapshot of its own, to be damaged."""
    folder = stack.snapshots / "copy"
    shutil.copytree(stack.snapshots / "cold", folder)
    yield folder
    shutil.rmtree(folder)


def flip(folder: Path, path: str) -> None:
    """Change one bit in the middle of a file of the snapshot."""
    file = next(file for file in Manifest.read(folder).files if file.path == path)
    with (folder / "data.tar").open("r+b") as data:
        data.seek(file.offset + file.size_bytes // 2)
        byte = data.read(1)[0]
        data.seek(-1, os.SEEK_CUR)
        data.write(bytes([byte ^ 1]))


def rewrite(folder: Path, **changes: object) -> None:
    dataclasses.replace(Manifest.read(folder), **changes).write(folder)  # type: ignore[arg-type]  # the test knows them


def test_one_flipped_bit_is_refused_by_the_name_of_its_file(stack: Stack, copy: Path) -> None:
    before = digest(stack.data_dir)
    damaged = "postgres/global/pg_control"
    flip(copy, damaged)

    with pytest.raises(Invalid) as refused:
        snapshot.restore(stack.settings, "copy")

    assert damaged in refused.value.message
    assert digest(stack.data_dir) == before
    assert not (stack.data_dir / "incoming.new").exists()


@pytest.mark.parametrize("damage", ["missing", "shorter", "manifest", "no manifest"])
def test_other_damage_is_refused(stack: Stack, copy: Path, damage: str) -> None:
    before = digest(stack.data_dir)
    victim = copy / "data.tar"
    match damage:
        case "missing":
            victim.unlink()
        case "shorter":
            os.truncate(victim, victim.stat().st_size - 1)
        case "manifest":
            text = (copy / "manifest.json").read_text()
            (copy / "manifest.json").write_text(text.replace(SCHEMA, "0004_anything", 1))
        case "no manifest":
            (copy / "manifest.json").unlink()

    with pytest.raises(Invalid) as refused:
        snapshot.restore(stack.settings, "copy")

    assert refused.value.code == "snapshot.damaged"
    assert digest(stack.data_dir) == before


def test_a_snapshot_of_another_postgres_major_names_the_way_out(stack: Stack, copy: Path) -> None:
    made_by = Manifest.read(copy).made_by
    rewrite(copy, made_by=made_by | {"postgres": Made("postgres", "17.6")})

    with pytest.raises(Conflict) as refused:
        snapshot.restore(stack.settings, "copy")

    assert refused.value.code == "snapshot.other_server"
    assert "POSTGRES_BIN" in str(refused.value.hint)
    assert "db upgrade" in str(refused.value.hint)


def test_a_snapshot_of_another_kind_of_server_is_refused(stack: Stack, copy: Path) -> None:
    before, made_by = digest(stack.data_dir), Manifest.read(copy).made_by
    for part, made in (("redis", Made("redis-server", "8.2")), ("objects", Made("minio", "2025"))):
        rewrite(copy, made_by=made_by | {part: made})

        with pytest.raises(Conflict) as refused:
            snapshot.restore(stack.settings, "copy")

        assert refused.value.code == "snapshot.other_server"
        assert str(made) in refused.value.message
    assert digest(stack.data_dir) == before


def test_a_snapshot_of_a_newer_schema_is_refused(stack: Stack) -> None:
    with pytest.raises(Conflict) as refused:
        snapshot.restore(stack.settings, "cold", schemas={"0001_access"})

    assert refused.value.code == "snapshot.schema"
    assert SCHEMA in refused.value.message


def test_a_manifest_that_leads_outside_is_refused(stack: Stack, copy: Path) -> None:
    manifest = Manifest.read(copy)
    rewrite(copy, files=(dataclasses.replace(manifest.files[0], path="postgres/../../../escaped"), *manifest.files[1:]))

    with pytest.raises(Invalid) as refused:
        snapshot.restore(stack.settings, "copy")

    assert refused.value.code == "snapshot.damaged"


def test_a_server_that_is_not_ours_is_refused(stack: Stack) -> None:
    settings = parse(stack.environment | {"REDIS_URL": "redis://:0123456789abcdef@192.0.2.1:6379/0"})

    with pytest.raises(Conflict) as refused:
        snapshot.save(settings, "external")

    assert "REDIS_URL" in refused.value.message
    assert not (stack.snapshots / "external").exists()


def test_names_are_taken_and_missing_ones_told(stack: Stack) -> None:
    with pytest.raises(Conflict) as taken:
        snapshot.save(stack.settings, "cold")
    with pytest.raises(NotFound) as missing:
        snapshot.restore(stack.settings, "nothing")
    with pytest.raises(NotFound):
        snapshot.remove(stack.settings, "nothing")

    assert "snapshot rm cold" in str(taken.value.hint)
    assert "cold, hot" in str(missing.value.hint)


def test_two_at_a_time_are_refused(stack: Stack) -> None:
    other = RunLock(stack.data_dir / "run", "snapshot.lock")
    assert other.acquire()
    try:
        for command in (snapshot.save, snapshot.remove, snapshot.restore):
            with pytest.raises(Conflict) as refused:
                command(stack.settings, "cold" if command is snapshot.restore else "other")
            assert refused.value.code == "snapshot.busy"
    finally:
        other.release()


def test_a_starting_stack_is_not_saved(stack: Stack) -> None:
    starting = RunLock(stack.data_dir / "run")
    assert starting.acquire()
    try:
        with pytest.raises(Conflict) as refused:
            snapshot.save(stack.settings, "starting")
    finally:
        starting.release()

    assert refused.value.code == "stack.running"
    assert f"process {os.getpid()}" in refused.value.message
    assert not (stack.snapshots / "starting").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "-x", "x" * 65, "a b", "a\0b", "a\n", "ä"])
def test_a_name_that_is_none_is_refused(stack: Stack, name: str) -> None:
    for command in (snapshot.save, snapshot.restore, snapshot.remove):
        with pytest.raises(Invalid) as refused:
            command(stack.settings, name)
        assert refused.value.code == "snapshot.name"


# --- killed in the middle ---

# Does something and dies, as by `kill -9`, at its n-th step on the file system of a kind.
KILLED = """
import json, os, signal, sys
from drystone.core.settings import parse
from drystone.stack.data import snapshot
what, name, events, left = sys.argv[1], sys.argv[2], sys.argv[3].split(), int(sys.argv[4])
settings = parse(json.loads(os.environ["SETTINGS"]))
def step(event, args):
    global left
    if event in events:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(step)
getattr(snapshot, what)(settings, name)
"""


def killed_at(stack: Stack, what: str, name: str, events: str, number: int) -> bool:
    """Whether it was killed; False if it came to its end before that step."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, what, name, events, str(number)],
        env=os.environ | {"SETTINGS": json.dumps(stack.environment)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


async def test_a_restore_killed_at_any_step_leaves_the_old_data_or_the_snapshots(stack: Stack) -> None:
    data = {}
    for name in ("hot", "cold"):
        snapshot.restore(stack.settings, name)
        data[name] = digest(stack.data_dir)
    assert data["hot"] != data["cold"]

    present, other, outcomes = "cold", "hot", []
    # Folders are made; then modes are set; the first rename decides; others follow; at last the old files go.
    # Every single step of the renaming is tried in tests/unit/stack/test_swap.py.
    for events, number in (("os.mkdir", 5), ("os.chmod", 700), *(("os.rename", n) for n in (1, 2, 5)), ("os.rmdir", 5)):
        assert killed_at(stack, "restore", other, events, number), (events, number)
        swap.finish(stack.data_dir)  # as the next start does
        found = digest(stack.data_dir)
        assert found in data.values(), (events, number)
        outcomes.append("old" if found == data[present] else "new")
        if outcomes[-1] == "new":
            present, other = other, present

    assert outcomes == ["old", "old", "old", "new", "new", "new"]
    snapshot.restore(stack.settings, "cold")
    with running(stack.settings):
        assert await look(stack.settings) == stack.at_cold


def test_a_killed_save_leaves_nothing_that_looks_like_a_snapshot(stack: Stack) -> None:
    for events, number in (("os.truncate", 3), ("open", 900), ("os.rename", 1)):
        assert killed_at(stack, "save", "killed", events, number), (events, number)
        assert "killed" not in [each.name for each in snapshot.every(stack.settings) if isinstance(each, Manifest)]
        with pytest.raises(NotFound):
            snapshot.read(stack.settings, "killed")
    assert list(stack.snapshots.glob(".new-*"))

    snapshot.save(stack.settings, "after")

    assert not list(stack.snapshots.glob(".*"))
    snapshot.remove(stack.settings, "after")
    assert not (stack.snapshots / "after").exists()


def halt(stack: Stack) -> subprocess.Popen[str]:
    """A process that has halted the stack and waits."""
    words = "import sys; from pathlib import Path; from drystone.stack.data import freeze\n"
    words += "with freeze.frozen(Path(sys.argv[1])): print('halted', flush=True); sys.stdin.read()"
    asker = subprocess.Popen(
        [sys.executable, "-c", words, str(stack.data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert asker.stdout
    assert asker.stdout.readline() == "halted\n"
    return asker


def states(servers: Servers) -> list[str]:
    return [psutil.Process(servers.pid(name)).status() for name in swap.PARTS]


async def test_who_dies_while_the_stack_is_halted_lets_it_go_on(stack: Stack) -> None:
    with running(stack.settings) as servers:
        with halt(stack) as asker:
            assert states(servers) == [psutil.STATUS_STOPPED] * 3
            asker.kill()

        assert (await look(stack.settings)).rows


async def test_the_next_snapshot_lets_go_on_what_was_left_halted(stack: Stack) -> None:
    with running(stack.settings) as servers:
        with halt(stack) as asker:
            for each in (*psutil.Process(asker.pid).children(), asker):  # also who would let them go on
                each.kill()
        assert states(servers) == [psutil.STATUS_STOPPED] * 3

        snapshot.save(stack.settings, "after-a-halt")

        assert (await look(stack.settings)).rows
    snapshot.remove(stack.settings, "after-a-halt")


def test_a_process_that_ends_while_the_stack_is_halted_spoils_the_snapshot(stack: Stack) -> None:
    with running(stack.settings) as servers:
        halted = freeze.frozen(stack.data_dir)
        halted.__enter__()
        servers.kill("redis")
        with pytest.raises(Conflict) as refused:
            halted.__exit__(None, None, None)

    assert refused.value.code == "stack.changed_meanwhile"


async def test_a_process_that_starts_while_the_stack_is_halted_spoils_the_snapshot(stack: Stack) -> None:
    with running(stack.settings) as servers:
        mark = {"DRYSTONE_RUN_ID": servers.run_id, "DRYSTONE_SERVICE": "redis"}
        halted = freeze.frozen(stack.data_dir)
        halted.__enter__()
        stranger = subprocess.Popen(["sleep", "600"], env=os.environ | mark)
        with pytest.raises(Conflict) as refused:
            halted.__exit__(None, None, None)
        assert (await look(stack.settings)).rows  # they go on

    stranger.kill()
    stranger.wait()
    assert refused.value.code == "stack.changed_meanwhile"


# --- a stack that runs is not touched; reset ---


def test_restore_and_reset_refuse_while_the_stack_runs(stack: Stack) -> None:
    with running(stack.settings):
        for command in (lambda: snapshot.restore(stack.settings, "cold"), lambda: reset.reset(stack.settings)):
            with pytest.raises(Conflict) as refused:
                command()
            assert refused.value.code == "stack.running"
            assert "drystone down" in str(refused.value.hint)


async def test_reset_removes_the_data_and_leaves_the_snapshots(stack: Stack) -> None:
    (stack.data_dir / "postgres-17.old").mkdir()

    gone = reset.reset(stack.settings)

    assert gone == ["postgres", "redis", "objects", "postgres-17.old"]
    assert not any((stack.data_dir / name).exists() for name in gone)
    assert reset.reset(stack.settings) == []
    with pytest.raises(NotFound):
        snapshot.save(stack.settings, "empty")
    snapshot.restore(stack.settings, "cold")
    with running(stack.settings):
        assert await look(stack.settings) == stack.at_cold

"""Every fault of the contract's table, each proving that it happened.

A fault is done while a workload runs and is over when it returns: what was halted goes on, what was full has room. Nothing
is repaired: what died is started again by the stack itself, but for `up`, which whoever supervises the machine starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from obstore.store import S3Store
from redis import Redis
from redis.exceptions import RedisError

from drystone.core import crash_points
from drystone.core.errors import Unavailable
from tests.clients import redis_client, s3_store
from tests.faults.network import Disturbance, Misbehaviour
from tests.faults.points import NotProven, Scene, acted, halted_at, leave_under_way
from tests.faults.stack import GRACE_S, LEASE_S, Site, is_gone, is_halted, kill, until
from tests.faults.workload import make_body

# How long a server that is paused, full or disturbed stays so.
WINDOW_S = 6.0
_STRAY_BLOBS = 16
# SeaweedFS looks at its disk once a minute; then it may have to be started anew.
STORE_RECOVERS_S = 90.0


@dataclass(frozen=True)
class Fault:
    """inject: does it and gives the proof. kills: what `up` has to start again. quick: over within seconds,
    whatever else goes on. unless: why it cannot be done here."""

    name: str
    inject: Callable[[Scene], Awaitable[str]]
    kills: str | None = None
    quick: bool = False
    unless: Callable[[Site], str | None] = lambda site: None


# --- killed at a seeded moment


def _kill(name: str) -> Callable[[Scene], Awaitable[str]]:
    async def inject(scene: Scene) -> str:
        return await asyncio.to_thread(kill, scene.site.pid(name))

    return inject


async def _kill_pool_process(scene: Scene) -> str:
    return await asyncio.to_thread(kill, scene.chance.choice(scene.site.pool()).pid)


async def _kill_zygote(scene: Scene) -> str:
    await asyncio.to_thread(until, lambda: bool(scene.site.zygotes()), "a zygote")
    return await asyncio.to_thread(kill, scene.chance.choice(scene.site.zygotes()).pid)


async def _kill_everything(scene: Scene) -> str:
    def kill_all() -> int:
        everyone = scene.site.everyone()
        for process in everyone:  # `up` first: it must not see the others fall
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        until(lambda: all(is_gone(process.pid) for process in everyone), "the end of everything")
        scene.site.up()
        return len(everyone)

    return f"{await asyncio.to_thread(kill_all)} processes are gone"


# --- at a crash point


def _at(point: str, act: str) -> Callable[[Scene], Awaitable[str]]:
    async def inject(scene: Scene) -> str:
        crash_points.order(scene.site.crash, point, act, skip=scene.chance.randrange(3))
        return await acted(scene, point)

    return inject


# --- worker


async def _pause_worker(scene: Scene) -> str:
    """Halted before it publishes for more than two leases; another takes its job; then it goes on and may write nothing."""
    async with halted_at(scene, "before_publish") as pid:
        held = await scene.site.ask(
            "select id, attempt from jobs where state = 'running' and worker like '%:' || $1::text", str(pid)
        )
        if not held:
            raise NotProven(f"{pid} holds no job")
        began = time.monotonic()
        while time.monotonic() - began < 2.2 * LEASE_S or not (taken := await _taken_over(scene, held)):
            if time.monotonic() - began > 60:
                raise AssertionError(f"nobody took over the jobs of {pid}, which was halted for a minute")
            await asyncio.sleep(0.3)
        seconds = time.monotonic() - began
    return f"pid {pid} halted for {seconds:.0f} s, {taken} of its {len(held)} jobs taken over"


async def _taken_over(scene: Scene, held: list[dict[str, Any]]) -> int:
    rows = await scene.site.ask(
        "select count(*) as n from jobs j join unnest($1::uuid[], $2::int[]) as h (id, attempt) using (id)"
        " where j.attempt > h.attempt",
        [row["id"] for row in held],
        [row["attempt"] for row in held],
    )
    return int(rows[0]["n"])


async def _out_of_memory(scene: Scene) -> str:
    """A file that needs more memory than a parser may have."""
    word = scene.workload.word()
    # Half a second's work at most, and twice the memory: of the two limits this one is met first, on any machine.
    body = b"<html><p>%s" % word.encode() + b" words" * 4_000_000
    kept = await scene.workload.upload(word, body, word, suffix="html", fails_with="parse.memory_limit")
    return await _failed(scene, kept.id)


async def _poison(scene: Scene) -> str:
    """A file that burns more CPU than a parser may."""
    word = scene.workload.word()
    # Rows take time and hardly any memory.
    body = b"%s,b\n" % word.encode() + b"1,2\n" * 4_000_000
    kept = await scene.workload.upload(word, body, word, suffix="csv", fails_with="parse.cpu_limit")
    return await _failed(scene, kept.id)


async def _failed(scene: Scene, document_id: str, timeout_s: float = 90) -> str:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        rows = await scene.site.ask(
            "select v.error_code from documents d join versions v on v.id = d.latest_version_id"
            " where d.id = $1::text::uuid and v.state = 'failed'",
            document_id,
        )
        if rows:
            return f"{document_id} failed with {rows[0]['error_code']}"
        await asyncio.sleep(0.2)
    raise NotProven(f"{document_id} did not fail within {timeout_s:.0f} s")


async def _quarantine(scene: Scene) -> str:
    """A file whose parser dies three times."""
    await until_idle(scene.site)
    word = scene.workload.word()
    crash_points.order(scene.site.crash, "mid_parse", "kill_child", times=3)
    body = make_body(scene.chance, word, "html", sentences=20_000)
    kept = await scene.workload.upload(word, body, word, suffix="html", fails_with="document.quarantined")
    told = await _failed(scene, kept.id)
    deaths = len(set(crash_points.victims(scene.site.crash, "mid_parse")))
    for path in scene.site.crash.glob("mid_parse*"):
        path.unlink()
    if deaths != 3:
        raise NotProven(f"the parser died {deaths} times, not 3")
    return f"{deaths} parsers killed, {told}"


async def until_idle(site: Site, *, timeout_s: float = 120) -> float:
    """Wait until no job is left, all is healthy and nothing that died is still to be started again; the seconds it took."""
    began = time.monotonic()
    said: object = None
    while time.monotonic() - began < timeout_s:
        try:
            said = (await site.ask("select count(*) as n from jobs where state in ('queued', 'running')"))[0]["n"]
            async with site.client() as client:
                health = await client.get("/health/ready")
            dead = site.dead()
            if said == 0 and health.status_code == 200 and not dead:
                return time.monotonic() - began
            away = [f"{check['name']}: {check['detail']}" for check in health.json()["checks"] if not check["ok"]]
            said = f"{said} jobs left; away: {', '.join(away + dead) or 'nothing'}; {await _jobs_left(site)}"
        except Exception as exc:  # noqa: BLE001  whatever a server says while it comes back
            said = repr(exc)
        await asyncio.sleep(0.25)
    raise AssertionError(f"not settled within {timeout_s:.0f} s: {said}")


async def _jobs_left(site: Site) -> str:
    rows = await site.ask(
        "select kind, state, worker, error_code, count(*) as n, max(attempt) as attempt, min(run_after - now())::text as due"
        " from jobs where state in ('queued', 'running') group by 1, 2, 3, 4 order by n desc limit 6"
    )
    return "; ".join(", ".join(f"{name} {value}" for name, value in row.items()) for row in rows)


# --- Redis


def _run_id(redis: Redis) -> str | None:
    try:
        return str(redis.info("server")["run_id"])
    except RedisError:
        return None


async def _wipe_redis(scene: Scene) -> str:
    def wipe() -> str:
        with redis_client(scene.site.settings) as redis:
            before = _run_id(redis)
            for entry in (scene.site.data / "redis").iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry)
            kill(scene.site.pid("redis"))
            until(lambda: _run_id(redis) not in (None, before), "Redis to come back anew")
            return f"run_id {str(before)[:8]} became {str(_run_id(redis))[:8]}"

    return await asyncio.to_thread(wipe)


async def _pause_redis(scene: Scene) -> str:
    pid = scene.site.pid("redis")
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.to_thread(until, lambda: is_halted(pid), "Redis to stand still")
        health = await _health_without(scene.site, "redis")
        return f"pid {pid} halted; {health}; " + await _uploads_go_on(scene)
    finally:
        os.kill(pid, signal.SIGCONT)


async def _health_without(site: Site, name: str) -> str:
    """/health answers within 3 s, with 503 and the name of what is away."""
    began = time.monotonic()
    async with site.client() as client:
        answer = await client.get("/health", timeout=30)
    seconds = time.monotonic() - began
    away = [check["name"] for check in answer.json()["checks"] if not check["ok"]]
    if answer.status_code != 503 or name not in away or seconds > 3.5:
        raise AssertionError(f"/health: {answer.status_code} after {seconds:.1f} s, away: {away}")
    return f"/health said so after {seconds:.1f} s"


async def _fill_redis(scene: Scene) -> str:
    with redis_client(scene.site.settings) as redis:
        redis.config_set("maxmemory", "1")
        try:
            refused = _refuses(redis)
            return f"refuses to write: {refused}; " + await _uploads_go_on(scene)
        finally:
            redis.config_set("maxmemory", "0")


def _refuses(redis: Redis) -> str:
    try:
        redis.set("fault", "1")
    except RedisError as exc:
        return str(exc)[:60]
    raise NotProven("Redis took a write with no memory left")


async def _uploads_go_on(scene: Scene) -> str:
    """While the window lasts, uploads are answered with 202 within 3 s."""
    slowest, count, until_s = 0.0, 0, time.monotonic() + WINDOW_S
    while time.monotonic() < until_s:
        word = scene.workload.word()
        began = time.monotonic()
        await scene.workload.upload(word, make_body(scene.chance, word, "txt"), word)
        slowest, count = max(slowest, time.monotonic() - began), count + 1
        await asyncio.sleep(0.3)
    if slowest > 3:
        raise AssertionError(f"an upload took {slowest:.1f} s while Redis was away")
    return f"{count} uploads acknowledged meanwhile, the slowest after {slowest:.2f} s"


# --- PostgreSQL


async def _kill_postgres(scene: Scene) -> str:
    proof = await asyncio.to_thread(kill, scene.site.pid("postgres"))
    return f"{proof}; {await _refused_in_time(scene.site)}"


async def _refused_in_time(site: Site) -> str:
    """While PostgreSQL is away, an upload is answered with 503 and Retry-After within 5 s."""
    began = time.monotonic()
    async with site.client() as client:
        files = {"file": ("a.txt", b"while PostgreSQL is away")}
        try:
            answer = await client.post("/api/v1/documents", files=files, data={"collection": "away"}, timeout=30)
        except httpx.TransportError as exc:
            return f"then no answer ({type(exc).__name__})"
    seconds = time.monotonic() - began
    if seconds > 5.5:
        raise AssertionError(f"an upload was answered with {answer.status_code} after {seconds:.1f} s")
    if answer.status_code not in (202, 503) or (answer.status_code == 503 and "retry-after" not in answer.headers):
        raise AssertionError(f"an upload was answered with {answer.status_code}: {answer.text[:300]}")
    return f"then {answer.status_code} after {seconds:.2f} s"


def _kill_postgres_at(point: str) -> Callable[[Scene], Awaitable[str]]:
    async def inject(scene: Scene) -> str:
        async with halted_at(scene, point) as pid:
            proof = await asyncio.to_thread(kill, scene.site.pid("postgres"))
        return f"{proof} while {pid} stood at {point}"

    return inject


# --- S3 store, through the proxy


def _disturb(disturbance: Disturbance) -> Callable[[Scene], Awaitable[str]]:
    async def inject(scene: Scene) -> str:
        proxy = scene.site.network.proxy
        before, until_s = proxy.disturbed[disturbance], time.monotonic() + WINDOW_S
        proxy.disturbance = disturbance
        try:
            while time.monotonic() < until_s or proxy.disturbed[disturbance] == before:
                if time.monotonic() > until_s + 30:
                    raise NotProven(f"nothing passed the proxy to be {disturbance}")
                await asyncio.sleep(0.2)
                await _touch_store(scene)
        finally:
            proxy.disturbance = ""
        return f"{proxy.disturbed[disturbance] - before} connections or answers {disturbance}"

    return inject


async def _touch_store(scene: Scene) -> None:
    word = scene.workload.word()
    body = make_body(scene.chance, word, "txt")
    upload = asyncio.create_task(scene.workload.upload(word, body, word))
    leave_under_way(upload)
    await asyncio.wait({upload}, timeout=1)


# --- disk


async def _fill_disk(scene: Scene) -> str:
    disk = scene.site.disk
    assert disk is not None
    filler = disk / "filler"
    try:
        said = await asyncio.to_thread(_fill, filler)
        failed = [await _keeps(scene) for _ in range(_STRAY_BLOBS)].count(False)
        until_s, refused = time.monotonic() + WINDOW_S, 0
        while time.monotonic() < until_s:
            await _touch_store(scene)
            answers = scene.workload.promises.answers
            refused = sum(answer.status in (503, 507) for answer in answers)
    finally:
        filler.unlink(missing_ok=True)
    freed = time.monotonic()
    while not await _keeps(scene):
        assert time.monotonic() - freed < STORE_RECOVERS_S, "the store does not get over the full disk"
        await asyncio.sleep(0.5)
    return f"{said}; {refused} requests refused, the store could not keep {failed} of {_STRAY_BLOBS} blobs"


async def _keeps(scene: Scene) -> bool:
    """Whether the store itself takes a blob of nobody: web takes none while its disk is full.

    Large enough to go up in parts, for then the directory of the store is the first that has to write.
    """
    body = scene.chance.randbytes(6_000_000)
    try:
        await scene.site.objects().put(hashlib.sha256(body).digest(), body)
    except Unavailable:
        return False
    return True


def _fill(filler: Path) -> str:
    """Take all that is left. The proof is the file system's own word."""
    with filler.open("wb", buffering=0) as file:
        for block in (1 << 24, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * block)
            except OSError as exc:
                if exc.errno != errno.ENOSPC:
                    raise
    return f"ENOSPC after {filler.stat().st_size // 1_000_000} MB"


def _no_disk(site: Site) -> str | None:
    return None if site.disk else "a file system of its own needs to be mounted, which this user may not"


# --- embedder


def _misbehave(how: Misbehaviour) -> Callable[[Scene], Awaitable[str]]:
    async def inject(scene: Scene) -> str:
        embedder = scene.site.network.embedder
        before, until_s = embedder.misbehaved[how], time.monotonic() + WINDOW_S
        embedder.misbehaviour = how
        try:
            while time.monotonic() < until_s or embedder.misbehaved[how] == before:
                if time.monotonic() > until_s + 30:
                    raise NotProven("nothing was embedded")
                await _touch_store(scene)
        finally:
            embedder.misbehaviour = ""
        return f"{embedder.misbehaved[how] - before} answers {how}"

    return inject


# --- races


async def _delete_while_published(scene: Scene) -> str:
    """Delete a document whose worker stands before publishing it."""
    ours: list[str] = []
    while not ours:  # it may be about to publish what is not acknowledged yet, or what the clients do something with
        async with halted_at(scene, "before_publish") as pid:
            rows = await scene.site.ask(
                "select v.document_id::text as id from jobs j join versions v on v.id = j.subject_id"
                " where j.state = 'running' and j.worker like '%:' || $1::text",
                str(pid),
            )
            kept = scene.workload.promises.kept
            ours = [
                key for (_, key), each in kept.items() if key == each.word and each.id in {row["id"] for row in rows}
            ]
            for key in ours:
                await scene.workload.delete(key)
    return f"{len(ours)} documents deleted while {pid} stood before publishing {len(rows)}"


async def _upload_while_swept(scene: Scene) -> str:
    """Upload the bytes of an orphan while the sweep stands between asking for it and removing it."""
    word = scene.workload.word()
    body = make_body(scene.chance, word, "txt")
    sha256 = hashlib.sha256(body).digest()
    while True:
        if await scene.site.objects().put(sha256, body):  # at first, and where it was swept before anyone was to halt
            await _until_old(scene, sha256)
        async with halted_at(scene, "before_blob_delete") as pid:
            if not await _is_locked(scene.site, sha256):
                continue  # it is about to remove another orphan
            upload = asyncio.create_task(scene.workload.upload(word, body, word))
            await asyncio.wait({upload}, timeout=2)
            if upload.done():
                kept = upload.result()
                if await _is_locked(scene.site, sha256):
                    told = await _locks(scene.site)
                    raise AssertionError(f"the upload {kept.id} did not wait for {pid}, which holds the blob: {told}")
                return (
                    f"uploaded while {pid} had stood for so long before removing the same bytes that it lost the lock"
                )
        await upload
        return f"uploaded while {pid} stood before removing the same bytes, and waited for it"


async def _is_locked(site: Site, sha256: bytes) -> bool:
    """Whether the sweep holds this blob; the worker that keeps its text may do so for a moment too."""
    rows = await site.ask(
        "select 1 from pg_locks join pg_stat_activity using (pid) where locktype = 'advisory' and granted"
        " and application_name = 'drystone-sweep'"
        " and (classid::bigint << 32) | objid::bigint = hashtextextended(encode($1::bytea, 'hex'), 7355002)",
        sha256,
    )
    return bool(rows)


async def _locks(site: Site) -> str:
    rows = await site.ask(
        "select application_name, state, now() - state_change as since, granted, classid, objid, left(query, 60) as query"
        " from pg_locks join pg_stat_activity using (pid) where locktype = 'advisory'"
    )
    return "; ".join(", ".join(f"{name} {value}" for name, value in row.items()) for row in rows)


async def _until_old(scene: Scene, sha256: bytes) -> None:
    """Let the orphan get as old as its grace, but for a second."""
    store: S3Store = s3_store(scene.site.settings)
    key = f"sha256/{sha256.hex()[:2]}/{sha256.hex()}"
    made = (await store.head_async(key))["last_modified"].timestamp()
    while time.time() < made + GRACE_S - 1:
        await asyncio.sleep(0.2)


_KILLS = ("after_put", "before_commit", "after_commit", "before_nudge")
_WORKER_POINTS = (
    "after_claim",
    "after_parse",
    "mid_embed",
    "before_publish",
    "mid_publish",
    "after_publish",
    "mid_unpack",
    "mid_purge",
    "mid_sweep",
    "before_blob_delete",
    "after_blob_delete",
)

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("web killed", _kill("web"), kills="app", quick=True),
        *(Fault(f"web killed at {point}", _at(point, "kill"), kills="app") for point in _KILLS),
        Fault("worker killed", _kill("worker"), kills="app", quick=True),
        Fault("pool process killed", _kill_pool_process, quick=True),
        Fault("zygote killed", _kill_zygote, quick=True),
        Fault("parse child killed", _at("mid_parse", "kill_child")),
        *(
            Fault(
                f"worker killed at {point}",
                _at(point, "kill"),
                kills="app" if "sweep" in point or "blob" in point else None,
            )
            for point in _WORKER_POINTS
        ),
        Fault("worker fails at after_claim", _at("after_claim", "fail")),
        Fault("worker paused for two leases", _pause_worker),
        Fault("out of memory", _out_of_memory),
        Fault("redis killed and wiped", _wipe_redis, kills="redis", quick=True),
        Fault("redis paused", _pause_redis),
        Fault("redis full", _fill_redis),
        Fault("postgres killed", _kill_postgres, kills="postgres", quick=True),
        Fault("postgres killed at mid_publish", _kill_postgres_at("mid_publish"), kills="postgres"),
        Fault("postgres killed at before_commit", _kill_postgres_at("before_commit"), kills="postgres"),
        Fault("objects killed", _kill("objects"), kills="objects", quick=True),
        Fault("objects down", _disturb("down"), quick=True),
        Fault("objects slow", _disturb("slow")),
        Fault("objects truncated", _disturb("truncated"), quick=True),
        Fault("objects give wrong bytes", _disturb("wrong answers")),
        Fault("objects get wrong bytes", _disturb("wrong requests")),
        Fault("disk full", _fill_disk, unless=_no_disk),
        Fault("embedder down", _misbehave("down"), quick=True),
        Fault("embedder silent", _misbehave("silent")),
        Fault("embedder gives NaN", _misbehave("nan")),
        Fault("embedder gives zeros", _misbehave("zero")),
        Fault("embedder gives another dimension", _misbehave("wrong dimension")),
        Fault("embedder gives too few", _misbehave("wrong number")),
        Fault("delete races ingest", _delete_while_published),
        Fault("upload races sweep", _upload_while_swept),
        Fault("poison file", _poison),
        Fault("parser dies three times", _quarantine),
        Fault("everything killed", _kill_everything),
    )
}

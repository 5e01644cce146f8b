"""What `verify`, /health and the test suite ask of a running stack. Each check says what it saw, in one line."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from drystone import schema
from drystone.access import service as access
from drystone.core.db import transaction
from drystone.core.errors import DrystoneError, Unavailable
from drystone.core.ids import new_id
from drystone.core.reach import EVERYTHING, NOTHING
from drystone.index import changes
from drystone.jobs import presence
from drystone.jobs import service as jobs
from drystone.jobs.models import CHECK_KIND, DONE, Job
from drystone.resources import Resources

# Two seconds for each dependency: /health must answer while one of them hangs.
TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Finding:
    """The outcome of one check. detail: what was seen, or what is wrong. required: whether nothing can be served without."""

    name: str
    ok: bool
    detail: str
    took_ms: float
    required: bool = True


Check = Callable[[Resources], Awaitable[str]]


async def run(
    name: str, check: Check, resources: Resources, *, timeout_s: float = TIMEOUT_S, required: bool = True
) -> Finding:
    """One check, never raising and never longer than timeout_s."""
    started = time.perf_counter()
    try:
        async with asyncio.timeout(timeout_s):
            ok, detail = True, await check(resources)
    except TimeoutError:
        ok, detail = False, f"no answer within {timeout_s:g} s"
    except DrystoneError as exc:
        ok, detail = False, exc.message
    except DBAPIError as exc:
        ok, detail = False, str(exc.orig).partition("\n")[0]
    except (RedisError, OSError) as exc:
        ok, detail = False, str(exc) or type(exc).__name__
    return Finding(name, ok, detail, round((time.perf_counter() - started) * 1000, 1), required)


async def readiness(resources: Resources) -> list[Finding]:
    """A finding for each dependency, all asked at once."""
    asked = [run(name, check, resources) for name, check in READINESS.items()]
    if resources.qdrant is not None:
        asked.append(run("qdrant", qdrant, resources, required=False))
    return list(await asyncio.gather(*asked))


async def postgres(resources: Resources) -> str:
    """PostgreSQL answers with a vector, and the schema is there."""
    async with transaction(resources.sessions.within(NOTHING)) as session:
        await session.execute(text("select cast('[1,2]' as halfvec) <#> cast('[3,4]' as halfvec)"))
        revision = await schema.current(session)
    if revision is None:
        raise Unavailable("database.not_migrated", "The database has no schema yet.")
    return f"schema {revision}"


async def redis(resources: Resources) -> str:
    """Redis answers."""
    async with _redis(resources) as client:
        await client.ping()
        return "answers"


async def objects(resources: Resources) -> str:
    """The object store answers."""
    await resources.objects.check()
    return f"bucket {resources.settings.s3.bucket}"


async def worker(resources: Resources) -> str:
    """At least one worker process said lately that it is alive."""
    async with _redis(resources) as client:
        alive = await presence.present(client)
    if not alive:
        raise Unavailable("worker.none", "No worker process is alive.")
    return f"{len(alive)} processes"


async def model(resources: Resources) -> str:
    """The embedding model gives a vector of the right length."""
    vector = (await resources.embedder.embed_queries(["a wall without mortar"]))[0]
    return f"{resources.embedder.model_id}, {len(vector)} dimensions"


async def qdrant(resources: Resources) -> str:
    """Qdrant answers; and how much it does not know yet. Without it PostgreSQL answers what it would be asked."""
    assert resources.qdrant is not None, "there is one"
    version = await resources.qdrant.version()
    async with transaction(resources.sessions.within(EVERYTHING)) as session:
        waiting = await changes.count_pending(session)
    return f"{version}, {waiting} passages wait"


async def append_only(resources: Resources) -> str:
    """Redis keeps a log, so that a restart forgets nothing."""
    async with _redis(resources) as client:
        if (await client.config_get("appendonly"))["appendonly"] != "yes":
            raise Unavailable("redis.not_append_only", "Redis is not append-only: set appendonly yes.")
        if (await client.info("persistence"))["aof_last_write_status"] != "ok":
            raise Unavailable("redis.append_failed", "Redis could not write its append-only file.")
    return "append-only, last write ok"


async def blob_round_trip(resources: Resources) -> str:
    """A blob comes back from the store as it went in, by its SHA-256."""
    body = os.urandom(4096)
    sha256 = hashlib.sha256(body).digest()
    await resources.objects.put(sha256, body)
    try:
        await resources.objects.get(sha256)  # raises when the hash differs
    finally:
        await resources.objects.delete(sha256)
    return f"sha256 {sha256.hex()[:12]}…"


async def schema_at(resources: Resources) -> str:
    """The database is at the revision that the code expects."""
    async with transaction(resources.sessions.within(NOTHING)) as session:
        found = await schema.current(session)
    if found != schema.HEAD:
        raise Unavailable("database.other_revision", f"The schema is at {found}, the code expects {schema.HEAD}.")
    return f"at head, {found}"


async def job_round_trip(resources: Resources) -> str:
    """A job that only its message can start is done by a worker: the broker delivers."""
    started = time.perf_counter()
    async with transaction(resources.sessions.within(EVERYTHING)) as session:
        job_id = await jobs.enqueue(
            session,
            resources.nudger,
            kind=CHECK_KIND,
            subject_id=new_id(),
            workspace_id=await access.default_workspace(session),
        )
    while True:
        async with transaction(resources.sessions.within(EVERYTHING)) as session:
            state = await session.scalar(select(Job.state).where(Job.id == job_id))
        if state == DONE:
            return f"through broker and worker in {(time.perf_counter() - started) * 1000:.0f} ms"
        await asyncio.sleep(0.02)


READINESS: dict[str, Check] = {
    "postgres": postgres,
    "redis": redis,
    "objects": objects,
    "model": model,
    "worker": worker,
}


def _redis(resources: Resources) -> Redis:
    return presence.connect(resources.settings.redis, timeout_s=TIMEOUT_S)

"""`drystone doctor`: what is wrong with this stack, and what to do about it. Changes nothing.

The stack's own checks come first; those of schema, model and worker stand on what they found.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from drystone.core.db import Sessions
    from drystone.core.settings import Settings
    from drystone.invariants import Verdict
    from drystone.stack.diagnosis.doctor import Examination, Site
    from drystone.stack.diagnosis.findings import Finding, Report

_TIMEOUT_S = 2.0
# A job that is due is taken within a sweep or two, also when its message is lost.
_IDLE_S = 20.0
# harm -> what is counted, and what to do about it
_HARMS = {
    "lost": (
        "things that were acknowledged are missing or incomplete",
        "upload the documents named above again, or ./drystone snapshot restore; please report it",
    ),
    "duplicated": (
        "sets of chunks hold more than was published",
        "delete the documents named above and upload them again; please report it",
    ),
    "resurrected": (
        "deleted documents still have rows that a search could find",
        "delete them again; please report it",
    ),
    "orphaned": (
        "things belong to nobody: blobs without a row, chunks without a version, jobs without a worker",
        "./drystone logs worker tells why the sweep leaves them; it takes them once it can",
    ),
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data: Annotated[
        bool, typer.Option("--data", help="Check the documents too: is anything lost, twice, back, or left over?")
    ] = False,
    hashes: Annotated[
        bool, typer.Option("--hashes", help="With --data: read every blob and compare its hash.")
    ] = False,
) -> None:
    """Find out what is wrong with the stack, running or stopped, and how to put it right; ends with 1 if anything is.

    It looks and asks; it changes, ends and removes nothing. docs/guides/troubleshooting.md explains each finding.
    """
    import dataclasses
    import os

    from drystone.cli import terminal
    from drystone.core import logging
    from drystone.stack import root

    logging.configure("CRITICAL", "console")
    folder, verdict = root.find(), None
    if data:
        report, verdict = examine_with_data(folder, os.environ, hashes=hashes)
    else:
        report = examine(folder, os.environ)
    if as_json:
        told = {"data": _as_json(verdict)} if verdict else {}
        terminal.print_json({"ok": not report.findings} | dataclasses.asdict(report) | told)
    else:
        _print(report, verdict)
    raise typer.Exit(1 if report.findings else 0)


def examine(folder: Path, shell: Mapping[str, str]) -> Report:
    """Everything there is to find out about the project in `folder`, but what its data say."""
    return _examine(folder, shell).report


def examine_with_data(folder: Path, shell: Mapping[str, str], *, hashes: bool = False) -> tuple[Report, Verdict | None]:
    """The same, and what the invariants say of the data; None when they could not be asked.

    hashes: read every blob and compare its hash.
    """
    examination = _examine(folder, shell)
    if not examination.site:
        examination.report.skip("the settings cannot be used", "data")
        return examination.report, None
    return examination.report, asyncio.run(_examine_data(examination, examination.site, hashes=hashes))


def _examine(folder: Path, shell: Mapping[str, str]) -> Examination:
    from drystone.stack.diagnosis import doctor as stack

    examination = stack.examine(folder, shell)
    report = examination.report
    if not examination.site:
        report.skip("the settings cannot be used", "model", "schema", "worker")
        return examination
    _examine_model(report, examination.site.project.settings)
    asyncio.run(_examine_qdrant(report, examination.site.project.settings))
    asyncio.run(_examine_work(examination, examination.site))
    return examination


def print_finding(finding: Finding) -> None:
    """A block for people: the code and what is wrong, then the fix."""
    import sys

    from drystone.cli import terminal

    told = terminal.wrapped(f"{finding.code}  {finding.message}\n  fix: {finding.fix}", sys.stdout)
    typer.echo(typer.style(finding.code, fg="red") + told.removeprefix(finding.code))


def _print(report: Report, verdict: Verdict | None) -> None:
    import sys

    from drystone.cli import terminal

    for violation in verdict.violations if verdict else ():
        told = (
            f"{violation.invariant} {violation.harm}: {violation.subject_kind} {violation.subject} {violation.detail}"
        )
        typer.echo(terminal.wrapped(told, sys.stdout))
    if verdict:
        typer.echo(f"{verdict}\n")
    for finding in report.findings:
        print_finding(finding)
        typer.echo()
    for line in _summary(report):
        typer.echo(terminal.wrapped(line, sys.stdout))


def _summary(report: Report) -> Iterator[str]:
    count = len(report.findings)
    found = "No fault" if not count else "1 fault" if count == 1 else f"{count} faults"
    yield f"{found} found. Checked: {', '.join(report.checks)}."
    for reason in dict.fromkeys(report.skipped.values()):
        checks = ", ".join(check for check, why in report.skipped.items() if why == reason)
        yield f"Not checked, because {reason}: {checks}."


def _examine_model(report: Report, settings: Settings) -> None:
    from drystone.adapters.embedding import model
    from drystone.stack.diagnosis.findings import Code, Finding

    where = settings.general.model_dir
    given = (settings.embedding, settings.next_embedding)
    wanted = [model.MODELS[each.model] for each in given if each.provider == "bundled"]
    prepared = [each for each in wanted if model.folder_of(where, each).exists()]
    if not prepared:
        report.skip("there is none prepared on this machine", "model")
        return
    damaged = [model.folder_of(where, each) for each in prepared if not model.is_intact(where, each)]
    findings = [
        Finding(
            Code.MODEL_DAMAGED,
            f"The embedding model in {folder} is not as it was built: a file is missing or has another hash.",
            "./drystone model prepare builds it anew",
        )
        for folder in damaged
    ]
    report.add("model", findings)


async def _examine_qdrant(report: Report, settings: Settings) -> None:
    from drystone.core.errors import Unavailable
    from drystone.resources import open_store
    from drystone.stack.diagnosis.findings import Code, Finding

    if settings.vectors.store == "pgvector":
        return
    findings, store = [], None
    try:
        store = open_store(settings.vectors, timeout_s=_TIMEOUT_S)
        assert store is not None, "the settings name one"
        await store.version()
    except Unavailable as exc:
        findings = [Finding(Code.QDRANT_AWAY, exc.message, exc.hint or "see docs/guides/qdrant.md")]
    finally:
        if store is not None:
            await store.aclose()
    report.add("qdrant", findings)


async def _examine_work(examination: Examination, site: Site) -> None:
    """The schema where PostgreSQL answers, the worker where it should run."""
    from drystone.stack.diagnosis.findings import Code

    report = examination.report
    if not examination.answers("postgres"):
        why = "does not answer" if "postgres" in examination.replies else "does not run"
        report.skip(f"PostgreSQL {why}", "schema", "worker")
    elif site.state and site.state.status == "starting":
        report.skip("the stack is still starting", "schema", "worker")
    elif report.has(Code.POSTGRES_NO_VECTOR):
        report.skip("the extension vector is missing", "schema", "worker")
    else:
        await _checked(report, "schema", _schema(site))
        await _checked(report, "role", _role(site))
        await _checked(report, "models", _models(site))
        if site.runs("web"):
            await _checked(report, "key", _key(site))
        if not site.runs("worker"):
            report.skip("no up of this project runs one", "worker")
        elif not examination.answers("redis"):
            report.skip("Redis does not answer", "worker")
        else:
            await _checked(report, "worker", _worker(site))


async def _examine_data(examination: Examination, site: Site, *, hashes: bool) -> Verdict | None:
    """The invariants of ingestion, where PostgreSQL and the object store answer and the schema is the code's."""
    from sqlalchemy.exc import SQLAlchemyError

    from drystone import invariants
    from drystone.adapters.objects import Objects
    from drystone.core.errors import DrystoneError

    report, settings = examination.report, site.project.settings
    if away := [name for name in ("postgres", "objects") if not examination.answers(name)]:
        report.skip(f"{' and '.join(away)} cannot be asked", "data")
        return None
    limits = invariants.Limits.of(settings.worker, rehash=hashes)
    try:
        async with _open_sessions(settings, pool_size=2) as sessions:
            verdict = await invariants.check(sessions, Objects.open_s3(settings.s3), limits)
    except (DrystoneError, SQLAlchemyError) as exc:
        report.skip(str(exc).partition("\n")[0].rstrip("."), "data")
        return None
    report.add("data", [_harm(harm, count) for harm, count in verdict.counts.items() if count])
    return verdict


def _harm(harm: str, count: int) -> Finding:
    from drystone.stack.diagnosis.findings import Code, Finding

    message, fix = _HARMS[harm]
    return Finding(Code(f"data.{harm}"), f"{count} {message}.", fix)


def _as_json(verdict: Verdict) -> dict[str, Any]:
    import dataclasses

    violations = [dataclasses.asdict(violation) for violation in verdict.violations]
    return {"counts": dict(verdict.counts), "by_invariant": verdict.checked, "violations": violations}


async def _checked(report: Report, check: str, asking: Coroutine[Any, Any, list[Finding]]) -> None:
    """Make a check that asks servers; what goes wrong while asking is a reason not to know, no finding."""
    from redis.exceptions import RedisError
    from sqlalchemy.exc import SQLAlchemyError

    from drystone.core.errors import DrystoneError

    try:
        async with asyncio.timeout(_TIMEOUT_S):
            report.add(check, await asking)
    except TimeoutError:
        report.skip(f"there was no answer within {_TIMEOUT_S:g} s", check)
    except DrystoneError as exc:
        report.skip(exc.message.rstrip("."), check)
    except (RedisError, SQLAlchemyError, OSError) as exc:
        report.skip(f"asking failed ({type(exc).__name__})", check)


async def _schema(site: Site) -> list[Finding]:
    from drystone import schema
    from drystone.core.db import transaction
    from drystone.stack.diagnosis.findings import Code, Finding

    async with _open_sessions(site.project.settings) as sessions, transaction(sessions) as session:
        found = await schema.current(session)
    if found == schema.HEAD:
        return []
    if found is None or schema.is_known(found, site.project.root):
        message = f"The database's schema is at {found or 'nothing'}; the code expects {schema.HEAD}."
        return [Finding(Code.SCHEMA_BEHIND, message, "./drystone db migrate")]
    message = f"The database's schema is at {found}, which this code does not know: a newer version made it."
    return [Finding(Code.SCHEMA_AHEAD, message, f"update the code (git pull); this one expects {schema.HEAD}")]


async def _role(site: Site) -> list[Finding]:
    """Whether row-level security holds for the application's role."""
    from drystone import schema
    from drystone.core.db import transaction
    from drystone.stack.diagnosis.findings import Code, Finding

    settings = site.project.settings
    async with _open_sessions(settings) as sessions, transaction(sessions) as session:
        ways = await schema.ways_round_security(session)
    if not ways:
        return []
    role = settings.database.parts.user
    message = f"Row-level security does not hold for {role}, the role of DATABASE_URL: it {' and '.join(ways)}."
    fix = (
        f"as superuser: ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS; tables belong to the role of MIGRATION_DATABASE_URL"
    )
    return [Finding(Code.ROLE_BYPASSES, message, fix)]


async def _key(site: Site) -> list[Finding]:
    """Whether web was started with the first key that is in `.env` now."""
    from drystone.access import service as access
    from drystone.core.db import transaction
    from drystone.stack.diagnosis.findings import Code, Finding

    settings = site.project.settings
    async with _open_sessions(settings) as sessions, transaction(sessions) as session:
        if await access.is_known(session, settings.api.key.get_secret_value()):
            return []
    message = "DRYSTONE_API_KEY is no key of this server: it was changed after web had started."
    return [Finding(Code.KEY_UNKNOWN, message, "./drystone down, then ./drystone up; or set the former key again")]


async def _models(site: Site) -> list[Finding]:
    """Models of collections that are configured nowhere."""
    from drystone.core.db import transaction
    from drystone.index import spaces
    from drystone.stack.diagnosis.findings import Code, Finding

    settings = site.project.settings
    async with _open_sessions(settings) as sessions, transaction(sessions) as session:
        found = await spaces.not_among(session, spaces.configured(settings))
    fix = "name it in the EMBEDDING_ or NEXT_EMBEDDING_ variables of .env; then ./drystone down and ./drystone up"
    return [
        Finding(
            Code.MODEL_NOT_CONFIGURED,
            f"{count} collections, {name} for one, were embedded by {space.model} with {space.dimension} dimensions, "
            "which is not configured: by meaning they cannot be searched, and uploads into them wait.",
            fix,
        )
        for space, count, name in found
    ]


async def _worker(site: Site) -> list[Finding]:
    from drystone.core.errors import Unavailable
    from drystone.jobs import presence
    from drystone.stack.diagnosis.findings import Code, Finding

    async with presence.connect(site.project.settings.redis, timeout_s=_TIMEOUT_S) as redis:
        alive = [name for name in await presence.present(redis) if _is_alive(presence.pid_here(name))]
        is_new = not alive and await _has_just_started(redis)
    if is_new:
        raise Unavailable("worker.unknown", "Redis has just started and no worker has told it yet that it lives")
    if not alive:
        message = "No worker process says that it is alive: what is uploaded waits."
        return [
            Finding(Code.WORKER_NONE, message, "see ./drystone logs worker; then ./drystone down and ./drystone up")
        ]
    if paused := _paused(site, alive):
        pids = " ".join(str(pid) for pid in paused)
        return [Finding(Code.WORKER_STUCK, f"Worker processes are paused by a signal: {pids}.", f"kill -CONT {pids}")]
    return await _stuck_jobs(site)


def _is_alive(pid: int | None) -> bool:
    """None is a process of another host, which only its own word can tell of."""
    from drystone.stack import processes

    return pid is None or processes.is_running(pid)


async def _has_just_started(redis: Redis) -> bool:
    from drystone.jobs import presence

    uptime_s: int = (await redis.info("server"))["uptime_in_seconds"]
    return uptime_s < 3 * presence.RENEW_S


def _paused(site: Site, names: list[str]) -> list[int]:
    from drystone.jobs import presence
    from drystone.stack import processes

    pids = {site.pid("worker"), *(presence.pid_here(name) for name in names)}
    return sorted(pid for pid in pids if pid and processes.is_paused(pid))


async def _stuck_jobs(site: Site) -> list[Finding]:
    from drystone.core.db import transaction
    from drystone.jobs import queries
    from drystone.stack.diagnosis.findings import Code, Finding

    settings = site.project.settings
    patience_s = 3.0 * settings.worker.sweep_s
    if time.time() - site.started_at("worker") < patience_s:
        return []  # what has been due since the stack was stopped is taken within a sweep
    async with _open_sessions(settings) as sessions, transaction(sessions) as session:
        stuck = await queries.stuck(session, idle_s=max(_IDLE_S, patience_s))
    if not stuck:
        return []
    message = f"Workers say that they live, but {stuck} jobs are due and none was taken lately."
    return [Finding(Code.WORKER_STUCK, message, "see ./drystone logs worker; then ./drystone down and ./drystone up")]


@asynccontextmanager
async def _open_sessions(settings: Settings, *, pool_size: int = 1) -> AsyncIterator[Sessions]:
    from drystone.core.db import make_engine, make_sessions

    url = settings.database.url.get_secret_value()
    engine = make_engine(url, pool_size=pool_size, application_name="drystone-doctor")
    try:
        yield make_sessions(engine)
    finally:
        await engine.dispose()

"""Reads blobs again and hashes them: what is missing or wrong is noted, told with its documents, and can be repaired.

A scrub is a job. One that was cut short goes on where it was: what it checked already is younger than itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Principal
from drystone.adapters.objects import Objects
from drystone.core.clock import utc_now
from drystone.core.db import transaction
from drystone.core.errors import Invalid, NotFound, Unavailable
from drystone.core.ids import new_id
from drystone.core.logging import get_logger
from drystone.documents import blobs, ingest
from drystone.documents.ingest import Tools
from drystone.documents.models import SCRUB
from drystone.jobs import events
from drystone.jobs import service as jobs
from drystone.jobs.broker import Nudger
from drystone.jobs.queries import Claim

MISSING, WRONG = "missing", "wrong"
_AT_ONCE = 200
# A scrub that nobody waits for reads no faster than this.
_QUIET_BYTES_PER_S = 20_000_000
# A store that answers but fails to give one object so often has lost it.
_TRIES = 2
_HOURS_A_DAY = 24

log = get_logger("documents.scrub")


@dataclass(frozen=True)
class Finding:
    """A blob that is missing or wrong, with one of the documents that it belongs to.

    is_text: it is the extracted text, which can be made again, not the file as uploaded.
    """

    sha256: bytes
    problem: str
    found_at: datetime
    is_text: bool
    document_id: UUID
    name: str | None
    collection: str


@dataclass(frozen=True)
class Scrub:
    """How far a scrub is. total: blobs it set out to check."""

    id: UUID
    job_id: UUID
    state: str
    total: int
    checked: int
    size_bytes: int
    repaired: int


async def request(
    session: AsyncSession, nudger: Nudger, principal: Principal, *, sample: int | None, repair: bool
) -> UUID:
    """Order a scrub; its id. sample: so many blobs, those first that were not checked for longest; None: all."""
    principal.require_whole("admin")
    scrub_id = await _order(session, nudger, principal.workspace_id, sample=sample, repair=repair)
    await access.record(session, principal, "scrub.request", "scrub", scrub_id, sample=sample, repair=repair)
    return scrub_id


async def schedule(session: AsyncSession, nudger: Nudger, *, days: int) -> UUID | None:
    """Order the hourly share of a scrub that meets every blob once in so many days; None when nothing is due."""
    if await session.scalar(_IS_UNDER_WAY, {"kind": SCRUB}):
        return None
    before = utc_now() - timedelta(days=days)
    if not (await session.execute(_DUE, {"before": before, "limit": 1})).all():
        return None
    share = math.ceil(await _count(session) / (days * _HOURS_A_DAY))
    workspace_id = await access.default_workspace(session)
    return await _order(session, nudger, workspace_id, sample=share, repair=True, before=before)


async def run(tools: Tools, claim: Claim) -> None:
    """Check what the scrub was ordered to check, note what is found, and repair texts where that was asked for."""
    async with transaction(tools.sessions) as session:
        order = (await session.execute(_ORDER, {"subject_id": claim.subject_id})).one()
    before = datetime.fromisoformat(order.data["before"]) if order.data["before"] else order.at
    checked, size_bytes, repaired = order.checked, 0, 0
    while batch := await _due(tools, before=before, limit=min(_AT_ONCE, order.data["total"] - checked)):
        for sha256 in batch:
            problem, read_bytes = await _look_at(tools.objects, sha256)
            problem = await _note(tools, sha256, problem)
            if problem is not None and order.data["repair"] and await _repair(tools, sha256):
                repaired += 1
            checked, size_bytes = checked + 1, size_bytes + read_bytes
            if order.data["before"]:
                await asyncio.sleep(read_bytes / _QUIET_BYTES_PER_S)
    async with transaction(tools.sessions) as session:
        await session.execute(_FORGET_GONE)
        await events.emit(
            session,
            claim.workspace_id,
            "scrub.finished",
            "scrub",
            claim.subject_id,
            checked=checked,
            bytes=size_bytes,
            repaired=repaired,
        )
        await jobs.finish(session, claim)


async def get(session: AsyncSession, principal: Principal, scrub_id: UUID) -> Scrub:
    """How far a scrub is. Raises NotFound."""
    principal.require_whole("admin")
    row = (
        await session.execute(_SCRUB, {"id": scrub_id, "kind": SCRUB, "workspace_id": principal.workspace_id})
    ).one_or_none()
    if row is None:
        raise NotFound("scrub.not_found", f"There is no scrub {scrub_id}.")
    end: dict[str, Any] = row.finished or {}
    return Scrub(
        id=scrub_id,
        job_id=row.job_id,
        state=row.state,
        total=row.ordered["total"],
        checked=end.get("checked", row.checked),
        size_bytes=end.get("bytes", 0),
        repaired=end.get("repaired", 0),
    )


async def findings(session: AsyncSession, *, workspace_id: UUID | None = None, limit: int = 1000) -> list[Finding]:
    """Blobs known to be missing or wrong, each with every live document it belongs to. None: of all workspaces."""
    rows = await session.execute(_FINDINGS, {"workspace_id": workspace_id, "limit": limit})
    return [
        Finding(row.sha256, row.problem, row.found_at, row.is_text, row.document_id, row.name, row.collection)
        for row in rows
    ]


async def _order(
    session: AsyncSession,
    nudger: Nudger,
    workspace_id: UUID,
    *,
    sample: int | None,
    repair: bool,
    before: datetime | None = None,
) -> UUID:
    scrub_id = new_id()
    total = await _count(session)
    total = total if sample is None else min(sample, total)
    await events.emit(
        session,
        workspace_id,
        "scrub.requested",
        "scrub",
        scrub_id,
        total=total,
        repair=repair,
        before=before.isoformat() if before else None,
    )
    await jobs.enqueue(session, nudger, kind=SCRUB, subject_id=scrub_id, workspace_id=workspace_id)
    return scrub_id


async def _count(session: AsyncSession) -> int:
    return int(await session.scalar(_COUNT) or 0)


async def _due(tools: Tools, *, before: datetime, limit: int) -> list[bytes]:
    async with transaction(tools.sessions) as session:
        return list((await session.scalars(_DUE, {"before": before, "limit": limit})).all())


async def _look_at(objects: Objects, sha256: bytes) -> tuple[str | None, int]:
    """What is wrong with a blob, if anything, and how many bytes were read."""
    for left in reversed(range(_TRIES)):
        size_bytes = 0
        try:
            async for chunk in objects.stream(sha256):
                size_bytes += len(chunk)
        except NotFound:
            return MISSING, 0
        except Unavailable as exc:
            if exc.code == "objects.corrupt":
                return WRONG, size_bytes
            await objects.check()  # the store as a whole: raises when it is that which is away
            if left == 0:
                log.warning("scrub.unreadable", sha256=sha256.hex(), reason=exc.values.get("reason"))
        else:
            return None, size_bytes
    return WRONG, 0


async def _note(tools: Tools, sha256: bytes, problem: str | None) -> str | None:
    """Note the outcome; what is still wrong. A blob that nobody refers to any more may be missing."""
    async with transaction(tools.sessions) as session:
        if problem is not None and not await session.scalar(_IS_REFERRED_TO, {"sha256": sha256}):
            problem = None
        await session.execute(_NOTE, {"sha256": sha256, "problem": problem})
    if problem is not None:
        log.error("scrub.found", sha256=sha256.hex(), problem=problem)
    return problem


async def _repair(tools: Tools, sha256: bytes) -> bool:
    """Make an extracted text again from its file, if that gives the same text."""
    async with transaction(tools.sessions) as session:
        file = (await session.execute(_FILE_OF_TEXT, {"sha256": sha256})).one_or_none()
    body = None if file is None else await _text_again(tools, file)
    if body is None or hashlib.sha256(body).digest() != sha256:
        return False
    await tools.objects.put(sha256, body, force=True)
    async with transaction(tools.sessions) as session:
        await blobs.confirm(session, sha256)
    log.info("scrub.repaired", sha256=sha256.hex())
    return True


async def _text_again(tools: Tools, file: Row[Any]) -> bytes | None:
    try:
        parsed = await ingest.read(tools, file.sha256, size_bytes=file.size_bytes, media_type=file.media_type)
    except (Invalid, NotFound):
        return None
    except Unavailable as exc:
        if exc.code != "objects.corrupt":
            raise
        return None
    return parsed.text.encode()


_BLOBS = """
(select sha256 from files union select text_sha256 from versions where text_sha256 is not null) as blob (sha256)
"""

_COUNT = text(f"select count(*) from {_BLOBS}")

# What was found missing or wrong comes first: somebody may have repaired it.
_DUE = text(f"""
select blob.sha256 from {_BLOBS}
left join blob_checks done on done.sha256 = blob.sha256
where done.checked_at is null or done.checked_at < :before
order by done.problem is null, done.checked_at nulls first
limit :limit
""")

_ORDER = text("""
select data, at, (select count(*) from blob_checks where checked_at >= events.at) as checked
from events where subject_id = :subject_id and kind = 'scrub.requested' order by xid, id limit 1
""")

_IS_UNDER_WAY = text("""
select exists (select 1 from jobs where state = 'queued' and kind = :kind)
    or exists (select 1 from jobs where state = 'running' and kind = :kind)
""")

_IS_REFERRED_TO = text("""
select exists (select 1 from files where sha256 = :sha256)
    or exists (select 1 from versions where text_sha256 = :sha256)
""")

_NOTE = text("""
insert into blob_checks as done (sha256, checked_at, problem, found_at)
values (:sha256, clock_timestamp(), cast(:problem as text), case when cast(:problem as text) is null then null else now() end)
on conflict (sha256) do update
set checked_at = excluded.checked_at, problem = excluded.problem,
    found_at = case when done.problem = excluded.problem then done.found_at else excluded.found_at end
""")

_FORGET_GONE = text("""
delete from blob_checks done
where not exists (select 1 from files where files.sha256 = done.sha256)
  and not exists (select 1 from versions where versions.text_sha256 = done.sha256)
""")

_FILE_OF_TEXT = text("""
select files.sha256, files.size_bytes, files.media_type
from versions join files on files.id = versions.file_id
where versions.text_sha256 = :sha256 limit 1
""")

_SCRUB = text("""
select jobs.id as job_id, jobs.state, ordered.data as ordered, finished.data as finished,
       (select count(*) from blob_checks where checked_at >= ordered.at) as checked
from jobs
join events ordered on ordered.subject_id = jobs.subject_id and ordered.kind = 'scrub.requested'
left join events finished on finished.subject_id = jobs.subject_id and finished.kind = 'scrub.finished'
where jobs.subject_id = :id and jobs.kind = :kind and jobs.workspace_id = :workspace_id
""")

_FINDINGS = text("""
with bad as (select sha256, problem, found_at from blob_checks where problem is not null),
belongs as (
    select bad.sha256, versions.document_id, versions.name, false as is_text
    from bad join files on files.sha256 = bad.sha256 join versions on versions.file_id = files.id
    union
    select bad.sha256, versions.document_id, versions.name, true
    from bad join versions on versions.text_sha256 = bad.sha256
)
select bad.sha256, bad.problem, bad.found_at, belongs.is_text, documents.id as document_id, belongs.name,
       collections.name as collection
from bad join belongs on belongs.sha256 = bad.sha256
join documents on documents.id = belongs.document_id and documents.deleted_at is null
join collections on collections.id = documents.collection_id
where cast(:workspace_id as uuid) is null or documents.workspace_id = :workspace_id
order by bad.found_at, bad.sha256, documents.id, belongs.name
limit :limit
""")

"""The eight invariants of ingestion, each one a check over PostgreSQL and the object store. Reads only.

The fault tests and `drystone doctor --data` run this one program. It reads one snapshot of the database, row by row, and
asks again, outside the snapshot, before it says that a blob is missing or an orphan: so it may run beside a working stack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.adapters.objects import Objects, StoredObject
from drystone.core.clock import utc_now
from drystone.core.db import Sessions, transaction
from drystone.core.errors import NotFound, Unavailable
from drystone.core.settings import WorkerSettings
from drystone.documents import blobs
from drystone.index.spaces import vector_table

LOST, DUPLICATED, RESURRECTED, ORPHANED = "lost", "duplicated", "resurrected", "orphaned"
HARMS = (LOST, DUPLICATED, RESURRECTED, ORPHANED)
# What of each invariant is told one by one; the rest is counted.
MAX_TOLD = 100
_LAST = b"\xff" * 32


@dataclass(frozen=True)
class Violation:
    """Something that must not be. harm: one of HARMS. subject: the id, or a blob's SHA-256 in hex."""

    invariant: str
    harm: str
    subject_kind: str
    subject: str
    detail: str


@dataclass(frozen=True)
class Limits:
    """What work in flight may still owe.

    pending_s: so long a version may wait for its job; None: as long as the job is alive. lease_s: of a claimed job.
    orphan_s: so old a blob may get that nothing refers to. rehash: read every blob, instead of asking whether it is there.
    max_listed: so many blobs of a listing are held at once.
    """

    lease_s: float
    orphan_s: float
    pending_s: float | None = None
    rehash: bool = False
    max_listed: int = 100_000

    @classmethod
    def of(cls, settings: WorkerSettings, *, rehash: bool = False) -> Limits:
        """The limits of a running stack: its lease; its grace, and the quarter of an hour in which a sweep comes by."""
        return cls(lease_s=settings.lease_s, orphan_s=settings.blob_grace_s + 900, rehash=rehash)


@dataclass
class Verdict:
    """What was found: how often each harm was done, and what was wrong, the first hundred of each invariant."""

    counts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(HARMS, 0)))
    violations: list[Violation] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return not any(self.counts.values())

    def add(self, violation: Violation) -> None:
        """Count a violation, and keep it unless there are many of its kind."""
        self.counts[violation.harm] += 1
        number = self.checked[violation.invariant] = self.checked.get(violation.invariant, 0) + 1
        if number <= MAX_TOLD:
            self.violations.append(violation)

    def __str__(self) -> str:
        return " · ".join(f"{harm} {self.counts[harm]}" for harm in HARMS)


@dataclass(frozen=True)
class _Scene:
    """What a check looks at. session: the snapshot; sessions: for what must be asked of the present."""

    session: AsyncSession
    sessions: Sessions
    objects: Objects
    limits: Limits


Check = Callable[[_Scene], AsyncGenerator[Violation]]


async def check(
    sessions: Sessions, objects: Objects, limits: Limits, *, without: Collection[str] = (), ignore: Collection[str] = ()
) -> Verdict:
    """Check all invariants but those of `without`. Raises Unavailable when PostgreSQL or the object store cannot be asked.

    ignore: subjects of which nothing is told.
    """
    wanted = {name: one for name, one in CHECKS.items() if name not in without}
    verdict = Verdict(checked=dict.fromkeys(wanted, 0))
    async with transaction(sessions) as session:
        await session.execute(text("set transaction isolation level repeatable read, read only"))
        await session.execute(text("set local idle_in_transaction_session_timeout = 0"))  # the store is asked meanwhile
        scene = _Scene(session, sessions, objects, limits)
        for one in wanted.values():
            async with aclosing(one(scene)) as violations:
                async for violation in violations:
                    if violation.subject not in ignore:
                        verdict.add(violation)
    return verdict


async def ends(scene: _Scene) -> AsyncGenerator[Violation]:
    """I1: every acknowledged id ends in ready, failed(reason) or deleted by its deadline."""
    parameters = {"pending_s": scene.limits.pending_s}
    async for row in _rows(scene, _WITHOUT_END, parameters):
        yield Violation("I1", LOST, "version", str(row.id), row.detail)


async def one_set_of_chunks(scene: _Scene) -> AsyncGenerator[Violation]:
    """I2: a ready version has ordinals 0…n−1 once, all of one attempt, each with an embedding; in a filled second space, too."""
    for space_id in [row.id async for row in _rows(scene, "select id from embedding_spaces order by id")]:
        statement = _CHUNK_SETS.replace("vectors_of_space", vector_table(space_id))
        async for row in _rows(scene, statement, {"space_id": space_id}):
            harm = DUPLICATED if row.chunks > row.chunk_count or row.attempt_differs else LOST
            seen = f"{row.chunks} chunks ({row.ordinals} ordinals), {row.words} with words, {row.vectors} with a vector"
            attempt = ", of another attempt than its job" if row.attempt_differs else ""
            yield Violation("I2", harm, "version", str(row.id), f"{seen}; {row.chunk_count} were published{attempt}")


async def chunks_have_a_version(scene: _Scene) -> AsyncGenerator[Violation]:
    """I3: no chunk without a live version."""
    async for row in _rows(scene, _CHUNKS_WITHOUT_VERSION):
        detail = "stands beside the version that search sees"
        yield Violation("I3", DUPLICATED if row.is_live else ORPHANED, "chunk", str(row.id), detail)


async def blobs_exist(scene: _Scene) -> AsyncGenerator[Violation]:
    """I4: every live version's blob exists with that SHA-256."""
    async for low, high, there in _listings(scene.objects, scene.limits.max_listed):
        async for row in _rows(scene, _WANTED_BLOBS, {"low": low, "high": high}):
            found = there.get(row.sha256)
            is_there = found is not None and row.size_bytes in (None, found)
            if is_there and (not scene.limits.rehash or await _is_whole(scene.objects, row.sha256)):
                continue
            if await blobs.is_wanted(scene.sessions, row.sha256) and not await _is_whole(scene.objects, row.sha256):
                detail = "is missing" if found is None else "cannot be read, or holds other bytes than its name says"
                yield Violation("I4", LOST, "blob", row.sha256.hex(), f"{detail}; needed by {row.needed_by}")


async def blobs_are_wanted(scene: _Scene) -> AsyncGenerator[Violation]:
    """I5: no unreferenced blob older than the grace."""
    oldest = utc_now() - timedelta(seconds=scene.limits.orphan_s)
    async for blob in scene.objects.list():
        if blob.modified_at < oldest and not await blobs.is_wanted(scene.sessions, blob.sha256):
            yield _orphan(blob)


async def deleted_is_gone(scene: _Scene) -> AsyncGenerator[Violation]:
    """I6: deleted ids never appear in search, MCP or exports: nothing is left that could, once they are purged."""
    spaces = [row.id async for row in _rows(scene, "select id from embedding_spaces order by id")]
    for table in ("chunks", *(vector_table(space_id) for space_id in spaces)):
        async for row in _rows(scene, _OF_DELETED.replace("rows_of_index", table)):
            yield Violation(
                "I6", RESURRECTED, "document", str(row.id), f"is deleted, but has {row.rows} rows in {table}"
            )
    async for row in _rows(scene, _WORDS_OF_NOTHING):
        detail = f"has words of {row.chunks} passages that are gone, of {row.first} for one"
        yield Violation("I6", RESURRECTED, "collection", str(row.id), detail)


async def leases_are_kept(scene: _Scene) -> AsyncGenerator[Violation]:
    """I7: no running job with a lease older than twice the lease."""
    async for row in _rows(scene, _OLD_LEASES, {"lease_s": scene.limits.lease_s}):
        detail = f"{row.kind} is held by {row.worker}, whose lease ended at {row.lease_until:%H:%M:%S}"
        yield Violation("I7", ORPHANED, "job", str(row.id), detail)


async def changes_are_audited(scene: _Scene) -> AsyncGenerator[Violation]:
    """I8: an audit row per change of documents, collections and drafts."""
    async for row in _rows(scene, _UNAUDITED):
        yield Violation("I8", LOST, row.kind, str(row.id), f"has no audit row {row.action}")


CHECKS: dict[str, Check] = {
    "I1": ends,
    "I2": one_set_of_chunks,
    "I3": chunks_have_a_version,
    "I4": blobs_exist,
    "I5": blobs_are_wanted,
    "I6": deleted_is_gone,
    "I7": leases_are_kept,
    "I8": changes_are_audited,
}


async def _rows(scene: _Scene, statement: str, parameters: dict[str, Any] | None = None) -> AsyncIterator[Row[Any]]:
    """Rows through a cursor of the server: a few hundred at a time, however many there are."""
    result = await scene.session.stream(text(statement), parameters or {})
    try:
        async for row in result:
            yield row
    finally:
        await result.close()


async def _is_whole(objects: Objects, sha256: bytes) -> bool:
    try:
        async for _ in objects.stream(sha256):
            pass
    except NotFound:
        return False
    except Unavailable as exc:
        if exc.code != "objects.corrupt":
            await objects.exists(sha256)  # one that is away raises here; else it answers for what it cannot give
        return False
    return True


async def _listings(objects: Objects, most: int) -> AsyncIterator[tuple[bytes, bytes, dict[bytes, int]]]:
    """What lies in the store, hash to size, and between which hashes: all at once, or a 256th at a time where it is much."""
    there: dict[bytes, int] = {}
    async with aclosing(objects.list()) as listing:
        async for blob in listing:
            there[blob.sha256] = blob.size_bytes
            if len(there) > most:
                break
        else:
            yield b"", _LAST, there
            return
    for first in range(256):
        there = {blob.sha256: blob.size_bytes async for blob in objects.list(first)}
        yield bytes([first]), bytes([first]) + _LAST, there


def _orphan(blob: StoredObject) -> Violation:
    detail = f"{blob.size_bytes} bytes of {blob.modified_at:%Y-%m-%d %H:%M:%S} that no row refers to"
    return Violation("I5", ORPHANED, "blob", blob.sha256.hex(), detail)


_WITHOUT_END = """
select v.id,
       case when v.state = 'pending' and j.id is null then 'is pending, and no job is to make it ready'
            when v.state = 'pending' then 'is still pending; its job ' || j.id || ' is ' || j.state
            when v.state = 'failed' then 'failed without a reason'
            when v.state = d.state then 'is ready and the newest, and search sees another'
            else 'is ' || v.state || ', its document ' || d.state end as detail
from versions v
join documents d on d.id = v.document_id and d.deleted_at is null
join collections k on k.id = d.collection_id and k.deleted_at is null
left join jobs j on j.subject_id = v.id and j.state in ('queued', 'running')
where v.state = 'pending' and (j.id is null or v.created_at < now() - make_interval(secs => cast(:pending_s as float8)))
   or v.state = 'failed' and (v.error_code is null or v.error_message is null)
   or v.id = d.latest_version_id
      and (v.state <> d.state or v.state = 'ready' and d.current_version_id is distinct from v.id)
order by v.id
"""

_CHUNK_SETS = """
with indexed as materialized (
    select chunk_id, count(*) as times from lexical_chunks group by chunk_id
)
select v.id, v.chunk_count, coalesce(n.chunks, 0) as chunks, coalesce(n.ordinals, 0) as ordinals, coalesce(n.words, 0) as words,
       coalesce(n.vectors, 0) as vectors, coalesce(v.attempt <> j.attempt, false) as attempt_differs
from documents d
join collections k on k.id = d.collection_id
left join reembeddings r on r.collection_id = k.id and r.ended_at is null and r.filled_at is not null
join versions v on v.id = d.current_version_id
left join jobs j on j.subject_id = v.id and j.kind = 'documents.ingest' and j.state = 'done'
left join (
    select c.version_id, count(*) as chunks, count(distinct c.ordinal) as ordinals, max(c.ordinal) as last,
           cast(coalesce(sum(l.times), 0) as bigint) as words, count(e.chunk_id) filter (where e.embedding <#> e.embedding between -1.02 and -0.98) as vectors
    from chunks c
    left join indexed l on l.chunk_id = c.id
    left join vectors_of_space e on e.chunk_id = c.id
    group by c.version_id
) n on n.version_id = v.id
where d.deleted_at is null and k.deleted_at is null and :space_id in (k.space_id, r.from_space_id, r.to_space_id)
  and (v.state <> 'ready' or coalesce(n.chunks, 0) <> v.chunk_count or n.ordinals <> v.chunk_count or n.last <> v.chunk_count - 1
       or n.words <> v.chunk_count or n.vectors <> v.chunk_count or v.attempt is null or v.attempt <> j.attempt)
order by v.id
"""

_CHUNKS_WITHOUT_VERSION = """
select c.id, v.id is not null as is_live
from chunks c
left join documents d on d.id = c.document_id
left join versions v on v.id = c.version_id
where d.deleted_at is null and (d.id is null or d.current_version_id is distinct from c.version_id)
order by c.id
"""

_WANTED_BLOBS = """
select sha256, max(size_bytes) as size_bytes, (array_agg(needed_by))[1] as needed_by
from (
    select f.sha256, f.size_bytes, 'version ' || v.id
    from files f
    join versions v on v.file_id = f.id
    join documents d on d.id = v.document_id and d.deleted_at is null
    where f.sha256 between :low and :high
    union all
    select v.text_sha256, null, 'version ' || v.id
    from versions v
    join documents d on d.id = v.document_id and d.deleted_at is null
    where v.text_sha256 between :low and :high
    union all
    select f.sha256, f.size_bytes, 'kept file ' || k.id
    from kept_files k
    join files f on f.id = k.file_id
    where f.sha256 between :low and :high
    union all
    select f.sha256, f.size_bytes, 'part ' || p.id
    from upload_parts p
    join files f on f.id = p.file_id
    where f.sha256 between :low and :high
) as wanted (sha256, size_bytes, needed_by)
group by sha256
"""

_OF_DELETED = """
select d.id, count(*) as rows
from documents d
join rows_of_index r on r.document_id = d.id
where d.deleted_at is not null
  and (d.purged_at is not null
       or not exists (select 1 from jobs j
                      where j.state in ('queued', 'running')
                        and (j.kind, j.subject_id) in (('documents.purge', d.id), ('documents.purge_collection', d.collection_id))))
group by d.id
order by d.id
"""

_WORDS_OF_NOTHING = """
select l.collection_id as id, count(*) as chunks, min(l.chunk_id) as first
from lexical_chunks l left join chunks c on c.id = l.chunk_id
where c.id is null
group by l.collection_id
order by l.collection_id
"""

_OLD_LEASES = """
select id, kind, worker, lease_until from jobs
where state = 'running' and lease_until < clock_timestamp() - make_interval(secs => cast(:lease_s as float8))
order by id
"""

_UNAUDITED = """
select 'document' as kind, d.id, 'document.create' as action
from documents d
where not exists (select 1 from audit a where a.subject_id = d.id and a.action = 'document.create')
union all
select 'document', d.id, 'document.replace'
from documents d
where d.deleted_at is null
  and (select count(*) from versions v where v.document_id = d.id and v.number > 1)
    > (select count(*) from audit a where a.subject_id = d.id and a.action = 'document.replace')
union all
select 'document', d.id, 'document.delete'
from documents d
where d.deleted_at is not null
  and not exists (select 1 from audit a
                  where (a.subject_id, a.action) in ((d.id, 'document.delete'), (d.collection_id, 'collection.delete')))
union all
select 'document', d.id, '(nor a row among the deletions)'
from documents d
where d.deleted_at is not null and not exists (select 1 from deletions x where x.subject_id = d.id)
union all
select 'collection', k.id, 'collection.create'
from collections k
where not exists (select 1 from audit a where a.subject_id = k.id and a.action = 'collection.create')
union all
select 'collection', k.id, 'collection.delete'
from collections k
where k.deleted_at is not null
  and not exists (select 1 from audit a where a.subject_id = k.id and a.action = 'collection.delete')
union all
select 'draft', d.id, 'draft.create'
from drafts d
where not exists (select 1 from audit a where a.subject_id = d.id and a.action = 'draft.create')
union all
select 'draft', d.id, 'draft.merge'
from drafts d
where d.merged_revision is not null
  and not exists (select 1 from audit a where a.subject_id = d.id and a.action = 'draft.merge')
union all
select 'draft', d.id, 'draft.delete'
from drafts d
where d.deleted_at is not null
  and (select count(*) filter (where action = 'draft.delete') <= count(*) filter (where action = 'draft.restore')
       from audit a where a.subject_id = d.id)
union all
select 'draft', d.id, 'for each of the ' || d.revision || ' changes that it counts'
from drafts d
where d.revision > (select count(*) from audit a where a.subject_id = d.id and a.subject_kind = 'draft')
"""

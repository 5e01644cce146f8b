"""Events: what happened, in an order that no reader can skip a row of.

Two ways to read. `read_after` stays below the oldest running transaction: simple, and as late as that transaction.
`changes` gives what one snapshot sees and an earlier one did not: exact, and no transaction delays another's events.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.jobs.models import Event

# Every kind that is told anywhere: what webhooks may ask for. A test holds it to the code.
KINDS = (
    "batch.done",
    "collection.created",
    "collection.deleted",
    "collection.described",
    "document.deleted",
    "document.described",
    "document.failed",
    "document.progress",
    "document.ready",
    "document.received",
    "draft.approved",
    "draft.created",
    "draft.expired",
    "draft.merged",
    "draft.rejected",
    "draft.submitted",
    "draft.withdrawn",
    "embedding.cancelled",
    "embedding.filled",
    "embedding.finished",
    "embedding.progress",
    "embedding.rolled_back",
    "embedding.started",
    "embedding.switched",
    "entity.deleted",
    "entity.published",
    "entity.restored",
    "job.retrying",
    "mentions.refreshed",
    "module.deleted",
    "module.published",
    "module.restored",
    "observations.added",
    "observations.deleted",
    "profile.deleted",
    "profile.published",
    "profile.restored",
    "scrub.finished",
    "scrub.requested",
    "webhook.test",
)
# How long events are kept; who was away for longer begins anew.
KEPT_S = 7 * 24 * 3600
_SWEEP_AT_ONCE = 5000

_SNAPSHOT = re.compile(r"(\d{1,19}):(\d{1,19}):(\d{1,19}(?:,\d{1,19})*)?")
_MAX_TOKEN = 8192


@dataclass(frozen=True)
class Happening:
    """What is told of a subject. collection_id, batch_id: whose streams show it, too."""

    workspace_id: UUID
    kind: str
    subject_kind: str
    subject_id: UUID
    collection_id: UUID | None = None
    batch_id: UUID | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


async def emit(
    session: AsyncSession,
    workspace_id: UUID,
    kind: str,
    subject_kind: str,
    subject_id: UUID,
    *,
    collection_id: UUID | None = None,
    batch_id: UUID | None = None,
    **data: Any,
) -> int:
    """Add an event to the transaction of what it tells; its id. collection_id, batch_id: whose streams show it, too."""
    return int(
        (
            await session.execute(
                _EMIT,
                {
                    "workspace_id": workspace_id,
                    "kind": kind,
                    "subject_kind": subject_kind,
                    "subject_id": subject_id,
                    "collection_id": collection_id,
                    "batch_id": batch_id,
                    "data": json.dumps(data),
                },
            )
        ).scalar_one()
    )


async def emit_all(session: AsyncSession, happenings: Sequence[Happening]) -> None:
    """Add events to the transaction of what they tell."""
    if happenings:
        await session.execute(insert(Event), [asdict(happening) for happening in happenings])


def message(row: Row[Any]) -> dict[str, Any]:
    """An event as streams and webhooks tell it: type, timestamp, data."""
    about = {
        f"{row.subject_kind}_id": str(row.subject_id),
        "collection_id": row.collection_id and str(row.collection_id),
        "batch_id": row.batch_id and str(row.batch_id),
    }
    known = {name: value for name, value in about.items() if value is not None}
    return {"type": row.kind, "timestamp": row.at.isoformat(), "data": known | row.data}


async def newest(session: AsyncSession, kind: str, subject_ids: Sequence[UUID]) -> dict[UUID, Row[Any]]:
    """For each of these subjects that has one, its newest event of this kind: at, data."""
    rows = await session.execute(_NEWEST, {"kind": kind, "subject_ids": list(subject_ids)})
    return {row.subject_id: row for row in rows}


async def read_after(
    session: AsyncSession, workspace_id: UUID, *, after: tuple[int, int] = (0, 0), limit: int = 500
) -> Sequence[Row[Any]]:
    """Events after the position `(xid, id)`, in order; only those below the oldest transaction still running.

    A later commit can therefore never appear before a position already handed out.
    """
    return (
        await session.execute(
            _READ, {"workspace_id": workspace_id, "xid": str(after[0]), "id": after[1], "limit": limit}
        )
    ).all()


@dataclass(frozen=True)
class Scope:
    """Whose events: of one document (subject), of a batch, or of a collection."""

    column: Literal["subject_id", "batch_id", "collection_id"]
    id: UUID

    def covers(self, row: Row[Any]) -> bool:
        """Whether the event belongs to it."""
        return bool(getattr(row, self.column) == self.id)


@dataclass(frozen=True)
class Position:
    """How far a reader has come: all that the snapshot `before` saw and, of what `now` saw beyond it, up to (xid, id).

    Snapshots are PostgreSQL's, as text: `xmin:xmax:xip,…`. timeline: which run of transactions they count; a database
    that is restored begins another. at: when it was handed out, in Unix seconds.
    """

    timeline: str
    before: str
    now: str
    xid: int = 0
    id: int = 0
    at: int = 0

    def token(self) -> str:
        """As clients keep it; it means nothing to them."""
        before = "" if self.before == self.now else self.before
        plain = f"{self.timeline};{self.now};{before};{self.xid};{self.id};{self.at or int(time.time())}"
        return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, token: str) -> Position | None:
        """The position in a token; None when it is none of ours."""
        if len(token) > _MAX_TOKEN:
            return None
        try:
            plain = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
            timeline, now, before, xid, event_id, at = plain.split(";")
            found = cls(timeline, before or now, now, int(xid), int(event_id), int(at))
        except ValueError:
            return None
        is_sane = min(found.xid, found.id, found.at) >= 0 and max(found.xid, found.id) < 2**63
        return found if is_sane and _is_snapshot(found.before) and _is_snapshot(found.now) else None

    def is_expired(self) -> bool:
        """Whether events after it may have been swept by now."""
        return self.at < time.time() - KEPT_S

    def is_before(self, present: Position) -> bool:
        """Whether one can read on from here to the present: not from another database, nor from one since restored."""
        return self.timeline == present.timeline and _xmax(self.now) <= _xmax(present.now)

    def until(self, later: Position) -> Position:
        """The step from here to another position, of which nothing is read yet."""
        return Position(later.timeline, self.now, later.now)

    def after(self, row: Row[Any]) -> Position:
        """Here, with the rows up to this one read."""
        return Position(self.timeline, self.before, self.now, row.xid, row.id)


async def present(session: AsyncSession) -> Position:
    """Where a reader stands that has been told everything up to this moment."""
    row = (await session.execute(_PRESENT)).one()
    return Position(row.timeline, row.now, row.now)


async def changes(
    session: AsyncSession, scope: Scope | Sequence[UUID], position: Position, *, limit: int
) -> Sequence[Row[Any]]:
    """Events after the position that its `now` sees, in the order of (xid, id); at most `limit`.

    scope: or ids of workspaces, for all of their events.
    """
    column, value = ("workspace_id", list(scope)) if not isinstance(scope, Scope) else (scope.column, scope.id)
    _, xmax, running = position.before.split(":")
    given = {
        "value": value,
        "xmax": xmax,
        "running": running.split(",") if running else [],
        "now": position.now,
        "xid": str(position.xid),
        "id": position.id,
        "limit": limit,
    }
    return (await session.execute(_CHANGES[column], given)).all()


async def sweep(session: AsyncSession) -> int:
    """Remove the oldest events, a few thousand at most, if they are older than KEPT_S; how many."""
    gone = await session.execute(_SWEEP, {"kept_s": KEPT_S, "limit": _SWEEP_AT_ONCE})
    return len(gone.all())


_COLUMNS = """cast(cast(xid as text) as bigint) as xid, id, at, kind, subject_kind, subject_id, collection_id, batch_id,
       workspace_id, data"""

_EMIT = text("""
insert into events (workspace_id, kind, subject_kind, subject_id, collection_id, batch_id, data)
values (:workspace_id, :kind, :subject_kind, :subject_id, :collection_id, :batch_id, cast(:data as jsonb))
returning id
""")

_NEWEST = text("""
select subject.id as subject_id, event.at, event.data
from unnest(cast(:subject_ids as uuid[])) as subject(id)
cross join lateral (
    select at, data from events where subject_id = subject.id and kind = :kind order by xid desc, id desc limit 1
) as event
""")

_READ = text(f"""
select {_COLUMNS}
from events
where workspace_id = :workspace_id
  and (xid, id) > (cast(cast(:xid as text) as xid8), cast(:id as bigint))
  and xid < pg_snapshot_xmin(pg_current_snapshot())
order by xid, id
limit :limit
""")


# A restored snapshot has another row, a recovered backup another timeline of PostgreSQL, a new cluster another identifier.
_PRESENT = text("""
select cast(pg_current_snapshot() as text) as now,
       left(md5(concat_ws(':', (select id from timeline), (select system_identifier from pg_control_system()),
                          left(pg_walfile_name(pg_current_wal_lsn()), 8))), 16) as timeline
""")

# For a database that was put back to an earlier state. On one line: it is given to a PostgreSQL that serves nobody else.
RENEW_TIMELINE = "UPDATE timeline SET id = gen_random_uuid()"


def _changes(which: str) -> Any:
    # What a snapshot did not see: everything from its xmax on, and what was running then. Each is a range of an index.
    rest = f"""from events where {which} and pg_visible_in_snapshot(xid, cast(cast(:now as text) as pg_snapshot))
       and (xid, id) > (cast(cast(:xid as text) as xid8), cast(:id as bigint))"""
    return text(f"""
select {_COLUMNS} from (
    select * {rest} and xid >= cast(cast(:xmax as text) as xid8)
    union all
    select * {rest} and xid = any(cast(cast(:running as text[]) as xid8[]))
) as seen
order by seen.xid, seen.id
limit :limit
""")


_CHANGES = {
    "workspace_id": _changes("workspace_id = any(:value)"),
    "subject_id": _changes("subject_id = :value"),
    "batch_id": _changes("batch_id = :value"),
    "collection_id": _changes("collection_id = :value"),
}

_SWEEP = text("""
delete from events
where id in (select id from events order by id limit :limit) and at < now() - make_interval(secs => :kept_s)
returning id
""")


def _xmax(given: str) -> int:
    return int(given.split(":")[1])


def _is_snapshot(given: str) -> bool:
    """Whether PostgreSQL would take it: xmin <= what was running, in order, < xmax."""
    if not (match := _SNAPSHOT.fullmatch(given)):
        return False
    xmin, xmax = int(match[1]), int(match[2])
    running = [int(xid) for xid in (match[3] or "").split(",") if xid]
    if not (xmin & 0xFFFFFFFF and xmax & 0xFFFFFFFF):  # in each epoch the id 0 is none
        return False
    return xmin <= xmax < 2**63 and running == sorted(set(running)) and all(xmin <= xid < xmax for xid in running)

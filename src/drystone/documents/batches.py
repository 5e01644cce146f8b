"""Batches: uploads that somebody wants to watch together. A batch is done when all of its documents have ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Principal
from drystone.core.db import widened
from drystone.core.errors import NotFound
from drystone.core.ids import new_id
from drystone.documents.models import FAILED, INGEST, PENDING, READY, Batch, Version
from drystone.documents.retrying import STEERING
from drystone.jobs import events, ledger
from drystone.jobs.ledger import Chosen

DELETED = "deleted"
_SETTLE_AT_ONCE = 100


@dataclass(frozen=True)
class BatchView:
    """A batch, its documents by state, and the failed ones by reason."""

    batch: Batch
    counts: Mapping[str, int]
    reasons: Mapping[str, int]


async def create(session: AsyncSession, principal: Principal, *, name: str | None, expected: int | None) -> BatchView:
    """Make an empty batch. expected: how many documents it will have, if that is known."""
    principal.require("write")
    batch = Batch(
        id=new_id(),
        workspace_id=principal.workspace_id,
        name=name,
        expected=expected,
        created_by=principal.actor,
    )
    session.add(batch)
    await session.flush()
    await access.record(session, principal, "batch.create", "batch", batch.id, name=name, expected=expected)
    return await get(session, principal, batch.id)


async def get(session: AsyncSession, principal: Principal, batch_id: UUID) -> BatchView:
    """A batch with its counts. Raises NotFound, also where the key may not see it."""
    principal.require("read")
    batch = await session.get(Batch, batch_id, populate_existing=True)
    if batch is None or not _may_see(principal, batch):
        raise no_batch(batch_id)
    counts = dict.fromkeys((PENDING, READY, FAILED, DELETED), 0)
    reasons: dict[str, int] = {}
    for state, code, number in await session.execute(_COUNT, {"batch_id": batch_id}):
        counts[state] += number
        if state == FAILED:
            reasons[code] = number
    return BatchView(batch, counts, reasons)


async def expect(session: AsyncSession, principal: Principal, batch_id: UUID, expected: int | None) -> BatchView:
    """Say anew how many documents the batch will have."""
    principal.require("write")
    view = await get(session, principal, batch_id)
    view.batch.expected = expected
    await session.flush()
    await access.record(session, principal, "batch.expect", "batch", batch_id, expected=expected)
    await settle(session, batch_id)
    return await get(session, principal, batch_id)


async def cancel(session: AsyncSession, principal: Principal, batch_id: UUID) -> BatchView:
    """End the work on those of its documents that have not ended: they fail with `job.cancelled`."""
    principal.require("write")
    await get(session, principal, batch_id)
    pending = select(Version.id).where(Version.batch_id == batch_id, Version.state == PENDING)
    chosen = Chosen(subject_ids=list((await session.scalars(pending)).all()), kind=INGEST)
    more = bool(chosen.subject_ids)
    while more:
        outcome = await ledger.cancel(session, principal.workspace_id, chosen, {INGEST: STEERING})
        await access.record_all(session, principal, "job.cancel", "job", [job.id for job in outcome.jobs])
        more = outcome.more
    await settle(session, batch_id)
    return await get(session, principal, batch_id)


async def check(session: AsyncSession, principal: Principal, batch_id: UUID) -> None:
    """Raise NotFound unless the caller may add to this batch."""
    batch = await session.get(Batch, batch_id)
    if batch is None or not _may_see(principal, batch):
        raise no_batch(batch_id)


async def reopen(session: AsyncSession, batch_id: UUID) -> None:
    """The batch has a pending version again: it is not done. Call it after the version's row was written."""
    await session.execute(
        text("update batches set done_at = null where id = :id and done_at is not null"), {"id": batch_id}
    )


async def settle(session: AsyncSession, batch_id: UUID) -> bool:
    """Tell that the batch is done if all of its documents have ended and nobody told before.

    The lock waits for uploads into it that are being committed, and they for us: none comes in between unseen.
    """
    await session.execute(text("select id from batches where id = :id for update"), {"id": batch_id})
    async with widened(session):
        done = (await session.execute(_SETTLE, {"batch_id": batch_id})).one_or_none()
        if done is None:
            return False
        counts = {row.state: row.number for row in await session.execute(_COUNT_STATES, {"batch_id": batch_id})}
    await events.emit(
        session, done.workspace_id, "batch.done", "batch", batch_id, batch_id=batch_id, name=done.name, documents=counts
    )
    return True


async def settle_all(session: AsyncSession) -> int:
    """Settle the batches that wait for it; how many were done."""
    waiting = [row.id for row in await session.execute(_WAITING, {"limit": _SETTLE_AT_ONCE})]
    return sum([await settle(session, batch_id) for batch_id in waiting])


def no_batch(batch_id: UUID) -> NotFound:
    """The error for a batch that does not exist, or not for this caller."""
    return NotFound(
        "batch.not_found",
        f"There is no batch {batch_id}.",
        hint="POST /api/v1/batches makes one",
        batch_id=str(batch_id),
    )


def _may_see(principal: Principal, batch: Batch) -> bool:
    """A key that is confined to collections sees the batches it made, and of these only what is in its collections: the rows
    of others are out of its reach."""
    is_own = principal.collection_ids is None or batch.created_by == principal.actor
    return batch.workspace_id == principal.workspace_id and is_own


_STATE = "case when d.deleted_at is not null then 'deleted' else v.state end"

_COUNT = text(f"""
select {_STATE} as state, coalesce(v.error_code, '') as code, count(*) as number
from versions v join documents d on d.id = v.document_id
where v.batch_id = :batch_id
group by 1, 2
""")

_COUNT_STATES = text(f"""
select {_STATE} as state, count(*) as number
from versions v join documents d on d.id = v.document_id
where v.batch_id = :batch_id
group by 1
""")

_ENDED = """
  and exists (select 1 from versions v where v.batch_id = b.id)
  and not exists (select 1 from versions v join documents d on d.id = v.document_id
                  where v.batch_id = b.id and v.state = 'pending' and d.deleted_at is null)
  and (b.expected is null or b.expected <= (select count(*) from versions v where v.batch_id = b.id))
"""

_SETTLE = text(f"""
update batches b set done_at = clock_timestamp()
where b.id = :batch_id and b.done_at is null {_ENDED}
returning b.workspace_id, b.name
""")

_WAITING = text(f"""
select b.id from batches b
where b.done_at is null and b.created_at > now() - interval '30 days' {_ENDED}
order by b.created_at limit :limit
""")

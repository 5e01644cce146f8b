"""Events: what happened, in an order that no reader can skip a row of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.jobs.models import Event


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
) -> None:
    """Add an event to the transaction of what it tells. collection_id, batch_id: whose streams show it, too."""
    await session.execute(
        insert(Event).values(
            workspace_id=workspace_id,
            kind=kind,
            subject_kind=subject_kind,
            subject_id=subject_id,
            collection_id=collection_id,
            batch_id=batch_id,
            data=data,
        )
    )


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


_READ = text("""
select cast(cast(xid as text) as bigint) as xid, id, at, kind, subject_kind, subject_id, data
from events
where workspace_id = :workspace_id
  and (xid, id) > (cast(cast(:xid as text) as xid8), cast(:id as bigint))
  and xid < pg_snapshot_xmin(pg_current_snapshot())
order by xid, id
limit :limit
""")

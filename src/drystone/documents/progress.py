"""What is told of a document on its way: how far a long one has come, and that it is worked on once more."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.documents.models import INGEST, Document, Version
from drystone.documents.queries import Pending
from drystone.jobs import events

# Between two events of one document.
PAUSE_S = 1.0
KIND = "document.progress"


class Progress:
    """Tells how many passages of a version are embedded, in transactions that are made anyway; once a second at most."""

    def __init__(self, pending: Pending, total: int) -> None:
        self._pending = pending
        self._total = total
        self._told_at = time.monotonic()

    async def tell(self, session: AsyncSession, done: int) -> None:
        """Add the event to the transaction, unless one was told just now."""
        if time.monotonic() - self._told_at < PAUSE_S:
            return
        self._told_at = time.monotonic()
        await events.emit(
            session,
            self._pending.workspace_id,
            KIND,
            "document",
            self._pending.document_id,
            collection_id=self._pending.collection_id,
            batch_id=self._pending.batch_id,
            stage="embedding",
            done=done,
            total=self._total,
        )


async def tell_retrying(session: AsyncSession, kind: str, version_id: UUID, **why: Any) -> None:
    """Tell that the work on a version failed for now and will be tried again; nothing where the job is another kind."""
    if kind != INGEST:
        return
    row = (
        await session.execute(
            select(Document.workspace_id, Document.id, Document.collection_id, Version.batch_id)
            .join(Version, Version.document_id == Document.id)
            .where(Version.id == version_id, Document.deleted_at.is_(None))
        )
    ).one_or_none()
    if row is not None:
        await events.emit(
            session,
            row.workspace_id,
            "job.retrying",
            "document",
            row.id,
            collection_id=row.collection_id,
            batch_id=row.batch_id,
            **why,
        )

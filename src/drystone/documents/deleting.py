"""Deleting documents: a tombstone first, so that search has lost them with the commit; what they held goes in a job."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Principal
from drystone.documents import queries
from drystone.documents.models import PURGE_DOCUMENT, Collection, Document
from drystone.documents.service import no_document
from drystone.index import queries as index
from drystone.jobs import events
from drystone.jobs import service as jobs
from drystone.jobs.broker import Nudger


async def delete_document(session: AsyncSession, nudger: Nudger, principal: Principal, document_id: UUID) -> None:
    """Delete a document: out of every search with the commit; its chunks go in a job."""
    principal.require("write")
    document = await queries.lock_document(session, document_id)
    if (
        document is None
        or document.workspace_id != principal.workspace_id
        or not principal.may_see(document.collection_id)
    ):
        raise no_document(document_id)
    await queries.set_document(session, document_id, deleted_at=func.now())
    await queries.add_deletion(session, document, principal.actor)
    await jobs.enqueue(
        session,
        nudger,
        kind=PURGE_DOCUMENT,
        subject_id=document_id,
        workspace_id=principal.workspace_id,
        collection_id=document.collection_id,
    )
    await access.record(session, principal, "document.delete", "document", document_id, before_sha256=document.sha256)
    await events.emit(
        session,
        principal.workspace_id,
        "document.deleted",
        "document",
        document_id,
        collection_id=document.collection_id,
    )


async def purge_document(session: AsyncSession, document_id: UUID) -> None:
    """Remove the chunks and versions of a deleted document; harmless when done before."""
    row = (
        await session.execute(
            select(Document.collection_id, Collection.language)
            .join(Collection, Collection.id == Document.collection_id)
            .where(Document.id == document_id, Document.deleted_at.is_not(None))
            .with_for_update(of=Document)
        )
    ).one_or_none()
    if row is None:
        return
    await index.remove_document(session, document_id, config=row.language, collection_id=row.collection_id)
    await queries.purge(session, document_id)

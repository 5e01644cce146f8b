"""Deleting documents: a tombstone first, so that search has lost them with the commit; what they held goes in a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.core.conditions import NO_CONDITION, Condition
from drystone.core.errors import Conflict, Invalid
from drystone.documents import collections, filter_types, filters, queries, service
from drystone.documents.filters import Filter
from drystone.documents.models import PURGE_DOCUMENT, State
from drystone.documents.service import DocumentView
from drystone.index import queries as index
from drystone.jobs import service as jobs
from drystone.jobs.broker import Nudger

MAX_IDS = 10_000
SAMPLE = 10


@dataclass(frozen=True)
class Selection:
    """Which documents: those of `ids`, or those of a collection that pass a filter and are in a state."""

    ids: Sequence[UUID] | None = None
    collection: str | None = None
    filter: Filter | None = None
    state: State | None = None


@dataclass(frozen=True)
class Found:
    """The live documents of a selection, members of archives among them included. sample: the first few.

    missing: ids asked for that name no live document this caller may see.
    """

    count: int
    sample: list[DocumentView]
    missing: list[UUID]


async def delete_document(
    session: AsyncSession,
    nudger: Nudger,
    principal: Principal,
    document_id: UUID,
    condition: Condition = NO_CONDITION,
) -> None:
    """Delete a document, and its members if it is an archive: out of every search with the commit; chunks go in a job."""
    document = await service.lock_for_change(session, principal, document_id, condition)
    touched = await _tombstone(session, principal, "id = :id", {"id": document_id})
    if sum(count for _, count in touched.values()) == 1:
        await jobs.enqueue(
            session,
            nudger,
            kind=PURGE_DOCUMENT,
            subject_id=document_id,
            workspace_id=principal.workspace_id,
            collection_id=document.collection_id,
        )
    else:
        await _purge_later(session, nudger, touched)


async def preview(session: AsyncSession, principal: Principal, selection: Selection) -> Found:
    """What `delete_selection` would delete now. Raises NotFound for an unknown collection, Invalid for no selection."""
    principal.require("read")
    condition, parameters = await _condition(session, principal, selection)
    count, first = await queries.find_live(session, condition, parameters, limit=SAMPLE)
    return Found(
        count=count,
        sample=[await service.get_document(session, principal, document_id) for document_id in first],
        missing=await _missing(session, selection, condition, parameters),
    )


async def delete_selection(
    session: AsyncSession, nudger: Nudger, principal: Principal, selection: Selection, *, expect: int | None = None
) -> Found:
    """Delete every document of a selection; one job for each collection removes what they held.

    expect: how many they must be; Raises Conflict and deletes none when they are another number.
    """
    principal.require("write")
    condition, parameters = await _condition(session, principal, selection)
    missing = await _missing(session, selection, condition, parameters)
    touched = await _tombstone(session, principal, condition, parameters)
    count = sum(each for _, each in touched.values())
    if expect is not None and count != expect:
        raise Conflict(
            "documents.count_differs",
            f"The selection holds {count} documents now, not {expect}; none was deleted.",
            hint="look again with dry_run, and send the number it says",
            pointer="/expect",
        )
    await _purge_later(session, nudger, touched)
    return Found(count=count, sample=[], missing=missing)


async def purge_documents(session: AsyncSession, document_ids: Sequence[UUID]) -> None:
    """Remove the chunks and versions of deleted documents of one collection; harmless when done before."""
    ids = await queries.lock_deleted(session, document_ids)
    if not ids:
        return
    await _purge_late_members(session, ids)
    await index.remove_documents(session, ids)
    await queries.purge(session, ids)


async def _purge_late_members(session: AsyncSession, archive_ids: Sequence[UUID]) -> None:
    """Delete members that an archive got while the statement that deleted it was already running."""
    condition, parameters = "parent_id = any(:ids)", {"ids": list(archive_ids)}
    if late := await queries.live_ids(session, condition, parameters):
        await queries.tombstone(session, condition, parameters, actor="system", request_id=None)
        await purge_documents(session, list(late))


async def _tombstone(
    session: AsyncSession, principal: Principal, condition: str, parameters: dict[str, Any]
) -> dict[UUID, tuple[UUID, int]]:
    return await queries.tombstone(
        session, condition, parameters, actor=principal.actor, request_id=principal.request_id
    )


async def _purge_later(session: AsyncSession, nudger: Nudger, touched: dict[UUID, tuple[UUID, int]]) -> None:
    for collection_id, (workspace_id, _) in touched.items():
        await collections.purge_later(session, nudger, workspace_id, collection_id)


async def _condition(session: AsyncSession, principal: Principal, selection: Selection) -> tuple[str, dict[str, Any]]:
    """SQL over a row `document`, and its parameters."""
    parameters: dict[str, Any] = {"workspace_id": principal.workspace_id}
    clauses = ["workspace_id = :workspace_id"]
    if principal.collection_ids is not None:
        clauses.append("collection_id = any(:visible)")
        parameters["visible"] = list(principal.collection_ids)
    if (selection.ids is None) == (selection.collection is None):
        raise Invalid(
            "documents.no_selection",
            "A selection is either a list of ids, or a collection with a filter, a state or both if wanted.",
            hint='send {"ids": [...]} or {"collection": "papers", "filter": {...}}',
        )
    if selection.ids is not None:
        if selection.filter is not None or selection.state is not None:
            raise Invalid("documents.ids_and_filter", "A list of ids goes without filter and state.", pointer="/ids")
        clauses.append("id = any(:ids)")
        parameters["ids"] = list(selection.ids)
    if selection.collection is not None:
        clauses.append("collection_id = any(cast(:collection_ids as uuid[]))")
        parameters["collection_ids"] = [(await collections.get(session, principal, selection.collection)).id]
    if selection.filter is not None:
        filter = await filter_types.typed(session, principal.workspace_id, selection.filter)
        clauses.append(filters.condition(filter, parameters))
        clauses += filters.narrowing(filter, parameters)
    if selection.state is not None:
        clauses.append("state = :state")
        parameters["state"] = selection.state
    return " and ".join(clauses), parameters


async def _missing(
    session: AsyncSession, selection: Selection, condition: str, parameters: dict[str, Any]
) -> list[UUID]:
    if selection.ids is None:
        return []
    found = await queries.live_ids(session, condition, parameters)
    return [document_id for document_id in dict.fromkeys(selection.ids) if document_id not in found]

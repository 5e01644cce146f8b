"""Looking for mentions anew where names in the catalogue changed: a job that goes on where it was cut short.

A round goes over all passages of a workspace, in order. Before it begins it waits for whoever publishes with older names;
whatever is published after that has the round's names, or newer ones. So after a round all mentions are of its names, or
newer; and where there are newer ones another job is waiting, for it was made with them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.catalogue.models import NAMES_CHANGED, REFRESH_COST
from drystone.core import crash_points
from drystone.core.db import transaction
from drystone.documents import queries
from drystone.documents.filling import SLICE_S
from drystone.documents.ingest import Tools
from drystone.jobs import events
from drystone.jobs import service as jobs
from drystone.jobs.broker import Nudger
from drystone.jobs.queries import Claim, lock_held
from drystone.mentions import finders
from drystone.mentions import queries as mentions
from drystone.mentions.models import Round
from drystone.mentions.queries import BEGINNING, Found, Place, Position

# So long after the last try failed for good another one begins.
HEAL_AFTER_S = 600.0
# Documents looked at together, and passages whose mentions are committed together.
_DOCUMENTS, _PASSAGES = 200, 1_000


@dataclass(frozen=True)
class _Batch:
    """Passages to look through. before, position: how far the round was, and will be. names_id: what it is for."""

    names_id: UUID | None
    passages: Sequence[Row[Any]]
    before: Position
    position: Position


async def refresh(tools: Tools, claim: Claim) -> None:
    """Have all mentions of a workspace be those of its names. Raises Unfinished when others should go first."""
    began = time.monotonic()
    while True:
        async with transaction(tools.sessions) as session:
            if not await lock_held(session, claim.job_id, claim.attempt):
                raise jobs.LostLease(claim.job_id)
            batch = await _next_batch(session, claim)
        if batch is None:
            return
        names = await tools.finders.load(tools.sessions, claim.workspace_id)
        if names.id == batch.names_id:  # else the next look at the round begins it anew
            found = await finders.find(names.finder, [(row.start_offset, row.text) for row in batch.passages])
            await _write(tools, claim, batch, found)
        crash_points.reach("mid_refresh")
        if time.monotonic() - began > SLICE_S:
            raise jobs.Unfinished


async def heal(session: AsyncSession, nudger: Nudger, *, since_s: float = HEAL_AFTER_S) -> list[UUID]:
    """Make a job for each workspace whose round is not at its end and that has none: the last one failed for good.

    since_s: so long after it did. Which workspaces they are.
    """
    found = await mentions.left_behind(session, NAMES_CHANGED, since_s=since_s)
    for workspace_id in found:
        await jobs.enqueue(
            session,
            nudger,
            kind=NAMES_CHANGED,
            subject_id=workspace_id,
            workspace_id=workspace_id,
            cost=REFRESH_COST,
        )
    return found


async def _next_batch(session: AsyncSession, claim: Claim) -> _Batch | None:
    """What is to be looked through next. None: nothing is left, or another job does it; this one has ended."""
    round_ = await _hold(session, claim.workspace_id)
    current = (await mentions.names_ids(session, [claim.workspace_id])).get(claim.workspace_id)
    if await mentions.is_run_by_another(session, claim.workspace_id, claim.kind, claim.job_id):
        await jobs.finish(session, claim)
        return None
    if round_.names_id != current:
        await _begin(session, round_)
    if round_.ended_at is not None:
        await jobs.finish(session, claim)
        return None
    before = _position(round_)
    position, passages = await mentions.next_passages(
        session, claim.workspace_id, before, documents=_DOCUMENTS, limit=_PASSAGES
    )
    if position is None:
        await _end(session, claim, round_)
        return None
    return _Batch(round_.names_id, passages, before, position)


async def _hold(session: AsyncSession, workspace_id: UUID) -> Round:
    """The workspace's round, its row locked."""
    # One that was never begun is one that ended: without names nothing is mentioned.
    made = insert(Round).values(workspace_id=workspace_id, ended_at=func.now())
    await session.execute(made.on_conflict_do_nothing())
    query = select(Round).where(Round.workspace_id == workspace_id).with_for_update()
    return (await session.scalars(query.execution_options(populate_existing=True))).one()


async def _begin(session: AsyncSession, round_: Round) -> None:
    """Once nobody publishes with older names than those that are read now."""
    round_.names_id = await mentions.alone(session, round_.workspace_id)
    round_.position = round_.ordinal = round_.ended_at = None
    round_.passages = 0
    round_.began_at = (await session.execute(select(func.now()))).scalar_one()


async def _end(session: AsyncSession, claim: Claim, round_: Round) -> None:
    round_.ended_at = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    await session.flush()
    await events.emit(
        session,
        claim.workspace_id,
        "mentions.refreshed",
        "workspace",
        claim.workspace_id,
        passages=round_.passages,
        took_s=round((round_.ended_at - round_.began_at).total_seconds(), 1),
    )
    await jobs.finish(session, claim)


async def _write(tools: Tools, claim: Claim, batch: _Batch, found: Sequence[Sequence[Found]]) -> None:
    """Replace the mentions of those passages that searches still see; the round is so far, unless it began anew."""
    async with transaction(tools.sessions) as session:
        if not await lock_held(session, claim.job_id, claim.attempt):
            raise jobs.LostLease(claim.job_id)
        round_ = await _hold(session, claim.workspace_id)
        if round_.names_id != batch.names_id or _position(round_) != batch.before:
            return
        live = await queries.lock_documents(session, list({row.document_id for row in batch.passages}))
        await mentions.replace(
            session,
            [
                (Place(row.id, row.collection_id, row.document_id), its)
                for row, its in zip(batch.passages, found, strict=True)
                if row.document_id in live and live[row.document_id].current_version_id == row.version_id
            ],
        )
        round_.position, round_.ordinal = batch.position.document_id, batch.position.ordinal
        round_.passages += len(batch.passages)


def _position(round_: Round) -> Position:
    if round_.position is None or round_.ordinal is None:
        return BEGINNING
    return Position(round_.position, round_.ordinal)

"""A collection's change of model: a second space beside the one that searches ask, filled, switched to and back, ended.

While a change is open every new version is written to both spaces in one transaction, so switching is one row's change and
loses nothing in either direction. What publishes holds `share`, what changes spaces holds the same lock alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Action, Principal
from drystone.core.errors import Conflict, Invalid
from drystone.documents import collections
from drystone.documents.models import DROP_VECTORS, REEMBED, Reembedding
from drystone.documents.models import Collection as Home
from drystone.index import spaces
from drystone.index.embedders import Embedders, not_configured
from drystone.index.spaces import Space, vector_table
from drystone.jobs import events
from drystone.jobs import service as jobs
from drystone.jobs.broker import Nudger

# What a job says it costs that fills: it goes where large documents go.
FILL_COST = 1 << 30

State = Literal["single", "filling", "ready", "switched"]
Check = Callable[["Status"], Awaitable[None]]


@dataclass(frozen=True)
class Fill:
    """How full the space is that searches do not ask. done, total: passages; embedded, reused: those made and found.

    left_s: seconds that the rest takes at the pace of late; None while that is not known. job: the newest one that fills.
    """

    is_complete: bool
    done: int
    total: int
    embedded: int
    reused: int
    left_s: float | None
    job: Row[Any] | None


@dataclass(frozen=True)
class Status:
    """The models of a collection. active: whose space searches ask. second: the other one while a change is open.

    state: `single`: there is no other; `filling` and `ready`: it is the next; `switched`: it is the one before.
    """

    collection: Home
    state: State
    active: Space
    second: Space | None = None
    change: Reembedding | None = None
    fill: Fill | None = None

    @property
    def tag(self) -> str:
        """What a condition is asked about: which models there are and in which state, not how far the filling is."""
        change = self.change
        return f'"{self.collection.id.hex}-{self.collection.space_id}-{change.id.hex if change else ""}-{self.state}"'


async def status(session: AsyncSession, principal: Principal, embedders: Embedders, name_or_id: str) -> Status:
    """The models of a collection, and how far a change is. Raises NotFound."""
    collection = await collections.get(session, principal, name_or_id)
    active = await embedders.space(session, collection.space_id)
    change = await session.scalar(_open_change(collection.id))
    if change is None:
        return Status(collection, "single", active)
    second_id = second_of(change, collection.space_id)
    state: State = "switched" if change.switched_at else "ready" if change.filled_at else "filling"
    return Status(
        collection,
        state,
        active,
        await embedders.space(session, second_id),
        change,
        await _fill(session, change, second_id),
    )


async def start(
    session: AsyncSession,
    nudger: Nudger,
    principal: Principal,
    embedders: Embedders,
    name_or_id: str,
    *,
    model: str | None = None,
    check: Check | None = None,
) -> Status:
    """Give a collection a second space and have it filled. model: None: the configured one that it does not have.

    Raises Conflict while another change is open, and where there is no other model.
    """
    found = await _lock(session, principal, embedders, name_or_id, check)
    if found.change is not None:
        raise Conflict(
            "embedding.under_way",
            f"The collection {found.collection.name!r} has two models already: {found.active.model} and "
            f"{found.second.model if found.second else ''}.",
            hint="finish or cancel that change first",
        )
    if found.active.is_callers:
        raise Conflict(
            "embedding.callers_vectors",
            f"The vectors of {found.collection.name!r} are brought by callers: no model here made them, or could.",
            hint="make a collection of the other dimension, and send the passages with their new vectors there",
        )
    target = _target(embedders, found, model)
    change = Reembedding(
        workspace_id=principal.workspace_id,
        collection_id=found.collection.id,
        from_space_id=found.collection.space_id,
        to_space_id=await spaces.find(session, target.model, target.dimension),
        created_by=principal.actor,
    )
    session.add(change)
    await session.flush()
    await _enqueue(session, nudger, REEMBED, change)
    await _tell(session, principal, "embedding.started", change, found.active, target)
    return await status(session, principal, embedders, name_or_id)


async def switch(
    session: AsyncSession, principal: Principal, embedders: Embedders, name_or_id: str, *, check: Check | None = None
) -> Status:
    """Have searches ask the next space. Raises Conflict while it lacks vectors, and where there is none."""
    found = await _lock(session, principal, embedders, name_or_id, check)
    if found.state == "switched":
        raise Conflict(
            "embedding.switched",
            f"Searches ask {found.active.model} already.",
            hint="roll back or finish",
        )
    change, second = await _swap(session, embedders, found)
    await _tell(session, principal, "embedding.switched", change, found.active, second)
    return await status(session, principal, embedders, name_or_id)


async def roll_back(
    session: AsyncSession, principal: Principal, embedders: Embedders, name_or_id: str, *, check: Check | None = None
) -> Status:
    """Have searches ask the space of before the switch again. Raises Conflict where nothing was switched."""
    found = await _lock(session, principal, embedders, name_or_id, check)
    if found.change is not None and found.state != "switched":
        raise _not_switched(found)
    change, second = await _swap(session, embedders, found)
    await _tell(session, principal, "embedding.rolled_back", change, found.active, second)
    return await status(session, principal, embedders, name_or_id)


async def finish(
    session: AsyncSession,
    nudger: Nudger,
    principal: Principal,
    embedders: Embedders,
    name_or_id: str,
    *,
    check: Check | None = None,
) -> Status:
    """Give up the space of before the switch; its vectors of this collection are removed soon after."""
    found = await _lock(session, principal, embedders, name_or_id, check)
    if found.change is not None and found.state != "switched":
        raise _not_switched(found)
    change, second = await _end(session, nudger, found)
    await _tell(session, principal, "embedding.finished", change, found.active, second)
    return await status(session, principal, embedders, name_or_id)


async def cancel(
    session: AsyncSession,
    nudger: Nudger,
    principal: Principal,
    embedders: Embedders,
    name_or_id: str,
    *,
    check: Check | None = None,
) -> Status:
    """Give up the next space before it was switched to; its vectors of this collection are removed soon after."""
    found = await _lock(session, principal, embedders, name_or_id, check)
    if found.state == "switched":
        raise Conflict(
            "embedding.switched",
            f"Searches ask {found.active.model} already.",
            hint="roll back first",
        )
    change, second = await _end(session, nudger, found)
    await _tell(session, principal, "embedding.cancelled", change, found.active, second)
    return await status(session, principal, embedders, name_or_id)


async def share(session: AsyncSession, collection_ids: Collection[UUID]) -> None:
    """Keep the spaces of these collections as they are until the transaction ends; the next statement sees them.

    To be had after the rows of jobs and before those of documents.
    """
    await session.execute(_SHARE, {"collection_ids": list(collection_ids)})


async def alone(session: AsyncSession, collection_id: UUID) -> None:
    """Wait for all who hold `share`, and keep others out until the transaction ends."""
    await session.execute(_ALONE, {"collection_id": collection_id})


async def fell_behind(session: AsyncSession, nudger: Nudger, collection_ids: Collection[UUID]) -> None:
    """Note that these collections were given passages without a vector in their second space, and have them filled."""
    for collection_id in sorted(collection_ids):
        change = await session.scalar(_open_change(collection_id).with_for_update())
        if change is None:
            continue
        if change.filled_at is not None:
            change.filled_at = None
        if not await session.scalar(_IS_FILLED_SOON, {"id": change.id}):
            await _enqueue(session, nudger, REEMBED, change)


async def second_spaces(session: AsyncSession, found: Sequence[Home]) -> dict[UUID, tuple[int, bool]]:
    """For each of these collections that has a second space: its id, and whether it lacks no vector."""
    own = {each.id: each.space_id for each in found}
    rows = await session.scalars(
        select(Reembedding).where(Reembedding.collection_id.in_(own), Reembedding.ended_at.is_(None))
    )
    return {row.collection_id: (second_of(row, own[row.collection_id]), row.filled_at is not None) for row in rows}


def second_of(change: Reembedding, active_id: int) -> int:
    """The space of a change that searches do not ask."""
    return change.from_space_id if change.to_space_id == active_id else change.to_space_id


async def progress(session: AsyncSession, collection_id: UUID, space_id: int) -> tuple[int, int]:
    """Passages that have a vector in the space, and all. Where deleted documents are not yet purged, not to the last."""
    row = (await session.execute(_progress(space_id), {"collection_id": collection_id})).one()
    return min(row.done, row.total), row.total


async def _lock(
    session: AsyncSession, principal: Principal, embedders: Embedders, name_or_id: str, check: Check | None
) -> Status:
    principal.require("admin")
    await alone(session, (await collections.get(session, principal, name_or_id)).id)
    session.expire_all()  # it may have changed while it was waited for
    found = await status(session, principal, embedders, name_or_id)
    if check is not None:
        await check(found)
    return found


def _target(embedders: Embedders, found: Status, model: str | None) -> Space:
    """The space to change to."""
    others = [space for space in embedders.spaces if space != found.active]
    if model is not None:
        others = [space for space in others if space.is_called(model)]
        if not others:
            raise Invalid(
                "embedding.unknown_model",
                f"There is no other model {model!r} configured here.",
                hint="configured: " + ", ".join(space.model for space in embedders.spaces),
                pointer="/model",
            )
    if not others:
        raise Conflict(
            "embedding.no_other_model",
            f"There is no other model than {found.active.model} configured here.",
            hint='name it in the NEXT_EMBEDDING_ variables, run "drystone db migrate", and start web and worker anew',
        )
    return others[-1]


async def _swap(session: AsyncSession, embedders: Embedders, found: Status) -> tuple[Reembedding, Space]:
    """Have searches ask the other space; the change, and that space."""
    change, second = _two(found)
    if change.filled_at is None:
        has = f"{found.fill.done} of {found.fill.total}" if found.fill else "none"
        raise Conflict(
            "embedding.incomplete",
            f"{second.model} has {has} passages of {found.collection.name!r}.",
            hint="wait for the filling to end; the collection's embedding tells how far it is, and what holds it up",
        )
    if second not in embedders.spaces:
        missing = not_configured(second)
        raise Conflict(missing.code, missing.message, hint=missing.hint)
    found.collection.space_id = second_of(change, found.collection.space_id)
    is_switched = found.collection.space_id == change.to_space_id
    change.switched_at = await session.scalar(select(func.now())) if is_switched else None
    change.recent_chunks = change.recent_s = 0.0
    change.position = change.worked_at = None
    await session.flush()
    return change, second


async def _end(session: AsyncSession, nudger: Nudger, found: Status) -> tuple[Reembedding, Space]:
    """Give up the space that searches do not ask; the change, and that space."""
    change, second = _two(found)
    change.ended_at = await session.scalar(select(func.now()))
    await session.flush()
    await _enqueue(session, nudger, DROP_VECTORS, change)
    return change, second


def _two(found: Status) -> tuple[Reembedding, Space]:
    if found.change is None or found.second is None:
        raise Conflict(
            "embedding.single",
            f"The collection {found.collection.name!r} has one model: {found.active.model}.",
            hint="start a change first",
        )
    return found.change, found.second


def _not_switched(found: Status) -> Conflict:
    return Conflict(
        "embedding.not_switched",
        f"Searches still ask {found.active.model}: nothing was switched.",
        hint="cancel gives up the next model",
    )


async def _enqueue(session: AsyncSession, nudger: Nudger, kind: str, change: Reembedding) -> None:
    await jobs.enqueue(
        session,
        nudger,
        kind=kind,
        subject_id=change.id,
        workspace_id=change.workspace_id,
        collection_id=change.collection_id,
        cost=FILL_COST,
    )


async def _tell(
    session: AsyncSession, principal: Principal, kind: Action, change: Reembedding, active: Space, second: Space
) -> None:
    """The event and the audit row. active, second: as they were before."""
    models: dict[str, Any] = {"from": active.model, "to": second.model}
    await access.record(session, principal, kind, "collection", change.collection_id, **models)
    await events.emit(
        session,
        change.workspace_id,
        kind,
        "collection",
        change.collection_id,
        collection_id=change.collection_id,
        **models,
    )


async def _fill(session: AsyncSession, change: Reembedding, second_id: int) -> Fill:
    done, total = await progress(session, change.collection_id, second_id)
    job = (await session.execute(_NEWEST_JOB, {"id": change.id})).one_or_none()
    is_complete = change.filled_at is not None
    if is_complete:
        done = total
    return Fill(is_complete, done, total, change.embedded, change.reused, left_s(change, total - done), job)


def left_s(change: Reembedding, missing: int) -> float | None:
    """Seconds until the missing passages are filled, at the pace of late."""
    if change.filled_at is not None:
        return 0.0
    if change.recent_s <= 0 or change.recent_chunks <= 0:
        return None
    return round(missing * change.recent_s / change.recent_chunks, 1)


def _open_change(collection_id: UUID) -> Any:
    return (
        select(Reembedding)
        .where(Reembedding.collection_id == collection_id, Reembedding.ended_at.is_(None))
        .execution_options(populate_existing=True)
    )


def _progress(space_id: int) -> Any:
    return text(f"""
        select (select count(*) from {vector_table(space_id)} where collection_id = :collection_id) as done,
               coalesce((select sum(version.chunk_count)
                         from documents as document join versions as version on version.id = document.current_version_id
                         where document.collection_id = :collection_id and document.deleted_at is null), 0) as total
    """)


_SHARE = text("""
select pg_advisory_xact_lock_shared(7355002, number)
from (select distinct hashtext(cast(id as text)) as number
      from unnest(cast(:collection_ids as uuid[])) as wanted (id) order by number) as ordered
""")
_ALONE = text("select pg_advisory_xact_lock(7355002, hashtext(cast(cast(:collection_id as uuid) as text)))")

_IS_FILLED_SOON = text("""
select exists (select 1 from jobs where subject_id = :id and kind = 'documents.reembed' and state in ('queued', 'running'))
""")

_NEWEST_JOB = text("""
select id, state, error_code, error_message, error_hint from jobs
where subject_id = :id and kind = 'documents.reembed' order by id desc limit 1
""")

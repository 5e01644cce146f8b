"""On what terms a collection is kept: what people call it, what programs note with it, and when it expires.

One that expires is deleted when nobody has used it for so many days: as any deletion, for good, with its documents.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Principal
from drystone.core.db import Sessions, transaction
from drystone.core.ids import new_id
from drystone.core.reach import Reach
from drystone.documents import collections, queries
from drystone.documents.models import Collection
from drystone.index.spaces import Space
from drystone.jobs import events
from drystone.jobs.broker import Nudger

# A use is noted once in so long.
_NOTED_EVERY_S = 60.0
# Expired ones that one transaction deletes.
_AT_ONCE = 20
# Who deletes them.
_EXPIRY = "expiry"


async def create(
    session: AsyncSession, principal: Principal, space: Space, *, prefix: str, description: str = "", **terms: Any
) -> Collection:
    """Make a collection that is known by its label, if by anything: its name is the prefix and its id.

    terms: as `change` takes them.
    """
    made_id = new_id()
    made = await collections.create(
        session,
        principal,
        space,
        name=prefix + made_id.hex,
        description=description,
        language=collections.AUTO,
        collection_id=made_id,
    )
    return await change(session, principal, str(made.id), terms)


async def change(session: AsyncSession, principal: Principal, name_or_id: str, terms: Mapping[str, Any]) -> Collection:
    """Change some of label, notes and expires_after_days; what is left out stays. The days are counted from now on."""
    principal.require("write")
    collection = await collections.lock(session, principal, name_or_id)
    wanted = {name: value for name, value in terms.items() if value != getattr(collection, name)}
    for name, value in wanted.items():
        setattr(collection, name, value)
    await session.flush()
    if wanted:
        await access.record(
            session, principal, "collection.describe", "collection", collection.id, fields=sorted(wanted)
        )
        await events.emit(
            session,
            principal.workspace_id,
            "collection.described",
            "collection",
            collection.id,
            collection_id=collection.id,
        )
    if collection.expires_after_days is not None:
        await session.execute(_BEGIN, {"collection_id": collection.id})
    return collection


def expires_at(collection: Collection, used_at: datetime | None) -> datetime | None:
    """When a collection expires if nobody uses it until then; None: never."""
    if collection.expires_after_days is None:
        return None
    return (used_at or collection.created_at) + timedelta(days=collection.expires_after_days)


class Uses:
    """Notes when collections that may expire are used; one a process, each of them once a minute."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._noted: dict[UUID, float] = {}

    async def note(self, reach: Reach, used: Sequence[Collection]) -> None:
        """These collections were used by somebody of this reach. Nothing is asked where none of them expires."""
        now = time.monotonic()
        self._noted = {each: at for each, at in self._noted.items() if now - at < _NOTED_EVERY_S}
        due = [each.id for each in used if each.expires_after_days is not None and each.id not in self._noted]
        if not due:
            return
        async with transaction(self._sessions.within(reach)) as session:
            await note(session, due)
        self._noted |= dict.fromkeys(due, now)


async def note(session: AsyncSession, collection_ids: Sequence[UUID]) -> None:
    """Note, unless that was done within the last minute, that these collections are in use."""
    await session.execute(_NOTE, {"ids": list(collection_ids)})


async def expire(session: AsyncSession, nudger: Nudger) -> int:
    """Delete collections that nobody used for as long as they allow, some at a time; how many."""
    due = list((await session.scalars(_DUE, {"limit": _AT_ONCE})).all())
    found = await queries.lock_collections(session, due)
    for collection in found:
        principal = Principal(collection.workspace_id, _EXPIRY, frozenset({"admin"}))
        await collections.remove(session, nudger, principal, collection, expired=True)
    return len(found)


_BEGIN = text("""
insert into collection_uses (collection_id) values (:collection_id)
on conflict (collection_id) do update set used_at = now()
""")

# Whoever holds the row is noting a use.
_NOTE = text("""
update collection_uses set used_at = now()
where collection_id in (
    select collection_id from collection_uses
    where collection_id = any(:ids) and used_at < now() - interval '1 minute'
    for update skip locked
)
""")

_DUE = text("""
select collections.id from collections join collection_uses as uses on uses.collection_id = collections.id
where collections.deleted_at is null
  and uses.used_at + make_interval(days => collections.expires_after_days) < now()
order by uses.used_at limit :limit
for update of collections, uses skip locked
""")

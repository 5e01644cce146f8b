"""Collections: documents that are searched together. Made, looked up, counted, deleted."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Principal
from drystone.core.errors import Conflict, Invalid, NotFound
from drystone.documents import queries
from drystone.documents.models import PURGE_COLLECTION, Collection, SchemaKind
from drystone.documents.queries import Totals
from drystone.index import analysis, spaces
from drystone.index.spaces import Space
from drystone.jobs import events
from drystone.jobs import service as jobs
from drystone.jobs.broker import Nudger

DEFAULT_COLLECTION = "default"
# The language of a collection whose documents are each read in their own; UNDETECTED where a text does not tell.
AUTO, UNDETECTED = "auto", "english"

Check = Callable[[Collection], Awaitable[None]]

# Names of collections that one hint tells.
_TOLD = 10
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


async def create(
    session: AsyncSession,
    principal: Principal,
    space: Space,
    *,
    name: str,
    description: str = "",
    language: str,
    collection_id: UUID | None = None,
    schema: tuple[SchemaKind, UUID] | None = None,
) -> Collection:
    """Make a collection, of this id where one is given that nobody has. schema: of documents that name none.

    Raises Conflict when the name is taken, Invalid for a bad name or language, Denied.
    """
    principal.require_whole("write")
    made_id = await _add(session, principal, space, name, description, language, collection_id, schema)
    if made_id is None:
        raise Conflict(
            "collection.exists",
            f"There is a collection {name!r} already.",
            hint="use it, or choose another name",
            name=name,
        )
    return await get(session, principal, str(made_id))


async def get(session: AsyncSession, principal: Principal, name_or_id: str, *, share: bool = False) -> Collection:
    """The collection of this name or id. Raises NotFound, also where the key may not see it."""
    principal.require("read")
    found = await queries.find_collection(session, principal.workspace_id, name_or_id, share=share)
    if found is not None and principal.may_see(found.id):
        return found
    if principal.collection_ids is not None:
        seen = await _names_seen(session, principal)
        raise NotFound(
            "collection.not_found",
            f"There is no collection {name_or_id!r}.",
            hint=f"name one that this key may see: {seen}; without a name it is {DEFAULT_COLLECTION}",
            collection=name_or_id,
        )
    raise NotFound(
        "collection.not_found",
        f"There is no collection {name_or_id!r}.",
        hint="the first upload into a name creates it; GET /api/v1/collections lists what there is",
        collection=name_or_id,
    )


async def _names_seen(session: AsyncSession, principal: Principal) -> str:
    """The names of the collections that a confined key may see, the first of them."""
    names = sorted((await queries.collection_names(session, list(principal.collection_ids or ()))).values())
    return f"{', '.join(names[:_TOLD])}{', …' if len(names) > _TOLD else ''}"


async def get_or_create(session: AsyncSession, principal: Principal, space: Space, name: str) -> Collection:
    """The collection of this name, made where it is missing; it cannot be deleted before the transaction ends."""
    found = await queries.find_collection(session, principal.workspace_id, name, share=True)
    if found is not None and principal.may_see(found.id):
        return found
    if found is None and principal.collection_ids is None:
        await _add(session, principal, space, name, "", AUTO)
    return await get(session, principal, name, share=True)


async def check_home(session: AsyncSession, principal: Principal, name: str) -> None:
    """Raise what `get_or_create` would raise for this name; makes nothing."""
    found = await queries.find_collection(session, principal.workspace_id, name)
    if found is None and principal.collection_ids is None:
        _check_name(name)
    elif (await spaces.get(session, (await get(session, principal, name)).space_id)).is_callers:
        raise brings_its_own()


def brings_its_own() -> Conflict:
    """The error for a file that is sent to a collection whose vectors callers bring."""
    return Conflict(
        "collection.callers_vectors",
        "The vectors of this collection are brought by callers: no model here could make those of a file.",
        hint="send passages with their vectors, PUT /api/v1/collections/{collection}/passages; or the file to another collection",
    )


async def list_all(session: AsyncSession, principal: Principal) -> list[Collection]:
    """The collections this key may see, by name."""
    principal.require("read")
    found = await queries.page_collections(session, principal.workspace_id)
    return [collection for collection in found if principal.may_see(collection.id)]


async def page(
    session: AsyncSession, principal: Principal, *, after: UUID | None, newest_first: bool, limit: int
) -> list[Collection]:
    """Collections this key may see in the order they were made, or the newest first; those behind the id `after`."""
    principal.require("read")
    return await queries.page_collections_by_id(
        session,
        principal.workspace_id,
        None if principal.collection_ids is None else list(principal.collection_ids),
        after=after,
        newest_first=newest_first,
        limit=limit,
    )


async def totals(session: AsyncSession, principal: Principal, collections: Sequence[Collection]) -> dict[UUID, Totals]:
    """What is in each of these collections."""
    principal.require("read")
    return await queries.totals(session, [collection.id for collection in collections])


async def describe(
    session: AsyncSession,
    principal: Principal,
    name_or_id: str,
    changes: Mapping[str, Any],
    *,
    check: Check | None = None,
) -> Collection:
    """Change what a collection says of itself: description, schema_kind and schema_id. What is in it stays as it is.

    check: called with the collection once nothing can change it any more.
    """
    principal.require("write")
    collection = await lock(session, principal, name_or_id, check)
    changed = {name: value for name, value in changes.items() if value != getattr(collection, name)}
    if changed:
        for name, value in changed.items():
            setattr(collection, name, value)
        await session.flush()
        await access.record(session, principal, "collection.describe", "collection", collection.id)
        await _tell(session, principal, "collection.described", collection.id)
    return collection


async def delete(
    session: AsyncSession, nudger: Nudger, principal: Principal, name_or_id: str, *, check: Check | None = None
) -> int:
    """Delete a collection and its documents; how many. Gone from search with the commit, from disk soon after.

    check: called with the collection once nothing can come into it any more; what it raises prevents the deletion.
    """
    principal.require("write")
    collection = await lock(session, principal, name_or_id, check)
    return await remove(session, nudger, principal, collection)


async def remove(
    session: AsyncSession, nudger: Nudger, principal: Principal, collection: Collection, **details: Any
) -> int:
    """Delete this collection, whose row the caller has locked, with its documents; how many. details: for the audit."""
    collection.deleted_at = await session.scalar(select(func.now()))
    await session.flush()
    touched = await queries.tombstone(
        session,
        "collection_id = :collection_id",
        {"collection_id": collection.id},
        actor=principal.actor,
        request_id=principal.request_id,
        details={"with_collection": str(collection.id), **details},
    )
    count = sum(each for _, each in touched.values())
    await queries.note_deletion(
        session,
        collection.workspace_id,
        "collection",
        collection.id,
        actor=principal.actor,
        external_id=collection.name,
    )
    for collection_id in {collection.id, *touched}:
        await purge_later(session, nudger, collection.workspace_id, collection_id)
    await access.record(
        session, principal, "collection.delete", "collection", collection.id, documents=count, **details
    )
    await _tell(session, principal, "collection.deleted", collection.id)
    return count


async def purge_later(session: AsyncSession, nudger: Nudger, workspace_id: UUID, collection_id: UUID) -> UUID:
    """Enqueue the removal of what the deleted documents of a collection held; the job's id."""
    return await jobs.enqueue(
        session,
        nudger,
        kind=PURGE_COLLECTION,
        subject_id=collection_id,
        workspace_id=workspace_id,
        collection_id=collection_id,
    )


async def states(
    session: AsyncSession, principal: Principal, collections: Sequence[Collection]
) -> dict[UUID, dict[str, int]]:
    """Documents by state, and searchable chunks, of each of these collections."""
    principal.require("read")
    return await queries.count_by_state(session, [collection.id for collection in collections])


async def _add(
    session: AsyncSession,
    principal: Principal,
    space: Space,
    name: str,
    description: str,
    language: str,
    wanted_id: UUID | None = None,
    schema: tuple[SchemaKind, UUID] | None = None,
) -> UUID | None:
    _check_name(name)
    if language != AUTO and language not in analysis.LANGUAGES:
        raise Invalid(
            "collection.unknown_language",
            f"There are no rules for the words of {language!r}.",
            hint="one of " + ", ".join((AUTO, *analysis.LANGUAGES)),
            pointer="/language",
        )
    collection_id = await queries.add_collection(
        session,
        principal.workspace_id,
        name=name,
        description=description,
        language=language,
        space_id=await spaces.find(session, space.model, space.dimension),
        collection_id=wanted_id,
        schema_kind=schema and schema[0],
        schema_id=schema and schema[1],
    )
    if collection_id is not None:
        await access.record(session, principal, "collection.create", "collection", collection_id, name=name)
        await _tell(session, principal, "collection.created", collection_id)
    return collection_id


async def lock(session: AsyncSession, principal: Principal, name_or_id: str, check: Check | None = None) -> Collection:
    """The collection, kept from uploads and other changes until the transaction ends."""
    await queries.lock_collection(session, (await get(session, principal, name_or_id)).id)
    session.expire_all()  # it may have changed while it was waited for
    collection = await get(session, principal, name_or_id)
    if check is not None:
        await check(collection)
    return collection


async def _tell(session: AsyncSession, principal: Principal, kind: str, collection_id: UUID) -> None:
    await events.emit(session, principal.workspace_id, kind, "collection", collection_id, collection_id=collection_id)


def language_of(collection_language: str, detected: str | None) -> str:
    """By whose rules a document's words are cut. detected: the text's own language as BCP 47, where it tells."""
    if collection_language != AUTO:
        return collection_language
    return (analysis.language_of(detected) or "simple") if detected else UNDETECTED


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or _is_uuid(name):
        raise Invalid(
            "collection.bad_name",
            "A collection's name has 1 to 128 letters, digits, dots, hyphens or underscores, begins with a letter or "
            "digit, and is not a UUID.",
            pointer="/name",
        )


def _is_uuid(name: str) -> bool:
    try:
        UUID(name)
    except ValueError:
        return False
    return True

"""/entities: the things there are: categories, properties, subobjects."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from drystone.api import catalogue_pages as pages
from drystone.api.catalogue_pages import AsOf, KeyOrId, Limit
from drystone.api.catalogue_schemas import CatalogueHistory, Entities, Entity, References
from drystone.api.mention_schemas import MentioningPassages
from drystone.catalogue import applying, service
from drystone.catalogue.bodies import EntityBody
from drystone.catalogue.models import EntityType
from drystone.catalogue.queries import Choice
from drystone.core import ids
from drystone.core.text import Text
from drystone.documents import collections
from drystone.http.conditions import NOT_MODIFIED, ConditionOf, show
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.idempotency import Once
from drystone.http.problems import responses
from drystone.http.times import moment
from drystone.mentions import queries as mentions
from drystone.observations.buckets import first_day

router = APIRouter(prefix="/entities", tags=["entities"])
_MADE: dict[int | str, dict[str, Any]] = {201: {"model": Entity, "description": "Made"}}


@router.get("", summary="List entities", responses=responses(404))
async def list_(
    caller: Caller,
    session: Session,
    type: EntityType | None = None,
    module: Annotated[Text | None, Query(description="Members of this module, as they are pinned.")] = None,
    q: pages.Words = None,
    deleted: pages.Deleted = False,
    as_of: AsOf = None,
    limit: Limit = 100,
    cursor: pages.After = None,
) -> Entities:
    """By key; as they are, as they were at a time, or those that were deleted."""
    choice = Choice(type, q, is_deleted=deleted)
    then = moment("as_of", as_of)
    found = await service.page(
        session, caller, "entity", choice, module=module, as_of=then, after=pages.after(cursor), limit=limit + 1
    )
    items, next_cursor = pages.page(found, limit, Entity.of)
    return Entities(items=items, next_cursor=next_cursor)


@router.get("/{entity}", summary="Get an entity", responses=NOT_MODIFIED | responses(404, 412))
async def get(
    entity: KeyOrId, caller: Caller, condition: ConditionOf, session: Session, response: Response, as_of: AsOf = None
) -> Entity:
    """An entity by key or id, as it is, or was at a time."""
    view = await service.get(session, caller, "entity", entity, as_of=moment("as_of", as_of))
    show(condition, response, view.etag)
    return Entity.of(view)


@router.put("/{entity}", summary="Put an entity", responses=_MADE | responses(404, 409, 412))
async def put(
    entity: KeyOrId,
    body: EntityBody,
    caller: Caller,
    condition: ConditionOf,
    once: Once,
    session: Session,
    resources: ResourcesOf,
    response: Response,
    bump_modules: pages.Bump = False,
    message: pages.Why = "",
) -> Entity:
    """Make an entity, or have it say this from now on: a version that is for good. The same again changes nothing."""
    view, is_new = await applying.put(
        session,
        resources.nudger,
        caller,
        await service.key_of(session, caller, "entity", entity),
        body.content(),
        message=message,
        bump_modules=bump_modules,
        check=pages.holding(condition),
    )
    pages.tell(response, view, "entities", is_new=is_new)
    return await once.remember(session, response, Entity.of(view))


@router.delete("/{entity}", status_code=204, summary="Delete an entity", responses=responses(404, 409, 412))
async def delete(
    entity: KeyOrId,
    caller: Caller,
    condition: ConditionOf,
    session: Session,
    resources: ResourcesOf,
    message: pages.Why = "",
) -> None:
    """Delete one that nobody refers to. Its versions are kept, and it can be restored."""
    await applying.delete(
        session, resources.nudger, caller, "entity", entity, message=message, check=pages.holding(condition)
    )


@router.post("/{entity}/restore", summary="Restore an entity", responses=responses(404, 409))
async def restore(
    entity: KeyOrId,
    caller: Caller,
    once: Once,
    session: Session,
    resources: ResourcesOf,
    response: Response,
    message: pages.Why = "",
) -> Entity:
    """Bring back the one of this key that was deleted last, or the one of this id. 409 where the key is another's by now."""
    view = await applying.restore(session, resources.nudger, caller, "entity", entity, message=message)
    pages.tell(response, view, "entities", is_new=False)
    return await once.remember(session, response, Entity.of(view))


@router.get("/{entity}/versions", summary="List versions of an entity", responses=responses(404))
async def versions(
    entity: KeyOrId, caller: Caller, session: Session, limit: Limit = 20, cursor: pages.BeforeNumber = None
) -> Entities:
    """What was published of it, newest first; also of one that is deleted."""
    found = await service.versions(session, caller, "entity", entity, before=cursor, limit=limit + 1)
    return Entities(items=[Entity.of(view) for view in found[:limit]], next_cursor=pages.by_number(found, limit))


@router.get("/{entity}/versions/{number}", summary="Get a version of an entity", responses=responses(404))
async def version(entity: KeyOrId, number: pages.Number, caller: Caller, session: Session) -> Entity:
    """One version, as it was published: it never changes."""
    return Entity.of(await service.version(session, caller, "entity", entity, number))


@router.get("/{entity}/history", summary="What was done to an entity", responses=responses(404))
async def history(
    entity: KeyOrId, caller: Caller, session: Session, limit: Limit = 50, cursor: pages.Before = None
) -> CatalogueHistory:
    """Who did what, when and why, newest first: deletions and restorings, too."""
    found = await service.history(session, caller, "entity", entity, before=cursor, limit=limit + 1)
    return CatalogueHistory.of(found, limit)


@router.get("/{entity}/references", summary="Who refers to an entity", responses=responses(404))
async def references(entity: KeyOrId, caller: Caller, session: Session) -> References:
    """Who refers to it, and whom it refers to."""
    return References.of(await service.references(session, caller, "entity", entity))


@router.get("/{entity}/passages", summary="List passages that mention an entity", responses=responses(404))
async def passages(
    entity: KeyOrId,
    caller: Caller,
    session: Session,
    collection: Annotated[Text | None, Query(description="Only of this one, by name or id.")] = None,
    from_: Annotated[
        Text | None,
        Query(alias="from", description="Only of documents dated (`dated_on`) since then.", examples=["2026-11-01"]),
    ] = None,
    until: Annotated[Text | None, Query(description="Only of documents dated before.", examples=["2026-11-02"])] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    cursor: Annotated[
        str | None, Query(pattern=rf"^{ids.PATTERN}~\d{{1,18}}$", description="next_cursor of the page before.")
    ] = None,
) -> MentioningPassages:
    """Where its label or an alias stands, in all collections that the key may read: of the newest document first."""
    found = await service.get(session, caller, "entity", entity)
    within = caller.collection_ids
    if collection is not None:
        within = frozenset({(await collections.get(session, caller, collection)).id})
    after = None
    if cursor is not None:
        document_id, _, chunk_id = cursor.partition("~")
        after = UUID(document_id), int(chunk_id)
    first, end = moment("from", from_), moment("until", until)
    rows = await mentions.page_passages(
        session,
        found.id,
        collection_ids=within,
        after=after,
        limit=limit + 1,
        first=None if first is None else first_day(first, UTC),
        end=None if end is None else first_day(end, UTC),
    )
    return MentioningPassages.of(list(rows), limit)

"""/modules: entities that are versioned together."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from drystone.api import catalogue_pages as pages
from drystone.api.catalogue_pages import AsOf, KeyOrId, Limit
from drystone.api.catalogue_schemas import CatalogueHistory, Module, Modules, References
from drystone.catalogue import applying, service
from drystone.catalogue.bodies import ModuleBody
from drystone.catalogue.queries import Choice
from drystone.http.conditions import NOT_MODIFIED, ConditionOf, show
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.idempotency import Once
from drystone.http.problems import responses
from drystone.http.times import moment

router = APIRouter(prefix="/modules", tags=["modules"])
_MADE: dict[int | str, dict[str, Any]] = {201: {"model": Module, "description": "Made"}}


@router.get("", summary="List modules", responses=responses())
async def list_(
    caller: Caller,
    session: Session,
    q: pages.Words = None,
    deleted: pages.Deleted = False,
    as_of: AsOf = None,
    limit: Limit = 100,
    cursor: pages.After = None,
) -> Modules:
    """By key; as they are, as they were at a time, or those that were deleted."""
    choice = Choice(words=q, is_deleted=deleted)
    then = moment("as_of", as_of)
    found = await service.page(
        session, caller, "module", choice, as_of=then, after=pages.after(cursor), limit=limit + 1
    )
    items, next_cursor = pages.page(found, limit, Module.of)
    return Modules(items=items, next_cursor=next_cursor)


@router.get("/{module}", summary="Get a module", responses=NOT_MODIFIED | responses(404, 412))
async def get(
    module: KeyOrId, caller: Caller, condition: ConditionOf, session: Session, response: Response, as_of: AsOf = None
) -> Module:
    """A module by key or id, as it is, or was at a time."""
    view = await service.get(session, caller, "module", module, as_of=moment("as_of", as_of))
    show(condition, response, view.etag)
    return Module.of(view)


@router.put("/{module}", summary="Put a module", responses=_MADE | responses(404, 409, 412))
async def put(
    module: KeyOrId,
    body: ModuleBody,
    caller: Caller,
    condition: ConditionOf,
    once: Once,
    session: Session,
    resources: ResourcesOf,
    response: Response,
    message: pages.Why = "",
) -> Module:
    """Make a module, or release its next version. What it holds and depends on must hold all that its entities refer to."""
    view, is_new = await applying.put(
        session,
        resources.nudger,
        caller,
        await service.key_of(session, caller, "module", module),
        body.content(),
        message=message,
        check=pages.holding(condition),
    )
    pages.tell(response, view, "modules", is_new=is_new)
    return await once.remember(session, response, Module.of(view))


@router.delete("/{module}", status_code=204, summary="Delete a module", responses=responses(404, 409, 412))
async def delete(
    module: KeyOrId,
    caller: Caller,
    condition: ConditionOf,
    session: Session,
    resources: ResourcesOf,
    message: pages.Why = "",
) -> None:
    """Delete one that nobody refers to. Its versions are kept, and it can be restored."""
    await applying.delete(
        session, resources.nudger, caller, "module", module, message=message, check=pages.holding(condition)
    )


@router.post("/{module}/restore", summary="Restore a module", responses=responses(404, 409))
async def restore(
    module: KeyOrId,
    caller: Caller,
    once: Once,
    session: Session,
    resources: ResourcesOf,
    response: Response,
    message: pages.Why = "",
) -> Module:
    """Bring back the one of this key that was deleted last, or the one of this id. 409 where the key is another's by now."""
    view = await applying.restore(session, resources.nudger, caller, "module", module, message=message)
    pages.tell(response, view, "modules", is_new=False)
    return await once.remember(session, response, Module.of(view))


@router.get("/{module}/versions", summary="List versions of a module", responses=responses(404))
async def versions(
    module: KeyOrId, caller: Caller, session: Session, limit: Limit = 20, cursor: pages.BeforeNumber = None
) -> Modules:
    """What was published of it, newest first; also of one that is deleted."""
    found = await service.versions(session, caller, "module", module, before=cursor, limit=limit + 1)
    return Modules(items=[Module.of(view) for view in found[:limit]], next_cursor=pages.by_number(found, limit))


@router.get("/{module}/versions/{number}", summary="Get a version of a module", responses=responses(404))
async def version(module: KeyOrId, number: pages.Number, caller: Caller, session: Session) -> Module:
    """One version, as it was published: it never changes."""
    return Module.of(await service.version(session, caller, "module", module, number))


@router.get("/{module}/history", summary="What was done to a module", responses=responses(404))
async def history(
    module: KeyOrId, caller: Caller, session: Session, limit: Limit = 50, cursor: pages.Before = None
) -> CatalogueHistory:
    """Who did what, when and why, newest first: deletions and restorings, too."""
    found = await service.history(session, caller, "module", module, before=cursor, limit=limit + 1)
    return CatalogueHistory.of(found, limit)


@router.get("/{module}/references", summary="Who refers to a module", responses=responses(404))
async def references(module: KeyOrId, caller: Caller, session: Session) -> References:
    """Who refers to it, and whom it refers to."""
    return References.of(await service.references(session, caller, "module", module))

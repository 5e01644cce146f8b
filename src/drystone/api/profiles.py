"""/profiles: modules that are chosen for a purpose."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from drystone.api import catalogue_pages as pages
from drystone.api.catalogue_pages import AsOf, KeyOrId, Limit
from drystone.api.catalogue_schemas import CatalogueHistory, Profile, Profiles, References
from drystone.catalogue import applying, schemas, service
from drystone.catalogue.bodies import ProfileBody
from drystone.catalogue.queries import Choice
from drystone.http.conditions import NOT_MODIFIED, ConditionOf, show
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.idempotency import Once
from drystone.http.problems import responses
from drystone.http.times import moment

router = APIRouter(prefix="/profiles", tags=["profiles"])
_MADE: dict[int | str, dict[str, Any]] = {201: {"model": Profile, "description": "Made"}}


@router.get("", summary="List profiles", responses=responses())
async def list_(
    caller: Caller,
    session: Session,
    q: pages.Words = None,
    deleted: pages.Deleted = False,
    as_of: AsOf = None,
    limit: Limit = 100,
    cursor: pages.After = None,
) -> Profiles:
    """By key; as they are, as they were at a time, or those that were deleted."""
    choice = Choice(words=q, is_deleted=deleted)
    then = moment("as_of", as_of)
    found = await service.page(
        session, caller, "profile", choice, as_of=then, after=pages.after(cursor), limit=limit + 1
    )
    items, next_cursor = pages.page(found, limit, Profile.of)
    return Profiles(items=items, next_cursor=next_cursor)


@router.get("/{profile}", summary="Get a profile", responses=NOT_MODIFIED | responses(404, 412))
async def get(
    profile: KeyOrId, caller: Caller, condition: ConditionOf, session: Session, response: Response, as_of: AsOf = None
) -> Profile:
    """A profile by key or id, as it is, or was at a time."""
    view = await service.get(session, caller, "profile", profile, as_of=moment("as_of", as_of))
    show(condition, response, view.etag)
    return Profile.of(view)


@router.put("/{profile}", summary="Put a profile", responses=_MADE | responses(404, 409, 412))
async def put(
    profile: KeyOrId,
    body: ProfileBody,
    caller: Caller,
    condition: ConditionOf,
    once: Once,
    session: Session,
    resources: ResourcesOf,
    response: Response,
    message: pages.Why = "",
) -> Profile:
    """Make a profile, or have it choose these modules from now on."""
    view, is_new = await applying.put(
        session,
        resources.nudger,
        caller,
        await service.key_of(session, caller, "profile", profile),
        body.content(),
        message=message,
        check=pages.holding(condition),
    )
    pages.tell(response, view, "profiles", is_new=is_new)
    return await once.remember(session, response, Profile.of(view))


@router.delete("/{profile}", status_code=204, summary="Delete a profile", responses=responses(404, 409, 412))
async def delete(
    profile: KeyOrId,
    caller: Caller,
    condition: ConditionOf,
    session: Session,
    resources: ResourcesOf,
    message: pages.Why = "",
) -> None:
    """Delete one that nobody refers to. Its versions are kept, and it can be restored."""
    await applying.delete(
        session, resources.nudger, caller, "profile", profile, message=message, check=pages.holding(condition)
    )


@router.post("/{profile}/restore", summary="Restore a profile", responses=responses(404, 409))
async def restore(
    profile: KeyOrId,
    caller: Caller,
    once: Once,
    session: Session,
    resources: ResourcesOf,
    response: Response,
    message: pages.Why = "",
) -> Profile:
    """Bring back the one of this key that was deleted last, or the one of this id. 409 where the key is another's by now."""
    view = await applying.restore(session, resources.nudger, caller, "profile", profile, message=message)
    pages.tell(response, view, "profiles", is_new=False)
    return await once.remember(session, response, Profile.of(view))


@router.get("/{profile}/versions", summary="List versions of a profile", responses=responses(404))
async def versions(
    profile: KeyOrId, caller: Caller, session: Session, limit: Limit = 20, cursor: pages.BeforeNumber = None
) -> Profiles:
    """What was published of it, newest first; also of one that is deleted."""
    found = await service.versions(session, caller, "profile", profile, before=cursor, limit=limit + 1)
    return Profiles(items=[Profile.of(view) for view in found[:limit]], next_cursor=pages.by_number(found, limit))


@router.get("/{profile}/versions/{number}", summary="Get a version of a profile", responses=responses(404))
async def version(profile: KeyOrId, number: pages.Number, caller: Caller, session: Session) -> Profile:
    """One version, as it was published: it never changes."""
    return Profile.of(await service.version(session, caller, "profile", profile, number))


@router.get("/{profile}/schema", summary="Get a profile as JSON Schema", responses=responses(404))
async def schema(
    profile: KeyOrId,
    caller: Caller,
    session: Session,
    form: Annotated[
        Literal["json-schema", "openapi"],
        Query(alias="format", description="openapi: the same as components of OpenAPI 3.1."),
    ] = "json-schema",
    as_of: AsOf = None,
) -> dict[str, Any]:
    """What things of this profile look like: a schema of each entity of its modules, and of those that they depend on."""
    said, entities = await service.entities_of(session, caller, profile, as_of=moment("as_of", as_of))
    write = schemas.openapi if form == "openapi" else schemas.json_schema
    return write(entities, entities, title=said.label, description=said.description)


@router.get("/{profile}/history", summary="What was done to a profile", responses=responses(404))
async def history(
    profile: KeyOrId, caller: Caller, session: Session, limit: Limit = 50, cursor: pages.Before = None
) -> CatalogueHistory:
    """Who did what, when and why, newest first: deletions and restorings, too."""
    found = await service.history(session, caller, "profile", profile, before=cursor, limit=limit + 1)
    return CatalogueHistory.of(found, limit)


@router.get("/{profile}/references", summary="Who refers to a profile", responses=responses(404))
async def references(profile: KeyOrId, caller: Caller, session: Session) -> References:
    """Who refers to it, and whom it refers to."""
    return References.of(await service.references(session, caller, "profile", profile))

"""/catalogue: the catalogue as a whole, and the changesets that change it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from drystone.api import catalogue_pages as pages
from drystone.api.catalogue_schemas import (
    Catalogue,
    CatalogueRevision,
    CatalogueRevisions,
    Changeset,
    ChangesetDone,
)
from drystone.api.mention_schemas import MentionsStatus
from drystone.catalogue import applying, drawing, graphs, service
from drystone.core.db import transaction
from drystone.core.text import Text
from drystone.http.conditions import NOT_MODIFIED, ConditionOf, show
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.idempotency import Once
from drystone.http.problems import responses
from drystone.http.times import moment
from drystone.mentions import queries as mentions

router = APIRouter(prefix="/catalogue", tags=["catalogue"])

_DRAWN = {"svg": "image/svg+xml", "mermaid": "text/plain; charset=utf-8"}
_AS_TEXT = {"schema": {"type": "string"}}


@router.get("", summary="Get the catalogue", responses=NOT_MODIFIED | responses(412))
async def get(caller: Caller, condition: ConditionOf, session: Session, response: Response) -> Catalogue:
    """Its revision, and how much there is. The ETag changes with each change to anything in it."""
    found = await service.overview(session, caller)
    show(condition, response, found.etag)
    return Catalogue.of(found)


@router.get("/revisions", summary="List revisions of the catalogue", responses=responses())
async def revisions(
    caller: Caller, session: Session, limit: pages.Limit = 50, cursor: pages.Before = None
) -> CatalogueRevisions:
    """The changesets that were applied, newest first."""
    found = await service.revisions(session, caller, before=cursor, limit=limit + 1)
    items = [
        CatalogueRevision(revision=row.revision, at=row.at, by=row.actor, message=row.message, changes=row.changes)
        for row in found[:limit]
    ]
    return CatalogueRevisions(items=items, next_cursor=str(items[-1].revision) if len(found) > limit else None)


@router.get(
    "/graph",
    summary="Draw the catalogue",
    response_class=Response,
    responses=responses(404) | {200: {"content": dict.fromkeys(_DRAWN.values(), _AS_TEXT)}},
)
async def graph(
    caller: Caller,
    resources: ResourcesOf,
    form: Annotated[
        Literal["svg", "mermaid"], Query(alias="format", description="mermaid: a flowchart as text.")
    ] = "svg",
    entities: Annotated[bool, Query(description="With entities, and what they refer to.")] = False,
    profile: Annotated[Text | None, Query(description="This profile, and what it stands on.")] = None,
    as_of: pages.AsOf = None,
) -> Response:
    """Who depends on whom. 422 for an SVG of more than 400 things: choose a profile, or leave entities out."""
    then = moment("as_of", as_of)
    async with resources.drawings.turn():
        async with transaction(resources.sessions.within(caller.reach)) as session:
            found = await service.graph(session, caller, entities=entities, profile=profile, as_of=then)
        title = "Catalogue" if profile is None else found.nodes[0].label
        # In a thread, and nobody's connection waits for it: to order hundreds takes a while, in which the others' requests go on.
        if form == "mermaid":
            drawn = await asyncio.to_thread(graphs.mermaid, found)
        else:
            drawn = await asyncio.to_thread(drawing.svg_of, found, title)
    return Response(drawn, media_type=_DRAWN[form])


@router.post("/changes", summary="Apply a changeset", responses=responses(404, 409, 412))
async def change(
    body: Changeset,
    caller: Caller,
    condition: ConditionOf,
    once: Once,
    session: Session,
    resources: ResourcesOf,
    response: Response,
) -> ChangesetDone:
    """Put, delete and restore many at once: all of it is done, or nothing. With dry_run it is only checked.

    Each problem in `errors` has its place in the changeset, a code, and what to do about it.
    """
    applied = await applying.apply(
        session,
        resources.nudger,
        caller,
        body.wanted(),
        message=body.message,
        bump_modules=body.bump_modules,
        is_trial=body.dry_run,
        check=lambda revision, _: condition.check(service.tag_of(revision)),
    )
    response.headers["ETag"] = service.tag_of(applied.revision)
    return await once.remember(session, response, ChangesetDone.of(applied, dry_run=body.dry_run))


@router.get("/mentions", summary="Get how far mentions are", responses=responses())
async def mentioned(caller: Caller, session: Session) -> MentionsStatus:
    """Whether documents were looked through for the names that entities have now: after a change a worker does."""
    caller.require_whole("read")
    return MentionsStatus.of(await mentions.latest_round(session, caller.workspace_id))

"""The catalogue: what things there are, in which modules and profiles, and who depends on whom."""

from __future__ import annotations

import asyncio
from typing import Annotated

from annotated_types import Len
from fastapi import Request, Response

from drystone.catalogue import drawing, service
from drystone.catalogue.graphs import Graph
from drystone.catalogue.models import EntityType
from drystone.catalogue.queries import Choice
from drystone.console.pages import new_router, page
from drystone.console.visitors import Session, Visitor
from drystone.core.db import transaction
from drystone.core.errors import Invalid
from drystone.core.text import Text
from drystone.http.dependencies import ResourcesOf

router = new_router()

_AT_ONCE, _GROUPS = 100, 200


@router.get("/catalogue")
async def get(
    request: Request,
    visitor: Visitor,
    session: Session,
    type: EntityType | None = None,
    words: Annotated[Text, Len(0, 200)] = "",
    module: Text = "",
    after: Annotated[Text | None, Len(1, 200)] = None,
) -> Response:
    """Entities by key, those of a type, of a module, with words in their names; modules and profiles beside them."""
    choice = Choice(type=type, words=words or None)
    last = None if after is None else (after, (await service.get_any(session, visitor, "entity", after)).id)
    found = await service.page(
        session, visitor, "entity", choice, module=module or None, after=last, limit=_AT_ONCE + 1
    )
    modules = await service.page(session, visitor, "module", Choice(), after=None, limit=_GROUPS)
    profiles = await service.page(session, visitor, "profile", Choice(), after=None, limit=_GROUPS)
    return page(
        request,
        "catalogue.html",
        visitor=visitor,
        overview=await service.overview(session, visitor),
        entities=found[:_AT_ONCE],
        next=found[_AT_ONCE - 1].key if len(found) > _AT_ONCE else None,
        is_first=after is None,
        modules=modules,
        profiles=profiles,
        type=type,
        words=words,
        module=module,
        is_drawn=len(modules) + len(profiles) > 0,
    )


@router.get("/catalogue/graph.svg")
async def graph(
    visitor: Visitor, resources: ResourcesOf, entities: bool = False, profile: Text | None = None
) -> Response:
    """The drawing, as the API has it; too large a one is told in a picture that says so."""
    async with resources.drawings.turn():
        async with transaction(resources.sessions.within(visitor.reach)) as session:
            found = await service.graph(session, visitor, entities=entities, profile=profile)
        title = "Catalogue" if profile is None else found.nodes[0].label
        try:
            drawn = await asyncio.to_thread(drawing.svg_of, found, title)
        except Invalid as exc:
            drawn = drawing.svg_of(Graph((), ()), exc.message)
    return Response(drawn, media_type="image/svg+xml", headers={"Cache-Control": "no-store"})

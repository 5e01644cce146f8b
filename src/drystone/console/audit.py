"""The audit: who changed what, and when. Only for an admin's key that is confined to no collection."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le, Len
from fastapi import Request, Response

from drystone.access import audit
from drystone.access.audit import Choice
from drystone.access.service import ACTIONS
from drystone.console.pages import new_router, page
from drystone.console.visitors import Session, Visitor
from drystone.core.numbers import MAX_JSON
from drystone.core.text import Text

router = new_router()

_AT_ONCE = 100


@router.get("/audit")
async def list_(
    request: Request,
    visitor: Visitor,
    session: Session,
    actor: Annotated[Text, Len(0, 200)] = "",
    action: Annotated[Text, Len(0, 100)] = "",
    before: Annotated[int | None, Ge(0), Le(MAX_JSON)] = None,
) -> Response:
    """Changes, newest first."""
    choice = Choice(actor=actor.strip() or None, action=action or None)
    found = await audit.page(session, visitor, choice, cursor=before, oldest_first=False, limit=_AT_ONCE + 1)
    return page(
        request,
        "audit.html",
        visitor=visitor,
        entries=found[:_AT_ONCE],
        next=found[_AT_ONCE - 1].id if len(found) > _AT_ONCE else None,
        is_first=before is None,
        actor=actor,
        action=action,
        kinds=sorted({each.partition(".")[0] for each in ACTIONS}),
        actions=ACTIONS,
    )

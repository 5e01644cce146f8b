"""Keys: who may do what. Only for an admin's key that is confined to no collection."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import Form, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import keys
from drystone.access.keys import Grant
from drystone.access.models import ApiKey
from drystone.access.service import SCOPES, Principal
from drystone.console.pages import new_router, page, redirect
from drystone.console.visitors import Session, Visitor
from drystone.core.clock import utc_now
from drystone.core.errors import Invalid
from drystone.core.text import Text
from drystone.documents import collections

router = new_router()

_AT_ONCE, _LONGEST_NAME, _MOST_DAYS = 500, 200, 3650
_Scope = Literal["read", "write", "admin"]


@router.get("/keys")
async def list_(request: Request, visitor: Visitor, session: Session, ended: bool = False) -> Response:
    """All keys, without their secrets."""
    return await _list(request, visitor, session, ended=ended)


@router.post("/keys")
async def create(
    request: Request,
    visitor: Visitor,
    session: Session,
    name: Annotated[Text, Form()] = "",
    scope: Annotated[_Scope, Form()] = "read",
    collection: Annotated[list[Text] | None, Form()] = None,
    days: Annotated[Text, Form()] = "",
) -> Response:
    """Make a key, and show it this once."""
    if not name.strip() or len(name) > _LONGEST_NAME:
        raise Invalid("key.no_name", "A key has a name of 1 to 200 characters.", hint="say what it is for")
    ids = [(await collections.get(session, visitor, each)).id for each in collection or [] if each]
    ends = None if not days.strip() else utc_now() + timedelta(days=_days(days))
    made, token = await keys.create(session, visitor, name.strip(), Grant([scope], ids or None, ends))
    return await _list(request, visitor, session, made=made, token=token)


@router.post("/keys/{prefix}/{verb}")
async def steer(
    request: Request, prefix: Text, verb: Literal["rotate", "revoke"], visitor: Visitor, session: Session
) -> Response:
    """A new secret for a key, while the one before goes on for a day; or its end."""
    if verb == "revoke":
        await keys.revoke(session, visitor, prefix)
        return redirect("/keys")
    made, token = await keys.rotate(session, visitor, prefix, overlap_s=86_400)
    return await _list(request, visitor, session, made=made, token=token)


def _days(written: str) -> int:
    if not written.strip().isdecimal() or not 1 <= int(written) <= _MOST_DAYS:
        raise Invalid("key.bad_end", f"{written[:20]!r} is no number of days from 1 to {_MOST_DAYS}.")
    return int(written)


async def _list(
    request: Request,
    visitor: Principal,
    session: AsyncSession,
    *,
    ended: bool = False,
    made: ApiKey | None = None,
    token: str = "",
) -> Response:
    found = await keys.page(session, visitor, ended=ended, after=None, limit=_AT_ONCE)
    there_are = await collections.list_all(session, visitor)
    return page(
        request,
        "keys.html",
        visitor=visitor,
        keys=[(key, keys.has_ended(key)) for key in found],
        names={each.id: each.name for each in there_are},
        collections=[each.name for each in there_are],
        scopes=SCOPES,
        ended=ended,
        made=made,
        token=token,
    )

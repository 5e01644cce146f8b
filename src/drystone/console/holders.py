"""Who edits a draft: by the cookie of its link, under the same principal as with the link's token.

Its path has the link's prefix, which is no secret, so two drafts can be open side by side; and no page elsewhere is sent it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.catalogue import drafts
from drystone.catalogue.links import Holder
from drystone.core.db import transaction
from drystone.core.errors import NotFound
from drystone.core.text import Text
from drystone.http.dependencies import ResourcesOf, get_holder
from drystone.resources import Resources

_LASTS_S = 12 * 3600
_NONE = NotFound(
    "draft.no_such_link",
    "There is no draft under this link.",
    hint="open the link again, whole, as you were given it; it ends with time, or when somebody revokes it",
)


def path_of(prefix: str) -> str:
    """Where the draft of a link is edited."""
    return f"/draft/{prefix}"


def prefix_of(holder: Holder) -> str:
    """The part of a link's token that is no secret."""
    return holder.actor.removeprefix("draft:")


def keep(request: Request, response: Response, token: str) -> None:
    """Have the browser keep a link: no script can read it, and it comes with requests of its own pages only."""
    prefix = token.partition(".")[0]
    response.set_cookie(
        _cookie_of(request),
        token,
        max_age=_LASTS_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
        path=path_of(prefix),
    )


def forget(request: Request, response: Response, prefix: str) -> None:
    """Have the browser keep it no longer."""
    response.delete_cookie(_cookie_of(request), httponly=True, samesite="strict", path=path_of(prefix))


async def find(request: Request, resources: Resources, token: str) -> Holder:
    """Who holds this token. All that is no link is answered alike, and guesses are counted. Raises NotFound."""
    try:
        return await get_holder(request, resources, HTTPAuthorizationCredentials(scheme="Draft", credentials=token))
    except NotFound as exc:
        raise NotFound(_NONE.code, _NONE.message, hint=_NONE.hint) from exc


async def get_editor(request: Request, link: Text, resources: ResourcesOf) -> Holder:
    """Whoever has opened the link with this prefix."""
    token = request.cookies.get(_cookie_of(request), "")
    return await find(request, resources, token if token.partition(".")[0] == link else "")


Editor = Annotated[Holder, Depends(get_editor)]


@asynccontextmanager
async def session_of(resources: Resources, holder: Holder, *, is_slow: bool = False) -> AsyncIterator[AsyncSession]:
    """A transaction for one request about a draft, when it is its turn. is_slow: it reads the whole catalogue."""
    async with resources.drafts.turn(holder.draft_id), transaction(resources.sessions.within(holder.reach)) as session:
        if is_slow or await drafts.count(session, holder.draft_id) > drafts.LARGE:
            await resources.gate.keep_slow_pace(holder)
        yield session


def _cookie_of(request: Request) -> str:
    return f"drystone_draft_{request.app.state.resources.settings.api.port}"

"""Who looks at a page: by the cookie of a visit, under the same principal as with the key that began it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, cast

from fastapi import Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import visits
from drystone.access.service import Principal
from drystone.core.db import transaction
from drystone.core.errors import Denied
from drystone.http.dependencies import ResourcesOf, default_limits
from drystone.resources import Resources


def cookie_of(request: Request) -> str:
    """Its name. Cookies are of a host, whatever the port: two stacks on one machine must not sign each other out."""
    return f"drystone_{request.app.state.resources.settings.api.port}"


def token_of(request: Request) -> str:
    """The visit's token; empty where there is none."""
    return request.cookies.get(cookie_of(request), "")


def keep(request: Request, response: Response, token: str) -> None:
    """Have the browser keep a visit: no script can read it, and other sites' requests come without it."""
    response.set_cookie(
        cookie_of(request),
        token,
        max_age=int(visits.LASTS.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
        path="/",
    )


def forget(request: Request, response: Response) -> None:
    """Have the browser keep no visit."""
    response.delete_cookie(cookie_of(request), httponly=True, samesite="lax", path="/")


async def get_visitor(request: Request, resources: ResourcesOf) -> Principal:
    """Whoever is signed in. Raises Denied `access.visit_over`, and `rate.exceeded` as for requests with the key."""
    found = await _find(request, resources)
    await resources.gate.keep_pace(found)
    request.state.principal = found
    return found


async def leave(request: Request, resources: Resources) -> None:
    """End the visit whose cookie came with this request, whoever's it is; nothing where it is over."""
    try:
        found = await _find(request, resources)
    except Denied:
        return
    async with transaction(resources.sessions.within(found.reach)) as session:
        await visits.end(session, found, token_of(request))


async def _find(request: Request, resources: Resources) -> Principal:
    if not (token := token_of(request)):
        raise Denied("access.visit_over", "You are not signed in.", hint="sign in with an API key", status=401)
    async with transaction(resources.singles) as session:
        return await visits.visitor(
            session,
            token,
            request_id=request.state.request_id,
            limits=default_limits(resources.settings.receiving),
        )


Visitor = Annotated[Principal, Depends(get_visitor)]


async def get_session(resources: ResourcesOf, visitor: Visitor) -> AsyncIterator[AsyncSession]:
    async with transaction(resources.sessions.within(visitor.reach)) as session:
        yield session


# Function scope: the commit happens before the page is sent.
Session = Annotated[AsyncSession, Depends(get_session, scope="function")]


def known(request: Request) -> Principal | None:
    """Who was found to be signed in while this request was answered."""
    return cast(Principal | None, getattr(request.state, "principal", None))

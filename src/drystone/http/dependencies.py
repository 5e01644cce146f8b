"""What routes are given: resources, the caller, a query of known names, and a transaction committed before the reply."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.http import HTTPBase
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.exceptions import HTTPException

from drystone.access import service as access
from drystone.access.service import Limits, Principal
from drystone.catalogue import links
from drystone.catalogue.links import Holder
from drystone.core.db import transaction
from drystone.core.errors import Denied, DrystoneError, Invalid, NotFound, pointer_to
from drystone.core.settings import ReceivingSettings
from drystone.jobs.feed import Feed
from drystone.resources import Resources

bearer = HTTPBearer(auto_error=False, description="The API key; the first one is DRYSTONE_API_KEY in .env.")

draft_link = HTTPBase(scheme="draft", auto_error=False, description="The token of a draft's link.")


def get_resources(request: Request) -> Resources:
    return cast(Resources, request.app.state.resources)


ResourcesOf = Annotated[Resources, Depends(get_resources)]


def get_feed(request: Request) -> Feed:
    return cast(Feed, request.app.state.feed)


FeedOf = Annotated[Feed, Depends(get_feed)]


async def get_principal(
    request: Request,
    resources: ResourcesOf,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Principal:
    """The caller. Read on its own, without a transaction: none may stay open while a body is received."""
    if (known := getattr(request.state, "principal", None)) is not None:
        return cast(Principal, known)  # `bodies` asked before it took the body
    if credentials is None:
        raise Denied(
            "access.key_missing",
            "This needs an API key.",
            hint='send "Authorization: Bearer <key>"; the first key is DRYSTONE_API_KEY in .env',
            status=401,
        )
    token = credentials.credentials
    async with _guesses_counted(request, resources, token, Denied), transaction(resources.singles) as session:
        principal = await access.authenticate(
            session,
            token,
            request_id=request.state.request_id,
            limits=default_limits(resources.settings.receiving),
        )
    await resources.gate.keep_pace(principal)
    request.state.principal = principal
    return principal


async def get_holder(
    request: Request,
    resources: ResourcesOf,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(draft_link)],
) -> Holder:
    """Whoever holds the link of a draft; guesses are counted as those of keys. All that is no link is answered alike."""
    known = getattr(request.state, "principal", None)
    if isinstance(known, Holder):
        return known  # `bodies` asked before it took the body
    is_link = credentials is not None and credentials.scheme.lower() == "draft"
    token = credentials.credentials if credentials is not None and is_link else ""
    async with _guesses_counted(request, resources, token, NotFound), transaction(resources.singles) as session:
        holder = await links.holder(session, token, request_id=request.state.request_id)
    await resources.gate.keep_pace(holder)
    request.state.principal = holder
    return holder


async def identify(request: Request) -> Principal:
    """The caller of a request, asked before any route is. Raises Denied."""
    return await get_principal(request, get_resources(request), await bearer(request))


async def identify_holder(request: Request) -> Holder:
    """The same for whoever holds the link of a draft. Raises NotFound."""
    return await get_holder(request, get_resources(request), await draft_link(request))


@asynccontextmanager
async def _guesses_counted(
    request: Request, resources: Resources, token: str, wrong: type[DrystoneError]
) -> AsyncIterator[None]:
    """The block asks who has this token, and raises `wrong` where nobody does. Raises Denied for too many guesses."""
    address = request.client.host if request.client else ""
    await resources.gate.admit(address, token)
    try:
        yield
    except wrong:
        await resources.gate.note_wrong(address, token)
        raise
    resources.gate.note_right(address, token)


def default_limits(receiving: ReceivingSettings) -> Limits:
    """What a key may upload that has no limits of its own."""
    return Limits(receiving.documents_per_day or None, receiving.bytes_per_day or None)


Caller = Annotated[Principal, Depends(get_principal)]
HolderOf = Annotated[Holder, Depends(get_holder)]


async def check_method(request: Request, _caller: Caller) -> None:
    """Refuse a method that a path does not have, before anything of it is taken for a parameter."""
    _check_method(request)


async def check_query(request: Request, _caller: Caller) -> None:
    """Refuse a parameter that the route does not declare: a misspelt filter must not become none."""
    _check_query(request)


async def check_of_holder(request: Request, _holder: HolderOf) -> None:
    """The same for whoever holds a link."""
    _check_method(request)
    _check_query(request)


def _check_method(request: Request) -> None:
    if request.app.state.paths.refuses(request.method, request.url.path):
        raise HTTPException(405)


def _check_query(request: Request) -> None:
    if not request.query_params:
        return
    route = cast(APIRoute, request.scope["route"])
    described = (route.openapi_extra or {}).get("parameters", ())
    known = {*_declared(route.dependant), *(each["name"] for each in described)}
    for name in request.query_params:
        if name not in known:
            raise Invalid(
                "request.unknown_parameter",
                f"There is no parameter {name} here.",
                hint=f"known: {', '.join(sorted(known))}" if known else "this path takes none",
                pointer=pointer_to(name),
            )


def _declared(dependant: Dependant) -> Iterator[str]:
    yield from (each.alias for each in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _declared(inner)


async def get_session(resources: ResourcesOf, caller: Caller) -> AsyncIterator[AsyncSession]:
    async with transaction(resources.sessions.within(caller.reach)) as session:
        yield session


# Function scope: the commit happens before the reply is sent, so a failing one is never answered with success.
Session = Annotated[AsyncSession, Depends(get_session, scope="function")]

"""In and out: a key is shown once, and a cookie stands for it afterwards."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request, Response
from fastapi.security import HTTPAuthorizationCredentials

from drystone.access import visits
from drystone.console import visitors
from drystone.console.pages import SIGN_IN, new_router, page, redirect, within
from drystone.core.db import transaction
from drystone.core.errors import Denied
from drystone.core.text import Text
from drystone.http import problems
from drystone.http.dependencies import ResourcesOf, get_principal

router = new_router()


@router.get(SIGN_IN)
async def ask(request: Request, next: Text | None = None) -> Response:
    """The form that asks for a key."""
    return page(request, "sign_in.html", error=None, next=within(next))


@router.post(SIGN_IN)
async def sign_in(
    request: Request, resources: ResourcesOf, key: Annotated[Text, Form()] = "", next: Annotated[Text, Form()] = "/"
) -> Response:
    """Begin a visit, and end the one that this browser was on. A wrong key is told on the form, and counted as everywhere."""
    try:
        given = HTTPAuthorizationCredentials(scheme="Bearer", credentials=key.strip())
        principal = await get_principal(request, resources, given)
    except Denied as exc:
        hint = exc.hint if exc.code != "access.key_unknown" else "the first key is DRYSTONE_API_KEY in .env"
        status = problems.status_of(exc)
        return page(
            request, "sign_in.html", status_code=status, error={"message": exc.message, "hint": hint}, next=within(next)
        )
    await visitors.leave(request, resources)
    async with transaction(resources.sessions.within(principal.reach)) as session:
        token = await visits.begin(session, principal)
    answer = redirect(within(next))
    visitors.keep(request, answer, token)
    return answer


@router.post("/sign-out")
async def sign_out(request: Request, resources: ResourcesOf) -> Response:
    """End the visit, here and in the browser; also where it is over already."""
    await visitors.leave(request, resources)
    answer = redirect(SIGN_IN)
    visitors.forget(request, answer)
    return answer

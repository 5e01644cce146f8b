"""Webhooks: other servers that are told of events, and what became of each call. For keys with the scope admin."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Form, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.console.pages import new_router, page, redirect
from drystone.console.visitors import Session, Visitor
from drystone.core.errors import Invalid
from drystone.core.text import Text
from drystone.documents import collections
from drystone.http.dependencies import ResourcesOf
from drystone.webhooks import service
from drystone.webhooks.models import Delivery

router = new_router()

_AT_ONCE = 50
_State = Literal["pending", "delivered", "failed"]
_Verb = Literal["test", "enable", "disable", "rotate", "delete", "redeliver"]


@router.get("/webhooks")
async def list_(request: Request, visitor: Visitor, session: Session) -> Response:
    """All webhooks that the visitor may see, without their secrets."""
    visitor.require("admin")
    return page(
        request,
        "webhooks.html",
        visitor=visitor,
        webhooks=await service.list_all(session, visitor),
        names=await _collections(session, visitor),
        kinds=service.told_kinds(),
        is_confined=visitor.collection_ids is not None,
    )


@router.post("/webhooks")
async def create(
    request: Request,
    visitor: Visitor,
    session: Session,
    resources: ResourcesOf,
    url: Annotated[Text, Form()] = "",
    collection: Annotated[Text, Form()] = "",
    kind: Annotated[list[Text] | None, Form()] = None,
) -> Response:
    """Have events sent to a URL from now on; its secret is shown this once."""
    if not url.strip() or len(url) > service.LONGEST_URL:
        raise Invalid(
            "webhook.no_url",
            f"A webhook has a URL of 1 to {service.LONGEST_URL} characters.",
            hint="say where it is to be told",
        )
    made = await service.create(
        session,
        visitor,
        url=url.strip(),
        kinds=kind or [],
        collection_id=(await collections.get(session, visitor, collection)).id if collection else None,
        allow_private=resources.settings.webhooks.allow_private,
    )
    return await _one(request, visitor, session, made.id, secret=made.secret)


@router.get("/webhooks/{webhook_id}")
async def get(
    request: Request,
    webhook_id: UUID,
    visitor: Visitor,
    session: Session,
    state: _State | None = None,
    before: Annotated[UUID | None, Query()] = None,
) -> Response:
    """One webhook, and what was sent to it or is to be, newest first."""
    visitor.require("admin")
    return await _one(request, visitor, session, webhook_id, state=state, before=before)


@router.post("/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver")
async def redeliver(webhook_id: UUID, delivery_id: UUID, visitor: Visitor, session: Session) -> Response:
    """Send a delivery once more."""
    await service.redeliver(session, visitor, webhook_id, delivery_id)
    return redirect(f"/webhooks/{webhook_id}")


@router.post("/webhooks/{webhook_id}/{verb}")
async def steer(
    request: Request, webhook_id: UUID, verb: _Verb, visitor: Visitor, session: Session, resources: ResourcesOf
) -> Response:
    """Try it, stop it, let it go on, give it a new secret, send what failed once more, or delete it."""
    if verb == "delete":
        await service.delete(session, visitor, webhook_id)
        return redirect("/webhooks")
    if verb == "rotate":
        made = await service.rotate(session, visitor, webhook_id)
        return await _one(request, visitor, session, webhook_id, secret=made.secret)
    if verb == "test":
        await service.test(session, visitor, webhook_id)
    elif verb == "redeliver":
        await service.redeliver(session, visitor, webhook_id)
    else:
        allow_private = resources.settings.webhooks.allow_private
        await service.change(session, visitor, webhook_id, {"enabled": verb == "enable"}, allow_private=allow_private)
    return redirect(f"/webhooks/{webhook_id}")


async def _one(
    request: Request,
    visitor: Principal,
    session: AsyncSession,
    webhook_id: UUID,
    *,
    secret: str = "",
    state: _State | None = None,
    before: UUID | None = None,
) -> Response:
    webhook = await service.get(session, visitor, webhook_id)
    found: list[Delivery] = await service.deliveries(
        session, visitor, webhook_id, state=state, before=before, limit=_AT_ONCE + 1
    )
    return page(
        request,
        "webhook.html",
        visitor=visitor,
        webhook=webhook,
        names=await _collections(session, visitor),
        secret=secret,
        deliveries=found[:_AT_ONCE],
        state=state,
        next=found[_AT_ONCE - 1].id if len(found) > _AT_ONCE else None,
        is_first=before is None,
    )


async def _collections(session: AsyncSession, visitor: Principal) -> dict[UUID, str]:
    return {each.id: each.name for each in await collections.list_all(session, visitor)}

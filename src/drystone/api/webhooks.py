"""/webhooks: other servers that are told of events, as Standard Webhooks has it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from annotated_types import Len
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from drystone.core.text import Text
from drystone.documents import collections
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.idempotency import Once
from drystone.http.problems import responses
from drystone.webhooks import service
from drystone.webhooks.models import Delivery as DeliveryRow
from drystone.webhooks.models import Webhook as WebhookRow

router = APIRouter(prefix="/webhooks", tags=["webhooks"])

Kind = Annotated[Text, Len(1, 100)]
Url = Annotated[Text, Len(1, service.LONGEST_URL)]
DeliveryState = Literal["pending", "delivered", "failed"]


class NewWebhook(BaseModel):
    """A webhook to be made."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"url": "https://example.org/hooks/drystone", "kinds": ["document.ready", "batch.*"]}]
        },
    )

    url: Url
    kinds: Annotated[list[Kind], Len(0, 50)] = Field(
        [], description="Kinds of events, as in `document.ready` or `batch.*`; empty: all but document.progress."
    )
    collection: Annotated[Text, Len(1, 128)] | None = Field(None, description="Only events of this collection.")


class WebhookChanges(BaseModel):
    """What may be changed of a webhook."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"enabled": True}]})

    url: Url | None = None
    kinds: Annotated[list[Kind], Len(0, 50)] | None = None
    enabled: StrictBool | None = Field(
        None, description="True sends what was missed, as far as events are kept: 7 days."
    )


class Webhook(BaseModel):
    """A webhook. Its secret is shown when it is made or changed, never again."""

    id: UUID
    url: str
    kinds: list[str]
    collection_id: UUID | None
    created_at: datetime
    is_enabled: bool
    disabled_reason: str | None

    @classmethod
    def of(cls, row: WebhookRow) -> Webhook:
        return cls(**_fields(row))


class WebhookWithSecret(Webhook):
    """A webhook with the secret that its calls are signed with: keep it, it is not shown again."""

    secret: str | None = Field(
        description="null where the request was repeated under its Idempotency-Key.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )

    @classmethod
    def of(cls, row: WebhookRow) -> WebhookWithSecret:
        return cls(**_fields(row), secret=row.secret)


class Webhooks(BaseModel):
    """All webhooks."""

    items: list[Webhook]


class Delivery(BaseModel):
    """One event for one webhook, and what became of it."""

    id: UUID
    kind: str
    state: DeliveryState
    tries: int
    response_status: int | None = Field(description="Of the last try; null when nobody answered.")
    error: str | None
    created_at: datetime
    delivered_at: datetime | None

    @classmethod
    def of(cls, row: DeliveryRow) -> Delivery:
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class Deliveries(BaseModel):
    """One page of deliveries, newest first."""

    items: list[Delivery]
    next_cursor: str | None


class Redelivered(BaseModel):
    """How many deliveries are sent once more."""

    deliveries: int


@router.post("", status_code=201, summary="Create a webhook", responses=responses(404, 409))
async def create(
    body: NewWebhook, caller: Caller, resources: ResourcesOf, once: Once, session: Session, response: Response
) -> WebhookWithSecret:
    """Have events sent to a URL. The answer holds the secret to check signatures with: it is shown this once."""
    collection = None if body.collection is None else await collections.get(session, caller, body.collection)
    made = await service.create(
        session,
        caller,
        url=body.url,
        kinds=body.kinds,
        collection_id=None if collection is None else collection.id,
        allow_private=resources.settings.webhooks.allow_private,
    )
    response.headers["Location"] = f"/api/v1/webhooks/{made.id}"
    answer = WebhookWithSecret.of(made)
    await once.remember(session, response, answer.model_copy(update={"secret": None}))
    return answer


@router.get("", summary="List webhooks", responses=responses())
async def list_(caller: Caller, session: Session) -> Webhooks:
    """All webhooks, without their secrets."""
    return Webhooks(items=[Webhook.of(row) for row in await service.list_all(session, caller)])


@router.get("/{webhook_id}", summary="Get a webhook", responses=responses(404))
async def get(webhook_id: UUID, caller: Caller, session: Session) -> Webhook:
    """One webhook, and why it was disabled if it was."""
    return Webhook.of(await service.get(session, caller, webhook_id))


@router.patch("/{webhook_id}", summary="Change a webhook", responses=responses(404))
async def change(
    webhook_id: UUID, body: WebhookChanges, caller: Caller, resources: ResourcesOf, session: Session
) -> Webhook:
    """Change what is given; null is as if left out."""
    changes = {name: value for name, value in body.model_dump().items() if value is not None}
    allow_private = resources.settings.webhooks.allow_private
    return Webhook.of(await service.change(session, caller, webhook_id, changes, allow_private=allow_private))


@router.delete("/{webhook_id}", status_code=204, summary="Delete a webhook", responses=responses(404))
async def delete(webhook_id: UUID, caller: Caller, session: Session) -> None:
    """Delete a webhook with all that was still to be sent to it."""
    await service.delete(session, caller, webhook_id)


@router.post("/{webhook_id}/rotate", summary="Give a webhook a new secret", responses=responses(404))
async def rotate(webhook_id: UUID, caller: Caller, session: Session) -> WebhookWithSecret:
    """A new secret. For a day calls carry two signatures, by the new and by the old one."""
    return WebhookWithSecret.of(await service.rotate(session, caller, webhook_id))


@router.post("/{webhook_id}/test", status_code=202, summary="Try a webhook", responses=responses(404, 409))
async def test(webhook_id: UUID, caller: Caller, session: Session) -> Delivery:
    """Send an event of kind `webhook.test`; its deliveries tell what came of it."""
    return Delivery.of(await service.test(session, caller, webhook_id))


@router.get("/{webhook_id}/deliveries", summary="List deliveries", responses=responses(404))
async def deliveries(
    webhook_id: UUID,
    caller: Caller,
    session: Session,
    state: DeliveryState | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    cursor: Annotated[UUID | None, Query(description="next_cursor of the page before.")] = None,
) -> Deliveries:
    """What was sent or is to be, newest first; kept for 7 days."""
    found = await service.deliveries(session, caller, webhook_id, state=state, before=cursor, limit=limit + 1)
    more = len(found) > limit
    return Deliveries(
        items=[Delivery.of(row) for row in found[:limit]], next_cursor=str(found[limit - 1].id) if more else None
    )


@router.post(
    "/{webhook_id}/redeliver",
    status_code=202,
    summary="Send all failed deliveries once more",
    responses=responses(404, 409),
)
async def redeliver_failed(webhook_id: UUID, caller: Caller, session: Session) -> Redelivered:
    """With all their tries before them."""
    return Redelivered(deliveries=await service.redeliver(session, caller, webhook_id))


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=202,
    summary="Send a delivery once more",
    responses=responses(404, 409),
)
async def redeliver(webhook_id: UUID, delivery_id: UUID, caller: Caller, session: Session) -> Redelivered:
    """Whatever became of it before."""
    return Redelivered(deliveries=await service.redeliver(session, caller, webhook_id, delivery_id))


def _fields(row: WebhookRow) -> dict[str, object]:
    return {
        "id": row.id,
        "url": row.url,
        "kinds": row.kinds,
        "collection_id": row.collection_id,
        "created_at": row.created_at,
        "is_enabled": row.disabled_at is None,
        "disabled_reason": row.disabled_reason,
    }

"""Webhooks as people manage them: made, listed, changed, tried, and what was sent to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Principal
from drystone.adapters import calling
from drystone.core.errors import Conflict, Denied, DrystoneError, Invalid, NotFound, pointer_to
from drystone.core.ids import new_id
from drystone.jobs import events
from drystone.jobs.ledger import Steering
from drystone.jobs.models import Event, Job
from drystone.webhooks import signing
from drystone.webhooks.models import DELIVER, FAILED, PENDING, Delivery, Webhook

TEST_KIND = "webhook.test"
# In characters.
LONGEST_URL = 2000
# No webhook hears of these by its kinds: progress is for streams, a test for the webhook that is tried.
UNTOLD = ("document.progress", TEST_KIND)
# For so long calls carry a second signature, by the secret before.
_ROTATION = "24 hours"
_AFTER_ALL = 2**63 - 1


async def create(
    session: AsyncSession,
    principal: Principal,
    *,
    url: str,
    kinds: Sequence[str],
    collection_id: UUID | None,
    allow_private: bool,
) -> Webhook:
    """Make a webhook that is told of what begins from now on."""
    _require(principal, collection_id)
    _check_kinds(kinds)
    calling.check_literal(url, allow_private=allow_private)
    webhook_id = new_id()
    await session.execute(
        insert(Webhook).values(
            id=webhook_id,
            workspace_id=principal.workspace_id,
            url=url,
            secret=signing.new_secret(),
            kinds=list(kinds),
            collection_id=collection_id,
            cursor_xid=text("pg_current_xact_id()"),
            cursor_id=_AFTER_ALL,
            created_by=principal.actor,
        )
    )
    await access.record(session, principal, "webhook.create", "webhook", webhook_id, url=url, kinds=list(kinds))
    return await get(session, principal, webhook_id)


async def get(session: AsyncSession, principal: Principal, webhook_id: UUID) -> Webhook:
    """One webhook. Raises NotFound, also where the key may not see it."""
    principal.require("read")
    webhook = await session.get(Webhook, webhook_id, populate_existing=True)
    if webhook is None or webhook.workspace_id != principal.workspace_id or not _may_see(principal, webhook):
        raise NotFound(
            "webhook.not_found",
            f"There is no webhook {webhook_id}.",
            hint="GET /api/v1/webhooks lists those there are",
            webhook_id=str(webhook_id),
        )
    return webhook


async def list_all(session: AsyncSession, principal: Principal) -> list[Webhook]:
    """The webhooks this key may see, in the order they were made."""
    principal.require("read")
    query = select(Webhook).where(Webhook.workspace_id == principal.workspace_id).order_by(Webhook.id)
    return [webhook for webhook in await session.scalars(query) if _may_see(principal, webhook)]


async def change(
    session: AsyncSession, principal: Principal, webhook_id: UUID, changes: Mapping[str, Any], *, allow_private: bool
) -> Webhook:
    """Change url or kinds; enabled: true sends again what was missed, as far as events are kept; false stops."""
    webhook = await get(session, principal, webhook_id)
    _require(principal, webhook.collection_id)
    values = {name: value for name, value in changes.items() if name in ("url", "kinds")}
    if "url" in values:
        calling.check_literal(values["url"], allow_private=allow_private)
    if "kinds" in values:
        _check_kinds(values["kinds"])
    if "enabled" in changes:
        values["disabled_at"] = None if changes["enabled"] else func.now()
        values["disabled_reason"] = None if changes["enabled"] else "Somebody disabled it."
    if values:
        await session.execute(update(Webhook).where(Webhook.id == webhook_id).values(**values))
        await access.record(session, principal, "webhook.change", "webhook", webhook_id, fields=sorted(changes))
    return await get(session, principal, webhook_id)


async def rotate(session: AsyncSession, principal: Principal, webhook_id: UUID) -> Webhook:
    """Give it a new secret; for a day calls are signed with the old one as well."""
    webhook = await get(session, principal, webhook_id)
    _require(principal, webhook.collection_id)
    await session.execute(
        update(Webhook)
        .where(Webhook.id == webhook_id)
        .values(
            secret=signing.new_secret(),
            previous_secret=webhook.secret,
            previous_until=func.now() + text(f"interval '{_ROTATION}'"),
        )
    )
    await access.record(session, principal, "webhook.rotate", "webhook", webhook_id)
    return await get(session, principal, webhook_id)


async def delete(session: AsyncSession, principal: Principal, webhook_id: UUID) -> None:
    """Remove a webhook with all that was to be sent to it."""
    webhook = await get(session, principal, webhook_id)
    _require(principal, webhook.collection_id)
    await session.execute(_END_JOBS, {"webhook_id": webhook_id})
    await session.delete(webhook)
    await access.record(session, principal, "webhook.delete", "webhook", webhook_id, url=webhook.url)


async def test(session: AsyncSession, principal: Principal, webhook_id: UUID) -> Delivery:
    """Send it an event of kind `webhook.test`, and nobody else."""
    webhook = await get(session, principal, webhook_id)
    _require(principal, webhook.collection_id)
    if webhook.disabled_at is not None:
        raise _is_disabled()
    event_id = await events.emit(session, principal.workspace_id, TEST_KIND, "webhook", webhook_id)
    row = (await session.execute(select(Event).where(Event.id == event_id))).scalar_one()
    body = {"type": TEST_KIND, "timestamp": row.at.isoformat(), "data": {"webhook_id": str(webhook_id)}}
    (delivery_id,) = await add_deliveries(session, webhook, [(event_id, TEST_KIND, body)])
    await access.record(session, principal, "webhook.test", "webhook", webhook_id)
    return await _delivery(session, webhook_id, delivery_id)


async def deliveries(
    session: AsyncSession,
    principal: Principal,
    webhook_id: UUID,
    *,
    state: str | None,
    before: UUID | None,
    limit: int,
) -> list[Delivery]:
    """What was sent to it or is to be, newest first."""
    await get(session, principal, webhook_id)
    query = select(Delivery).where(Delivery.webhook_id == webhook_id).order_by(Delivery.id.desc()).limit(limit)
    if state is not None:
        query = query.where(Delivery.state == state)
    if before is not None:
        query = query.where(Delivery.id < before)
    return list((await session.scalars(query)).all())


async def redeliver(
    session: AsyncSession, principal: Principal, webhook_id: UUID, delivery_id: UUID | None = None
) -> int:
    """Send a delivery once more, or all failed ones; how many."""
    webhook = await get(session, principal, webhook_id)
    _require(principal, webhook.collection_id)
    if webhook.disabled_at is not None:
        raise _is_disabled()
    which = Delivery.state == FAILED if delivery_id is None else Delivery.id == delivery_id
    if delivery_id is not None:
        await _delivery(session, webhook_id, delivery_id)
    ids = list(
        await session.scalars(
            update(Delivery)
            .where(Delivery.webhook_id == webhook_id, which)
            .values(state=PENDING, tries=0, error=None, response_status=None)
            .returning(Delivery.id)
        )
    )
    await session.execute(_DROP_JOBS, {"ids": ids})
    await _add_jobs(session, principal.workspace_id, ids)
    await access.record(session, principal, "webhook.redeliver", "webhook", webhook_id, deliveries=len(ids))
    return len(ids)


async def add_deliveries(
    session: AsyncSession, webhook: Webhook, told: Sequence[tuple[int, str, Mapping[str, Any]]]
) -> list[UUID]:
    """Deliveries of these events (id, kind, body) with a job each; those made before are left out."""
    if not told:
        return []
    made = await session.scalars(
        insert(Delivery)
        .values(
            [
                {
                    "id": new_id(),
                    "webhook_id": webhook.id,
                    "event_id": event_id,
                    "kind": kind,
                    "body": json.dumps(body, ensure_ascii=False, separators=(",", ":")),
                }
                for event_id, kind, body in told
            ]
        )
        .on_conflict_do_nothing(index_elements=[Delivery.webhook_id, Delivery.event_id])
        .returning(Delivery.id)
    )
    ids = list(made)
    await _add_jobs(session, webhook.workspace_id, ids)
    return ids


async def _add_jobs(session: AsyncSession, workspace_id: UUID, delivery_ids: Sequence[UUID]) -> None:
    """A job for each, without a nudge: the sender looks by itself."""
    rows = [
        {"id": new_id(), "workspace_id": workspace_id, "kind": DELIVER, "subject_id": delivery_id}
        for delivery_id in delivery_ids
    ]
    if rows:
        await session.execute(insert(Job), rows)


def told_kinds() -> list[str]:
    """What a webhook may ask to be told of: each kind of event, then all of one sort, as in `document.*`."""
    told = [kind for kind in events.KINDS if kind not in UNTOLD]
    return [*told, *sorted({f"{kind.partition('.')[0]}.*" for kind in told})]


async def _delivery(session: AsyncSession, webhook_id: UUID, delivery_id: UUID) -> Delivery:
    delivery = await session.get(Delivery, delivery_id, populate_existing=True)
    if delivery is None or delivery.webhook_id != webhook_id:
        raise NotFound(
            "webhook.delivery_not_found", f"There is no delivery {delivery_id} to this webhook.", hint="list them"
        )
    return delivery


def _may_see(principal: Principal, webhook: Webhook) -> bool:
    if principal.collection_ids is None:
        return True
    return webhook.collection_id is not None and principal.may_see(webhook.collection_id)


def _check_kinds(kinds: Sequence[str]) -> None:
    known = told_kinds()
    for place, kind in enumerate(kinds):
        if kind not in known:
            raise Invalid(
                "webhook.unknown_kind",
                f"Webhooks are told of no kind {kind}.",
                hint=f"known: {', '.join(known)}",
                pointer=pointer_to("kinds", place),
            )


def _require(principal: Principal, collection_id: UUID | None) -> None:
    principal.require("admin")
    if principal.collection_ids is not None and (collection_id is None or not principal.may_see(collection_id)):
        raise Denied(
            "webhook.collection_needed",
            "This key is confined to collections: its webhooks must name one of them.",
            hint="give collection",
            status=403,
        )


def _is_disabled() -> Conflict:
    return Conflict("webhook.disabled", "The webhook is disabled.", hint='PATCH it with {"enabled": true}')


async def _refusals(_session: AsyncSession, _jobs: Sequence[Job], _force: bool) -> Mapping[UUID, DrystoneError]:
    return {}


async def _reopen(session: AsyncSession, jobs: Sequence[Job]) -> None:
    ids = [job.subject_id for job in jobs]
    await session.execute(update(Delivery).where(Delivery.id.in_(ids)).values(state=PENDING, tries=0, error=None))


async def _close(session: AsyncSession, jobs: Sequence[Job], error: DrystoneError) -> None:
    ids = [job.subject_id for job in jobs]
    await session.execute(update(Delivery).where(Delivery.id.in_(ids)).values(state=FAILED, error=error.message))


STEERING = Steering(_refusals, _reopen, _close)

_END_JOBS = text("""
delete from jobs where kind = 'webhooks.deliver' and state <> 'running'
  and subject_id in (select id from webhook_deliveries where webhook_id = :webhook_id)
""")

_DROP_JOBS = text("""
delete from jobs where kind = 'webhooks.deliver' and state <> 'running' and subject_id = any(:ids)
""")

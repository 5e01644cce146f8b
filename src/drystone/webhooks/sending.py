"""From events to calls: a delivery and a job for each event that a webhook wants; then the call, tried for three days."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from drystone import __version__
from drystone.adapters.calling import Caller
from drystone.core import measures
from drystone.core.db import Sessions, transaction
from drystone.core.errors import DrystoneError, Invalid, Unavailable
from drystone.core.logging import get_logger
from drystone.jobs import events, queries
from drystone.jobs import service as jobs
from drystone.jobs.queries import Claim
from drystone.webhooks import service, signing
from drystone.webhooks.models import DELIVERED, FAILED, Delivery, Webhook

TIMEOUT_S = 10.0
# Longer than a call can take, so that no heartbeat is needed.
LEASE_S = 60
# Between tries: about three days in all. Source: the schedule that the specification of Standard Webhooks proposes.
PAUSES_S = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
_PAGE = 500
_KEPT_S = events.KEPT_S
_GONE = 410

log = get_logger("webhooks.sending")


async def dispatch(sessions: Sessions) -> int:
    """Make deliveries for events that came since; how many. Only below the oldest running transaction: nothing is skipped."""
    async with transaction(sessions) as session:
        ids = list(await session.scalars(select(Webhook.id).where(Webhook.disabled_at.is_(None))))
    return sum([await _dispatch_to(sessions, webhook_id) for webhook_id in ids])


async def _dispatch_to(sessions: Sessions, webhook_id: UUID) -> int:
    made, more = 0, True
    while more:
        async with transaction(sessions) as session:
            webhook = await session.scalar(
                select(Webhook).where(Webhook.id == webhook_id).with_for_update(skip_locked=True)
            )
            if webhook is None or webhook.disabled_at is not None:
                break
            rows = await events.read_after(
                session, webhook.workspace_id, after=(webhook.cursor_xid, webhook.cursor_id), limit=_PAGE
            )
            wanted = [row for row in rows if _is_wanted(webhook, row)]
            told = [(row.id, row.kind, events.message(row)) for row in wanted]
            made += len(await service.add_deliveries(session, webhook, told))
            if rows:
                await session.execute(_MOVE, {"id": webhook_id, "xid": str(rows[-1].xid), "event_id": rows[-1].id})
        more = len(rows) == _PAGE
    return made


def _is_wanted(webhook: Webhook, row: Row[Any]) -> bool:
    if row.kind in service.UNTOLD:
        return False
    if webhook.collection_id is not None and webhook.collection_id != row.collection_id:
        return False
    return not webhook.kinds or any(_fits(kind, row.kind) for kind in webhook.kinds)


def _fits(wanted: str, kind: str) -> bool:
    return kind.startswith(wanted[:-1]) if wanted.endswith("*") else kind == wanted


@dataclass(frozen=True)
class Sending:
    """One claimed delivery with what its call needs."""

    claim: Claim
    webhook_id: UUID


async def claim_next(session: AsyncSession, *, worker: str, busy: Collection[UUID]) -> Sending | None:
    """Take the delivery that has been due for longest, but none to a webhook that is busy."""
    given = {"worker": worker, "lease_s": LEASE_S, "busy": list(busy)}
    row = (await session.execute(_CLAIM, given)).one_or_none()
    return None if row is None else Sending(queries.claim_of(row), row.webhook_id)


async def send(sessions: Sessions, caller: Caller, sending: Sending) -> None:
    """Make the call and write down what came of it. No transaction is open while the other side takes its time."""
    claim = sending.claim
    async with transaction(sessions) as session:
        delivery = await session.get(Delivery, claim.subject_id)
        webhook = await session.get(Webhook, sending.webhook_id)
    if delivery is None or webhook is None:
        await _drop(sessions, claim)
        return
    if webhook.disabled_at is not None:
        await _end(sessions, claim, _disabled(webhook))
        return
    status, error = await _call(caller, webhook, delivery)
    async with transaction(sessions) as session:
        if not await queries.lock_held(session, claim.job_id, claim.attempt):
            return
        values = {"tries": Delivery.tries + 1, "response_status": status, "error": error and error.message}
        changed = update(Delivery).where(Delivery.id == delivery.id).values(**values).returning(Delivery.id)
        if await session.scalar(changed) is None:  # its webhook was deleted during the call
            await session.execute(_DROP, {"id": claim.job_id})
            return
        if error is None:
            ended = {"state": DELIVERED, "delivered_at": func.now()}
            await session.execute(update(Delivery).where(Delivery.id == delivery.id).values(**ended))
            await jobs.finish(session, claim)
        elif status == _GONE or claim.transient_tries >= len(PAUSES_S):
            await _give_up(session, claim, delivery, status, error)
        else:
            await _again(session, claim, error)
    log.info("webhook.called", delivery_id=str(delivery.id), status=status, code=error and error.code)


async def _call(caller: Caller, webhook: Webhook, delivery: Delivery) -> tuple[int | None, DrystoneError | None]:
    now = int(time.time())
    secrets = [webhook.secret]
    if webhook.previous_secret and webhook.previous_until and webhook.previous_until.timestamp() > now:
        secrets.append(webhook.previous_secret)
    headers = signing.headers(secrets, f"msg_{delivery.id.hex}", now, delivery.body)
    headers |= {"Content-Type": "application/json", "User-Agent": f"drystone-webhooks/{__version__}"}
    began = time.perf_counter()
    status, error = await _post(caller, webhook, delivery, headers)
    outcome = "delivered" if error is None else measures.reason(error)
    measures.of(measures.WEBHOOK_SECONDS, outcome).observe(time.perf_counter() - began)
    return status, error


async def _post(
    caller: Caller, webhook: Webhook, delivery: Delivery, headers: Mapping[str, str]
) -> tuple[int | None, DrystoneError | None]:
    try:
        status = await caller.post(webhook.url, delivery.body.encode(), headers)
    except (Unavailable, Invalid) as exc:
        return None, exc
    if 200 <= status < 300:
        return status, None
    return status, Unavailable(
        "webhook.refused", f"The server answered {status}.", hint="any status from 200 to 299 takes the event"
    )


async def _again(session: AsyncSession, claim: Claim, error: DrystoneError) -> None:
    pause_s = PAUSES_S[claim.transient_tries] * random.uniform(0.9, 1.1)  # noqa: S311  spreads load, guards nothing
    await queries.release(
        session,
        claim.job_id,
        claim.attempt,
        delay_s=pause_s,
        error_code=error.code,
        error_message=error.message,
        transient=True,
    )


async def _give_up(
    session: AsyncSession, claim: Claim, delivery: Delivery, status: int | None, error: DrystoneError
) -> None:
    """The delivery fails for good; its webhook is disabled unless others came through meanwhile."""
    gone = status == _GONE
    why = "The server answered 410: it is gone." if gone else f"Calls failed for three days: {error.message}"
    await session.execute(update(Delivery).where(Delivery.id == delivery.id).values(state=FAILED))
    await session.execute(_DISABLE, {"id": delivery.webhook_id, "why": why, "gone": gone, "since": delivery.created_at})
    await jobs.fail(
        session,
        claim,
        Invalid(
            "webhook.undeliverable",
            f"The call was given up. {why}",
            hint='mend the server, then PATCH the webhook with {"enabled": true}',
        ),
    )


async def _end(sessions: Sessions, claim: Claim, error: DrystoneError) -> None:
    async with transaction(sessions) as session:
        if await queries.lock_held(session, claim.job_id, claim.attempt):
            await session.execute(
                update(Delivery).where(Delivery.id == claim.subject_id).values(state=FAILED, error=error.message)
            )
            await jobs.fail(session, claim, error)


async def _drop(sessions: Sessions, claim: Claim) -> None:
    """The webhook was deleted when this was claimed already."""
    async with transaction(sessions) as session:
        if await queries.lock_held(session, claim.job_id, claim.attempt):
            await session.execute(_DROP, {"id": claim.job_id})


async def sweep(session: AsyncSession) -> int:
    """Remove deliveries that ended a week ago, and jobs that have none (any more); how many."""
    gone: Sequence[Any] = (await session.execute(_SWEEP, {"kept_s": _KEPT_S})).all()
    left: Sequence[Any] = (await session.execute(_DROP_ORPHANS)).all()
    return len(gone) + len(left)


def _disabled(webhook: Webhook) -> Invalid:
    return Invalid(
        "webhook.disabled",
        f"The webhook is disabled: {webhook.disabled_reason}",
        hint='PATCH it with {"enabled": true}, then redeliver',
    )


_CLAIM = text(f"""
update jobs set state = 'running', attempt = attempt + 1, worker = :worker,
       started_at = clock_timestamp(), lease_until = clock_timestamp() + make_interval(secs => :lease_s)
from webhook_deliveries d
where d.id = jobs.subject_id and jobs.id = (
    select j.id from jobs j join webhook_deliveries w on w.id = j.subject_id
    where j.state = 'queued' and j.run_after <= clock_timestamp() and j.kind = 'webhooks.deliver'
      and w.webhook_id <> all(cast(:busy as uuid[]))
    order by j.run_after, j.id limit 1 for update of j skip locked
)
returning {queries.CLAIMED}, d.webhook_id
""")

_MOVE = text("""
update webhooks set cursor_xid = cast(cast(:xid as text) as xid8), cursor_id = :event_id where id = :id
""")

_DISABLE = text("""
update webhooks set disabled_at = now(), disabled_reason = :why
where id = :id and disabled_at is null
  and (:gone or not exists (select 1 from webhook_deliveries d where d.webhook_id = :id and d.delivered_at > :since))
""")

_SWEEP = text("""
with old as (
    delete from webhook_deliveries where id in (
        select id from webhook_deliveries
        where created_at < now() - make_interval(secs => :kept_s) and state <> 'pending' order by created_at limit 5000
    )
    returning id
)
delete from jobs where kind = 'webhooks.deliver' and subject_id in (select id from old) returning id
""")

_DROP = text("delete from jobs where id = :id")

_DROP_ORPHANS = text("""
delete from jobs where kind = 'webhooks.deliver' and state = 'queued'
  and not exists (select 1 from webhook_deliveries d where d.id = jobs.subject_id)
returning id
""")

"""Idempotency keys: the answer once given to a request is kept in the transaction of the change that it tells of.

A key in flight is locked for a while, so that the death of a process frees it; its id is the fencing token, so that
of two requests which both think that they hold it only one can commit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.core.errors import Conflict, Invalid
from drystone.core.ids import new_id

LOCK_S = 30
KEPT_S = 24 * 60 * 60


@dataclass(frozen=True)
class Kept:
    """An answer as it was given. body: JSON, or None where there was none."""

    status: int
    headers: dict[str, str]
    body: Any


async def take(session: AsyncSession, principal: Principal, key: str, request_sha256: bytes) -> UUID | Kept:
    """The key for this request, by a token, or the answer that was given to it before.

    Raises Conflict while the first request is in flight, Invalid when the key was used for another one.
    """
    values = {
        "id": new_id(),
        "workspace_id": principal.workspace_id,
        "actor": principal.actor,
        "key": key,
        "request_sha256": request_sha256,
        "lock_s": LOCK_S,
        "kept_s": KEPT_S,
    }
    token: UUID | None = await session.scalar(_TAKE, values)
    if token is not None:
        return token
    found = (await session.execute(_FIND, values)).one_or_none()
    if found is None or found.response_status is None:
        raise _in_flight(found, request_sha256)
    _check_same(found, request_sha256)
    return Kept(found.response_status, found.response_headers or {}, found.response_body)


async def remember(session: AsyncSession, token: UUID, kept: Kept) -> None:
    """Keep the answer with the change. Raises Conflict when another request has taken the key over meanwhile."""
    done = await session.scalar(
        _REMEMBER,
        {
            "id": token,
            "status": kept.status,
            "headers": json.dumps(kept.headers),
            "body": json.dumps(kept.body, ensure_ascii=False),
        },
    )
    if done is None:
        raise Conflict(
            "idempotency.taken_over",
            "This request took so long that its repetition has taken over; nothing of it was kept.",
            hint="send it again with the same key: the answer will be that of the repetition",
            retry_after_s=1,
        )


async def release(session: AsyncSession, token: UUID) -> None:
    """Free a key whose request was refused or failed; one with an answer stays."""
    await session.execute(
        text("delete from idempotency_keys where id = :id and response_status is null"), {"id": token}
    )


async def forget_expired(session: AsyncSession) -> int:
    """Remove keys whose time is over; how many."""
    gone = await session.execute(text("delete from idempotency_keys where expires_at < clock_timestamp() returning id"))
    return len(gone.all())


def _in_flight(found: Row[Any] | None, request_sha256: bytes) -> Conflict:
    if found is not None:
        _check_same(found, request_sha256)
    return Conflict(
        "idempotency.in_flight",
        "The first request with this Idempotency-Key is still being worked on.",
        hint="send it again after Retry-After seconds: its answer will be the first one's",
        retry_after_s=1 if found is None else max(1, min(LOCK_S, found.locked_for_s)),
    )


def _check_same(found: Row[Any], request_sha256: bytes) -> None:
    if bytes(found.request_sha256) != request_sha256:
        raise Invalid(
            "idempotency.key_reused",
            "This Idempotency-Key was used for another request.",
            hint="make a new key for each request; repeat one only with exactly the same content",
            pointer="/Idempotency-Key",
        )


_TAKE = text("""
insert into idempotency_keys (id, workspace_id, actor, key, request_sha256, locked_until, expires_at)
values (:id, :workspace_id, :actor, :key, :request_sha256,
        clock_timestamp() + make_interval(secs => :lock_s), clock_timestamp() + make_interval(secs => :kept_s))
on conflict (workspace_id, actor, key) do update
set id = excluded.id, request_sha256 = excluded.request_sha256, response_status = null, response_headers = null,
    response_body = null, created_at = now(), locked_until = excluded.locked_until, expires_at = excluded.expires_at
where idempotency_keys.expires_at <= clock_timestamp()
   or idempotency_keys.response_status is null and idempotency_keys.locked_until <= clock_timestamp()
returning id
""")

_FIND = text("""
select request_sha256, response_status, response_headers, response_body,
       cast(ceil(extract(epoch from locked_until - clock_timestamp())) as int) as locked_for_s
from idempotency_keys
where workspace_id = :workspace_id and actor = :actor and key = :key
""")

_REMEMBER = text("""
update idempotency_keys
set response_status = :status, response_headers = cast(:headers as jsonb), response_body = cast(:body as jsonb),
    locked_until = null
where id = :id and response_status is null
returning id
""")

"""API keys: made, listed, changed, given a new secret, revoked. Only an admin's key that is confined to no collection may.

A secret is told once, when it is made; the SHA-256 of it is kept. What is refused here can never lock everybody out: the key
that asks neither revokes nor weakens itself, and the one of `.env` gets its secret there.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service
from drystone.access.models import ApiKey
from drystone.access.service import Action, Principal
from drystone.core.clock import utc_now
from drystone.core.errors import Conflict, Denied, Invalid, NotFound, pointer_to
from drystone.core.ids import new_id

# Source of their lengths: 256 random bits, as base64url; a prefix that can be told from others at sight.
_SECRET_BYTES = 32
_PREFIX_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_PREFIX_LENGTH = 10
LONGEST_OVERLAP_S = 30 * 86_400
_GRANTED = ("scopes", "collection_ids", "expires_at", "documents_per_day", "bytes_per_day")


@dataclass(frozen=True)
class Grant:
    """What a new key may.

    collection_ids: None: all of the workspace. expires_at: None: never. *_per_day: uploads; None: as the settings say.
    """

    scopes: Sequence[str]
    collection_ids: Sequence[UUID] | None = None
    expires_at: datetime | None = None
    documents_per_day: int | None = None
    bytes_per_day: int | None = None


async def create(session: AsyncSession, principal: Principal, name: str, grant: Grant) -> tuple[ApiKey, str]:
    """A new key, and `prefix.secret`, which nobody can ask for again. Raises Denied, and Invalid for an end in the past."""
    principal.require_whole("admin")
    _check_end(grant.expires_at)
    prefix, secret = _new_prefix(), secrets.token_urlsafe(_SECRET_BYTES)
    key = ApiKey(
        id=new_id(),
        workspace_id=principal.workspace_id,
        name=name,
        prefix=prefix,
        secret_sha256=_digest(secret),
        scopes=_in_order(grant.scopes),
        collection_ids=None if grant.collection_ids is None else list(grant.collection_ids),
        expires_at=grant.expires_at,
        documents_per_day=grant.documents_per_day,
        bytes_per_day=grant.bytes_per_day,
    )
    session.add(key)
    await session.flush()
    await session.refresh(key)
    await _record(session, principal, "key.create", key, name=name, **_told(key, _GRANTED))
    return key, f"{prefix}.{secret}"


async def page(
    session: AsyncSession, principal: Principal, *, ended: bool, after: UUID | None, limit: int
) -> list[ApiKey]:
    """Keys of the workspace, oldest first. ended: those that were revoked or have expired, too. Raises Denied."""
    principal.require_whole("admin")
    query = select(ApiKey).where(ApiKey.workspace_id == principal.workspace_id).order_by(ApiKey.id).limit(limit)
    if not ended:
        query = query.where(ApiKey.revoked_at.is_(None), ApiKey.expires_at.is_(None) | (ApiKey.expires_at > func.now()))
    if after is not None:
        query = query.where(ApiKey.id > after)
    return list(await session.scalars(query))


async def get(session: AsyncSession, principal: Principal, prefix: str) -> ApiKey:
    """One key of the workspace, by what stands before its dot. Raises Denied and NotFound."""
    principal.require_whole("admin")
    return await _find(session, principal, prefix)


async def change(session: AsyncSession, principal: Principal, prefix: str, changes: Mapping[str, Any]) -> ApiKey:
    """Change name, scopes, collection_ids, expires_at, documents_per_day or bytes_per_day. Holds from its next request.

    An expired key with a later end goes on. Raises Denied, NotFound, Invalid for an end in the past, and Conflict for a revoked
    one, for the rights of the key of `.env`, and where the caller would take its own away.
    """
    principal.require_whole("admin")
    key = await _lock(session, principal, prefix)
    if key.revoked_at is not None:
        raise _ended(key)
    if changes.keys() & {"scopes", "collection_ids", "expires_at"}:
        _check_changeable(principal, key)
    _check_end(changes.get("expires_at"))
    was = _told(key, changes)
    for name, value in changes.items():
        setattr(key, name, _in_order(value) if name == "scopes" else value)
    await session.flush()
    if changes:
        action: Action = "key.limit" if changes.keys() <= {"documents_per_day", "bytes_per_day"} else "key.change"
        await _record(session, principal, action, key, **_told(key, changes), was=was)
    return key


async def rotate(session: AsyncSession, principal: Principal, prefix: str, *, overlap_s: int) -> tuple[ApiKey, str]:
    """A new secret, as `prefix.secret`; the one before goes on for overlap_s seconds, and one before that ends now.

    Raises Denied, NotFound, and Conflict for the key of `.env` and for one that has ended.
    """
    principal.require_whole("admin")
    key = await _lock(session, principal, prefix)
    if key.is_from_settings:
        raise _from_settings(key)
    if has_ended(key):
        raise _ended(key)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    key.previous_secret_sha256 = key.secret_sha256 if overlap_s else None
    key.previous_until = utc_now() + timedelta(seconds=overlap_s) if overlap_s else None
    key.secret_sha256 = _digest(secret)
    await session.flush()
    await _record(session, principal, "key.rotate", key, overlap_s=overlap_s)
    return key, f"{prefix}.{secret}"


async def revoke(session: AsyncSession, principal: Principal, prefix: str) -> None:
    """End a key at once; what is asked with it from now on is refused. Again is as once.

    Raises Denied, NotFound, and Conflict for the caller's own and the one of `.env`.
    """
    principal.require_whole("admin")
    key = await _lock(session, principal, prefix)
    _check_changeable(principal, key)
    if key.revoked_at is None:
        key.revoked_at = utc_now()
        key.previous_secret_sha256 = key.previous_until = None
        await session.flush()
        await _record(session, principal, "key.revoke", key)


async def is_valid(session: AsyncSession, principal: Principal) -> bool:
    """Whether the caller's key still is what it was: for answers that outlast a request."""
    row = (await session.execute(_RIGHTS, {"actor": principal.actor})).one_or_none()
    if row is None:
        return False
    confined = None if row.collection_ids is None else frozenset(row.collection_ids)
    has_secret = principal.secret_sha256 in (row.secret_sha256, row.previous_sha256)
    return has_secret and (frozenset(row.scopes), confined) == (principal.scopes, principal.collection_ids)


async def recheck(session: AsyncSession, principal: Principal) -> None:
    """Raise Denied (401) where the caller's key is no longer what it was when the request began: for long requests."""
    if principal.secret_sha256 is not None and not await is_valid(session, principal):
        raise Denied(
            "upload.key_changed",
            "The key that sent this was changed, revoked or given another secret before all of it had come; nothing is kept.",
            hint="send it again, with a key that may",
            status=401,
        )


def has_ended(key: ApiKey) -> bool:
    """Whether it was revoked or has expired."""
    return key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= utc_now())


async def _find(session: AsyncSession, principal: Principal, prefix: str, *, lock: bool = False) -> ApiKey:
    query = select(ApiKey).where(ApiKey.workspace_id == principal.workspace_id, ApiKey.prefix == prefix)
    key = await session.scalar(query.with_for_update() if lock else query)
    if key is None:
        raise NotFound("key.not_found", f"There is no key {prefix!r}.", hint="the prefix is what stands before its dot")
    return key


async def _lock(session: AsyncSession, principal: Principal, prefix: str) -> ApiKey:
    """Keys are changed one after the other, by a caller who still may: of two that revoke each other one is left."""
    await session.execute(_ONE_BY_ONE)
    if not await is_valid(session, principal):
        raise Denied(
            "access.key_changed",
            "The key that asks was changed or revoked in the meantime.",
            hint="ask again, with a key that may",
            status=403,
        )
    return await _find(session, principal, prefix, lock=True)


def _check_changeable(principal: Principal, key: ApiKey) -> None:
    if key.is_from_settings and key.revoked_at is None:
        raise _from_settings(key)
    if service.actor_of(key.prefix) == principal.actor:
        raise Conflict(
            "key.own",
            f"{key.prefix} is the key that asks for this.",
            hint="use another admin's key, so that one is left",
        )


def _from_settings(key: ApiKey) -> Conflict:
    return Conflict(
        "key.from_settings",
        f"{key.prefix} is DRYSTONE_API_KEY of .env, which may do everything for as long as it stands there.",
        hint="put another there, then ./drystone down and ./drystone up: that revokes this one",
    )


def _ended(key: ApiKey) -> Conflict:
    return Conflict(
        "key.ended",
        f"The key {key.prefix} {'was revoked' if key.revoked_at else 'has expired'}.",
        hint="create another; one that has expired can be given a later end",
    )


def _told(key: ApiKey, names: Iterable[str]) -> dict[str, Any]:
    """These fields of a key as the audit has them."""
    values = {name: getattr(key, name) for name in names}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def _check_end(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= utc_now():
        raise Invalid(
            "key.expires_in_past",
            f"{expires_at:%Y-%m-%d %H:%M:%S %Z} is over.",
            hint="to end a key now, revoke it",
            pointer=pointer_to("expires_at"),
        )


async def _record(session: AsyncSession, principal: Principal, action: Action, key: ApiKey, **details: Any) -> None:
    await service.record(session, principal, action, "key", key.id, prefix=key.prefix, **details)


def _new_prefix() -> str:
    return "dsk_" + "".join(secrets.choice(_PREFIX_LETTERS) for _ in range(_PREFIX_LENGTH))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _in_order(scopes: Sequence[str]) -> list[str]:
    return [scope for scope in service.SCOPES if scope in scopes]


_ONE_BY_ONE = text("select pg_advisory_xact_lock(7355004)")
_RIGHTS = text("""
select scopes, collection_ids, secret_sha256,
       case when previous_until > now() then previous_secret_sha256 end as previous_sha256
from api_keys
where 'key:' || prefix = :actor and revoked_at is null and (expires_at is null or expires_at > now())
""")

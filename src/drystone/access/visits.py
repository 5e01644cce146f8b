"""Visits: somebody showed a key in a browser, and need not show it again until they leave, the key ends, or half a day is over.

The browser keeps a token of the visit, not the key; the token's SHA-256 is kept here. Whoever visits is the key's principal.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service
from drystone.access.service import Limits, Principal
from drystone.core.errors import Denied
from drystone.core.ids import new_id

LASTS = timedelta(hours=12)
_TOKEN_BYTES = 32


async def begin(session: AsyncSession, principal: Principal) -> str:
    """A new visit of this caller, whose key was just looked up; its token, which nobody can ask for again."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    visit_id = new_id()
    await session.execute(_FORGET, {"workspace_id": principal.workspace_id})
    await session.execute(
        _BEGIN,
        {
            "id": visit_id,
            "workspace_id": principal.workspace_id,
            "prefix": service.prefix_of(principal),
            "token_sha256": _digest(token),
            "secret_sha256": principal.secret_sha256,
            "expires_at": datetime.now(UTC) + LASTS,
        },
    )
    await service.record(session, principal, "visit.begin", "visit", visit_id)
    return token


async def visitor(session: AsyncSession, token: str, *, request_id: str | None, limits: Limits) -> Principal:
    """Who visits with this token. Unknown, over, and of a key that has ended since look alike. Raises Denied.

    limits: of keys that have none of their own.
    """
    row = (await session.execute(_FIND, {"its_sha256": _digest(token)})).one_or_none()
    if row is None:
        raise Denied(
            "access.visit_over", "You are not signed in, or no longer.", hint="sign in with an API key", status=401
        )
    return service.principal_of(row, row.secret_sha256, request_id=request_id, limits=limits)


async def end(session: AsyncSession, principal: Principal, token: str) -> None:
    """End a visit at once; again is as once."""
    given = {"workspace_id": principal.workspace_id, "token_sha256": _digest(token)}
    ended = (await session.execute(_END, given)).scalar_one_or_none()
    if ended is not None:
        await service.record(session, principal, "visit.end", "visit", ended)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


# A function of the owner: whose visit it is, and so what may be reached, is not known yet.
_FIND = text("""
select workspace_id, prefix, secret_sha256, scopes, collection_ids, documents_per_day, bytes_per_day
from find_visit(:its_sha256)
""")

_BEGIN = text("""
insert into visits (id, workspace_id, key_id, token_sha256, secret_sha256, expires_at)
select :id, :workspace_id, id, :token_sha256, :secret_sha256, :expires_at
from api_keys where prefix = :prefix and workspace_id = :workspace_id
""")

_END = text("delete from visits where token_sha256 = :token_sha256 and workspace_id = :workspace_id returning id")

_FORGET = text("delete from visits where workspace_id = :workspace_id and expires_at <= now()")

"""Capability links: who holds one may edit one draft, and needs no key.

The token is told once, when it is made; the SHA-256 of its secret is kept. It is shaped as keys are, so that whatever knows to
keep these out of logs and repositories keeps it out as well.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.core.errors import NotFound

# Source of their lengths: 256 random bits, as base64url; a prefix that can be told from others at sight.
_SECRET_BYTES = 32
_PREFIX_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_PREFIX_LENGTH = 12
_NONE = b"\0" * 32


@dataclass(frozen=True, kw_only=True)
class Holder(Principal):
    """Whoever holds the link of a draft. Has no scope and reaches no collection: may what drafts ask `draft_id` for."""

    draft_id: UUID


@dataclass(frozen=True)
class Link:
    """A new link. prefix: names it, in the audit too. sha256: of its secret."""

    prefix: str
    token: str
    sha256: bytes


def new() -> Link:
    """A link that nobody has."""
    prefix = "dsd_" + "".join(secrets.choice(_PREFIX_LETTERS) for _ in range(_PREFIX_LENGTH))
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    return Link(prefix, f"{prefix}.{secret}", hashlib.sha256(secret.encode()).digest())


def actor_of(prefix: str) -> str:
    """How whoever holds a link is named as the one who did something."""
    return f"draft:{prefix}"


async def holder(session: AsyncSession, token: str, *, request_id: str | None = None) -> Holder:
    """Who holds this token. Unknown, revoked, expired and none at all look alike. Raises NotFound."""
    prefix, _, secret = token.partition(".")
    row = (await session.execute(_FIND, {"its_prefix": prefix})).one_or_none()
    digest = hashlib.sha256(secret.encode(errors="surrogateescape")).digest()
    is_right = hmac.compare_digest(digest, row.token_sha256 if row else _NONE)
    if row is None or not is_right:
        raise NotFound(
            "draft.no_such_link",
            "There is no draft under this link.",
            hint='send "Authorization: Draft <token>" with the token of the link; a link ends with time, or when it is revoked',
        )
    return Holder(
        workspace_id=row.workspace_id,
        actor=actor_of(row.prefix),
        scopes=frozenset(),
        collection_ids=frozenset(),
        request_id=request_id,
        draft_id=row.id,
    )


# A function of the owner: whose draft it is, and so what may be reached, is not known yet.
_FIND = text("select id, workspace_id, prefix, token_sha256 from find_draft(:its_prefix)")

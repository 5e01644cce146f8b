"""Keys for tests, beside the first one: with fewer scopes, confined to collections, of another workspace."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from uuid import UUID

from drystone.access.models import ApiKey, Workspace
from drystone.access.service import SCOPES, default_workspace
from drystone.core.db import Sessions, transaction
from drystone.core.ids import new_id


async def make_key(
    sessions: Sessions,
    *,
    scopes: Sequence[str] = SCOPES,
    collection_ids: Sequence[UUID] | None = None,
    workspace_id: UUID | None = None,
) -> str:
    """A key `prefix.secret`, of the default workspace if no other is named."""
    prefix, secret = f"t{secrets.token_hex(6)}", secrets.token_urlsafe(32)
    async with transaction(sessions) as session:
        key = ApiKey(
            id=new_id(),
            workspace_id=workspace_id or await default_workspace(session),
            name="of a test",
            prefix=prefix,
            secret_sha256=hashlib.sha256(secret.encode()).digest(),
            scopes=list(scopes),
            collection_ids=None if collection_ids is None else list(collection_ids),
        )
        session.add(key)
    return f"{prefix}.{secret}"


async def make_workspace(sessions: Sessions) -> UUID:
    """Another workspace, with nothing in it."""
    workspace_id = new_id()
    async with transaction(sessions) as session:
        session.add(Workspace(id=workspace_id, name=f"w-{workspace_id}"))
    return workspace_id


def bearer(token: str) -> dict[str, str]:
    """The headers of a request with this key."""
    return {"Authorization": f"Bearer {token}"}

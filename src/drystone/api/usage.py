"""/usage and /keys: what a key may upload in a day, what it has, and how an admin changes that."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from drystone.access import quotas
from drystone.access import service as access
from drystone.access.service import Limits
from drystone.api.dependencies import Caller, Session
from drystone.api.problems import responses
from drystone.core.text import Text

router = APIRouter(tags=["usage"])


class KeyLimits(BaseModel):
    """What a key may upload between two midnights UTC."""

    model_config = ConfigDict(extra="forbid")

    documents_per_day: Annotated[int, Ge(0)] | None = Field(None, description="null: as the settings say.")
    bytes_per_day: Annotated[int, Ge(0)] | None = Field(None, description="null: as the settings say.")


class Used(BaseModel):
    """One thing that is counted. limit: null where there is none."""

    used: int
    limit: int | None


class Usage(BaseModel):
    """What the caller uploaded since midnight UTC."""

    documents: Used
    bytes: Used
    resets_in_s: int = Field(description="Seconds until the count starts anew.")


@router.get("/usage", summary="Show what this key has uploaded today", responses=responses())
async def get(caller: Caller, session: Session) -> Usage:
    """Versions and bytes added since midnight UTC, and how many may be. Bytes that were there already do not count."""
    caller.require("read")
    used = await quotas.usage(session, caller)
    return Usage(
        documents=Used(used=used.documents, limit=used.limits.documents_per_day),
        bytes=Used(used=used.bytes, limit=used.limits.bytes_per_day),
        resets_in_s=used.resets_in_s,
    )


@router.put("/keys/{prefix}/limits", summary="Limit a key", responses=responses(404))
async def limit(prefix: Text, body: KeyLimits, caller: Caller, session: Session) -> KeyLimits:
    """Set what a key may upload in a day. Needs the scope `admin`; takes effect with the key's next request."""
    await quotas.set_limits(session, caller, prefix, Limits(body.documents_per_day, body.bytes_per_day))
    await access.record(session, caller, "key.limit", "key", None, prefix=prefix, **body.model_dump())
    return body

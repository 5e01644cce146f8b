"""/usage: what a key may upload in a day, and what it has."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from drystone.access import quotas
from drystone.http.dependencies import Caller, Session
from drystone.http.problems import responses

router = APIRouter(tags=["usage"])


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

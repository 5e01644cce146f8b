"""/usage and /keys: what a key may upload in a day, what it has, and how an admin changes that."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from drystone.access import quotas
from drystone.access import service as access
from drystone.api.dependencies import Caller, ResourcesOf, Session, default_limits
from drystone.api.problems import responses
from drystone.core.numbers import MAX_BIGINT, MAX_INTEGER
from drystone.core.text import Text

router = APIRouter(tags=["usage"])


class KeyLimits(BaseModel):
    """What a key may upload between two midnights UTC. What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    documents_per_day: Annotated[int, Ge(0), Le(MAX_INTEGER)] | None = Field(
        None, description="null: as the settings say."
    )
    bytes_per_day: Annotated[int, Ge(0), Le(MAX_BIGINT)] | None = Field(None, description="null: as the settings say.")


class LimitsInForce(BaseModel):
    """What holds for a key now: its own limits, else those of the settings; null: none."""

    documents_per_day: int | None
    bytes_per_day: int | None


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
async def limit(
    prefix: Text, body: KeyLimits, caller: Caller, resources: ResourcesOf, session: Session
) -> LimitsInForce:
    """Set what a key may upload in a day; what is left out stays. Needs the scope `admin`; holds from its next request."""
    changes = body.model_dump(exclude_unset=True)
    own = await quotas.set_limits(session, caller, prefix, changes)
    if changes:
        await access.record(session, caller, "key.limit", "key", None, prefix=prefix, **changes)
    default = default_limits(resources.settings.receiving)
    return LimitsInForce(
        documents_per_day=own.documents_per_day if own.documents_per_day is not None else default.documents_per_day,
        bytes_per_day=own.bytes_per_day if own.bytes_per_day is not None else default.bytes_per_day,
    )

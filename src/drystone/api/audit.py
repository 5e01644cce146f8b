"""/audit: what was changed, by whom and when."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from drystone.access import audit
from drystone.access.audit import Choice
from drystone.access.models import AuditEntry
from drystone.core.numbers import MAX_JSON
from drystone.core.text import Text
from drystone.http.dependencies import Caller, Session
from drystone.http.problems import responses
from drystone.http.times import moment

router = APIRouter(prefix="/audit", tags=["audit"])

Age = Annotated[Text | None, Query(examples=["2h", "7d", "2026-11-21T20:00:00Z"])]


class Entry(BaseModel):
    """One change. It was written in the transaction of the change: it is there exactly when that has happened."""

    id: int
    at: datetime
    actor: str = Field(
        description="`key:` and the prefix of a key, or a part of the system.", examples=["key:dsk_local"]
    )
    action: str = Field(examples=["document.delete"])
    subject_kind: str = Field(examples=["document"])
    subject_id: UUID | None
    request_id: str | None = Field(description="X-Request-ID of the request, as in the log.")
    before_sha256: str | None = Field(description="Of what was there before, where the change has such a hash.")
    after_sha256: str | None
    details: dict[str, Any]

    @classmethod
    def of(cls, row: AuditEntry) -> Entry:
        fields = {name: getattr(row, name) for name in cls.model_fields}
        for name in ("before_sha256", "after_sha256"):
            fields[name] = None if fields[name] is None else fields[name].hex()
        return cls(**fields)


class Entries(BaseModel):
    """One page of changes."""

    items: list[Entry]
    next_cursor: str | None


@router.get("", summary="List changes", responses=responses())
async def list_(
    caller: Caller,
    session: Session,
    actor: Annotated[
        Text | None,
        Query(description="As rows have it; a key also by its bare prefix.", examples=["key:dsk_local"]),
    ] = None,
    action: Annotated[
        Text | None, Query(description="One action, or with a star all that begin so.", examples=["key.*"])
    ] = None,
    subject_kind: Text | None = None,
    subject_id: UUID | None = None,
    request_id: Text | None = None,
    older_than: Age = None,
    newer_than: Age = None,
    order: Annotated[Literal["newest", "oldest"], Query(description="Which come first.")] = "newest",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[int | None, Query(ge=0, le=MAX_JSON, description="next_cursor of the page before.")] = None,
) -> Entries:
    """Who changed what, and when. Only for an admin's key that is confined to no collection."""
    choice = Choice(
        actor=actor,
        action=action,
        subject_kind=subject_kind,
        subject_id=subject_id,
        request_id=request_id,
        before=moment("older_than", older_than),
        after=moment("newer_than", newer_than),
    )
    found = await audit.page(session, caller, choice, cursor=cursor, oldest_first=order == "oldest", limit=limit + 1)
    more = len(found) > limit
    return Entries(
        items=[Entry.of(row) for row in found[:limit]], next_cursor=str(found[limit - 1].id) if more else None
    )

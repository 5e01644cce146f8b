"""/series: what is observed of which entities."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from drystone.api.observing import ChoiceOf
from drystone.core import ids
from drystone.http.dependencies import Caller, Session
from drystone.http.problems import responses
from drystone.observations import reading
from drystone.observations.reading import After
from drystone.observations.rows import MENTIONS

router = APIRouter(prefix="/series", tags=["series"])
_FIELDS = ("id", "entity", "entity_id", "metric", "source", "unit", "created_at")


class Series(BaseModel):
    """What one source says of one metric of one entity."""

    id: int | None = Field(description=f"null: it is `{MENTIONS}`, which nobody keeps but counts.")
    entity: str
    entity_id: UUID
    metric: str
    source: str
    unit: str | None = Field(description="Of all its values; null: they have none.")
    created_at: datetime
    first_at: datetime | None = Field(description="Of its oldest observation; null: there is none.")
    last_at: datetime | None


class SeriesPage(BaseModel):
    """One page of series."""

    items: list[Series]
    next_cursor: str | None


@router.get("", summary="List series", responses=responses(404))
async def list_(
    caller: Caller,
    session: Session,
    choice: ChoiceOf,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[
        str | None, Query(pattern=rf"^(\d{{1,15}}|{ids.PATTERN})$", description="next_cursor of the page before.")
    ] = None,
) -> SeriesPage:
    """Series in the order they were made, with when each was first and last observed; then those of mentions, if named."""
    found = await reading.page_series(session, caller, choice, after=_after(cursor), limit=limit + 1)
    shown = found[:limit]
    items = []
    for row, (first_at, last_at) in zip(shown, await reading.spans(session, caller, shown), strict=True):
        said = {name: getattr(row, name) for name in _FIELDS}
        items.append(Series(**said, first_at=first_at, last_at=last_at))
    next_cursor = str(shown[-1].id or shown[-1].entity_id) if len(found) > limit else None
    return SeriesPage(items=items, next_cursor=next_cursor)


def _after(cursor: str | None) -> After:
    if cursor is None:
        return After()
    return After(id=int(cursor)) if cursor.isdecimal() else After(entity_id=UUID(cursor))

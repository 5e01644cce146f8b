"""/series: what is observed of which entities."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from drystone.api.dependencies import Caller, Session
from drystone.api.observing import ChoiceOf
from drystone.api.problems import responses
from drystone.core.numbers import MAX_JSON
from drystone.observations import reading, selects

router = APIRouter(prefix="/series", tags=["series"])


class Series(BaseModel):
    """What one source says of one metric of one entity."""

    id: int
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
    cursor: Annotated[int, Query(ge=0, le=MAX_JSON, description="next_cursor of the page before.")] = 0,
) -> SeriesPage:
    """Series in the order they were made, with when each was first and last observed."""
    found = await reading.page_series(session, caller, choice, after=cursor, limit=limit + 1)
    shown = found[:limit]
    spans = await selects.spans(session, [row.id for row in shown])
    items = []
    for row in shown:
        first_at, last_at = spans.get(row.id, (None, None))
        items.append(Series(**row._mapping, first_at=first_at, last_at=last_at))
    return SeriesPage(items=items, next_cursor=str(shown[-1].id) if len(found) > limit else None)

"""/batches: uploads that are watched together."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from annotated_types import Ge, Le, Len
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from drystone.core.numbers import MAX_INTEGER, WHOLE
from drystone.core.text import Text
from drystone.documents import batches
from drystone.documents.batches import BatchView
from drystone.http.dependencies import Caller, Session
from drystone.http.idempotency import Once
from drystone.http.problems import responses

router = APIRouter(prefix="/batches", tags=["batches"])


class NewBatch(BaseModel):
    """A batch to be made."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "papers of May", "expected": 3}]}
    )

    name: Annotated[Text, Len(0, 200)] | None = None
    expected: Annotated[int, Ge(1), Le(MAX_INTEGER), WHOLE] | None = Field(
        None,
        description="How many documents it will have: it is not done before. Without, it is done whenever none is pending.",
    )


class BatchChanges(BaseModel):
    """What may be changed of a batch."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"expected": 2}]})

    expected: Annotated[int, Ge(1), Le(MAX_INTEGER), WHOLE] | None


class BatchCounts(BaseModel):
    """Documents by state."""

    pending: int
    ready: int
    failed: int
    deleted: int


class Batch(BaseModel):
    """A batch, with what became of its documents so far."""

    id: UUID
    name: str | None
    expected: int | None
    created_at: datetime
    done_at: datetime | None = Field(description="When all had ended; null while one is pending or still expected.")
    documents: BatchCounts
    reasons: dict[str, int] = Field(
        description="Failed documents by the code of the reason.", examples=[{"document.no_text": 1}]
    )

    @classmethod
    def of(cls, view: BatchView) -> Batch:
        batch = view.batch
        return cls(
            id=batch.id,
            name=batch.name,
            expected=batch.expected,
            created_at=batch.created_at,
            done_at=batch.done_at,
            documents=BatchCounts(**view.counts),
            reasons=dict(view.reasons),
        )


@router.post("", status_code=201, summary="Create a batch", responses=responses(409))
async def create(
    caller: Caller, once: Once, session: Session, response: Response, body: NewBatch | None = None
) -> Batch:
    """Make an empty batch; uploads join it by the form field `batch`."""
    given = body or NewBatch()
    view = await batches.create(session, caller, name=given.name, expected=given.expected)
    response.headers["Location"] = f"/api/v1/batches/{view.batch.id}"
    return await once.remember(session, response, Batch.of(view))


@router.get("/{batch_id}", summary="Get a batch", responses=responses(404))
async def get(batch_id: UUID, caller: Caller, session: Session) -> Batch:
    """A batch: its documents by state, and the failed ones by reason."""
    return Batch.of(await batches.get(session, caller, batch_id))


@router.patch("/{batch_id}", summary="Say how many documents a batch will have", responses=responses(404))
async def change(batch_id: UUID, body: BatchChanges, caller: Caller, session: Session) -> Batch:
    """Change `expected`: when some files were refused, or were there already, fewer come than was thought."""
    return Batch.of(await batches.expect(session, caller, batch_id, body.expected))

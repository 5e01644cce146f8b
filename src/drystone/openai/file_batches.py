"""/vector_stores/{id}/file_batches: files that are put into a vector store together, and watched together."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Len
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.core.errors import Invalid, NotFound
from drystone.core.text import Text
from drystone.documents import batches
from drystone.documents.batches import BatchView
from drystone.documents.models import FAILED, PENDING, READY, WORK_CANCELLED
from drystone.documents.queries import Totals
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.idempotency import Once
from drystone.openai import ids, polling, store_files, stores
from drystone.openai.paging import Page, TurningOf
from drystone.openai.store_files import Filter, StoreFile
from drystone.openai.store_schemas import MOST_FILES, Attributes, Chunking, FileCounts, FileIds, FileToAttach

router = APIRouter(prefix="/vector_stores/{vector_store_id}/file_batches", tags=["openai"])


class NewBatch(BaseModel):
    """Files by their ids, all with the same attributes; or each with its own."""

    model_config = ConfigDict(extra="forbid")

    file_ids: FileIds | None = None
    files: Annotated[list[FileToAttach], Len(0, MOST_FILES)] | None = None
    attributes: Attributes | None = None
    chunking_strategy: Chunking | None = None

    def each(self) -> list[FileToAttach]:
        """Raises Invalid unless one of the two lists has something in it."""
        if bool(self.files) == bool(self.file_ids):
            raise Invalid(
                "file_batch.files",
                "A batch has file_ids or files, and at least one of them.",
                hint='send {"file_ids": ["file-…"]}',
                pointer="/file_ids",
            )
        if self.files:
            return self.files
        return [
            FileToAttach(file_id=each, attributes=self.attributes, chunking_strategy=self.chunking_strategy)
            for each in self.file_ids or []
        ]


class FileBatch(BaseModel):
    """A batch and how far it has come. Files that stood in the store as they are, are in no batch anew."""

    id: str
    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"
    vector_store_id: str
    created_at: int
    status: Literal["in_progress", "completed", "cancelled", "failed"]
    file_counts: FileCounts

    @classmethod
    def of(cls, view: BatchView, store_id: str) -> FileBatch:
        cancelled = view.reasons.get(WORK_CANCELLED, 0)
        totals = Totals(
            pending=view.counts[PENDING],
            ready=view.counts[READY],
            failed=view.counts[FAILED] - cancelled,
            cancelled=cancelled,
        )
        return cls(
            id=ids.shown(ids.BATCH, view.batch.id),
            vector_store_id=store_id,
            created_at=int(view.batch.created_at.timestamp()),
            status=_status(totals),
            file_counts=FileCounts.of(totals),
        )


def _status(totals: Totals) -> Literal["in_progress", "completed", "cancelled", "failed"]:
    if totals.pending:
        return "in_progress"
    if totals.cancelled:
        return "cancelled"
    return "failed" if totals.failed and not totals.ready else "completed"


@router.post("")
async def create(
    vector_store_id: Text,
    body: NewBatch,
    caller: Caller,
    resources: ResourcesOf,
    once: Once,
    session: Session,
    response: Response,
) -> FileBatch:
    store = await stores.find(session, caller, vector_store_id, share=True)
    # Its name says of which store it is: a batch by itself is of none.
    made = await batches.create(session, caller, name=vector_store_id, expected=None)
    await stores.attach_all(session, resources.nudger, caller, store, body.each(), batch_id=made.batch.id)
    view = await batches.get(session, caller, made.batch.id)
    polling.tell(response)
    return await once.remember(session, response, FileBatch.of(view, vector_store_id))


@router.get("/{file_batch_id}")
async def get(
    vector_store_id: Text, file_batch_id: Text, caller: Caller, session: Session, response: Response
) -> FileBatch:
    polling.tell(response)
    return FileBatch.of(await _find(session, caller, vector_store_id, file_batch_id), vector_store_id)


@router.post("/{file_batch_id}/cancel")
async def cancel(
    vector_store_id: Text, file_batch_id: Text, caller: Caller, once: Once, session: Session, response: Response
) -> FileBatch:
    found = await _find(session, caller, vector_store_id, file_batch_id)
    view = await batches.cancel(session, caller, found.batch.id)
    return await once.remember(session, response, FileBatch.of(view, vector_store_id))


@router.get("/{file_batch_id}/files")
async def list_files(
    vector_store_id: Text,
    file_batch_id: Text,
    caller: Caller,
    session: Session,
    turning: TurningOf,
    filter: Filter = None,
) -> Page[StoreFile]:
    view = await _find(session, caller, vector_store_id, file_batch_id)
    store = await stores.find(session, caller, vector_store_id)
    return await store_files.page(session, caller, store, turning, filter, batch_id=view.batch.id)


async def _find(session: AsyncSession, caller: Principal, store_id: str, batch_id: str) -> BatchView:
    await stores.find(session, caller, store_id)
    try:
        view = await batches.get(session, caller, ids.read(ids.BATCH, batch_id, _no_batch))
    except NotFound as exc:
        raise _no_batch(batch_id) from exc
    if view.batch.name != store_id:
        raise _no_batch(batch_id)
    return view


def _no_batch(batch_id: str) -> NotFound:
    return NotFound(
        "file_batch.not_found", f"There is no file batch {batch_id} in this vector store.", pointer="/file_batch_id"
    )

"""/vector_stores/{id}/files: documents of a collection, as the files they were made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.core.text import Text
from drystone.documents import deleting, describing, kept_files, service
from drystone.documents.models import FAILED, PENDING, READY, WORK_CANCELLED, Collection
from drystone.documents.service import DocumentView
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.idempotency import Once
from drystone.openai import ids, polling, stores
from drystone.openai.paging import Page, Turning, TurningOf, WithId
from drystone.openai.store_schemas import Attributes, Content, FileToAttach, shown_attributes
from drystone.openai.stores import attach_all

router = APIRouter(prefix="/vector_stores/{vector_store_id}/files", tags=["openai"])

Status = Literal["in_progress", "completed", "failed", "cancelled"]
_STATUS: dict[str, Status] = {PENDING: "in_progress", READY: "completed", FAILED: "failed"}
# state and cancelled, as documents are asked for.
_ASKED: dict[Status, dict[str, Any]] = {
    "in_progress": {"state": PENDING},
    "completed": {"state": READY},
    "failed": {"state": FAILED, "cancelled": False},
    "cancelled": {"state": FAILED, "cancelled": True},
}
_UNSUPPORTED = ("document.unsupported_type", "document.legacy_office", "document.wrong_type")


class Changes(BaseModel):
    """The attributes that a file is to have from now on; null: none."""

    model_config = ConfigDict(extra="forbid")

    attributes: Attributes | None


class LastError(BaseModel):
    """Why nothing became of a file."""

    code: Literal["server_error", "unsupported_file", "invalid_file"]
    message: str


class OtherChunking(BaseModel):
    """Neither of the strategies that OpenAI has."""

    type: Literal["other"] = "other"


class StoreFile(WithId):
    """A document, as a file in a vector store."""

    object: Literal["vector_store.file"] = "vector_store.file"
    vector_store_id: str
    created_at: int
    usage_bytes: int
    status: Status
    last_error: LastError | None
    attributes: dict[str, str | bool | int | float]
    chunking_strategy: OtherChunking = OtherChunking()

    @classmethod
    def of(cls, view: DocumentView) -> StoreFile:
        document, version = view.document, view.version
        is_cancelled = version.error_code == WORK_CANCELLED
        return cls(
            id=kept_files.name_of(document.id, document.external_id),
            vector_store_id=ids.shown(ids.STORE, document.collection_id),
            created_at=int(document.created_at.timestamp()),
            usage_bytes=view.file.size_bytes,
            status="cancelled" if is_cancelled else _STATUS[document.state],
            last_error=None if is_cancelled else _last_error(view),
            attributes=shown_attributes(document.attributes),
        )


class DeletedStoreFile(BaseModel):
    """That a file is no longer in a vector store; the file itself is kept."""

    id: str
    object: Literal["vector_store.file.deleted"] = "vector_store.file.deleted"
    deleted: Literal[True] = True


class FileContent(BaseModel):
    """All text of a file that search sees, in one piece."""

    object: Literal["vector_store.file_content.page"] = "vector_store.file_content.page"
    data: list[Content]
    has_more: Literal[False] = False
    next_page: None = None


Filter = Annotated[Status | None, Query()]


@router.post("")
async def create(
    vector_store_id: Text,
    body: FileToAttach,
    caller: Caller,
    resources: ResourcesOf,
    once: Once,
    session: Session,
    response: Response,
) -> StoreFile:
    store = await stores.find(session, caller, vector_store_id, share=True)
    (received,) = await attach_all(session, resources.nudger, caller, store, [body])
    polling.tell(response)
    return await once.remember(session, response, StoreFile.of(received.document))


@router.get("")
async def list_(
    vector_store_id: Text, caller: Caller, session: Session, turning: TurningOf, filter: Filter = None
) -> Page[StoreFile]:
    return await page(session, caller, await stores.find(session, caller, vector_store_id), turning, filter)


@router.get("/{file_id}")
async def get(vector_store_id: Text, file_id: Text, caller: Caller, session: Session, response: Response) -> StoreFile:
    polling.tell(response)
    return StoreFile.of(await _find(session, caller, vector_store_id, file_id))


@router.post("/{file_id}")
async def change(
    vector_store_id: Text,
    file_id: Text,
    body: Changes,
    caller: Caller,
    once: Once,
    session: Session,
    response: Response,
) -> StoreFile:
    view = await _find(session, caller, vector_store_id, file_id)
    changed = await describing.describe(
        session, caller, view.document.id, {"attributes": body.attributes or {}}, replaces=True
    )
    return await once.remember(session, response, StoreFile.of(changed))


@router.delete("/{file_id}")
async def delete(
    vector_store_id: Text, file_id: Text, caller: Caller, resources: ResourcesOf, session: Session
) -> DeletedStoreFile:
    view = await _find(session, caller, vector_store_id, file_id)
    await deleting.delete_document(session, resources.nudger, caller, view.document.id)
    return DeletedStoreFile(id=file_id)


@router.get("/{file_id}/content")
async def content(
    vector_store_id: Text, file_id: Text, caller: Caller, resources: ResourcesOf, session: Session
) -> FileContent:
    view = await _find(session, caller, vector_store_id, file_id)
    text = await service.read_text(session, resources.objects, caller, view.document.id)
    return FileContent(data=[Content(text=text)])


async def page(
    session: AsyncSession, caller: Principal, store: Collection, turning: Turning, status: Status | None, **more: Any
) -> Page[StoreFile]:
    """A page of the files of a store. more: which of them, as `service.page_documents` takes it."""
    behind = turning.before if turning.before is not None else turning.after
    found = await service.page_documents(
        session,
        caller,
        collection=str(store.id),
        after=None if behind is None else (await kept_files.document_of(session, caller, store, behind)).document.id,
        newest_first=turning.is_newest_first,
        limit=turning.limit + 1,
        **(_ASKED[status] if status is not None else {}),
        **more,
    )
    return turning.page(found, StoreFile.of)


async def _find(session: AsyncSession, caller: Principal, store_id: str, file_id: str) -> DocumentView:
    return await kept_files.document_of(session, caller, await stores.find(session, caller, store_id), file_id)


def _last_error(view: DocumentView) -> LastError | None:
    code, version = view.version.error_code, view.version
    if code is None:
        return None
    message = " ".join(each for each in (version.error_message, version.error_hint) if each)
    if code in _UNSUPPORTED:
        return LastError(code="unsupported_file", message=message)
    is_its_own = code.startswith("document.")
    return LastError(code="invalid_file" if is_its_own else "server_error", message=message)

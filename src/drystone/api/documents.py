"""/documents: upload, look up, read, delete."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from drystone.api import upload
from drystone.api.dependencies import Caller, ResourcesOf, Session
from drystone.api.problems import responses
from drystone.api.schemas import Document, Documents, DocumentState, ReceivedDocument
from drystone.core.text import Text
from drystone.documents import deleting, receiving, service
from drystone.documents.collections import DEFAULT_COLLECTION

router = APIRouter(prefix="/documents", tags=["documents"])

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "collection": {
                            "type": "string",
                            "default": "default",
                            "description": "Made where it is missing.",
                        },
                        "external_id": {"type": "string", "maxLength": 512, "description": "Your own id for it."},
                        "title": {"type": "string"},
                        "attributes": {"type": "string", "description": "A JSON object, for filters."},
                    },
                }
            }
        },
    }
}


@router.post(
    "",
    status_code=202,
    summary="Upload a document",
    openapi_extra=_FORM,
    responses={
        200: {"description": "These bytes were there already", "model": ReceivedDocument},
        **responses(400, 413, 415),
    },
)
async def upload_(request: Request, response: Response, caller: Caller, resources: ResourcesOf) -> ReceivedDocument:
    """Keep a file and have it made searchable. 202: it is kept, and will end ready or failed with a reason."""
    async with upload.receive(request, max_bytes=resources.settings.api.max_upload_bytes) as form:
        received = await receiving.receive(
            resources.sessions,
            resources.objects,
            resources.nudger,
            caller,
            resources.space,
            form.upload,
            collection=form.collection or DEFAULT_COLLECTION,
            external_id=form.external_id,
            title=form.title,
            attributes=form.attributes,
        )
    response.headers["Location"] = f"/api/v1/documents/{received.document.document.id}"
    if received.job_id is None:
        response.status_code = 200
    return ReceivedDocument(
        document=Document.of(received.document), job_id=received.job_id, already_there=received.job_id is None
    )


@router.get("", summary="List documents", responses=responses(404))
async def list_(
    caller: Caller,
    session: Session,
    collection: Text | None = None,
    state: DocumentState | None = None,
    external_id: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    cursor: Annotated[UUID | None, Query(description="next_cursor of the page before.")] = None,
) -> Documents:
    """Documents in the order they were made."""
    found = await service.page_documents(
        session, caller, collection=collection, state=state, external_id=external_id, after=cursor, limit=limit + 1
    )
    more = len(found) > limit
    return Documents(
        items=[Document.of(view) for view in found[:limit]],
        next_cursor=str(found[limit - 1].document.id) if more else None,
    )


@router.get("/{document_id}", summary="Get a document", responses=responses(404))
async def get(document_id: UUID, caller: Caller, session: Session, response: Response) -> Document:
    """A document, its state, and why it failed if it did."""
    view = await service.get_document(session, caller, document_id)
    response.headers["ETag"] = f'"{view.document.revision}"'
    return Document.of(view)


@router.get(
    "/{document_id}/content",
    summary="Download the file",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The bytes as uploaded",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        **responses(404),
    },
)
async def content(document_id: UUID, caller: Caller, resources: ResourcesOf, session: Session) -> StreamingResponse:
    """The bytes of the newest version, always as an attachment."""
    view = await service.get_document(session, caller, document_id)
    name = quote(view.document.name or str(document_id))
    return StreamingResponse(
        service.stream_content(resources.objects, view),
        media_type=view.file.media_type,
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
            "Content-Length": str(view.file.size_bytes),
            "ETag": f'"{view.file.sha256.hex()}"',
        },
    )


@router.get(
    "/{document_id}/text",
    summary="Read the extracted text",
    response_class=PlainTextResponse,
    responses=responses(404, 409),
)
async def text(document_id: UUID, caller: Caller, resources: ResourcesOf, session: Session) -> PlainTextResponse:
    """The text that quotes and offsets refer to: `text[start:end] == quote`, counted in code points."""
    return PlainTextResponse(await service.read_text(session, resources.objects, caller, document_id))


@router.delete("/{document_id}", status_code=204, summary="Delete a document", responses=responses(404))
async def delete(document_id: UUID, caller: Caller, resources: ResourcesOf, session: Session) -> None:
    """Delete a document: out of search at once."""
    await deleting.delete_document(session, resources.nudger, caller, document_id)

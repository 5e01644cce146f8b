"""/documents: upload, look up, read, change, delete."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.api.mention_schemas import MentionedEntities
from drystone.api.schemas import (
    SCHEMA_PATTERN,
    DeletedDocuments,
    Document,
    DocumentPatch,
    Documents,
    DocumentsToDelete,
    ReceivedDocument,
    SchemaName,
    Version,
    Versions,
)
from drystone.core.conditions import Condition
from drystone.core.db import transaction
from drystone.core.errors import Invalid
from drystone.core.numbers import MAX_INTEGER
from drystone.core.text import MAX_EXTERNAL_ID, MAX_TITLE, Text
from drystone.documents import deleting, describing, receiving, service, versions
from drystone.documents.collections import DEFAULT_COLLECTION
from drystone.documents.deleting import Selection
from drystone.documents.filters import Filter
from drystone.documents.models import State as DocumentState
from drystone.documents.receiving import BeforeCommit, Received
from drystone.documents.service import DocumentView
from drystone.http import idempotency, upload, waiting
from drystone.http.conditions import NOT_MODIFIED, ConditionOf, show
from drystone.http.dependencies import Caller, FeedOf, ResourcesOf, Session
from drystone.http.downloads import attachment
from drystone.http.idempotency import Key, Once
from drystone.http.problems import responses
from drystone.http.upload import Form
from drystone.jobs.feed import Feed
from drystone.mentions import queries as mentions
from drystone.resources import Resources

router = APIRouter(prefix="/documents", tags=["documents"])

Number = Annotated[int, Path(ge=1, le=MAX_INTEGER, description="Versions count from 1.")]

_FIELDS: dict[str, dict[str, Any]] = {
    "collection": {"type": "string", "default": "default", "description": "Made where it is missing."},
    "external_id": {"type": "string", "maxLength": MAX_EXTERNAL_ID, "description": "Your own id for it."},
    "title": {"type": "string", "maxLength": MAX_TITLE, "description": "Left out: as before, or as found in the file."},
    "attributes": {"type": "string", "description": "A JSON object, for filters. Left out: as before."},
    "schema": {
        "type": "string",
        "pattern": SCHEMA_PATTERN,
        "description": "The category or profile that its attributes are to fit. Left out: as before, or as the collection says.",
        "examples": ["category:report"],
    },
    "batch": {"type": "string", "format": "uuid", "description": "A batch that it belongs to."},
}


def _upload(*names: str) -> dict[str, Any]:
    """OpenAPI's description of an upload with these fields: of a form, or of the query beside the file alone."""
    given = {name: _FIELDS[name] for name in names}
    file = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": file, **given},
        "additionalProperties": False,
    }
    alone = {"name": {"type": "string", "description": "The file's name, where the body is the file alone."}, **given}
    return {
        "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in alone.items()],
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form}, "application/octet-stream": {"schema": file}},
        },
    }


_RECEIVED: dict[int | str, dict[str, Any]] = {
    200: {"description": "These bytes were there already", "model": ReceivedDocument},
    201: {"description": "With `Prefer: wait=N`: it is ready or has failed", "model": ReceivedDocument},
}


def _tell(response: Response, view: DocumentView, job_id: UUID | None) -> ReceivedDocument:
    """The answer to what may have become a new version, its headers and status set."""
    response.headers["Location"] = f"/api/v1/documents/{view.document.id}"
    response.headers["ETag"] = view.etag
    response.status_code = 200 if job_id is None else 202
    return ReceivedDocument.of(view, job_id)


@dataclass(frozen=True)
class Sending:
    """Somebody who sends a file."""

    caller: Principal
    resources: Resources
    condition: Condition
    _request: Request
    _response: Response
    _feed: Feed
    _key: str | None
    _prefer: list[str] | None

    @asynccontextmanager
    async def received(self) -> AsyncIterator[tuple[Form, BeforeCommit]]:
        """The form as received, and what remembers the answer in the transaction of what becomes of it."""
        self.caller.require("write")  # before a byte is taken
        request, resources, max_bytes = self._request, self.resources, self.resources.settings.api.max_upload_bytes
        async with (
            upload.receive(request, max_bytes=max_bytes) as form,
            idempotency.begin(request, resources, self.caller, self._key, upload.fingerprint(form)) as once,
        ):

            async def remember(session: AsyncSession, received: Received) -> None:
                await once.remember(session, self._response, _tell(self._response, received.document, received.job_id))

            yield form, remember

    async def answer(self, received: Received) -> ReceivedDocument:
        """The answer at once or, where `Prefer: wait=N` says so, when the document has ended."""
        if (wait_s := waiting.wanted_s(self._prefer)) is None:
            return _tell(self._response, received.document, received.job_id)
        view = await waiting.until_ended(self._feed, self.resources.sessions, self.caller, received.document, wait_s)
        answer = _tell(self._response, view, received.job_id)
        self._response.headers["Preference-Applied"] = f"wait={wait_s}"
        if received.job_id is not None and view.document.state != "pending":
            self._response.status_code = 201
        return answer


def get_sending(
    request: Request,
    response: Response,
    caller: Caller,
    resources: ResourcesOf,
    feed: FeedOf,
    condition: ConditionOf,
    key: Key = None,
    prefer: waiting.Prefer = None,
) -> Sending:
    return Sending(caller, resources, condition, request, response, feed, key, prefer)


SendingOf = Annotated[Sending, Depends(get_sending)]


@router.post(
    "",
    status_code=202,
    summary="Upload a document",
    openapi_extra=_upload("collection", "external_id", "title", "attributes", "schema", "batch"),
    responses=_RECEIVED | responses(400, 409, 412, 413, 415),
)
async def upload_(sending: SendingOf) -> ReceivedDocument:
    """Keep a file and have it made searchable. 202: it is kept, and will end ready or failed with a reason.

    Under an external_id that is there already, other bytes become a new version. `If-None-Match: *` prevents that.
    """
    resources = sending.resources
    async with sending.received() as (form, remember):
        received = await receiving.receive(
            resources.sessions,
            resources.objects,
            resources.nudger,
            sending.caller,
            resources.space,
            form.upload,
            collection=form.collection or DEFAULT_COLLECTION,
            external_id=form.external_id,
            title=form.title,
            attributes=form.attributes,
            schema=form.schema,
            batch_id=form.batch_id,
            condition=sending.condition,
            before_commit=remember,
        )
    return await sending.answer(received)


@router.put(
    "/{document_id}/content",
    status_code=202,
    summary="Upload a new version",
    openapi_extra=_upload("title", "attributes", "schema", "batch"),
    responses=_RECEIVED | responses(400, 404, 409, 412, 413, 415),
)
async def put_content(document_id: UUID, sending: SendingOf) -> ReceivedDocument:
    """Give a document other bytes. The version before serves until the new one is ready, and goes on if that fails."""
    resources = sending.resources
    async with sending.received() as (form, remember):
        if form.collection or form.external_id:
            raise Invalid(
                "request.fixed_field",
                "A new version stays in the collection and under the external_id of its document.",
                hint="leave both out; PATCH changes the external_id",
                pointer="/collection" if form.collection else "/external_id",
            )
        received = await receiving.replace(
            resources.sessions,
            resources.objects,
            resources.nudger,
            sending.caller,
            form.upload,
            document_id,
            title=form.title,
            attributes=form.attributes,
            schema=form.schema,
            batch_id=form.batch_id,
            condition=sending.condition,
            before_commit=remember,
        )
    return await sending.answer(received)


@router.post(
    "/delete",
    summary="Delete many documents",
    responses=responses(404, 409),
)
async def delete_many(
    body: DocumentsToDelete, caller: Caller, resources: ResourcesOf, once: Once, session: Session, response: Response
) -> DeletedDocuments:
    """Delete documents by ids or by filter, all or none. `dry_run` says which; `expect` refuses another number.

    A POST, because a DELETE's body means nothing to proxies and caches.
    """
    selection = Selection(ids=body.ids, collection=body.collection, filter=body.filter, state=body.state)
    if body.dry_run:
        return DeletedDocuments.of(await deleting.preview(session, caller, selection), dry_run=True)
    found = await deleting.delete_selection(session, resources.nudger, caller, selection, expect=body.expect)
    return await once.remember(session, response, DeletedDocuments.of(found, dry_run=False))


_FILTER: TypeAdapter[Filter] = TypeAdapter(Filter)


def get_filter(
    filter: Annotated[str | None, Query(description="A filter, as a search takes it, in JSON.")] = None,
) -> Any:
    """The filter of a URL, or None."""
    if filter is None:
        return None
    try:
        return _FILTER.validate_json(filter)
    except ValidationError as exc:
        wrong = [{"type": "filter", "loc": ("query", "filter"), "msg": each["msg"]} for each in exc.errors()]
        raise RequestValidationError(wrong) from exc


@router.get("", summary="List documents", responses=responses(404))
async def list_(
    caller: Caller,
    session: Session,
    collection: Text | None = None,
    state: DocumentState | None = None,
    external_id: Text | None = None,
    archive: Annotated[UUID | None, Query(description="The documents that came in this archive.")] = None,
    schema: Annotated[
        SchemaName | None, Query(description="Under this category or profile, also one that is deleted.")
    ] = None,
    fits: Annotated[bool | None, Query(description="Under a schema that their attributes fit, or do not.")] = None,
    filter: Annotated[Filter | None, Depends(get_filter)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    cursor: Annotated[UUID | None, Query(description="next_cursor of the page before.")] = None,
) -> Documents:
    """Documents in the order they were made."""
    found = await service.page_documents(
        session,
        caller,
        collection=collection,
        state=state,
        external_id=external_id,
        archive=archive,
        schema=schema,
        fits=fits,
        filter=filter,
        after=cursor,
        limit=limit + 1,
    )
    more = len(found) > limit
    return Documents(
        items=[Document.of(view) for view in found[:limit]],
        next_cursor=str(found[limit - 1].document.id) if more else None,
    )


@router.get("/{document_id}", summary="Get a document", responses=NOT_MODIFIED | responses(404, 412))
async def get(
    document_id: UUID, caller: Caller, condition: ConditionOf, session: Session, response: Response
) -> Document:
    """A document, its state, and why it failed if it did."""
    view = await service.get_document(session, caller, document_id)
    show(condition, response, view.etag)
    return Document.of(view)


@router.patch(
    "/{document_id}", summary="Change title, attributes, external_id, schema", responses=responses(404, 409, 412)
)
async def patch(
    document_id: UUID,
    body: DocumentPatch,
    caller: Caller,
    condition: ConditionOf,
    once: Once,
    session: Session,
    response: Response,
) -> Document:
    """Apply a JSON merge patch (RFC 7396). The file stays as it is, and so do passages and their title paths.

    Attributes must fit the schema that the document is under then; 422 tells each that does not.
    """
    view = await describing.describe(
        session, caller, document_id, body.model_dump(exclude_unset=True, by_alias=True), condition
    )
    response.headers["ETag"] = view.etag
    return await once.remember(session, response, Document.of(view))


_BYTES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The bytes as uploaded",
        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        "headers": {
            "Content-Disposition": {"$ref": "#/components/headers/Content-Disposition"},
            "ETag": {"$ref": "#/components/headers/ETag"},
        },
    }
}


@router.get(
    "/{document_id}/content",
    summary="Download the file",
    response_class=StreamingResponse,
    responses=_BYTES | NOT_MODIFIED | responses(404, 412),
)
async def content(
    document_id: UUID,
    caller: Caller,
    condition: ConditionOf,
    resources: ResourcesOf,
    response: Response,
) -> StreamingResponse:
    """The bytes of the newest version, also where it is not ready, always as an attachment. `/text` is of the one that serves.

    `/versions/{serving_version}/content` are the bytes that search hits are from.
    """
    async with transaction(resources.sessions.within(caller.reach)) as session:
        view = await service.get_document(session, caller, document_id)
    show(condition, response, f'"{view.file.sha256.hex()}"')
    body = await service.open_content(resources.objects, view.file)
    return attachment(body, view.file, view.version.name or str(document_id))


@router.get(
    "/{document_id}/text",
    summary="Read the extracted text",
    response_class=PlainTextResponse,
    responses=responses(404, 409),
)
async def text(document_id: UUID, caller: Caller, resources: ResourcesOf, session: Session) -> PlainTextResponse:
    """The text of the version that serves: `text[start:end] == quote` for search hits, counted in code points.

    `/content` is of the newest version, which may still be pending or have failed.
    """
    return PlainTextResponse(await service.read_text(session, resources.objects, caller, document_id))


@router.delete("/{document_id}", status_code=204, summary="Delete a document", responses=responses(404, 412))
async def delete(
    document_id: UUID, caller: Caller, condition: ConditionOf, resources: ResourcesOf, session: Session
) -> None:
    """Delete a document with all its versions: out of search at once."""
    await deleting.delete_document(session, resources.nudger, caller, document_id, condition)


@router.get("/{document_id}/entities", summary="List entities that a document mentions", responses=responses(404))
async def entities(
    document_id: UUID, caller: Caller, session: Session, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> MentionedEntities:
    """Entities of the catalogue whose label or alias stands in the version that serves, most often first."""
    view = await service.get_document(session, caller, document_id)
    return MentionedEntities.of(*await mentions.of_document(session, view.document.id, limit=limit))


@router.get("/{document_id}/versions", summary="List versions", responses=responses(404))
async def list_versions(
    document_id: UUID,
    caller: Caller,
    session: Session,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    cursor: Annotated[int | None, Query(description="next_cursor of the page before.", ge=1, le=MAX_INTEGER)] = None,
) -> Versions:
    """Versions, newest first: which one search sees, and why one failed."""
    found = await versions.page(session, caller, document_id, before=cursor, limit=limit + 1)
    more = len(found) > limit
    return Versions(
        items=[Version.of(view) for view in found[:limit]],
        next_cursor=str(found[limit - 1].version.number) if more else None,
    )


@router.get("/{document_id}/versions/{number}", summary="Get a version", responses=NOT_MODIFIED | responses(404, 412))
async def get_version(
    document_id: UUID,
    number: Number,
    caller: Caller,
    condition: ConditionOf,
    session: Session,
    response: Response,
) -> Version:
    """One version by its number."""
    view = await versions.get(session, caller, document_id, number)
    show(condition, response, view.etag)
    return Version.of(view)


@router.get(
    "/{document_id}/versions/{number}/content",
    summary="Download a version's file",
    response_class=StreamingResponse,
    responses=_BYTES | NOT_MODIFIED | responses(404, 412),
)
async def version_content(
    document_id: UUID,
    number: Number,
    caller: Caller,
    condition: ConditionOf,
    resources: ResourcesOf,
    response: Response,
) -> StreamingResponse:
    """The bytes of one version, always as an attachment."""
    async with transaction(resources.sessions.within(caller.reach)) as session:
        view = await versions.get(session, caller, document_id, number)
    show(condition, response, f'"{view.file.sha256.hex()}"')
    body = await service.open_content(resources.objects, view.file)
    return attachment(body, view.file, view.version.name or str(document_id))


@router.get(
    "/{document_id}/versions/{number}/text",
    summary="Read a version's text",
    response_class=PlainTextResponse,
    responses=responses(404, 409),
)
async def version_text(
    document_id: UUID, number: Number, caller: Caller, resources: ResourcesOf, session: Session
) -> PlainTextResponse:
    """The text extracted from one version, also when another one serves."""
    return PlainTextResponse(await versions.read_text(session, resources.objects, caller, document_id, number))


@router.post(
    "/{document_id}/versions/{number}/restore",
    status_code=202,
    summary="Make an old version the newest",
    responses=_RECEIVED | responses(404, 409, 412),
)
async def restore(
    document_id: UUID,
    number: Number,
    caller: Caller,
    condition: ConditionOf,
    resources: ResourcesOf,
    once: Once,
    session: Session,
    response: Response,
) -> ReceivedDocument:
    """Make a new version of the file of an old one; nothing is uploaded. 200: it is the newest already."""
    view, job_id = await versions.restore(session, resources.nudger, caller, document_id, number, condition)
    return await once.remember(session, response, _tell(response, view, job_id))

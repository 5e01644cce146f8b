"""Collections, and the documents in one."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Form, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.console.pages import is_of_script, new_router, page, redirect
from drystone.console.visitors import Session, Visitor
from drystone.core.errors import DrystoneError, Invalid
from drystone.core.text import Text
from drystone.documents import collections, receiving, service
from drystone.documents.models import Collection, State
from drystone.http import problems, upload
from drystone.http.dependencies import ResourcesOf

router = new_router()

_AT_ONCE = 50


@router.get("/collections")
async def list_(request: Request, visitor: Visitor, session: Session) -> Response:
    """All collections that the visitor may see."""
    found = await collections.list_all(session, visitor)
    counts = await collections.states(session, visitor, found)
    return page(request, "collections.html", visitor=visitor, collections=found, counts=counts)


@router.post("/collections")
async def create(
    request: Request,
    visitor: Visitor,
    session: Session,
    resources: ResourcesOf,
    name: Annotated[Text, Form()] = "",
    description: Annotated[Text, Form()] = "",
    language: Annotated[Text, Form()] = "auto",
) -> Response:
    """Make an empty collection and go there."""
    made = await collections.create(
        session, visitor, resources.space, name=name.strip(), description=description, language=language
    )
    return redirect(f"/collections/{made.name}")


@router.get("/collections/{name}")
async def get(
    request: Request,
    name: Text,
    visitor: Visitor,
    session: Session,
    state: State | None = None,
    after: Annotated[UUID | None, Query()] = None,
) -> Response:
    """One collection: its counts and its documents, newest first."""
    return await _collection(request, name, visitor, session, state=state, after=after)


@router.post("/collections/{name}/delete")
async def delete(
    request: Request,
    name: Text,
    visitor: Visitor,
    session: Session,
    resources: ResourcesOf,
    typed: Annotated[Text, Form()] = "",
) -> Response:
    """Delete a collection with its documents, where its name was typed, and lead back to the others."""

    async def confirm(row: Collection) -> None:
        if typed.strip() != row.name:
            raise Invalid(
                "collection.not_confirmed",
                "Its name was not typed as it is: nothing was deleted.",
                hint=f"type {row.name} below to delete it",
            )

    try:
        await collections.delete(session, resources.nudger, visitor, name, check=confirm)
    except Invalid as exc:
        return await _collection(request, name, visitor, session, error=exc)
    return redirect("/collections")


async def _collection(
    request: Request,
    name: str,
    visitor: Principal,
    session: AsyncSession,
    *,
    state: State | None = None,
    after: UUID | None = None,
    error: DrystoneError | None = None,
) -> Response:
    row = await collections.get(session, visitor, name)
    counts = (await collections.states(session, visitor, [row]))[row.id]
    found = await service.page_documents(
        session, visitor, collection=row.name, state=state, after=after, newest_first=True, limit=_AT_ONCE + 1
    )
    return page(
        request,
        "collection.html",
        visitor=visitor,
        status_code=200 if error is None else problems.status_of(error),
        error=error,
        collection=row,
        counts=counts,
        state=state,
        documents=found[:_AT_ONCE],
        next=found[_AT_ONCE - 1].document.id if len(found) > _AT_ONCE else None,
        is_first=after is None,
    )


@router.post("/collections/{name}/documents")
async def upload_(request: Request, name: Text, visitor: Visitor, resources: ResourcesOf) -> Response:
    """Keep a file and have it made searchable. A form is led on to the document; the page's script is told of it."""
    visitor.require("write")  # before a byte is taken
    async with upload.receive(request, max_bytes=resources.settings.api.max_upload_bytes) as form:
        received = await receiving.receive(
            resources.sessions,
            resources.objects,
            resources.nudger,
            visitor,
            resources.space,
            form.upload,
            collection=name,
        )
    url = f"/documents/{received.document.document.id}"
    if not is_of_script(request):
        return redirect(url)
    said = "was there already" if received.job_id is None else "received"
    return JSONResponse({"url": url, "title": received.document.title, "said": said})

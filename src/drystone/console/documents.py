"""A document: what it is, what it says, what became of each version of it."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from annotated_types import Ge, Le, Len
from fastapi import Form, Query, Request, Response

from drystone import steering
from drystone.console import drawings, marking
from drystone.console.marking import Name, Piece
from drystone.console.pages import new_router, page, redirect
from drystone.console.visitors import Session, Visitor
from drystone.core.db import transaction
from drystone.core.errors import DrystoneError, Invalid, Unavailable
from drystone.core.numbers import MAX_INTEGER
from drystone.core.text import Text
from drystone.documents import deleting, passages, pictures, service, versions
from drystone.documents.passages import Reading
from drystone.documents.pictures import Pages
from drystone.http import downloads
from drystone.http.conditions import ConditionOf, show
from drystone.http.dependencies import ResourcesOf
from drystone.mentions import queries as mentions
from drystone.search.schemas import MAX_QUERY_CHARACTERS

router = new_router()

_PASSAGES, _VERSIONS, _JOBS, _ENTITIES = 40, 20, 10, 40


_Place = Annotated[int | None, Ge(0), Le(MAX_INTEGER), Query(description="A code point of the text.")]
_Page = Annotated[int, Ge(1), Le(MAX_INTEGER)]


@router.get("/documents/{document_id}")
async def get(
    request: Request,
    document_id: UUID,
    visitor: Visitor,
    session: Session,
    q: Annotated[Text, Len(0, MAX_QUERY_CHARACTERS)] = "",
    first: Annotated[int | None, Ge(0), Le(MAX_INTEGER)] = None,
    at: _Place = None,
    page_number: Annotated[_Page | None, Query(alias="page")] = None,
) -> Response:
    """One document, its passages from a place on, with words of `q` and entities marked; of a PDF page by page."""
    pages = await pictures.pages_of(session, await service.get_document(session, visitor, document_id))
    number = None if pages is None else page_number or pages.at(at or 0)
    begin, end = (at, None) if pages is None or number is None else pages.span(number)
    if first is None:
        place = 0 if begin is None else await passages.place_of(session, visitor, document_id, begin)
        first = place if pages else max(0, place - 1)
    view, found = await passages.read(session, visitor, document_id, first=first, limit=_PASSAGES + 1, asked=q)
    part: tuple[int, int | None] = (0, None)  # of the text that is shown
    if pages and begin is not None:
        part = (begin, end)
        found = [each for each in found if _is_on(each, begin, end)]
    named, total = await mentions.of_document(session, document_id, limit=_ENTITIES)
    return page(
        request,
        "document.html",
        visitor=visitor,
        view=view,
        passages=[
            (each.chunk, marked(each, view.document.name, *part), _goes_on(each, part[1])) for each in found[:_PASSAGES]
        ],
        first=first,
        at=at,
        leaf=_leaf(pages, number, at, end),
        more=found[_PASSAGES].chunk.ordinal if len(found) > _PASSAGES else None,
        before=max(0, first - _PASSAGES) if first > 0 and not pages else None,
        asked=q,
        entities=named,
        entities_total=total,
        versions=await versions.page(session, visitor, document_id, before=None, limit=_VERSIONS),
        jobs=await steering.page(
            session, visitor, await steering.within(session, visitor, document=document_id), before=None, limit=_JOBS
        ),
    )


def _is_on(reading: Reading, begin: int, end: int | None) -> bool:
    """Whether a passage says something between two places of the text."""
    first, last = _stretch(reading, begin, end)
    return bool(reading.chunk.text[first:last].strip())


def _goes_on(reading: Reading, end: int | None) -> bool:
    """Whether a passage says something after a place of the text."""
    return end is not None and _is_on(reading, end, None)


def _stretch(reading: Reading, begin: int, end: int | None) -> tuple[int, int]:
    """What lies between two places of the text, as places in the passage."""
    start, length = reading.chunk.start, len(reading.chunk.text)
    return max(0, begin - start), length if end is None else max(0, min(length, end - start))


def _leaf(pages: Pages | None, number: int | None, at: int | None, end: int | None) -> dict[str, Any] | None:
    """The page that is shown of a PDF, what of it is marked, and where the next one begins in the text."""
    if pages is None or number is None:
        return None
    return {"page": number, "pages": len(pages.starts), "marked": "" if at is None else f"?at={at}", "end": end}


@router.get("/documents/{document_id}/pages/{number}")
async def picture(
    document_id: UUID,
    number: _Page,
    visitor: Visitor,
    resources: ResourcesOf,
    condition: ConditionOf,
    at: _Place = None,
) -> Response:
    """A page of a PDF as a picture, the passage with a place marked; one that cannot be drawn says so in its place."""
    async with transaction(resources.sessions.within(visitor.reach)) as session:
        sheet = await pictures.find(session, visitor, document_id, number, at=at)
    # Kept by the browser, and shown again only once it was asked whether it may still be seen.
    answer = Response(media_type="image/png", headers={"Cache-Control": "private, no-cache"})
    show(condition, answer, sheet.etag)
    try:
        answer.body = await resources.pictures.get(sheet, of=visitor.actor)
    except (Invalid, Unavailable) as exc:
        return _told(exc)
    answer.headers["Content-Length"] = str(len(answer.body))
    return answer


def _told(error: DrystoneError) -> Response:
    """What is wrong, as a picture: it stands where the page would."""
    drawn = drawings.sheet("This page cannot be drawn", error.message)
    return Response(drawn, media_type="image/svg+xml", headers={"Cache-Control": "no-store"})


@router.post("/documents/{document_id}/delete")
async def delete(
    document_id: UUID, visitor: Visitor, session: Session, resources: ResourcesOf, sure: Annotated[bool, Form()] = False
) -> Response:
    """Delete a document, where the box is ticked, and lead back to its collection."""
    visitor.require("write")
    view = await service.get_document(session, visitor, document_id)
    if not sure:
        raise Invalid(
            "document.not_confirmed",
            "The box was not ticked: nothing was deleted.",
            hint="go back, and tick it to delete",
        )
    await deleting.delete_document(session, resources.nudger, visitor, document_id)
    return redirect(f"/collections/{view.collection_name}")


@router.get("/documents/{document_id}/file")
async def file(document_id: UUID, visitor: Visitor, resources: ResourcesOf) -> Response:
    """The file as it was uploaded, to be saved: it is never shown as a page of this site."""
    async with transaction(resources.sessions.within(visitor.reach)) as session:
        view = await service.get_document(session, visitor, document_id)
    content = await service.open_content(resources.objects, view.file)
    return downloads.attachment(content, view.file, view.document.name or str(document_id))


def marked(reading: Reading, name: str | None, begin: int = 0, end: int | None = None) -> list[Piece]:
    """A passage's text between two places in pieces, entities and asked words marked. name: of the document's file."""
    first, last = _stretch(reading, begin, end)
    at = reading.chunk.start + first
    names = [
        Name(start - at, end - at, row.key, row.label)
        for row in reading.mentions
        for start, end in zip(row.starts, row.ends, strict=True)
    ]
    text = marking.flowing(reading.chunk.text, name)[first:last]
    return marking.pieces(text, [(s - at, e - at) for s, e in reading.words], names)

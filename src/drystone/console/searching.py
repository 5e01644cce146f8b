"""Search: a question in the address, its hits, and why each stands where it does."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from annotated_types import Ge, Le, Len
from fastapi import Query, Request, Response
from pydantic import TypeAdapter, ValidationError

from drystone.console import marking
from drystone.console.marking import Name, Piece
from drystone.console.pages import new_router, page
from drystone.console.visitors import Visitor
from drystone.core.db import transaction
from drystone.core.errors import DrystoneError, Invalid
from drystone.core.text import Text
from drystone.documents import collections, pictures
from drystone.documents.filters import Filter
from drystone.http.dependencies import ResourcesOf
from drystone.search import service
from drystone.search.schemas import MAX_LIMIT, Hit, Mode, Question

router = new_router()

_FILTER: TypeAdapter[Filter] = TypeAdapter(Filter)
_SHOWN_BY_DEFAULT = 10


@router.get("/search")
async def get(
    request: Request,
    visitor: Visitor,
    resources: ResourcesOf,
    q: Text = "",
    collection: Annotated[list[Text] | None, Query()] = None,
    mode: Mode = "hybrid",
    entity: Annotated[list[Text] | None, Query(), Len(0, 8)] = None,
    filter: Text = "",
    limit: Annotated[int, Ge(1), Le(MAX_LIMIT)] = _SHOWN_BY_DEFAULT,
    explain: bool = False,
) -> Response:
    """The form, and below it the passages that answer the question best."""
    visitor.require("read")
    async with transaction(resources.sessions.within(visitor.reach)) as session:
        there_are = [each.name for each in await collections.list_all(session, visitor)]
    chosen = [name for name in collection or [] if name]
    answer, error = None, None
    if q.strip() and there_are:
        try:
            question = Question(
                queries=[q],
                collections=chosen or there_are,
                mode=mode,
                limit=limit,
                filter=_filter(filter, entity or []),
                highlight=True,
                explain=explain,
                entities=True,
                facets=["entity"],
            )
            answer = await service.search(resources.searcher, visitor, question)
        except DrystoneError as exc:
            error = exc
    starts: Mapping[UUID, list[int]] = {}
    if over_pages := [hit.version_id for hit in answer.hits if hit.page != hit.page_end] if answer else []:
        async with transaction(resources.sessions.within(visitor.reach)) as session:
            starts = await pictures.starts_of(session, over_pages)
    return page(
        request,
        "search.html",
        visitor=visitor,
        q=q,
        there_are=there_are,
        chosen=chosen,
        mode=mode,
        entities=entity or [],
        filter=filter,
        limit=limit,
        explain=explain,
        answer=answer,
        hits=[(hit, marked(hit), _place(hit, starts.get(hit.version_id, []))) for hit in answer.hits] if answer else [],
        error=error,
    )


def _place(hit: Hit, starts: Sequence[int]) -> int:
    """Where a hit is to be read: where it begins, or on the page of it that has most of the words asked for.

    starts: where the pages of its document begin; none where it stands on one.
    """
    pages: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for start, end in hit.highlights:
        pages[bisect_right(starts, start)].append((start, end))

    def has(page: int) -> int:
        return len({hit.quote[start - hit.start : end - hit.start].casefold() for start, end in pages[page]})

    first = bisect_right(starts, hit.start)
    best = max([first, *sorted(pages)], key=has)
    return hit.start if best == first else pages[best][0][0]


def _filter(written: str, entities: list[str]) -> Filter | None:
    """What was written as JSON, and the entities that were picked. Raises Invalid."""
    parts: list[dict[str, Any]] = [{"type": "eq", "key": "$entity", "value": key} for key in entities]
    try:
        if written.strip():
            parts.append(_FILTER.validate_json(written).model_dump(exclude_unset=True))
        return (
            _FILTER.validate_python(parts[0] if len(parts) == 1 else {"type": "and", "filters": parts})
            if parts
            else None
        )
    except ValidationError as exc:
        first = exc.errors()[0]
        raise Invalid(
            "filter.invalid",
            f"The filter is not acceptable: {first['msg']}.",
            hint='for example {"type": "gte", "key": "year", "value": 1960}',
        ) from exc


def marked(hit: Hit) -> list[Piece]:
    """A hit's quote in pieces, words of the question and entities marked."""
    names = [
        Name(start - hit.start, end - hit.start, entity.key, entity.label)
        for entity in hit.entities
        for start, end in entity.mentions
    ]
    text = marking.flowing(hit.quote, hit.document.name)
    return marking.pieces(text, [(start - hit.start, end - hit.start) for start, end in hit.highlights], names)

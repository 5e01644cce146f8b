"""Search: embed the question before any SQL, then one statement."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.adapters.embedding import Embedder
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Conflict, Invalid
from drystone.documents import collections
from drystone.documents.models import Collection
from drystone.index import spaces
from drystone.index.spaces import Space
from drystone.search import queries
from drystone.search.schemas import MAX_LIMIT, MAX_QUERY_CHARACTERS, Answer, Hit, Question

# How many passages each side contributes before fusion. Fewer lose quality, more only cost time.
DEPTH = 100


async def search(
    sessions: Sessions, embedder: Embedder, space: Space, principal: Principal, question: Question
) -> Answer:
    """The passages that answer the question best.

    Raises NotFound for an unknown collection, Invalid for an empty or overlong query, Conflict when the collection
    was embedded with another model than the one that runs.
    """
    started = time.perf_counter()
    _check(question)
    vector = None if question.mode == "lexical" else (await embedder.embed([question.query]))[0]
    async with transaction(sessions) as session:
        collection = await collections.get(session, principal, question.collection)
        await _check_space(session, collection, space)
        searchable = await queries.count_searchable(session, collection.id, question.filter, up_to=queries.EXACT_UP_TO)
        exact = searchable <= queries.EXACT_UP_TO
        rows = await queries.hybrid(
            session,
            collection_id=collection.id,
            config=collection.language,
            space_id=collection.space_id,
            query=question.query,
            vector=vector,
            use_lexical=question.mode != "dense",
            exact=exact,
            depth=max(DEPTH, question.limit),
            top=question.limit,
            filter_=question.filter,
        )
    return Answer(
        hits=_hits(rows),
        exact=exact,
        truncated=question.mode != "lexical" and len(rows) < min(question.limit, searchable),
        took_ms=round((time.perf_counter() - started) * 1000, 2),
    )


def _check(question: Question) -> None:
    if not question.query.strip():
        raise Invalid("search.empty_query", "The query is empty.", hint="ask something", pointer="/query")
    if len(question.query) > MAX_QUERY_CHARACTERS:
        raise Invalid(
            "search.query_too_long",
            f"A query has up to {MAX_QUERY_CHARACTERS} characters; this one has {len(question.query)}.",
            pointer="/query",
        )
    if not 1 <= question.limit <= MAX_LIMIT:
        raise Invalid("search.limit", f"limit is a number from 1 to {MAX_LIMIT}.", pointer="/limit")


async def _check_space(session: AsyncSession, collection: Collection, space: Space) -> None:
    if collection.space_id != await spaces.find(session, space.model, space.dimension):
        raise Conflict(
            "search.other_model",
            f"The collection {collection.name!r} was embedded with another model than {space.model}.",
            hint="set the EMBEDDING_ variables back, or upload into a new collection",
        )


def _hits(rows: Sequence[Row[Any]]) -> list[Hit]:
    return [
        Hit(
            rank=rank,
            score=row.score,
            document_id=row.document_id,
            version_id=row.version_id,
            version=row.version_number,
            external_id=row.external_id,
            title=row.title,
            name=row.name,
            attributes=row.attributes,
            title_path=row.title_path,
            quote=row.text,
            start=row.start_offset,
            end=row.end_offset,
            page=row.page,
            page_end=row.page_end,
            ordinal=row.ordinal,
            dense_score=row.dense_score,
            dense_rank=row.dense_rank,
            lexical_score=row.lexical_score,
            lexical_rank=row.lexical_rank,
        )
        for rank, row in enumerate(rows, start=1)
    ]

"""The passages of a document as they are read one after the other, with what they mention and where asked words stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.documents import service
from drystone.documents.models import Chunk, Version
from drystone.documents.service import DocumentView
from drystone.index import analysis
from drystone.mentions import queries as mentions


@dataclass(frozen=True)
class Reading:
    """A passage. mentions: rows of what it mentions, with starts and ends. words: where asked words stand. All offsets are of the text."""

    chunk: Chunk
    mentions: Sequence[Row[Any]]
    words: Sequence[tuple[int, int]]


async def read(
    session: AsyncSession, principal: Principal, document_id: UUID, *, first: int = 0, limit: int = 50, asked: str = ""
) -> tuple[DocumentView, list[Reading]]:
    """The document, and up to `limit` passages that search sees of it, from the one at the place `first` on.

    asked: a question whose words are looked for. Raises NotFound.
    """
    view = await service.get_document(session, principal, document_id)
    version_id = view.document.current_version_id
    if version_id is None:
        return view, []
    query = select(Chunk).where(Chunk.version_id == version_id, Chunk.ordinal >= first)
    chunks = (await session.scalars(query.order_by(Chunk.ordinal).limit(limit))).all()
    named: dict[int, list[Row[Any]]] = {}
    for row in await mentions.of_passages(session, [chunk.id for chunk in chunks]):
        named.setdefault(row.chunk_id, []).append(row)
    version = await session.get(Version, version_id)
    language = version.language if version and version.language in analysis.LANGUAGES else None
    return view, [
        Reading(
            chunk, named.get(chunk.id, []), _words(chunk, asked, [language] if language else list(analysis.LANGUAGES))
        )
        for chunk in chunks
    ]


async def place_of(session: AsyncSession, principal: Principal, document_id: UUID, start: int) -> int:
    """The place of the passage that holds a code point of the text, or of the one before it; 0 where there is none."""
    view = await service.get_document(session, principal, document_id)
    query = select(Chunk.ordinal).where(Chunk.version_id == view.document.current_version_id, Chunk.start <= start)
    return await session.scalar(query.order_by(Chunk.ordinal.desc()).limit(1)) or 0


def _words(chunk: Chunk, asked: str, languages: Sequence[str]) -> list[tuple[int, int]]:
    terms = {term for token in analysis.tokens(asked, languages) for term in token.terms} if asked else set()
    found = analysis.spans(chunk.text, terms, languages) if terms else []
    return [(chunk.start + first, chunk.start + last) for first, last in found]

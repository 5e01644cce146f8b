"""What a search takes and gives, inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from drystone.documents.filters import Filter

Mode = Literal["hybrid", "dense", "lexical"]
MAX_LIMIT = 100
MAX_QUERY_CHARACTERS = 4_000


@dataclass(frozen=True)
class Question:
    """One search. filter: over the documents' attributes."""

    query: str
    collection: str
    mode: Mode = "hybrid"
    limit: int = 10
    filter: Filter | None = None


@dataclass(frozen=True)
class Hit:
    """A passage. `text_of_document[start:end] == quote`, in code points.

    page, page_end: the pages of its first and last characters, from 1; None where there are no pages.
    score: hybrid: the fused sum, comparable within one answer only; dense: cosine; lexical: BM25.
    The two sides' scores and ranks are None where that side did not find the passage.
    """

    rank: int
    score: float
    document_id: UUID
    version_id: UUID
    version: int
    external_id: str | None
    title: str | None
    name: str | None
    attributes: dict[str, Any]
    title_path: list[str]
    quote: str
    start: int
    end: int
    page: int | None
    page_end: int | None
    ordinal: int
    dense_score: float | None
    dense_rank: int | None
    lexical_score: float | None
    lexical_rank: int | None


@dataclass(frozen=True)
class Answer:
    """Hits, best first.

    exact: every vector was compared; otherwise the graph was walked. truncated: fewer hits than asked for, although
    more passages may match.
    """

    hits: list[Hit]
    exact: bool
    truncated: bool
    took_ms: float

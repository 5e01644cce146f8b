"""What a search takes and gives, inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

import numpy as np

from drystone.documents.filters import Filter

Mode = Literal["hybrid", "dense", "lexical"]
Collapse = Literal["none", "copies", "near"]
Facet = Literal["entity"]
MAX_LIMIT = 100
MAX_QUERY_CHARACTERS = 4_000
MAX_QUERIES = 8
MAX_COLLECTIONS = 32
MAX_NEIGHBOURS = 5
# Values of a facet that are told, those of most passages.
MAX_FACET_VALUES = 50


@dataclass(frozen=True)
class Question:
    """One search.

    queries: one question in one or several wordings. like: a document, whose likes are looked for; then no queries.
    filter: over the documents' attributes. max_per_document: so many passages of one document at most; None: any.
    neighbours: how many passages before and after each hit come with it. rerank: None: where a reranker is configured and
    answers; True: or not at all; False: never. model: with whose vectors, where a collection has two; None: those that
    searches ask.
    merge: passages that stand side by side become one hit. collapse: which passages stand behind a better one that says
    the same; None: see `collapsed`. diversity: 0 to 1, how much hits are to be unlike each other.
    vector: float32 (dim,), length 1: what is nearest to it, in the one collection whose vectors callers bring; then no
    queries, and mode dense.
    entities: tell which entities of the catalogue each hit mentions. facets: count those of all passages found.
    """

    queries: Sequence[str]
    collections: Sequence[str]
    like: UUID | None = None
    mode: Mode = "hybrid"
    limit: int = 10
    filter: Filter | None = None
    max_per_document: int | None = None
    neighbours: int = 0
    highlight: bool = False
    explain: bool = False
    rerank: bool | None = None
    model: str | None = None
    merge: bool = False
    collapse: Collapse | None = None
    diversity: float = 0.0
    entities: bool = False
    facets: Sequence[Facet] = ()
    vector: np.ndarray | None = None

    @property
    def leaves_out(self) -> bool:
        """Whether an answer may take more passages than it has hits."""
        return self.merge or self.collapsed != "none" or self.max_per_document is not None

    @property
    def collapsed(self) -> Collapse:
        """Who asks for documents is given all of them, unless something else is wanted: a copy is a document, too."""
        return self.collapse or ("none" if self.max_per_document == 1 else "copies")


@dataclass(frozen=True)
class Neighbour:
    """A passage near a hit. distance: in passages, negative before it."""

    distance: int
    quote: str
    start: int
    end: int


@dataclass(frozen=True)
class Contribution:
    """What one word of the question adds to a passage's BM25 score."""

    word: str
    score: float


@dataclass(frozen=True)
class HitDocument:
    """The document a passage is from."""

    id: UUID
    version: int
    version_id: UUID
    collection: str
    external_id: str | None
    title: str | None
    name: str | None
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Merged:
    """One of the passages that a hit was joined from."""

    start: int
    end: int
    title_path: list[str]
    score: float


@dataclass(frozen=True)
class Duplicate:
    """A passage left out for a better hit's sake. is_copy: it has the same words; else nearly the same."""

    document: HitDocument
    start: int
    end: int
    page: int | None
    score: float
    is_copy: bool


@dataclass(frozen=True)
class HitEntity:
    """An entity that a hit mentions. mentions: where its names stand, as start and end in the document's text."""

    id: UUID
    key: str
    type: str
    label: str
    mentions: list[tuple[int, int]]


@dataclass(frozen=True)
class FacetValue:
    """An entity, and how many of the passages found, and of their documents, mention it."""

    id: UUID
    key: str
    type: str
    label: str
    passages: int
    documents: int


@dataclass(frozen=True)
class Hit:
    """A passage, or several side by side. `text_of_document[start:end] == quote`, in code points.

    Scores and ranks are those of its best passage. merged: all of them, in order; empty for a single one.

    page, page_end: the pages of its first and last characters, from 1; None where there are no pages.
    score: the reranker's where it has one; else hybrid: both sides' shares of their best, weighed and smoothed; dense:
    cosine; lexical: BM25.
    rerank_score: None where the passage was not among those reranked.
    dense_score, lexical_score: None where that side was not asked, or the passage holds no word of the question.
    dense_rank, lexical_rank: None where that side did not have it among its best.
    highlights: where words of the question stand, as start and end in the document's text.
    """

    rank: int
    score: float
    document: HitDocument
    version_id: UUID
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
    rerank_score: float | None = None
    highlights: list[tuple[int, int]] = field(default_factory=list)
    neighbours: list[Neighbour] = field(default_factory=list)
    contributions: list[Contribution] = field(default_factory=list)
    merged: list[Merged] = field(default_factory=list)
    duplicates: list[Duplicate] = field(default_factory=list)
    entities: list[HitEntity] = field(default_factory=list)


@dataclass(frozen=True)
class ExplainedWord:
    """A word of a question as keyword search sees it. passages: that hold it, in all collections searched."""

    word: str
    terms: list[str]
    passages: int
    weight: float


@dataclass(frozen=True)
class Explanation:
    """How an answer came about.

    passages: in the collections searched. searchable: those that the filter leaves, counted up to where it matters.
    vectors: whether all in scope were compared (`scan`) or the graph was walked (`graph`). best: of each side, that shares
    are parts of, one a query. reranked_passages: that the reranker put in order. merged_passages: that were joined to a
    better one. collapsed_passages: that stand behind one. stages: milliseconds of each.
    """

    languages: list[str]
    words: list[list[ExplainedWord]]
    passages: int
    searchable: int
    vectors: Literal["scan", "graph", "none"]
    best_dense: list[float]
    best_lexical: list[float]
    candidates: int
    reranked_passages: int
    merged_passages: int
    collapsed_passages: int
    stages: dict[str, float]


@dataclass(frozen=True)
class Notice:
    """Why an answer is not all that it could have been: code, sentence and hint of an error."""

    code: str
    message: str
    hint: str | None


@dataclass(frozen=True)
class Answer:
    """Hits, best first.

    exact: every vector was compared; otherwise the graph was walked. truncated: fewer hits than asked for, although
    more passages may match. reranked: the reranker was asked and answered. entities: a facet, over all passages that
    either side found and the filter leaves.
    """

    hits: list[Hit]
    exact: bool
    truncated: bool
    took_ms: float
    explanation: Explanation | None = None
    reranked: bool = False
    warnings: list[Notice] = field(default_factory=list)
    entities: list[FacetValue] = field(default_factory=list)

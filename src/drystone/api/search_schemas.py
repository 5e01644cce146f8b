"""What /search takes and gives over HTTP."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat

from drystone.catalogue.models import EntityType
from drystone.core.errors import Invalid
from drystone.core.numbers import WHOLE
from drystone.core.text import Text
from drystone.documents.filters import Filter
from drystone.search import schemas
from drystone.search.choosing import LEAST_CHARACTERS, MOST_JOINED
from drystone.search.schemas import (
    MAX_FACET_VALUES,
    MAX_LIMIT,
    MAX_NEIGHBOURS,
    MAX_QUERIES,
    MAX_QUERY_CHARACTERS,
    Collapse,
    Facet,
    Mode,
    Question,
)

_Name = Annotated[Text, Len(1, 128)]
_Model = Annotated[Text, Len(1, 256)]


class Like(BaseModel):
    """What a search looks for the likes of."""

    model_config = ConfigDict(extra="forbid")

    document_id: UUID


class SearchRequest(BaseModel):
    """A question to one or several collections: `query`, or `queries`, or `like`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "query": "why do thin shells buckle",
                    "collection": "papers",
                    "limit": 5,
                    "filter": {"type": "gte", "key": "year", "value": 1960},
                }
            ]
        },
    )

    # Bounds of query and numbers are only described here: the service refuses what is beyond with codes of its own.
    query: Text | None = Field(None, json_schema_extra={"minLength": 1, "maxLength": MAX_QUERY_CHARACTERS})
    queries: list[Text] | None = Field(
        None,
        description=f"One question in up to {MAX_QUERIES} wordings, all of which count.",
        json_schema_extra={"minItems": 1},
    )
    like: Like | None = Field(
        None, description="Instead of a query: passages of other documents that are like this one."
    )
    collection: _Name | None = Field(None, description="`default` when none is named.")
    collections: list[_Name] | None = Field(None, description="Several collections, searched as one.")
    mode: Mode = Field("hybrid", description="hybrid: words and meaning; dense: meaning only; lexical: words only.")
    limit: Annotated[int, WHOLE] = Field(10, json_schema_extra={"minimum": 1, "maximum": MAX_LIMIT})
    filter: Filter | None = Field(None, description="Over the documents' attributes and fields.")
    max_per_document: Annotated[int, Field(json_schema_extra={"minimum": 1, "maximum": MAX_LIMIT}), WHOLE] | None = (
        Field(
            None, description="At most so many passages of one document; 1 gives documents, each by its best passage."
        )
    )
    neighbours: Annotated[int, WHOLE] = Field(
        0,
        description="So many passages before and after each hit come with it.",
        json_schema_extra={"minimum": 0, "maximum": MAX_NEIGHBOURS},
    )
    highlight: StrictBool = Field(False, description="Tell where words of the question stand in each quote.")
    explain: StrictBool = Field(False, description="Tell why each hit is there, and what each stage took.")
    rerank: StrictBool | None = Field(
        None,
        description="null: by the reranker, where one is configured and answers; true: or not at all (422, 503); false: never.",
    )
    merge: StrictBool = Field(
        False,
        description=f"Passages side by side in a document, up to {MOST_JOINED}, that would all be hits become one.",
    )
    collapse: Collapse | None = Field(
        None,
        description=f"Passages of {LEAST_CHARACTERS} characters or more that are told as `duplicates` of a better hit instead of being hits: copies: those with the same words; near: also those with nearly the same words, and the same numbers; none. null: copies, but none where max_per_document is 1: then every document is a hit.",
    )
    diversity: StrictFloat = Field(
        0.0,
        description="Maximal marginal relevance: 0: the best hits; towards 1: hits that are unlike those before them.",
        json_schema_extra={"minimum": 0, "maximum": 1},
    )
    entities: StrictBool = Field(
        False, description="Tell which entities of the catalogue each hit mentions, and where."
    )
    facets: list[Facet] = Field(
        [],
        description=f"entity: count the entities of all passages that the search found, before limit, merging and collapsing: some hundred. The {MAX_FACET_VALUES} of most passages are told.",
        max_length=1,
    )
    model: _Model | None = Field(
        None,
        description="With the vectors of this model, where a collection has two (GET …/embedding); name/dimension where both have one name; null: those that searches ask.",
    )

    def question(self) -> Question:
        """The question as the room of search takes it. Raises Invalid unless it is one question to one place."""
        if sum(given is not None for given in (self.query, self.queries, self.like)) != 1:
            raise Invalid(
                "search.one_question",
                "A search has one of query, queries and like.",
                hint='send {"query": "…"}',
                pointer="/query",
            )
        if self.collection is not None and self.collections is not None:
            raise Invalid("search.collections", "Name collection or collections, not both.", pointer="/collections")
        return Question(
            queries=[self.query] if self.query is not None else self.queries or [],
            collections=self.collections if self.collections is not None else [self.collection or "default"],
            like=self.like.document_id if self.like else None,
            mode=self.mode,
            limit=self.limit,
            filter=self.filter,
            max_per_document=self.max_per_document,
            neighbours=self.neighbours,
            highlight=self.highlight,
            explain=self.explain,
            rerank=self.rerank,
            model=self.model,
            merge=self.merge,
            collapse=self.collapse,
            diversity=self.diversity,
            entities=self.entities,
            facets=self.facets,
        )


class Scores(BaseModel):
    """What each gave the passage; null where it was not asked, or had nothing to say."""

    dense: float | None = Field(description="Cosine.")
    lexical: float | None = Field(description="BM25; null where no word of the question stands.")
    rerank: float | None = Field(
        description="The reranker's, on its own scale; null where it did not read the passage."
    )


class Ranks(BaseModel):
    """Where each side ranked the passage, from 1; null where it was not among its best."""

    dense: int | None = Field(description="Among the nearest in meaning.")
    lexical: int | None = Field(description="Among those that hold the words.")


class HitDocument(BaseModel):
    """The document a passage is from."""

    id: UUID = Field(description="Of the document: `GET /api/v1/documents/{id}`.")
    version: int = Field(description="Number of the version the passage is from: the one that serves.")
    version_id: UUID = Field(description="Its id, which the evidence of observations names.")
    collection: str = Field(description="Name of the collection it is in.")
    external_id: str | None = Field(description="Your own id for it.")
    title: str | None = Field(description="As given, else as found in the file, else the file's name.")
    name: str | None = Field(description="The file name of this version.")
    attributes: dict[str, Any] = Field(description="As given; what filters ask about.")


class Span(BaseModel):
    """A stretch of the document's text, in code points."""

    start: int
    end: int


class Neighbour(BaseModel):
    """A passage near a hit, in the same document."""

    distance: int = Field(description="In passages; negative: before the hit.")
    quote: str
    start: int
    end: int


class Contribution(BaseModel):
    """What a word of the question adds to the passage's BM25 score."""

    word: str
    score: float


class Merged(BaseModel):
    """One of the passages that a hit was joined from."""

    start: int
    end: int
    title_path: list[str] = Field(description="The headings above it.")
    score: float = Field(description="What it would have had as a hit.")


class Duplicate(BaseModel):
    """A passage that says the same as a better hit and so is none itself."""

    document: HitDocument
    start: int
    end: int
    page: int | None
    score: float = Field(description="What it would have had as a hit.")
    is_copy: bool = Field(description="It has the same words; false: nearly the same.")


class HitEntity(BaseModel):
    """An entity of the catalogue that a hit mentions."""

    id: UUID
    key: str
    type: EntityType
    label: str
    mentions: list[Span] = Field(description="Where its label or an alias stands.")


class FacetValue(BaseModel):
    """An entity, and how many of the passages found mention it."""

    id: UUID
    key: str
    type: EntityType
    label: str
    passages: int
    documents: int = Field(description="How many documents those passages are of.")


class Facets(BaseModel):
    """What the passages found have in common."""

    entity: list[FacetValue] = Field(description="Those of most passages first.")


class Hit(BaseModel):
    """A passage, or several side by side. The document's text, cut from start to end (code points), is the quote.

    Scores and ranks are those of its best passage.
    """

    rank: int = Field(description="From 1, best first.")
    score: float = Field(
        description="Higher is better. Reranked hits come first and have the reranker's; the others: hybrid: both scores, each as a share of the best of its side, weighed and smoothed over like passages; at most 1, to be compared within one answer only; dense: cosine; lexical: BM25; of several queries shares in every mode."
    )
    document: HitDocument
    quote: str = Field(description="The passage, as it stands in the document's text.")
    start: int = Field(description="Where it begins in the text, in code points from 0.")
    end: int = Field(description="Where it ends: the code point after its last one.")
    page: int | None = Field(description="Page or slide that it begins on, from 1; null where the format has none.")
    page_end: int | None = Field(description="Page or slide that its last character is on; null like page.")
    title_path: list[str] = Field(description="The headings above all of it, outermost first.")
    scores: Scores
    ranks: Ranks
    highlights: list[Span] | None = Field(description="Where words of the question stand; null unless asked for.")
    neighbours: list[Neighbour] | None = Field(description="null unless asked for.")
    merged: list[Merged] | None = Field(description="The passages it was joined from, in order; null for a single one.")
    duplicates: list[Duplicate] = Field(description="Passages left out because this hit says the same. Mostly empty.")
    entities: list[HitEntity] | None = Field(description="What it mentions, by key; null unless asked for.")
    words: list[Contribution] | None = Field(description="Each word's part of the BM25 score; null unless explained.")

    @classmethod
    def of(cls, hit: schemas.Hit, asked: Question) -> Hit:
        return cls(
            rank=hit.rank,
            score=hit.score,
            document=HitDocument(**vars(hit.document)),
            quote=hit.quote,
            start=hit.start,
            end=hit.end,
            page=hit.page,
            page_end=hit.page_end,
            title_path=hit.title_path,
            scores=Scores(dense=hit.dense_score, lexical=hit.lexical_score, rerank=hit.rerank_score),
            ranks=Ranks(dense=hit.dense_rank, lexical=hit.lexical_rank),
            highlights=[Span(start=start, end=end) for start, end in hit.highlights] if asked.highlight else None,
            neighbours=[Neighbour(**vars(each)) for each in hit.neighbours] if asked.neighbours else None,
            merged=[Merged(**vars(each)) for each in hit.merged] or None,
            duplicates=[
                Duplicate(**vars(each) | {"document": HitDocument(**vars(each.document))}) for each in hit.duplicates
            ],
            entities=[_entity(each) for each in hit.entities] if asked.entities else None,
            words=[Contribution(**vars(each)) for each in hit.contributions] if asked.explain else None,
        )


def _entity(found: schemas.HitEntity) -> HitEntity:
    spans = [Span(start=start, end=end) for start, end in found.mentions]
    return HitEntity.model_validate(vars(found) | {"mentions": spans})


class ExplainedWord(BaseModel):
    """A word of the question as keyword search sees it."""

    word: str
    terms: list[str] = Field(description="What it stands as in the index: language, colon, stem.")
    passages: int = Field(description="How many hold it, in all collections searched.")
    weight: float = Field(description="Inverse document frequency, times how often the question says it.")


class Explanation(BaseModel):
    """How the answer came about."""

    languages: list[str] = Field(description="In which passages, and so the question, were cut into words.")
    words: list[list[ExplainedWord]] = Field(description="For each query; none where only meaning was asked.")
    passages: int = Field(description="In the collections searched.")
    searchable: int = Field(description="Those that the filter leaves; counted up to some number above 10 000.")
    vectors: str = Field(description="scan: every vector in scope was compared; graph: the graph was walked; none.")
    best_dense: list[float] = Field(description="The best cosine of each query: what shares are parts of.")
    best_lexical: list[float] = Field(description="The best BM25 score of each query.")
    candidates: int = Field(description="Passages that either side found, all of which have both scores.")
    reranked_passages: int = Field(description="Those that the reranker put in order; 0: it was not asked, or away.")
    merged_passages: int = Field(description="Those that were joined to a better one beside them.")
    collapsed_passages: int = Field(description="Those that stand behind a better one as duplicates.")
    stages: dict[str, float] = Field(description="Milliseconds.")


class Notice(BaseModel):
    """Why the answer is not all that it could have been."""

    code: str = Field(examples=["rerank.unavailable"])
    detail: str = Field(description="What happened, in a sentence.")
    hint: str | None = Field(description="What to do about it.")


class SearchResponse(BaseModel):
    """Passages, best first."""

    hits: list[Hit]
    exact: bool = Field(description="Every vector was compared; false: the graph was walked.")
    truncated: bool = Field(description="Fewer hits than asked for, although more passages may match.")
    reranked: bool = Field(description="A reranker was asked and answered.")
    warnings: list[Notice] = Field(
        description="What went wrong and was done without: the reranker, vectors of a model that does not have all yet. Mostly empty."
    )
    facets: Facets | None = Field(description="null unless asked for.")
    took_ms: float
    explanation: Explanation | None = Field(description="null unless asked for.")

    @classmethod
    def of(cls, answer: schemas.Answer, asked: Question) -> SearchResponse:
        told = answer.explanation
        return cls(
            hits=[Hit.of(hit, asked) for hit in answer.hits],
            exact=answer.exact,
            truncated=answer.truncated,
            reranked=answer.reranked,
            warnings=[Notice(code=each.code, detail=each.message, hint=each.hint) for each in answer.warnings],
            facets=Facets(entity=[FacetValue.model_validate(vars(each)) for each in answer.entities])
            if asked.facets
            else None,
            took_ms=answer.took_ms,
            explanation=None
            if told is None
            else Explanation(
                **vars(told) | {"words": [[ExplainedWord(**vars(word)) for word in each] for each in told.words]}
            ),
        )

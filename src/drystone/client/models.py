"""What the API answers, as types. Fields that a newer server adds are kept as they came (`model_extra`).

Each is named as in /openapi.json, `api_name` says where it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Filter: TypeAlias = Mapping[str, Any]
DocumentState: TypeAlias = Literal["pending", "ready", "failed"]
JobState: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]
Mode: TypeAlias = Literal["hybrid", "dense", "lexical"]
Collapse: TypeAlias = Literal["none", "copies", "near"]
EntityType: TypeAlias = Literal["category", "property", "subobject"]
OnConflict: TypeAlias = Literal["replace", "keep", "error"]


class Model(BaseModel):
    """An answer, or a part of one."""

    # Types are built when the first answer comes, not when the module is imported.
    model_config = ConfigDict(extra="allow", frozen=True, defer_build=True, populate_by_name=True)

    api_name: ClassVar[str | None] = None


class FieldError(Model):
    """What is wrong with one field; whatever else is told of it is kept."""

    api_name = ""

    pointer: str = ""
    detail: str = ""
    code: str | None = None
    hint: str | None = None


class Problem(Model):
    """An error as the API tells it (RFC 9457)."""

    type: str | None = None
    title: str | None = None
    status: int | None = None
    detail: str
    code: str
    hint: str | None = None
    request_id: str | None = None
    errors: list[FieldError] | None = None


class DocumentCounts(Model):
    """Documents by state."""

    pending: int
    ready: int
    failed: int


class Vectors(Model):
    """Where a collection's vectors come from. source: server, or caller: passages are put with theirs."""

    source: Literal["server", "caller"]
    dimension: int
    metric: str


class Collection(Model):
    """A collection, with what is in it. etag: for if_match; lists do not tell it."""

    id: str
    name: str
    description: str
    language: str
    schema_: str | None = Field(None, alias="schema")
    created_at: datetime
    documents: DocumentCounts
    chunks: int
    vectors: Vectors | None = None
    etag: str | None = None


class Failure(Model):
    """Why something failed. code is stable: docs/reference/reasons.md lists each."""

    code: str
    message: str
    hint: str | None


class SchemaProblem(Model):
    """The first thing that keeps attributes from fitting their schema."""

    code: str
    pointer: str
    detail: str
    hint: str


class InArchive(Model):
    """Where a document came from that was in an archive."""

    id: str
    path: str


class Document(Model):
    """A document and its newest version. etag: for if_match; lists do not tell it."""

    id: str
    collection: str
    external_id: str | None
    title: str | None
    name: str | None
    media_type: str
    size_bytes: int
    sha256: str
    attributes: dict[str, Any]
    schema_: str | None = Field(None, alias="schema")
    schema_version: int | None
    schema_problem: SchemaProblem | None
    state: DocumentState
    error: Failure | None
    version: int
    version_id: str
    serving_version: int | None
    serving_version_id: str | None
    is_searchable: bool
    chunks: int | None
    pages: int | None
    characters: int | None
    language: str | None
    archive: InArchive | None
    dated_on: date
    created_at: datetime
    updated_at: datetime
    etag: str | None = None


class Received(Model):
    """What became of an upload. already_there: these bytes were; then there is no job."""

    api_name = "ReceivedDocument"

    document: Document
    job_id: str | None
    already_there: bool


class Version(Model):
    """The bytes of a document at one time, and what became of them."""

    id: str
    number: int
    state: DocumentState
    is_current: bool
    is_newest: bool
    name: str | None
    sha256: str
    size_bytes: int
    media_type: str
    title: str | None
    chunks: int | None
    pages: int | None
    characters: int | None
    error: Failure | None
    created_at: datetime
    ready_at: datetime | None


class DocumentSample(Model):
    """A document in few words."""

    id: str
    collection: str
    external_id: str | None
    title: str | None


class DeletedDocuments(Model):
    """What was deleted, or would be. sample: the first few, of a dry run."""

    dry_run: bool
    count: int
    sample: list[DocumentSample]
    missing: list[str]


class JobDocument(Model):
    """The document that a job is about."""

    id: str
    name: str | None
    title: str | None


class Lease(Model):
    """Who works on it, and until when it is theirs."""

    worker: str | None
    until: datetime


class JobProgress(Model):
    """How far a long document has come, in passages."""

    done: int
    total: int


class Job(Model):
    """One piece of work."""

    id: str
    kind: str
    subject_id: str
    document: JobDocument | None
    collection: str | None
    state: JobState
    attempt: int
    lease: Lease | None
    progress: JobProgress | None
    tries: dict[str, int]
    error: Failure | None
    waiting_s: float | None
    created_at: datetime
    run_after: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobCount(Model):
    """Jobs of one kind in one state."""

    api_name = "KindCount"

    kind: str
    state: JobState
    jobs: int


class Queue(Model):
    """How the queue stands and how fast it moves."""

    api_name = "QueueState"

    due: int
    later: int
    oldest_s: float
    running: list[Job]
    counts: list[JobCount]
    done_recently: int
    failed_recently: int
    recent_s: int
    jobs_per_s: float
    empty_in_s: float | None


class Changed(Model):
    """What a call for many jobs did. refused: how many it could not be done to, by reason; more: call again."""

    jobs: int
    ids: list[str]
    refused: dict[str, int]
    more: bool
    dry_run: bool


class BatchCounts(Model):
    """Documents of a batch by state."""

    pending: int
    ready: int
    failed: int
    deleted: int


class Batch(Model):
    """Uploads that are watched together. done_at: when none was pending any more."""

    id: str
    name: str | None
    expected: int | None
    created_at: datetime
    done_at: datetime | None
    documents: BatchCounts
    reasons: dict[str, int]


class Event(Model):
    """Something that happened. type: as in docs/reference/events.md, or `snapshot` and `reset`; id: to go on after it."""

    api_name = ""  # in no schema: it comes as text/event-stream

    id: str | None = None
    type: str
    timestamp: datetime | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class Scores(Model):
    """What each side gave a passage: cosine, BM25, the reranker's own scale."""

    dense: float | None
    lexical: float | None
    rerank: float | None


class Ranks(Model):
    """Where each side ranked it, from 1."""

    dense: int | None
    lexical: int | None


class HitDocument(Model):
    """The document a passage is from."""

    id: str
    version: int
    version_id: str
    collection: str
    external_id: str | None
    title: str | None
    name: str | None
    attributes: dict[str, Any]


class Span(Model):
    """A stretch of the document's text, in code points."""

    start: int
    end: int


class Neighbour(Model):
    """A passage near a hit. distance: in passages; negative: before it."""

    distance: int
    quote: str
    start: int
    end: int


class Contribution(Model):
    """What a word of the question adds to the BM25 score."""

    word: str
    score: float


class Merged(Model):
    """One of the passages that a hit was joined from."""

    start: int
    end: int
    title_path: list[str]
    score: float


class Duplicate(Model):
    """A passage that says the same as a better hit. is_copy: in the same words."""

    document: HitDocument
    start: int
    end: int
    page: int | None
    score: float
    is_copy: bool


class HitEntity(Model):
    """An entity of the catalogue that a hit mentions, and where."""

    id: str
    key: str
    type: EntityType
    label: str
    mentions: list[Span]


class Hit(Model):
    """A passage; the document's text, cut from start to end, is the quote."""

    rank: int
    score: float
    document: HitDocument
    quote: str
    start: int
    end: int
    page: int | None
    page_end: int | None
    title_path: list[str]
    scores: Scores
    ranks: Ranks
    highlights: list[Span] | None
    neighbours: list[Neighbour] | None
    merged: list[Merged] | None
    duplicates: list[Duplicate]
    entities: list[HitEntity] | None
    words: list[Contribution] | None


class FacetValue(Model):
    """An entity, and how many of the passages found mention it."""

    id: str
    key: str
    type: EntityType
    label: str
    passages: int
    documents: int


class Facets(Model):
    """What the passages found have in common."""

    entity: list[FacetValue]


class ExplainedWord(Model):
    """A word of the question as keyword search sees it."""

    word: str
    terms: list[str]
    passages: int
    weight: float


class Explanation(Model):
    """How an answer came about. stages: milliseconds."""

    languages: list[str]
    words: list[list[ExplainedWord]]
    passages: int
    searchable: int
    vectors: str
    best_dense: list[float]
    best_lexical: list[float]
    candidates: int
    reranked_passages: int
    merged_passages: int
    collapsed_passages: int
    stages: dict[str, float]


class Notice(Model):
    """Why an answer is not all that it could have been."""

    code: str
    detail: str
    hint: str | None


class SearchAnswer(Model):
    """Passages, best first."""

    api_name = "SearchResponse"

    hits: list[Hit]
    exact: bool
    truncated: bool
    reranked: bool
    facets: Facets | None
    warnings: list[Notice]
    took_ms: float
    explanation: Explanation | None


class AnswerPassage(Model):
    """A passage that an answer may rest on. The document's text, cut from start to end (code points), is the quote."""

    number: int
    id: str
    document: HitDocument
    quote: str
    start: int
    end: int
    page: int | None
    title_path: list[str]
    score: float


class Support(Model):
    """A span that bears a sentence: text[start:end] of the document and quote[passage_start:passage_end] of the passage are the quote."""

    passage: int
    passage_id: str
    document_id: str
    version: int
    version_id: str
    title: str | None
    start: int
    end: int
    passage_start: int
    passage_end: int
    quote: str


class Verification(Model):
    """How a sentence was held against the passages: docs/reference/answers.md."""

    found: str | None
    coverage: float
    similarity: float | None
    reason: str | None
    missing: list[str]


class AnswerSentence(Model):
    """A sentence of an answer. is_supported: False where nothing that was found bears it."""

    text: str
    is_supported: bool
    support: list[Support]
    verification: Verification


class Answer(Model):
    """An answer in sentences, and the passages that it was made from. is_answered: whether any sentence is supported."""

    api_name = "AskResponse"

    mode: Literal["extractive", "generated"]
    is_answered: bool
    supported: int
    unsupported: int
    truncated: bool
    warnings: list[Notice]
    took_ms: float
    sentences: list[AnswerSentence]
    passages: list[AnswerPassage]


class CatalogueState(Model):
    """The catalogue in a few numbers. etag: for if_match of `apply`."""

    api_name = "Catalogue"

    revision: int
    changed_at: datetime | None
    changed_by: str | None
    message: str | None
    entities: int
    modules: int
    profiles: int
    etag: str | None = None


class ChangeDone(Model):
    """What became of one, or would."""

    kind: Literal["entity", "module", "profile"]
    key: str
    id: str | None
    what: Literal["created", "changed", "unchanged", "deleted", "restored"]
    number: int
    version: str | None
    step: str
    reasons: list[str]
    is_implied: bool


class ChangesetDone(Model):
    """What became of a changeset, or would."""

    revision: int
    dry_run: bool
    changes: list[ChangeDone]


class Shown(Model):
    """What entities, modules and profiles have in common. etag: for if_match; lists do not tell it."""

    api_name: ClassVar[str | None] = ""  # a part of the three

    id: str
    key: str
    revision: int
    number: int
    label: str
    description: str
    published_at: datetime
    published_by: str
    created_at: datetime
    created_by: str
    updated_at: datetime
    deleted_at: datetime | None
    etag: str | None = None


class Entity(Shown):
    """A thing there is."""

    api_name = None

    type: EntityType
    aliases: dict[str, list[str]]
    parents: list[str]
    schema_definition: dict[str, Any]


class Module(Shown):
    """Entities that are versioned together."""

    api_name = None

    version: str
    entities: list[str]
    dependencies: dict[str, str]


class Profile(Shown):
    """Modules that are chosen for a purpose."""

    api_name = None

    modules: dict[str, str]


class MentioningDocument(Model):
    """The document a passage is from."""

    id: str
    version_id: str
    version: int
    collection: str
    external_id: str | None
    title: str | None
    name: str | None


class MentioningPassage(Model):
    """A passage that mentions an entity, and where."""

    document: MentioningDocument
    quote: str
    start: int
    end: int
    page: int | None
    title_path: list[str]
    mentions: list[Span]


class RowError(Model):
    """Why a row was not taken. row: the line, or the place, from 1."""

    row: int
    code: str
    message: str
    fix: str


class AddedObservations(Model):
    """What became of the rows of a bulk."""

    id: str
    inserted: int
    replaced: int
    unchanged: int
    kept: int
    refused: int
    errors: list[RowError]


class DeletedObservations(Model):
    """How many were deleted, or would be."""

    dry_run: bool
    deleted: int
    series: int


class Series(Model):
    """What one source says of one metric of one entity."""

    id: int | None
    entity: str
    entity_id: str
    metric: str
    source: str
    unit: str | None
    created_at: datetime
    first_at: datetime | None
    last_at: datetime | None


class Evidence(Model):
    """Where a value was read: `text[start:end]` of the version."""

    version_id: str
    start: int
    end: int
    quote_sha256: str


class Observation(Model):
    """A value at a moment."""

    series_id: int | None
    entity: str
    metric: str
    source: str
    unit: str | None
    observed_at: datetime
    value: float
    attributes: dict[str, Any] | None
    evidence: Evidence | None


class Line(Model):
    """One series in buckets: a value and a count for each of `times`."""

    api_name = "LineOf"

    series_id: int | None
    entity: str
    metric: str
    source: str
    unit: str | None
    values: list[float | None]
    counts: list[int]


class Buckets(Model):
    """Series side by side, in the same buckets."""

    times: list[datetime]
    series: list[Line]
    made_of: str


class Passage(Model):
    """A passage that was put with a vector of yours. vector: where it was asked for, of length 1."""

    api_name = "KeptPassage"

    id: str
    text: str
    attributes: dict[str, Any]
    vector: list[float] | None = None


class PassageHit(Passage):
    """One that is near a vector. score: cosine."""

    api_name = "NearPassage"

    score: float


class PutPassage(Model):
    """What became of one that was put."""

    api_name = "UpsertedPassage"

    id: str
    is_new: bool

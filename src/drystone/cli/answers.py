"""What the HTTP API answers, as types; the values stay the JSON that came. Imports nothing, so it costs nothing."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

DocumentState = Literal["pending", "ready", "failed"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
Mode = Literal["hybrid", "dense", "lexical"]
Collapse = Literal["none", "copies", "near"]


class Failure(TypedDict):
    """Why a document or job failed."""

    code: str
    message: str
    hint: str | None


class SchemaProblem(TypedDict):
    """The first thing that keeps a document's attributes from fitting its schema."""

    code: str
    pointer: str
    detail: str
    hint: str


class Document(TypedDict):
    """A document and its newest version."""

    id: str
    collection: str
    external_id: str | None
    title: str | None
    name: str | None
    media_type: str
    size_bytes: int
    sha256: str
    attributes: dict[str, Any]
    schema: str | None
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
    dated_on: str
    created_at: str
    updated_at: str


class Version(TypedDict):
    """The bytes of a document at one time, and what became of them."""

    id: str
    number: int
    state: DocumentState
    is_current: bool
    is_newest: bool
    media_type: str
    size_bytes: int
    chunks: int | None
    error: Failure | None
    created_at: str


class Key(TypedDict):
    """An API key, without its secret."""

    id: str
    prefix: str
    name: str
    scopes: list[str]
    collection_ids: list[str] | None
    documents_per_day: int | None
    bytes_per_day: int | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    previous_until: str | None
    is_from_settings: bool


class Change(TypedDict):
    """A row of the audit."""

    id: int
    at: str
    actor: str
    action: str
    subject_kind: str
    subject_id: str | None
    request_id: str | None
    before_sha256: str | None
    after_sha256: str | None
    details: dict[str, Any]


class Catalogued(TypedDict, total=False):
    """An entity, a module or a profile."""

    id: str
    key: str
    label: str
    number: int
    type: str
    version: str
    entities: list[str]
    modules: dict[str, str]
    published_at: str
    deleted_at: str | None


class CatalogueDone(TypedDict):
    """What became of one by a changeset, or would."""

    kind: str
    key: str
    id: str | None
    what: str
    number: int
    version: str | None
    step: str
    reasons: list[str]
    is_implied: bool


class Past(TypedDict):
    """What was done to one, and when."""

    revision: int
    at: str
    by: str
    message: str
    action: str
    number: int | None
    version: str | None


class Revision(TypedDict):
    """A changeset that was applied."""

    revision: int
    at: str
    by: str
    message: str
    changes: int


class Collection(TypedDict):
    """A collection, with what is in it."""

    id: str
    name: str
    documents: dict[str, int]
    chunks: int


class Documents(TypedDict):
    """One page of documents, in the order they were made."""

    items: list[Document]
    next_cursor: str | None


class SampledDocument(TypedDict):
    """A document in few words."""

    id: str
    collection: str
    external_id: str | None
    title: str | None


class DeletedDocuments(TypedDict):
    """What was deleted, or would be; sample: the first few, of a dry run."""

    dry_run: bool
    count: int
    sample: list[SampledDocument]
    missing: list[str]


class Received(TypedDict):
    """What became of an upload."""

    document: Document
    job_id: str | None
    already_there: bool


class Job(TypedDict):
    """One piece of work."""

    id: str
    kind: str
    subject_id: str
    document: dict[str, Any] | None
    collection: str | None
    state: JobState
    attempt: int
    lease: dict[str, Any] | None
    progress: dict[str, int] | None
    tries: dict[str, int]
    error: Failure | None
    waiting_s: float | None
    created_at: str
    run_after: str
    started_at: str | None
    finished_at: str | None


class Jobs(TypedDict):
    """One page of jobs, newest first."""

    items: list[Job]
    next_cursor: str | None


class QueueState(TypedDict):
    """How the queue stands and moves."""

    due: int
    later: int
    oldest_s: float
    running: list[Job]
    counts: list[dict[str, Any]]
    done_recently: int
    failed_recently: int
    recent_s: int
    jobs_per_s: float
    empty_in_s: float | None


class Changed(TypedDict):
    """What a call for many jobs did."""

    jobs: int
    ids: list[str]
    refused: dict[str, int]
    more: bool
    dry_run: bool


class HitDocument(TypedDict):
    """The document a passage is from."""

    id: str
    version: int
    external_id: str | None
    title: str | None
    name: str | None
    attributes: dict[str, Any]


class Merged(TypedDict):
    """One of the passages that a hit was joined from."""

    start: int
    end: int
    title_path: list[str]
    score: float


class Duplicate(TypedDict):
    """A passage left out for a better hit's sake."""

    document: HitDocument
    start: int
    end: int
    page: int | None
    score: float
    is_copy: bool


class Hit(TypedDict):
    """A passage, or several side by side; the document's text, cut from start to end, is the quote."""

    rank: int
    score: float
    document: HitDocument
    quote: str
    start: int
    end: int
    page: int | None
    page_end: int | None
    title_path: list[str]
    scores: dict[str, float | None]
    ranks: dict[str, int | None]
    merged: list[Merged] | None
    duplicates: list[Duplicate]
    entities: list[dict[str, Any]] | None
    words: list[dict[str, Any]] | None


class AnswerPassage(TypedDict):
    """A passage that an answer may rest on."""

    number: int
    id: str
    document: HitDocument
    quote: str
    start: int
    end: int
    page: int | None


class Support(TypedDict):
    """A span that bears a sentence."""

    passage: int
    document_id: str
    start: int
    end: int
    quote: str


class Verification(TypedDict):
    """How a sentence was held against the passages."""

    reason: str | None
    missing: list[str]


class AnswerSentence(TypedDict):
    """A sentence of an answer."""

    text: str
    is_supported: bool
    support: list[Support]
    verification: Verification


class AnswerEnding(TypedDict):
    """What is known of an answer at its end."""

    mode: str
    is_answered: bool
    supported: int
    unsupported: int
    truncated: bool
    warnings: list[Notice]


class Notice(TypedDict):
    """Why an answer is not all that it could have been."""

    code: str
    detail: str
    hint: str | None


class Answer(TypedDict):
    """Passages, best first."""

    hits: list[Hit]
    exact: bool
    truncated: bool
    reranked: bool
    warnings: list[Notice]
    took_ms: float
    explanation: dict[str, Any] | None

"""What goes over the wire."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from annotated_types import Ge, Le, Len
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from drystone.core.numbers import MAX_INTEGER, WHOLE
from drystone.core.text import MAX_EXTERNAL_ID, MAX_TITLE, Text
from drystone.documents.deleting import MAX_IDS, Found
from drystone.documents.filters import Filter
from drystone.documents.models import Collection as CollectionRow
from drystone.documents.models import Document as DocumentRow
from drystone.documents.models import State as DocumentState
from drystone.documents.models import Version as VersionRow
from drystone.documents.service import DocumentView
from drystone.documents.versions import VersionView
from drystone.index.spaces import MAX_DIMENSION, Space

SCHEMA_PATTERN = r"^(category|profile):[a-z0-9][a-z0-9._-]{0,99}$"
# A category or profile of the catalogue, as documents name it. Fields of this name have an underscore here: pydantic has a `schema` of its own.
SchemaName = Annotated[str, Field(pattern=SCHEMA_PATTERN, examples=["category:report"])]


class CallersVectors(BaseModel):
    """Vectors that callers bring with each passage. For the life of the collection."""

    model_config = ConfigDict(extra="forbid")

    source: Literal["caller"]
    dimension: Annotated[int, Ge(1), Le(MAX_DIMENSION), WHOLE] = Field(description="Numbers of each vector.")
    metric: Literal["cosine"] = Field("cosine", description="How two are compared: by their directions.")


class Vectors(BaseModel):
    """Whose the vectors of a collection are. server: made here, by the model that …/embedding tells."""

    source: Literal["server", "caller"]
    dimension: int
    metric: Literal["cosine"] = "cosine"

    @classmethod
    def of(cls, space: Space) -> Vectors:
        return cls(source="caller" if space.is_callers else "server", dimension=space.dimension)


class NewCollection(BaseModel):
    """A collection to be made."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "papers", "description": "Papers we cite", "language": "english"}]},
    )

    name: Annotated[Text, Len(1, 128)] = Field(description="Letters, digits, dots, hyphens, underscores.")
    description: Annotated[Text, Len(0, 2000)] = ""
    language: Annotated[Text, Len(1, 63)] = Field(
        "auto",
        description="By whose rules words are cut, stemmed and left out: auto takes each document's own language.",
    )
    schema_: SchemaName | None = Field(
        None, alias="schema", description="The category or profile that documents are under which name none."
    )
    vectors: CallersVectors | None = Field(
        None, description="That callers bring the vectors, with passages. Left out: a model here makes them, of files."
    )


class CollectionPatch(BaseModel):
    """What is to be changed of a collection; what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"description": "Papers on shells"}]})

    description: Annotated[Text, Len(0, 2000)] = ""
    schema_: SchemaName | None = Field(
        None,
        alias="schema",
        description="The category or profile that documents are under which name none when they come; null: none. What is in it stays.",
    )


class DocumentCounts(BaseModel):
    """Documents by state."""

    pending: int
    ready: int
    failed: int


class Collection(BaseModel):
    """A collection, with what is in it."""

    model_config = ConfigDict(serialize_by_alias=True)

    id: UUID
    name: str
    description: str
    language: str
    schema_: str | None = Field(alias="schema", description="What documents are under that name none when they come.")
    vectors: Vectors
    created_at: datetime
    documents: DocumentCounts
    chunks: int = Field(description="Passages that can be found.")

    @classmethod
    def of(cls, row: CollectionRow, counts: dict[str, int], schema: str | None, space: Space) -> Collection:
        return cls(
            id=row.id,
            name=row.name,
            description=row.description,
            language=row.language,
            schema=schema,
            vectors=Vectors.of(space),
            created_at=row.created_at,
            documents=DocumentCounts(pending=counts["pending"], ready=counts["ready"], failed=counts["failed"]),
            chunks=counts["chunks"],
        )


class Collections(BaseModel):
    """All collections, by name."""

    items: list[Collection]


class Failure(BaseModel):
    """Why something failed, for programs (code) and people."""

    code: str = Field(examples=["document.no_text"])
    message: str
    hint: str | None


def _failure(row: VersionRow) -> Failure | None:
    if row.error_code is None:
        return None
    return Failure(code=row.error_code, message=row.error_message or "", hint=row.error_hint)


class InArchive(BaseModel):
    """Where a document came from that was in an archive."""

    id: UUID = Field(description="The archive's document.")
    path: str


class SchemaProblem(BaseModel):
    """The first thing that keeps attributes from fitting their schema."""

    code: str = Field(examples=["attribute.does_not_fit"])
    pointer: str = Field(description="Into the document.", examples=["/attributes/year"])
    detail: str
    hint: str


class Document(BaseModel):
    """A document and its newest version."""

    model_config = ConfigDict(serialize_by_alias=True)

    id: UUID
    collection: str
    external_id: str | None
    title: str | None
    name: str | None = Field(description="The newest version's file name as it was given.")
    media_type: str
    size_bytes: int
    sha256: str
    attributes: dict[str, Any]
    schema_: str | None = Field(
        alias="schema",
        description="The category or profile that its attributes are to fit.",
        examples=["category:report"],
    )
    schema_version: int | None = Field(description="Number of the version of it that they were compared with.")
    schema_problem: SchemaProblem | None = Field(
        description="The first thing that no longer fits, since the schema changed; null: they fit."
    )
    state: DocumentState = Field(description="Of the newest version. An older ready one is searched meanwhile.")
    error: Failure | None
    version: int = Field(description="Number of the newest version; state, error and sizes are of this one.")
    version_id: UUID = Field(description="Its id, which the evidence of observations names.")
    serving_version: int | None = Field(
        description="Number of the version that search sees: an older one while the newest is pending or has failed."
    )
    serving_version_id: UUID | None = Field(description="Its id.")
    is_searchable: bool
    chunks: int | None
    pages: int | None
    characters: int | None = Field(description="Length of the extracted text, in code points.")
    language: str | None = Field(
        description="Of the text, as a BCP 47 tag; else as its file declares; null when unsure.", examples=["de"]
    )
    archive: InArchive | None = Field(description="The archive it came in, and its path there.")
    dated_on: date = Field(
        description="The day that its attribute `published_at` begins with, as in 2026-11-23; else that of `created_at` in UTC. Mentions are counted by it."
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, view: DocumentView) -> Document:
        document, version = view.document, view.version
        return cls(
            id=document.id,
            collection=view.collection_name,
            external_id=document.external_id,
            title=view.title,
            name=document.name,
            media_type=view.file.media_type,
            size_bytes=view.file.size_bytes,
            sha256=view.file.sha256.hex(),
            attributes=document.attributes,
            schema=view.schema,
            schema_version=view.schema_version,
            schema_problem=document.schema_problem and SchemaProblem(**document.schema_problem),
            state=document.state,
            error=_failure(version),
            version=version.number,
            version_id=version.id,
            serving_version=view.serving,
            serving_version_id=document.current_version_id,
            is_searchable=document.current_version_id is not None,
            chunks=version.chunk_count,
            pages=len(version.page_starts) if version.page_starts else None,
            characters=version.text_length,
            language=version.detected_language,
            archive=_archive(document),
            dated_on=document.dated_on,
            created_at=document.created_at,
            updated_at=document.updated_at,
        )


def _archive(document: DocumentRow) -> InArchive | None:
    if document.parent_id is None or document.member_path is None:
        return None
    return InArchive(id=document.parent_id, path=document.member_path)


class DocumentPatch(BaseModel):
    """A JSON merge patch (RFC 7396): what is left out stays, null removes, objects are merged."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"title": "Thin shells", "attributes": {"year": 1962, "x": None}}]},
    )

    title: Annotated[Text, Len(1, MAX_TITLE)] | None = None
    external_id: Annotated[Text, Len(1, MAX_EXTERNAL_ID)] | None = None
    attributes: dict[str, Any] | None = None
    schema_: SchemaName | None = Field(
        None, alias="schema", description="The category or profile that attributes are to fit; null: none."
    )


class Version(BaseModel):
    """The bytes of a document at one time, and what became of them."""

    id: UUID = Field(description="What the evidence of observations names.")
    number: int
    state: DocumentState
    is_current: bool = Field(description="Search sees this version.")
    is_newest: bool
    name: str | None = Field(description="The file's name as it was given; that of the version before where none was.")
    sha256: str
    size_bytes: int
    media_type: str
    title: str | None = Field(description="As found in the file.")
    chunks: int | None
    pages: int | None
    characters: int | None
    error: Failure | None
    created_at: datetime
    ready_at: datetime | None

    @classmethod
    def of(cls, view: VersionView) -> Version:
        row = view.version
        return cls(
            id=row.id,
            number=row.number,
            state=row.state,
            is_current=view.is_current,
            is_newest=view.is_newest,
            name=row.name,
            sha256=view.file.sha256.hex(),
            size_bytes=view.file.size_bytes,
            media_type=view.file.media_type,
            title=row.title,
            chunks=row.chunk_count,
            pages=len(row.page_starts) if row.page_starts else None,
            characters=row.text_length,
            error=_failure(row),
            created_at=row.created_at,
            ready_at=row.ready_at,
        )


class Versions(BaseModel):
    """One page of versions, newest first."""

    items: list[Version]
    next_cursor: str | None = Field(description="Pass as `cursor` for the next page; null on the last one.")


class DocumentsToDelete(BaseModel):
    """Documents to delete: those of `ids`, or those of a collection that pass a filter and are in a state."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "collection": "papers",
                    "filter": {"type": "lt", "key": "year", "value": 1950},
                    "dry_run": True,
                },
                {"ids": ["0199c0de-0000-7000-8000-000000000000"], "expect": 1},
            ]
        },
    )

    ids: Annotated[list[UUID], Len(1, MAX_IDS)] | None = None
    collection: Annotated[Text, Len(1, 128)] | None = None
    filter: Filter | None = Field(None, description="Over attributes and fields of documents; with `collection`.")
    state: DocumentState | None = Field(None, description="Only documents whose newest version is in this state.")
    dry_run: StrictBool = Field(False, description="Only say what would be deleted.")
    expect: Annotated[int, Ge(0), Le(MAX_INTEGER), WHOLE] | None = Field(
        None, description="Delete only if it is exactly so many: `count` of a dry run. Otherwise 409, and nothing is."
    )


class DocumentSample(BaseModel):
    """A document in few words."""

    id: UUID
    collection: str
    external_id: str | None
    title: str | None


class DeletedDocuments(BaseModel):
    """What was deleted, or would be."""

    dry_run: bool
    count: int = Field(description="Documents, members of archives among them included.")
    sample: list[DocumentSample] = Field(description="The first few, of a dry run.")
    missing: list[UUID] = Field(description="Ids that name no document here: deleted before, or never there.")

    @classmethod
    def of(cls, found: Found, *, dry_run: bool) -> DeletedDocuments:
        return cls(
            dry_run=dry_run,
            count=found.count,
            sample=[
                DocumentSample(
                    id=view.document.id,
                    collection=view.collection_name,
                    external_id=view.document.external_id,
                    title=view.title,
                )
                for view in found.sample
            ],
            missing=found.missing,
        )


class Documents(BaseModel):
    """One page of documents."""

    items: list[Document]
    next_cursor: str | None = Field(description="Pass as `cursor` for the next page; null on the last one.")


class ReceivedDocument(BaseModel):
    """What became of an upload."""

    document: Document
    job_id: UUID | None = Field(
        description="The job that makes it searchable; null when these bytes were there already."
    )
    already_there: bool

    @classmethod
    def of(cls, view: DocumentView, job_id: UUID | None) -> ReceivedDocument:
        return cls(document=Document.of(view), job_id=job_id, already_there=job_id is None)


class CheckResult(BaseModel):
    """One dependency. required: whether requests cannot be served without it."""

    name: str
    ok: bool
    detail: str
    took_ms: float
    required: bool


class Health(BaseModel):
    """Whether requests can be served, and what stands in the way."""

    status: Literal["ok", "unavailable"]
    version: str
    checks: list[CheckResult]


class Live(BaseModel):
    """The process runs."""

    status: Literal["ok"] = "ok"

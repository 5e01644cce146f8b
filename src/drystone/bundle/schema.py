"""The lines of a bundle. What another program wrote is checked here before anything is done with it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from annotated_types import Ge, Le, Len
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

FORMAT: Literal["drystone-bundle"] = "drystone-bundle"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Ge(0), Le(2**53)]
Count = Annotated[int, Ge(0), Le(2**31 - 1)]
Name = Annotated[str, Field(max_length=4096)]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="after")
    def _has_no_nul(self) -> Self:
        """PostgreSQL keeps every character but this one."""
        for value in self.__dict__.values():
            texts = value if isinstance(value, list) else [value]
            if any(isinstance(text, str) and "\0" in text for text in texts):
                raise ValueError("holds a character that cannot be kept")
        return self


class Member(_Line):
    """A part of the bundle that is no blob."""

    name: Annotated[str, Field(pattern=r"^(collections|documents|blobs|chunks/[0-9]{4})\.(ndjson|npy)$")]
    size_bytes: Size
    sha256: Sha256


class BundleManifest(_Line):
    """`manifest.json`: read first; everything else is named in it, or in `blobs.ndjson`."""

    format: Literal["drystone-bundle"]
    format_version: Literal[1]
    created_at: AwareDatetime
    software: Name
    schema_revision: Name
    collections: Count
    documents: Count
    chunks: Size
    blobs: Size
    blob_bytes: Size
    members: Annotated[list[Member], Len(0, 30_000)]


class CollectionLine(_Line):
    """A line of `collections.ndjson`; its number, from 1, names `chunks/NNNN`. documents, chunks: how many follow."""

    id: UUID
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    description: Annotated[str, Field(max_length=100_000)]
    language: Annotated[str, Field(max_length=64)]
    model: Name
    dimension: Annotated[int, Ge(1), Le(4000)]
    documents: Count
    chunks: Size
    created_at: AwareDatetime


class FilePart(_Line):
    sha256: Sha256
    size_bytes: Size
    media_type: Annotated[str, Field(max_length=255)]


class VersionPart(_Line):
    """A version of a document, with its file. text_sha256: the blob of its text; None: it was never ready."""

    id: UUID
    number: Annotated[int, Ge(1), Le(2**31 - 1)]
    file: FilePart
    name: Name | None
    state: Literal["pending", "ready", "failed"]
    is_current: bool
    text_sha256: Sha256 | None
    text_length: Count | None
    page_starts: Annotated[list[Size], Len(0, 1_000_000)] | None
    title: Name | None
    language: Annotated[str, Field(max_length=64)] | None
    detected_language: Annotated[str, Field(max_length=64)] | None
    parser_version: Annotated[str, Field(max_length=255)] | None
    chunker_version: Annotated[str, Field(max_length=255)] | None
    chunk_count: Count | None
    error_code: Annotated[str, Field(max_length=255)] | None
    error_message: Annotated[str, Field(max_length=100_000)] | None
    error_hint: Annotated[str, Field(max_length=100_000)] | None
    created_at: AwareDatetime
    ready_at: AwareDatetime | None


class DocumentLine(_Line):
    """A line of `documents.ndjson`: by collection, then by id. An archive comes before its members."""

    id: UUID
    collection_id: UUID
    external_id: Annotated[str, Field(min_length=1, max_length=512)] | None
    parent_id: UUID | None
    member_path: Name | None
    sha256: Sha256
    name: Name | None
    title: Name | None
    attributes: dict[str, Any]
    created_by: Name
    created_at: AwareDatetime
    versions: Annotated[list[VersionPart], Len(1, 100_000)]


class ChunkLine(_Line):
    """A line of `chunks/NNNN.ndjson`: by document, then by ordinal. Its vector is the row of that number in the .npy."""

    document_id: UUID
    ordinal: Count
    start: Count
    end: Count
    page: Count | None
    title_path: Annotated[list[Name], Len(0, 1000)]
    content_hash: Sha256
    length: Count
    text: Annotated[str, Field(max_length=10_000_000)]
    space_before: Annotated[str, Field(max_length=10_000)] | None


class BlobLine(_Line):
    """A line of `blobs.ndjson`, by hash; the bytes are `blobs/ab/ab…`."""

    sha256: Sha256
    size_bytes: Size


def blob_name(sha256: str) -> str:
    return f"blobs/{sha256[:2]}/{sha256}"


def chunks_name(number: int, kind: Literal["ndjson", "npy"]) -> str:
    """number: of the collection's line, from 1."""
    return f"chunks/{number:04d}.{kind}"


# Columns of a version that are set once it is ready, and those of one that failed; named alike in the bundle.
OF_READY = (
    "text_length",
    "page_starts",
    "title",
    "language",
    "detected_language",
    "parser_version",
    "chunker_version",
    "chunk_count",
    "ready_at",
)
OF_FAILED = ("error_code", "error_message", "error_hint")

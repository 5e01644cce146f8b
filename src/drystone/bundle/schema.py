"""The lines of a bundle. What another program wrote is checked here before anything is done with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NotRequired, Self
from uuid import UUID

from annotated_types import Ge, Le, Len
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from typing_extensions import TypedDict  # pydantic reads those of typing from Python 3.12 on only

from drystone.catalogue import bounds
from drystone.catalogue.content import EntityContent
from drystone.catalogue.models import EntityType
from drystone.core.text import MAX_EXTERNAL_ID, Text
from drystone.observations.rows import MAX_NAME, MAX_UNIT, MAX_VALUE, EvidenceIn

FORMAT: Literal["drystone-bundle"] = "drystone-bundle"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Ge(0), Le(2**53)]
Count = Annotated[int, Ge(0), Le(2**31 - 1)]
Name = Annotated[str, Field(max_length=4096)]
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _within_range(moment: datetime) -> datetime:
    """Clocks may be wrong, but everybody who reads it can tell the year."""
    if not EARLIEST <= moment < LATEST:
        raise ValueError(f"is not within {EARLIEST.year} and {LATEST.year}")
    return moment


Time = Annotated[AwareDatetime, AfterValidator(_within_range)]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

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

    name: Annotated[
        str,
        Field(
            pattern=r"^((collections|documents|blobs|chunks/[0-9]{4})\.(ndjson|npy)"
            r"|catalogue/(entities|modules|profiles)\.ndjson|observations/(series|rows)\.ndjson)$"
        ),
    ]
    size_bytes: Size
    sha256: Sha256


class BundleManifest(_Line):
    """`manifest.json`: read first; everything else is named in it, or in `blobs.ndjson`. Counts are what there is in it.

    Format 1 had neither catalogue nor observations, nor their counts.
    """

    format: Literal["drystone-bundle"]
    format_version: Literal[1, 2]
    created_at: Time
    software: Name
    schema_revision: Name
    collections: Count
    documents: Count
    chunks: Size
    blobs: Size
    blob_bytes: Size
    entities: Count = 0
    modules: Count = 0
    profiles: Count = 0
    series: Count = 0
    observations: Size = 0
    members: Annotated[list[Member], Len(0, 30_000)]


class SchemaPart(_Line):
    """The category or profile that a document is under, or documents of a collection are put under."""

    kind: Literal["category", "profile"]
    id: UUID
    key: bounds.Key


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
    created_at: Time
    under: SchemaPart | None = None


class FilePart(_Line):
    sha256: Sha256
    size_bytes: Size
    media_type: Annotated[str, Field(max_length=255)]


class VersionPart(_Line):
    """A version of a document, with its file. text_sha256: the blob of its text; None: it was never ready."""

    id: UUID
    number: Annotated[int, Ge(1), Le(1_000_000)]
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
    created_at: Time
    ready_at: Time | None


class DocumentLine(_Line):
    """A line of `documents.ndjson`: by collection, then by id. An archive comes before its members."""

    id: UUID
    collection_id: UUID
    external_id: Annotated[str, Field(min_length=1, max_length=MAX_EXTERNAL_ID)] | None
    parent_id: UUID | None
    member_path: Name | None
    sha256: Sha256
    name: Name | None
    title: Name | None
    attributes: dict[str, Any]
    under: SchemaPart | None = None
    created_by: Name
    created_at: Time
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


class _OfCatalogue(_Line):
    """What all three have: of those that are deleted `deleted_at` says when. Versions count from 1, the newest is the last."""

    id: UUID
    key: bounds.Key
    created_at: Time
    deleted_at: Time | None


class _VersionOfCatalogue(_Line):
    label: bounds.Label
    description: bounds.Description
    published_at: Time


class EntityVersionPart(_VersionOfCatalogue):
    aliases: bounds.Aliases
    parents: bounds.Parents
    schema_definition: bounds.Definition


class EntityLine(_OfCatalogue):
    """A line of `catalogue/entities.ndjson`: by key, then by id, as in the other two."""

    type: EntityType
    versions: Annotated[list[EntityVersionPart], Len(1, 1_000_000)]

    def content(self, version: EntityVersionPart) -> EntityContent:
        return EntityContent(
            self.type,
            version.label,
            version.description,
            version.aliases,
            version.parents,
            version.schema_definition,
        )


class ModuleVersionPart(_VersionOfCatalogue):
    """entities: the id of each of its entities, and the number of the version that it was pinned to."""

    version: bounds.Version
    dependencies: bounds.Ranges
    entities: Annotated[dict[str, Annotated[int, Ge(1), Le(1_000_000)]], Len(0, bounds.MOST_MEMBERS)]


class ModuleLine(_OfCatalogue):
    """A line of `catalogue/modules.ndjson`."""

    versions: Annotated[list[ModuleVersionPart], Len(1, 1_000_000)]


class ProfileVersionPart(_VersionOfCatalogue):
    modules: bounds.Ranges


class ProfileLine(_OfCatalogue):
    """A line of `catalogue/profiles.ndjson`."""

    versions: Annotated[list[ProfileVersionPart], Len(1, 1_000_000)]


class SeriesLine(_Line):
    """A line of `observations/series.ndjson`: by entity, metric, source. observations: how many lines of rows follow for it."""

    entity_id: UUID
    entity: bounds.Key
    metric: Annotated[Text, Len(1, MAX_NAME)]
    source: Annotated[Text, Len(1, MAX_NAME)]
    unit: Annotated[Text, Len(1, MAX_UNIT)] | None
    observations: Size


class RowLine(TypedDict):
    """A line of `observations/rows.ndjson`, by series, then by time. series: the number of its line, from 1."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)  # type: ignore[misc]  # as pydantic has it for TypedDicts

    series: Annotated[int, Ge(1), Le(2**31 - 1)]
    observed_at: AwareDatetime
    value: Annotated[float, Field(ge=-MAX_VALUE, le=MAX_VALUE)]
    attributes: NotRequired[dict[str, Any]]
    evidence: NotRequired[EvidenceIn]


ROW: TypeAdapter[RowLine] = TypeAdapter(RowLine)
CATALOGUE = ("catalogue/entities.ndjson", "catalogue/modules.ndjson", "catalogue/profiles.ndjson")
OBSERVATIONS = ("observations/series.ndjson", "observations/rows.ndjson")


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

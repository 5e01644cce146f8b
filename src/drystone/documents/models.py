"""Tables of documents: collections, files, documents, versions, chunks, and what is being put or taken away."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from drystone.core.orm import Base, CreatedAt, Id, Time

PENDING, READY, FAILED = "pending", "ready", "failed"
STATES = (PENDING, READY, FAILED)
State = Literal["pending", "ready", "failed"]
# Why a version failed whose work somebody cancelled.
WORK_CANCELLED = "job.cancelled"

# Kinds of jobs of this room.
INGEST, PURGE_DOCUMENT, PURGE_COLLECTION = "documents.ingest", "documents.purge", "documents.purge_collection"
SCRUB = "documents.scrub"
REEMBED, DROP_VECTORS = "documents.reembed", "documents.drop_vectors"

# What a document has of the schema it is under.
SCHEMA_COLUMNS = ("schema_kind", "schema_id", "schema_version_id", "schema_sha256", "schema_problem")
SchemaKind = Literal["category", "profile"]
_KIND_OF_SCHEMA = (
    "schema_kind in ('category', 'profile') and schema_id is not null or schema_kind is null and schema_id is null"
)


class Collection(Base):
    """Documents that are searched together, in one embedding space.

    label: what people call it, where that is no name. notes: what programs write down with it, word by word.
    expires_after_days: when nobody has used it for so long, it is deleted; None: never.
    space_id: the space that searches ask; while a `Reembedding` is open, new versions are written to its other one, too.
    """

    __tablename__ = "collections"
    __table_args__ = (
        Index(
            "uq_collections_workspace_id_name",
            "workspace_id",
            "name",
            unique=True,
            postgresql_where=text("deleted_at is null"),
        ),
        CheckConstraint(_KIND_OF_SCHEMA, name="schema_kind"),
    )

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, server_default="")
    label: Mapped[str | None] = mapped_column(Text)
    notes: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    expires_after_days: Mapped[int | None]
    # By whose rules words are cut: a key of index.analysis.LANGUAGES, or auto: each document's own.
    language: Mapped[str] = mapped_column(Text, server_default="english")
    space_id: Mapped[int] = mapped_column(ForeignKey("embedding_spaces.id"))
    # Of documents that name none when they come: see `Document`.
    schema_kind: Mapped[str | None] = mapped_column(Text)
    schema_id: Mapped[UUID | None]
    created_at: Mapped[CreatedAt]
    deleted_at: Mapped[Time | None]


class CollectionUse(Base):
    """When a collection that may expire was last searched, or taken into; to the minute."""

    __tablename__ = "collection_uses"

    collection_id: Mapped[UUID] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True)
    used_at: Mapped[CreatedAt]


class File(Base):
    """One blob as somebody named its type; may stand behind many documents."""

    __tablename__ = "files"
    __table_args__ = (UniqueConstraint("workspace_id", "sha256", "media_type"), Index("ix_files_sha256", "sha256"))

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    sha256: Mapped[bytes] = mapped_column(LargeBinary)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str] = mapped_column(Text)
    created_at: Mapped[CreatedAt]


class KeptFile(Base):
    """A file that somebody keeps by itself: in no collection, or in several as documents that were made of it.

    purpose: what its sender says it is for; nothing here depends on it. expires_at: when the sweep deletes it.
    """

    __tablename__ = "kept_files"
    __table_args__ = (
        Index("ix_kept_files_workspace_id_id", "workspace_id", "id"),
        Index("ix_kept_files_file_id", "file_id"),
        Index("ix_kept_files_expires_at", "expires_at", postgresql_where=text("expires_at is not null")),
    )

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    file_id: Mapped[UUID] = mapped_column(ForeignKey("files.id"))
    name: Mapped[str] = mapped_column(Text)
    purpose: Mapped[str] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Time | None]


class PartUpload(Base):
    """A file that comes in parts, until it is completed, cancelled or forgotten. kept_id: of the file that was made of it.

    media_type: as declared. expires_s: of the file, once it is made.
    """

    __tablename__ = "part_uploads"
    __table_args__ = (
        CheckConstraint("state in ('pending', 'completed', 'cancelled')", name="state"),
        Index("ix_part_uploads_expires_at", "expires_at"),
    )

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    created_by: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    media_type: Mapped[str] = mapped_column(Text)
    purpose: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    expires_s: Mapped[int | None]
    state: Mapped[str] = mapped_column(Text, server_default=PENDING)
    kept_id: Mapped[UUID | None]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Time]


class UploadPart(Base):
    """A part that has come: its bytes as a file of their own."""

    __tablename__ = "upload_parts"
    __table_args__ = (
        Index("ix_upload_parts_upload_id", "upload_id"),
        Index("ix_upload_parts_file_id", "file_id"),
    )

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    upload_id: Mapped[UUID] = mapped_column(ForeignKey("part_uploads.id", ondelete="CASCADE"))
    file_id: Mapped[UUID] = mapped_column(ForeignKey("files.id"))
    created_at: Mapped[CreatedAt]


class Document(Base):
    """A place in a collection. Its identity is external_id when given, otherwise the hash of its first bytes; that of a
    member of an archive is the archive's document and its path there.

    state: of the newest version. current_version_id: the version that search sees; None until one was ready.
    schema_kind, schema_id: the category or profile that its attributes are to fit; no foreign key: it may be deleted.
    schema_version_id, schema_sha256: the version of it that they were compared with, and the hash of all that this rests on.
    schema_problem: the first thing that does not fit: code, pointer, detail, hint; None: they fit.
    """

    __tablename__ = "documents"
    __table_args__ = (
        CheckConstraint(f"state in {STATES}", name="state"),
        CheckConstraint(_KIND_OF_SCHEMA, name="schema_kind"),
        # Those that were compared with something else than it says now.
        Index(
            "ix_documents_schema_id",
            "schema_id",
            "schema_sha256",
            "id",
            postgresql_where=text("schema_id is not null and deleted_at is null"),
        ),
        Index(
            "ix_documents_schema_problem",
            "collection_id",
            "id",
            postgresql_where=text("schema_problem is not null and deleted_at is null"),
        ),
        Index(
            "uq_documents_collection_id_external_id",
            "collection_id",
            "external_id",
            unique=True,
            postgresql_where=text("deleted_at is null and external_id is not null"),
        ),
        Index(
            "uq_documents_collection_id_sha256",
            "collection_id",
            "sha256",
            unique=True,
            postgresql_where=text("deleted_at is null and external_id is null and parent_id is null"),
        ),
        Index(
            "uq_documents_parent_id_member_path",
            "parent_id",
            "member_path",
            unique=True,
            postgresql_where=text("deleted_at is null and parent_id is not null"),
        ),
        Index("ix_documents_collection_id_id", "collection_id", "id"),
        Index("ix_documents_workspace_id_id", "workspace_id", "id"),
        Index("ix_documents_collection_id_created_at", "collection_id", "created_at"),
        # Tombstones whose chunks are not yet gone: few, and asked for by every search.
        Index(
            "ix_documents_hidden",
            "collection_id",
            postgresql_where=text("deleted_at is not null and purged_at is null"),
        ),
    )

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    collection_id: Mapped[UUID] = mapped_column(ForeignKey("collections.id"))
    external_id: Mapped[str | None] = mapped_column(Text)
    # The archive it came in, and its path there.
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("documents.id"))
    member_path: Mapped[str | None] = mapped_column(Text)
    sha256: Mapped[bytes] = mapped_column(LargeBinary)
    # Of the newest version.
    name: Mapped[str | None] = mapped_column(Text)
    title: Mapped[str | None] = mapped_column(Text)
    attributes: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    schema_kind: Mapped[str | None] = mapped_column(Text)
    schema_id: Mapped[UUID | None]
    schema_version_id: Mapped[UUID | None]
    schema_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    schema_problem: Mapped[dict[str, str] | None] = mapped_column(JSONB(none_as_null=True))
    state: Mapped[str] = mapped_column(Text, server_default=PENDING)
    current_version_id: Mapped[UUID | None]
    latest_version_id: Mapped[UUID | None]
    revision: Mapped[int] = mapped_column(server_default="1")
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    # The day that the attribute published_at begins with, else that of created_at in UTC (docs/adr/0043).
    dated_on: Mapped[date] = mapped_column(Computed("document_date(attributes, created_at)", persisted=True))
    deleted_at: Mapped[Time | None]
    purged_at: Mapped[Time | None]


class DocumentAttribute(Base):
    """An attribute that filters can look up: of a number, a string or a boolean. A trigger on `documents` writes it.

    Not the truth but a way to it: numbers are as near as double precision comes, strings are cut.
    time: of a string that is a day or a moment in ISO 8601, beside the string.
    """

    __tablename__ = "document_attributes"
    __table_args__ = tuple(
        Index(
            f"ix_document_attributes_{column}",
            "collection_id",
            "key",
            column,
            "document_id",
            postgresql_where=text(f"{column} is not null"),
        )
        for column in ("number", "string", "boolean", "time")
    )

    # No foreign key: rows of documents stay for ever, and to check it would cost half of what writing this costs.
    document_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    collection_id: Mapped[UUID]
    number: Mapped[float | None]
    string: Mapped[str | None] = mapped_column(Text(collation="C"))
    boolean: Mapped[bool | None]
    time: Mapped[Time | None]


class Version(Base):
    """The bytes of a document at one time, and what became of them."""

    __tablename__ = "versions"
    __table_args__ = (
        CheckConstraint(f"state in {STATES}", name="state"),
        UniqueConstraint("document_id", "number"),
        Index("ix_versions_text_sha256", "text_sha256"),
        Index("ix_versions_file_id", "file_id"),
        Index("ix_versions_batch_id", "batch_id", postgresql_where=text("batch_id is not null")),
        Index(
            "ix_versions_batch_pending",
            "batch_id",
            postgresql_where=text("batch_id is not null and state = 'pending'"),
        ),
    )

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    document_id: Mapped[UUID] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    number: Mapped[int]
    file_id: Mapped[UUID] = mapped_column(ForeignKey("files.id"))
    # The file's name as given, or that of the version before: shown, never used as a path.
    name: Mapped[str | None] = mapped_column(Text)
    batch_id: Mapped[UUID | None] = mapped_column(ForeignKey("batches.id"))
    # The extracted text's blob; offsets of chunks and pages are code points of it.
    text_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    text_length: Mapped[int | None]
    page_starts: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    title: Mapped[str | None] = mapped_column(Text)
    # language: by whose rules its words were cut; detected_language: of the text itself, as BCP 47.
    language: Mapped[str | None] = mapped_column(Text)
    detected_language: Mapped[str | None] = mapped_column(Text)
    parser_version: Mapped[str | None] = mapped_column(Text)
    chunker_version: Mapped[str | None] = mapped_column(Text)
    chunk_count: Mapped[int | None]
    # The job attempt that published it: all chunks are of this one.
    attempt: Mapped[int | None]
    state: Mapped[str] = mapped_column(Text, server_default=PENDING)
    error_code: Mapped[str | None] = mapped_column(Text)
    error_message: Mapped[str | None] = mapped_column(Text)
    error_hint: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    ready_at: Mapped[Time | None]


class Chunk(Base):
    """A passage of a ready version: `text == version_text[start:end]`, in code points."""

    __tablename__ = "chunks"
    __table_args__ = (
        UniqueConstraint("version_id", "ordinal"),
        Index("ix_chunks_document_id", "document_id"),
        # The same content elsewhere has a vector already.
        Index("ix_chunks_content_hash", "content_hash", postgresql_using="hash"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    collection_id: Mapped[UUID]
    document_id: Mapped[UUID] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    version_id: Mapped[UUID] = mapped_column(ForeignKey("versions.id", ondelete="CASCADE"))
    ordinal: Mapped[int]
    start: Mapped[int] = mapped_column("start_offset")
    end: Mapped[int] = mapped_column("end_offset")
    page: Mapped[int | None]
    title_path: Mapped[list[str]] = mapped_column(ARRAY(Text))
    # SHA-256 of what was embedded: title path and text.
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    # Tokens of the embedding model.
    length: Mapped[int]
    text: Mapped[str] = mapped_column(Text)
    # What stands between the passage before and this one; null: not known, or very long.
    space_before: Mapped[str | None] = mapped_column(Text)


class Reembedding(Base):
    """A collection's change of model, open until `ended_at`: it has two spaces, of which one is the collection's own.

    filled_at: since when the space that searches do not ask lacks no vector; None while it does. switched_at: when searches
    came to ask `to_space_id`; None while they ask `from_space_id`. position: the document up to which this round of
    filling has come. recent_chunks, recent_s: passages filled lately and the seconds they took, of which older ones
    weigh less. worked_at: when the last of them were written.
    """

    __tablename__ = "reembeddings"
    __table_args__ = (
        Index(
            "uq_reembeddings_collection_id",
            "collection_id",
            unique=True,
            postgresql_where=text("ended_at is null"),
        ),
    )

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    collection_id: Mapped[UUID] = mapped_column(ForeignKey("collections.id"))
    from_space_id: Mapped[int] = mapped_column(ForeignKey("embedding_spaces.id"))
    to_space_id: Mapped[int] = mapped_column(ForeignKey("embedding_spaces.id"))
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    filled_at: Mapped[Time | None]
    switched_at: Mapped[Time | None]
    ended_at: Mapped[Time | None]
    position: Mapped[UUID | None]
    embedded: Mapped[int] = mapped_column(BigInteger, server_default="0")
    reused: Mapped[int] = mapped_column(BigInteger, server_default="0")
    recent_chunks: Mapped[float] = mapped_column(server_default="0")
    recent_s: Mapped[float] = mapped_column(server_default="0")
    worked_at: Mapped[Time | None]


class BlobIntent(Base):
    """Somebody is about to refer to a blob that stood there already; the sweep must leave it alone."""

    __tablename__ = "blob_intents"

    sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    until: Mapped[Time]


class BlobRemoval(Base):
    """The store was asked to remove a blob and has not said that it did: until some time later it still may."""

    __tablename__ = "blob_removals"

    sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    asked_at: Mapped[Time]


class Batch(Base):
    """Uploads that somebody wants to watch together.

    expected: how many there will be, where that was said. done_at: when all of them had ended; unset by a later upload.
    """

    __tablename__ = "batches"
    __table_args__ = (Index("ix_batches_open", "created_at", postgresql_where=text("done_at is null")),)

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    name: Mapped[str | None] = mapped_column(Text)
    expected: Mapped[int | None]
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    done_at: Mapped[Time | None]


class DirectUpload(Base):
    """A file that its sender puts into the object store by itself, until it is completed or abandoned.

    request: what the upload is to become: collection, external_id, title, attributes, schema, name, declared type, batch.
    """

    __tablename__ = "direct_uploads"

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    created_by: Mapped[str] = mapped_column(Text)
    sha256: Mapped[bytes] = mapped_column(LargeBinary)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    request: Mapped[dict[str, Any]] = mapped_column(JSONB)
    document_id: Mapped[UUID | None]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Time] = mapped_column(index=True)
    completed_at: Mapped[Time | None]


class BlobCheck(Base):
    """When a blob was last read whole and hashed. problem: `missing` or `wrong`, until it is repaired."""

    __tablename__ = "blob_checks"
    __table_args__ = (
        CheckConstraint("problem in ('missing', 'wrong')", name="problem"),
        Index("ix_blob_checks_problem", "sha256", postgresql_where=text("problem is not null")),
    )

    sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    checked_at: Mapped[Time] = mapped_column(index=True)
    problem: Mapped[str | None] = mapped_column(Text)
    found_at: Mapped[Time | None]


class Deletion(Base):
    """That something was deleted, kept after its rows are gone. exported_at: when the deletion log had it on disk."""

    __tablename__ = "deletions"
    __table_args__ = (Index("ix_deletions_unexported", "id", postgresql_where=text("exported_at is null")),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    subject_kind: Mapped[str] = mapped_column(Text)
    subject_id: Mapped[UUID]
    external_id: Mapped[str | None] = mapped_column(Text)
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    actor: Mapped[str] = mapped_column(Text)
    at: Mapped[CreatedAt]
    exported_at: Mapped[Time | None]

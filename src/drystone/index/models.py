"""Tables of the index: words in segments, vectors in spaces. The vector table of each space is made by `index.spaces`, because its dimension is the space's."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from drystone.core.orm import Base, CreatedAt


class EmbeddingSpace(Base):
    """A model and its dimension. Vectors of two spaces are never compared; two spaces may live side by side."""

    __tablename__ = "embedding_spaces"
    __table_args__ = (UniqueConstraint("model", "dimension"),)

    id: Mapped[int] = mapped_column(SmallInteger, Identity(always=True), primary_key=True)
    model: Mapped[str] = mapped_column(Text)
    dimension: Mapped[int]
    created_at: Mapped[CreatedAt]


class KeptEmbedding(Base):
    """Vectors of a document that is still being embedded, so that a retry resumes where the last try ended."""

    __tablename__ = "kept_embeddings"

    space_id: Mapped[int] = mapped_column(ForeignKey("embedding_spaces.id"), primary_key=True)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    embedding: Mapped[Any] = mapped_column(HALFVEC)
    created_at: Mapped[CreatedAt] = mapped_column(index=True)


class VectorFeed(Base):
    """A space whose graph is kept outside PostgreSQL too, and how far that one is.

    generation: part of the graph's name. mark: what its feeder left there last; next_mark: what it leaves there in the round
    that it is at. is_listed: every chunk from before the feed is among its changes. checked_at: when the graph was last seen
    to carry the mark, for the first time since PostgreSQL started. stale: names of graphs that are to be dropped.
    """

    __tablename__ = "vector_feeds"

    space_id: Mapped[int] = mapped_column(
        SmallInteger, ForeignKey("embedding_spaces.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    generation: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    mark: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    next_mark: Mapped[UUID | None]
    is_listed: Mapped[bool] = mapped_column(server_default=text("false"))
    checked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    stale: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))


class VectorChange(Base):
    """Chunks whose vectors a graph outside is still to be told of: written, or gone."""

    __tablename__ = "vector_changes"
    __table_args__ = (Index("ix_vector_changes_space_id", "space_id", "is_removal", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    space_id: Mapped[int] = mapped_column(SmallInteger, ForeignKey("vector_feeds.space_id", ondelete="CASCADE"))
    chunk_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    chunk_count: Mapped[int]
    is_removal: Mapped[bool]
    created_at: Mapped[CreatedAt]


class LexicalAddition(Base):
    """The words of passages published together, until they are merged into a segment.

    terms: each once. counts: how many postings each term has; ordinals and frequencies: those postings, one term after the
    other: which of chunk_ids holds the term, how often. lengths: words of each chunk, with repetitions.
    """

    __tablename__ = "lexical_additions"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    collection_id: Mapped[UUID] = mapped_column(index=True)
    analyser: Mapped[int] = mapped_column(SmallInteger)
    languages: Mapped[list[str]] = mapped_column(ARRAY(Text))
    chunk_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    lengths: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    terms: Mapped[list[str]] = mapped_column(ARRAY(Text))
    counts: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    ordinals: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    frequencies: Mapped[list[int]] = mapped_column(ARRAY(Integer))


class LexicalSegment(Base):
    """Thousands of passages whose postings lie together. Never changed: merged into a larger one, or dropped.

    chunk_ids: ascending; a posting names a chunk by its place here.
    """

    __tablename__ = "lexical_segments"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    collection_id: Mapped[UUID] = mapped_column(index=True)
    analyser: Mapped[int] = mapped_column(SmallInteger)
    languages: Mapped[list[str]] = mapped_column(ARRAY(Text))
    chunk_count: Mapped[int]
    chunk_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    lengths: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    created_at: Mapped[CreatedAt]


class LexicalPosting(Base):
    """Where one term stands in a segment. ordinals: uint32, ascending; frequencies: uint16; both little-endian."""

    __tablename__ = "lexical_postings"

    segment_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("lexical_segments.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    term: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    ordinals: Mapped[bytes] = mapped_column(LargeBinary)
    frequencies: Mapped[bytes] = mapped_column(LargeBinary)


class LexicalRemoval(Base):
    """Passages taken out of the index, until the segments that hold them are merged without them."""

    __tablename__ = "lexical_removals"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    collection_id: Mapped[UUID] = mapped_column(index=True)
    chunk_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))

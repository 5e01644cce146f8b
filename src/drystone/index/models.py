"""Tables of the index: words in segments, vectors in spaces. The vector table of each space is made by `index.spaces`, because its dimension is the space's."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import BigInteger, ForeignKey, Identity, Integer, LargeBinary, SmallInteger, Text, UniqueConstraint
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

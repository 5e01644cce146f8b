"""Tables of the index. The vector table of each space is made by `index.spaces`, because its dimension is the space's."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import BigInteger, ForeignKey, Identity, Index, LargeBinary, SmallInteger, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR
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


class LexicalRow(Base):
    """The words of one chunk, for keyword search. length: words counted with repetitions."""

    __tablename__ = "lexical"
    __table_args__ = (
        Index("ix_lexical_terms", "terms", postgresql_using="gin", postgresql_with={"gin_pending_list_limit": 1024}),
        Index("ix_lexical_document_id", "document_id"),
    )

    chunk_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("chunks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    collection_id: Mapped[UUID]
    document_id: Mapped[UUID]
    length: Mapped[int]
    terms: Mapped[Any] = mapped_column(TSVECTOR)


class TermStatistic(Base):
    """In how many chunks of a collection a term stands. Current once the pending changes are added."""

    __tablename__ = "term_stats"

    collection_id: Mapped[UUID] = mapped_column(primary_key=True)
    config: Mapped[str] = mapped_column(Text, primary_key=True)
    term: Mapped[str] = mapped_column(Text, primary_key=True)
    chunk_count: Mapped[int]


class CollectionStatistic(Base):
    """Chunks and words of a collection. Current once the pending changes are added."""

    __tablename__ = "collection_stats"

    collection_id: Mapped[UUID] = mapped_column(primary_key=True)
    config: Mapped[str] = mapped_column(Text, primary_key=True)
    chunk_count: Mapped[int] = mapped_column(BigInteger)
    word_count: Mapped[int] = mapped_column(BigInteger)


class StatisticChange(Base):
    """What one publication added to, or one removal took from, the statistics.

    One row a document instead of one update a term: writers never meet on the row of a common word.
    The sweep folds these rows into the two tables above; a search adds those still pending.
    """

    __tablename__ = "statistic_changes"
    __table_args__ = (Index("ix_statistic_changes_collection_id", "collection_id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    collection_id: Mapped[UUID]
    config: Mapped[str] = mapped_column(Text)
    chunk_count: Mapped[int]
    word_count: Mapped[int] = mapped_column(BigInteger)
    terms: Mapped[list[str]] = mapped_column(ARRAY(Text))
    term_chunk_counts: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))

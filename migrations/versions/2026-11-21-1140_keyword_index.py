"""Create words of chunks, and term statistics for BM25.

Locks: only tables it creates.
Back: the downgrade drops these tables with all they hold.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005_keyword_index"
down_revision = "0004_documents"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lexical",
        sa.Column("chunk_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("terms", postgresql.TSVECTOR(), nullable=False),
        sa.ForeignKeyConstraint(["chunk_id"], ["chunks.id"], name="fk_lexical_chunk_id_chunks", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("chunk_id", name="pk_lexical"),
    )
    op.create_index("ix_lexical_document_id", "lexical", ["document_id"], unique=False)
    op.create_index(
        "ix_lexical_terms",
        "lexical",
        ["terms"],
        unique=False,
        postgresql_using="gin",
        postgresql_with={"gin_pending_list_limit": 1024},
    )
    op.create_table(
        "term_stats",
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("term", sa.Text(), nullable=False),
        sa.Column("chunk_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "config", "term", name="pk_term_stats"),
    )
    op.create_table(
        "collection_stats",
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("chunk_count", sa.BigInteger(), nullable=False),
        sa.Column("word_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "config", name="pk_collection_stats"),
    )
    op.create_table(
        "statistic_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("chunk_count", sa.Integer(), nullable=False),
        sa.Column("word_count", sa.BigInteger(), nullable=False),
        sa.Column("terms", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("term_chunk_counts", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_statistic_changes"),
    )
    op.create_index("ix_statistic_changes_collection_id", "statistic_changes", ["collection_id"], unique=False)


def downgrade() -> None:
    op.drop_table("statistic_changes")
    op.drop_table("collection_stats")
    op.drop_table("term_stats")
    op.drop_table("lexical")

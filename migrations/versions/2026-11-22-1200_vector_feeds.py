"""Note which vectors a graph outside PostgreSQL is still to be told of.

Locks: only tables it creates. Nothing is written to them unless VECTOR_STORE names such a graph.
Back: drop; the graph outside is of no use then, and PostgreSQL builds its own at the next migration.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009_vector_feeds"
down_revision = "0008_document_attributes"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "vector_feeds",
        sa.Column("space_id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("generation", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("mark", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("next_mark", sa.Uuid(), nullable=True),
        sa.Column("is_listed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stale", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.ForeignKeyConstraint(
            ["space_id"],
            ["embedding_spaces.id"],
            name="fk_vector_feeds_space_id_embedding_spaces",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("space_id", name="pk_vector_feeds"),
    )
    op.create_table(
        "vector_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("space_id", sa.SmallInteger(), nullable=False),
        sa.Column("chunk_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("chunk_count", sa.Integer(), nullable=False),
        sa.Column("is_removal", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["space_id"],
            ["vector_feeds.space_id"],
            name="fk_vector_changes_space_id_vector_feeds",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_vector_changes"),
    )
    op.create_index("ix_vector_changes_space_id", "vector_changes", ["space_id", "is_removal", "id"], unique=False)


def downgrade() -> None:
    op.drop_table("vector_changes")
    op.drop_table("vector_feeds")

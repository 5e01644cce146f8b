"""Create embedding spaces, and vectors kept while a document is being embedded.

Locks: only tables it creates.
Back: the downgrade drops these tables with all they hold.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC

revision = "0003_embedding_spaces"
down_revision = "0002_jobs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "embedding_spaces",
        sa.Column("id", sa.SmallInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_embedding_spaces"),
        sa.UniqueConstraint("model", "dimension", name="uq_embedding_spaces_model_dimension"),
    )
    op.create_table(
        "kept_embeddings",
        sa.Column("space_id", sa.SmallInteger(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("embedding", HALFVEC(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["space_id"], ["embedding_spaces.id"], name="fk_kept_embeddings_space_id_embedding_spaces"
        ),
        sa.PrimaryKeyConstraint("space_id", "content_hash", name="pk_kept_embeddings"),
    )
    op.create_index("ix_kept_embeddings_created_at", "kept_embeddings", ["created_at"], unique=False)


def downgrade() -> None:
    op.drop_table("kept_embeddings")
    op.drop_table("embedding_spaces")

"""Add what a collection's change of model needs: which two spaces it has, how far the second is filled, and an index of
contents, so that what was embedded once is found again.

Locks: chunks against writing while the index is made: some seconds for a million passages.
Back: the downgrade drops both. Open changes are forgotten; each collection keeps the space that its searches ask.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010_reembeddings"
down_revision = "0009_vector_feeds"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local statement_timeout = 0")  # of an index over all that is there
    op.create_table(
        "reembeddings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("from_space_id", sa.SmallInteger(), nullable=False),
        sa.Column("to_space_id", sa.SmallInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("filled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("switched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("position", sa.Uuid(), nullable=True),
        sa.Column("embedded", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reused", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("recent_chunks", sa.Float(), server_default="0", nullable=False),
        sa.Column("recent_s", sa.Float(), server_default="0", nullable=False),
        sa.Column("worked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collections.id"], name="fk_reembeddings_collection_id_collections"
        ),
        sa.ForeignKeyConstraint(
            ["from_space_id"], ["embedding_spaces.id"], name="fk_reembeddings_from_space_id_embedding_spaces"
        ),
        sa.ForeignKeyConstraint(
            ["to_space_id"], ["embedding_spaces.id"], name="fk_reembeddings_to_space_id_embedding_spaces"
        ),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_reembeddings_workspace_id_workspaces"),
        sa.PrimaryKeyConstraint("id", name="pk_reembeddings"),
    )
    op.create_index(
        "uq_reembeddings_collection_id",
        "reembeddings",
        ["collection_id"],
        unique=True,
        postgresql_where=sa.text("ended_at is null"),
    )
    op.create_index("ix_chunks_content_hash", "chunks", ["content_hash"], unique=False, postgresql_using="hash")


def downgrade() -> None:
    op.execute("delete from jobs where kind in ('documents.reembed', 'documents.drop_vectors')")
    op.drop_index("ix_chunks_content_hash", table_name="chunks")
    op.drop_table("reembeddings")

"""Create kept files, which are in no collection or in several and may come in parts, and the terms of collections: label,
notes, expiry.

Locks: collections for a moment, and new tables. Where code of before this revision runs beside it, its sweep of unused files fails on the first
that is kept here, and removes nothing.
Back: the downgrade drops all of it; the bytes of files of which no document was made are orphans then.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023_kept_files"
down_revision = "0022_documents_have_a_date"
branch_labels = None
depends_on = None

_RULES = {
    **dict.fromkeys(("kept_files", "part_uploads", "upload_parts"), "workspace_id = (select reach_workspace())"),
    "collection_uses": "exists (select from collections as referred where referred.id = collection_uses.collection_id)",
}


def upgrade() -> None:
    op.create_table(
        "kept_files",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_kept_files_workspace_id_workspaces"),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name="fk_kept_files_file_id_files"),
        sa.PrimaryKeyConstraint("id", name="pk_kept_files"),
    )
    op.create_index("ix_kept_files_workspace_id_id", "kept_files", ["workspace_id", "id"])
    op.create_index("ix_kept_files_file_id", "kept_files", ["file_id"])
    op.create_index(
        "ix_kept_files_expires_at",
        "kept_files",
        ["expires_at"],
        postgresql_where=sa.text("expires_at is not null"),
    )
    op.create_table(
        "part_uploads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("expires_s", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("kept_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state in ('pending', 'completed', 'cancelled')", name="ck_part_uploads_state"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_part_uploads_workspace_id_workspaces"),
        sa.PrimaryKeyConstraint("id", name="pk_part_uploads"),
    )
    op.create_index("ix_part_uploads_expires_at", "part_uploads", ["expires_at"])
    op.create_table(
        "upload_parts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("upload_id", sa.Uuid(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_upload_parts_workspace_id_workspaces"),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["part_uploads.id"], name="fk_upload_parts_upload_id_part_uploads", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name="fk_upload_parts_file_id_files"),
        sa.PrimaryKeyConstraint("id", name="pk_upload_parts"),
    )
    op.create_index("ix_upload_parts_upload_id", "upload_parts", ["upload_id"])
    op.create_index("ix_upload_parts_file_id", "upload_parts", ["file_id"])
    op.add_column("collections", sa.Column("label", sa.Text(), nullable=True))
    op.add_column("collections", sa.Column("notes", postgresql.JSONB(), server_default="{}", nullable=False))
    op.add_column("collections", sa.Column("expires_after_days", sa.Integer(), nullable=True))
    op.create_table(
        "collection_uses",
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["collections.id"],
            name="fk_collection_uses_collection_id_collections",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("collection_id", name="pk_collection_uses"),
    )
    for table, rule in _RULES.items():
        op.execute(f"alter table {table} enable row level security, force row level security")
        op.execute(f"create policy reach on {table} using ((select reaches_everything()) or {rule})")
        op.execute(f"create policy owner on {table} to current_user using (true)")


def downgrade() -> None:
    op.drop_table("collection_uses")
    for column in ("expires_after_days", "notes", "label"):
        op.drop_column("collections", column)
    op.drop_table("upload_parts")
    op.drop_table("part_uploads")
    op.drop_table("kept_files")

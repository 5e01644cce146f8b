"""Add what ingestion needs to be a product: batches, archives' members, webhooks, quotas, direct uploads, checks of blobs.

Locks: documents, events, jobs and versions while columns and indexes are added: seconds for a million rows.
Back: the downgrade drops what it adds, and the members of archives.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from drystone.jobs.models import Xid8

revision = "0006_ingestion"
down_revision = "0005_keyword_index"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blob_checks",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("problem in ('missing', 'wrong')", name="ck_blob_checks_problem"),
        sa.PrimaryKeyConstraint("sha256", name="pk_blob_checks"),
    )
    op.create_index("ix_blob_checks_checked_at", "blob_checks", ["checked_at"], unique=False)
    op.create_index(
        "ix_blob_checks_problem",
        "blob_checks",
        ["sha256"],
        unique=False,
        postgresql_where=sa.text("problem is not null"),
    )
    op.create_table(
        "blob_removals",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_blob_removals"),
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("expected", sa.Integer(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_batches_workspace_id_workspaces"),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
    )
    op.create_index(
        "ix_batches_open", "batches", ["created_at"], unique=False, postgresql_where=sa.text("done_at is null")
    )
    op.create_table(
        "direct_uploads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("request", postgresql.JSONB(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_direct_uploads_workspace_id_workspaces"),
        sa.PrimaryKeyConstraint("id", name="pk_direct_uploads"),
    )
    op.create_index("ix_direct_uploads_expires_at", "direct_uploads", ["expires_at"], unique=False)
    op.create_table(
        "timeline",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_timeline"),
    )
    op.execute("insert into timeline default values")
    op.create_table(
        "upload_usage",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("documents", sa.Integer(), server_default="0", nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_upload_usage_workspace_id_workspaces"),
        sa.PrimaryKeyConstraint("workspace_id", "actor", "day", name="pk_upload_usage"),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("previous_secret", sa.Text(), nullable=True),
        sa.Column("previous_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("kinds", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("collection_id", sa.Uuid(), nullable=True),
        sa.Column("cursor_xid", Xid8(), nullable=False),
        sa.Column("cursor_id", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_webhooks_workspace_id_workspaces"),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )
    op.create_index("ix_webhooks_workspace_id", "webhooks", ["workspace_id"], unique=False)
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("webhook_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("response_status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state in ('pending', 'delivered', 'failed')", name="ck_webhook_deliveries_state"),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name="fk_webhook_deliveries_webhook_id_webhooks", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        sa.UniqueConstraint("webhook_id", "event_id", name="uq_webhook_deliveries_webhook_id_event_id"),
    )
    op.create_index("ix_webhook_deliveries_created_at", "webhook_deliveries", ["created_at"], unique=False)
    op.create_index(
        "ix_webhook_deliveries_pending",
        "webhook_deliveries",
        ["webhook_id", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.add_column("api_keys", sa.Column("documents_per_day", sa.Integer(), nullable=True))
    op.add_column("api_keys", sa.Column("bytes_per_day", sa.BigInteger(), nullable=True))
    op.add_column("deletions", sa.Column("exported_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_deletions_unexported",
        "deletions",
        ["id"],
        unique=False,
        postgresql_where=sa.text("exported_at is null"),
    )
    op.add_column("documents", sa.Column("parent_id", sa.Uuid(), nullable=True))
    op.add_column("documents", sa.Column("member_path", sa.Text(), nullable=True))
    op.create_index(
        "uq_documents_parent_id_member_path",
        "documents",
        ["parent_id", "member_path"],
        unique=True,
        postgresql_where=sa.text("deleted_at is null and parent_id is not null"),
    )
    op.create_foreign_key("fk_documents_parent_id_documents", "documents", "documents", ["parent_id"], ["id"])
    op.add_column("events", sa.Column("collection_id", sa.Uuid(), nullable=True))
    op.add_column("events", sa.Column("batch_id", sa.Uuid(), nullable=True))
    op.create_index(
        "ix_events_batch_id_xid_id",
        "events",
        ["batch_id", "xid", "id"],
        unique=False,
        postgresql_where=sa.text("batch_id is not null"),
    )
    op.create_index(
        "ix_events_collection_id_xid_id",
        "events",
        ["collection_id", "xid", "id"],
        unique=False,
        postgresql_where=sa.text("collection_id is not null"),
    )
    op.create_index("ix_events_subject_id_xid_id", "events", ["subject_id", "xid", "id"], unique=False)
    op.execute("delete from idempotency_keys")  # nothing wrote any
    op.add_column("idempotency_keys", sa.Column("actor", sa.Text(), nullable=False))
    op.add_column("idempotency_keys", sa.Column("response_headers", postgresql.JSONB(), nullable=True))
    op.add_column("idempotency_keys", sa.Column("locked_until", sa.DateTime(timezone=True), nullable=True))
    op.drop_constraint("uq_idempotency_keys_workspace_id_key", "idempotency_keys", type_="unique")
    op.create_index("ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"], unique=False)
    op.create_unique_constraint(
        "uq_idempotency_keys_workspace_id_actor_key", "idempotency_keys", ["workspace_id", "actor", "key"]
    )
    op.add_column("jobs", sa.Column("collection_id", sa.Uuid(), nullable=True))
    op.add_column("jobs", sa.Column("cost", sa.BigInteger(), server_default="0", nullable=False))
    op.create_index(
        "ix_jobs_turns",
        "jobs",
        ["collection_id", "run_after", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "ix_jobs_failed",
        "jobs",
        ["workspace_id", "error_code", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'failed'"),
    )
    op.create_index(
        "ix_jobs_finished_at",
        "jobs",
        ["workspace_id", "finished_at"],
        unique=False,
        postgresql_where=sa.text("finished_at is not null"),
    )
    op.add_column("versions", sa.Column("batch_id", sa.Uuid(), nullable=True))
    op.add_column("versions", sa.Column("detected_language", sa.Text(), nullable=True))
    op.add_column("versions", sa.Column("name", sa.Text(), nullable=True))
    op.execute("update versions set name = documents.name from documents where documents.id = versions.document_id")
    op.create_index(
        "ix_versions_batch_id", "versions", ["batch_id"], unique=False, postgresql_where=sa.text("batch_id is not null")
    )
    op.create_index(
        "ix_versions_batch_pending",
        "versions",
        ["batch_id"],
        unique=False,
        postgresql_where=sa.text("batch_id is not null and state = 'pending'"),
    )
    op.create_foreign_key("fk_versions_batch_id_batches", "versions", "batches", ["batch_id"], ["id"])
    op.drop_index("uq_documents_collection_id_sha256", table_name="documents")
    op.create_index(
        "uq_documents_collection_id_sha256",
        "documents",
        ["collection_id", "sha256"],
        unique=True,
        postgresql_where=sa.text("deleted_at is null and external_id is null and parent_id is null"),
    )


def downgrade() -> None:
    op.execute("delete from documents where parent_id is not null")
    op.drop_index("uq_documents_collection_id_sha256", table_name="documents")
    op.create_index(
        "uq_documents_collection_id_sha256",
        "documents",
        ["collection_id", "sha256"],
        unique=True,
        postgresql_where=sa.text("deleted_at is null and external_id is null"),
    )
    op.drop_constraint("fk_versions_batch_id_batches", "versions", type_="foreignkey")
    op.drop_index(
        "ix_versions_batch_pending",
        table_name="versions",
        postgresql_where=sa.text("batch_id is not null and state = 'pending'"),
    )
    op.drop_index("ix_versions_batch_id", table_name="versions", postgresql_where=sa.text("batch_id is not null"))
    op.drop_column("versions", "name")
    op.drop_column("versions", "detected_language")
    op.drop_column("versions", "batch_id")
    op.drop_index("ix_jobs_finished_at", table_name="jobs", postgresql_where=sa.text("finished_at is not null"))
    op.drop_index("ix_jobs_failed", table_name="jobs", postgresql_where=sa.text("state = 'failed'"))
    op.drop_index("ix_jobs_turns", table_name="jobs", postgresql_where=sa.text("state = 'queued'"))
    op.drop_column("jobs", "cost")
    op.drop_column("jobs", "collection_id")
    op.drop_constraint("uq_idempotency_keys_workspace_id_actor_key", "idempotency_keys", type_="unique")
    op.drop_index("ix_idempotency_keys_expires_at", table_name="idempotency_keys")
    op.create_unique_constraint("uq_idempotency_keys_workspace_id_key", "idempotency_keys", ["workspace_id", "key"])
    op.drop_column("idempotency_keys", "locked_until")
    op.drop_column("idempotency_keys", "response_headers")
    op.drop_column("idempotency_keys", "actor")
    op.drop_index("ix_events_subject_id_xid_id", table_name="events")
    op.drop_index(
        "ix_events_collection_id_xid_id", table_name="events", postgresql_where=sa.text("collection_id is not null")
    )
    op.drop_index("ix_events_batch_id_xid_id", table_name="events", postgresql_where=sa.text("batch_id is not null"))
    op.drop_column("events", "batch_id")
    op.drop_column("events", "collection_id")
    op.drop_constraint("fk_documents_parent_id_documents", "documents", type_="foreignkey")
    op.drop_index(
        "uq_documents_parent_id_member_path",
        table_name="documents",
        postgresql_where=sa.text("deleted_at is null and parent_id is not null"),
    )
    op.drop_column("documents", "member_path")
    op.drop_column("documents", "parent_id")
    op.drop_index("ix_deletions_unexported", table_name="deletions", postgresql_where=sa.text("exported_at is null"))
    op.drop_column("deletions", "exported_at")
    op.drop_column("api_keys", "bytes_per_day")
    op.drop_column("api_keys", "documents_per_day")
    op.drop_index(
        "ix_webhook_deliveries_pending", table_name="webhook_deliveries", postgresql_where=sa.text("state = 'pending'")
    )
    op.drop_index("ix_webhook_deliveries_created_at", table_name="webhook_deliveries")
    op.drop_table("webhook_deliveries")
    op.drop_index("ix_webhooks_workspace_id", table_name="webhooks")
    op.drop_table("webhooks")
    op.drop_table("upload_usage")
    op.drop_table("timeline")
    op.drop_index("ix_direct_uploads_expires_at", table_name="direct_uploads")
    op.drop_table("direct_uploads")
    op.drop_index("ix_batches_open", table_name="batches", postgresql_where=sa.text("done_at is null"))
    op.drop_table("batches")
    op.drop_index("ix_blob_checks_problem", table_name="blob_checks", postgresql_where=sa.text("problem is not null"))
    op.drop_index("ix_blob_checks_checked_at", table_name="blob_checks")
    op.drop_table("blob_checks")
    op.drop_table("blob_removals")

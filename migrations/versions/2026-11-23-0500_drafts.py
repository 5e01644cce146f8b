"""Create drafts: changes of the catalogue that somebody proposes, edited by whoever holds their link.

A link is looked up through a function of the owner, because it is not known yet whose draft it is.

Locks: only the table it creates.
Back: the downgrade drops this table with all it holds.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0019_drafts"
down_revision = "0018_observations"
branch_labels = None
depends_on = None

_STATUSES = ("open", "validated", "submitted", "approved", "rejected", "merged", "expired")
_RULE = "(select reaches_everything()) or workspace_id = (select reach_workspace())"
_FIND = """
create function find_draft(its_prefix text) returns table (id uuid, workspace_id uuid, prefix text, token_sha256 bytea)
language sql stable security definer set search_path = public, pg_temp as $$
    select id, workspace_id, token_prefix, token_sha256 from drafts
    where token_prefix = its_prefix and revoked_at is null and expires_at > now() and deleted_at is null
$$
"""


def upgrade() -> None:
    postgresql.ENUM(*_STATUSES, name="draft_status").create(op.get_bind())
    op.create_table(
        "drafts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column(
            "status",
            postgresql.ENUM(*_STATUSES, name="draft_status", create_type=False),
            server_default="open",
            nullable=False,
        ),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("bump_modules", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("base_revision", sa.BigInteger(), nullable=False),
        sa.Column("changes", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("revision", sa.Integer(), server_default="1", nullable=False),
        sa.Column("token_prefix", sa.Text(), nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("merged_revision", sa.BigInteger(), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_drafts_workspace_id_workspaces"),
        sa.PrimaryKeyConstraint("id", name="pk_drafts"),
        sa.UniqueConstraint("token_prefix", name="uq_drafts_token_prefix"),
    )
    op.create_index("ix_drafts_workspace_id_id", "drafts", ["workspace_id", "id"])
    op.create_index(
        "ix_drafts_expires_at",
        "drafts",
        ["expires_at"],
        postgresql_where=sa.text("status in ('open', 'validated', 'submitted', 'approved') and deleted_at is null"),
    )
    app_role = context.config.attributes["app_role"]
    op.execute("alter table drafts enable row level security, force row level security")
    op.execute(f"create policy reach on drafts using ({_RULE})")
    op.execute("create policy owner on drafts to current_user using (true)")
    op.execute(_FIND)
    op.execute("revoke execute on function find_draft(text) from public")
    op.execute(f'grant execute on function find_draft(text) to "{app_role}"')


def downgrade() -> None:
    op.execute("drop function find_draft(text)")
    op.drop_table("drafts")
    postgresql.ENUM(name="draft_status").drop(op.get_bind())

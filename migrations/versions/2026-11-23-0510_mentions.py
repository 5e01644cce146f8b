"""Create mentions: where passages name entities; and have those of what there is already looked for.

Locks: catalogues for a moment, and new tables. The worker then looks through all passages of workspaces with entities, as
after any change of names; searches and uploads go on meanwhile.
Back: the downgrade drops all of it; mentions are made of names and passages.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020_mentions"
down_revision = "0019_drafts"
branch_labels = None
depends_on = None

_RULES = {
    "mentions": "exists (select from collections as referred where referred.id = mentions.collection_id)",
    "mention_rounds": "workspace_id = (select reach_workspace())",
}


def upgrade() -> None:
    op.add_column("catalogues", sa.Column("names_id", sa.Uuid(), nullable=True))
    op.create_table(
        "mentions",
        sa.Column("chunk_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entity_id", sa.Uuid(), nullable=False),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("starts", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.Column("ends", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.ForeignKeyConstraint(["chunk_id"], ["chunks.id"], name="fk_mentions_chunk_id_chunks", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("chunk_id", "entity_id", name="pk_mentions"),
    )
    op.create_index("ix_mentions_entity_id", "mentions", ["entity_id", sa.text("document_id desc"), "chunk_id"])
    op.create_table(
        "mention_rounds",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("names_id", sa.Uuid(), nullable=True),
        sa.Column("position", sa.Uuid(), nullable=True),
        sa.Column("ordinal", sa.Integer(), nullable=True),
        sa.Column("passages", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_mention_rounds_workspace_id_workspaces"),
        sa.PrimaryKeyConstraint("workspace_id", name="pk_mention_rounds"),
    )
    for table, rule in _RULES.items():
        op.execute(f"alter table {table} enable row level security, force row level security")
        op.execute(f"create policy reach on {table} using ((select reaches_everything()) or {rule})")
        op.execute(f"create policy owner on {table} to current_user using (true)")
    op.execute(
        "update catalogues set names_id = gen_random_uuid()"
        " where exists (select from entities where entities.workspace_id = catalogues.workspace_id)"
    )
    op.execute(
        "insert into jobs (id, workspace_id, kind, subject_id, cost)"
        " select gen_random_uuid(), workspace_id, 'mentions.refresh', workspace_id, 1 << 30"
        " from catalogues where names_id is not null"
    )


def downgrade() -> None:
    op.execute("delete from jobs where kind = 'mentions.refresh'")
    op.drop_table("mention_rounds")
    op.drop_table("mentions")
    op.drop_column("catalogues", "names_id")

"""Create visits: browsers that are signed in with a key.

A visit is looked up through a function of the owner, because it is not known yet whose it is; it holds no longer than its key.

Locks: only the table it creates.
Back: the downgrade drops this table: whoever is signed in has to sign in again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0024_visits"
down_revision = "0023_kept_files"
branch_labels = None
depends_on = None

_RULE = "(select reaches_everything()) or workspace_id = (select reach_workspace())"
_FIND = """
create function find_visit(its_sha256 bytea)
returns table (
    workspace_id uuid, prefix text, secret_sha256 bytea, scopes text[], collection_ids uuid[], documents_per_day integer,
    bytes_per_day bigint
)
language sql stable security definer set search_path = public, pg_temp as $$
    select key.workspace_id, key.prefix, visit.secret_sha256, key.scopes, key.collection_ids, key.documents_per_day,
           key.bytes_per_day
    from visits as visit
    join api_keys as key on key.id = visit.key_id
    where visit.token_sha256 = its_sha256 and visit.expires_at > now()
      and key.revoked_at is null and (key.expires_at is null or key.expires_at > now())
      and (visit.secret_sha256 = key.secret_sha256
           or visit.secret_sha256 = key.previous_secret_sha256 and key.previous_until > now())
$$
"""


def upgrade() -> None:
    op.create_table(
        "visits",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_visits_workspace_id_workspaces"),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_visits_key_id_api_keys", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_visits"),
        sa.UniqueConstraint("token_sha256", name="uq_visits_token_sha256"),
    )
    op.create_index("ix_visits_workspace_id_expires_at", "visits", ["workspace_id", "expires_at"])
    app_role = context.config.attributes["app_role"]
    op.execute(_FIND)
    op.execute("alter table visits enable row level security, force row level security")
    op.execute(f"create policy reach on visits using ({_RULE})")
    op.execute("create policy owner on visits to current_user using (true)")
    op.execute("revoke execute on function find_visit(bytea) from public")
    op.execute(f'grant execute on function find_visit(bytea) to "{app_role}"')


def downgrade() -> None:
    op.execute("drop function find_visit(bytea)")
    op.drop_table("visits")

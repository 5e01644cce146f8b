"""Have PostgreSQL hold each transaction to the rows that it said it would reach: forced row-level security.

Rules stand for themselves here; tests/integration/test_reach.py holds every table to one. Whoever declares nothing sees no
row; the owner, who migrates and makes dumps, sees all. Keys are looked up through two functions of the owner, because it
is not known yet whose they are.

Locks: each table for a moment, exclusively; nothing is read or written anew. Code of before this revision declares nothing
and so sees nothing: web and worker have to be of this revision, too.
Back: the downgrade takes policies and functions away again.
"""

from __future__ import annotations

from alembic import context, op

revision = "0015_row_level_security"
down_revision = "0014_audit_is_read"
branch_labels = None
depends_on = None

_OF_WORKSPACE = "workspace_id = (select reach_workspace())"
_OF_COLLECTION = (
    "((select reach_collections()) is null or {column} is null or {column} = any((select reach_collections())::uuid[]))"
)
_WITHIN = f"{_OF_WORKSPACE} and {_OF_COLLECTION}"
_REFERRING = "exists (select from {other} as referred where referred.id = {table}.{column})"

_RULES = {
    "workspaces": "id = (select reach_workspace())",
    **dict.fromkeys(
        ("api_keys", "audit", "batches", "deletions", "direct_uploads", "files", "idempotency_keys", "upload_usage"),
        _OF_WORKSPACE,
    ),
    "collections": _WITHIN.format(column="id"),
    **dict.fromkeys(
        ("documents", "events", "jobs", "reembeddings", "webhooks"), _WITHIN.format(column="collection_id")
    ),
    "versions": f"{_OF_WORKSPACE} and ((select reach_collections()) is null or "
    + _REFERRING.format(other="documents", table="versions", column="document_id")
    + ")",
    **{
        table: _REFERRING.format(other="collections", table=table, column="collection_id")
        for table in (
            "chunks",
            "document_attributes",
            "lexical_additions",
            "lexical_removals",
            "lexical_segments",
        )
    },
    "lexical_postings": _REFERRING.format(other="lexical_segments", table="lexical_postings", column="segment_id"),
    "webhook_deliveries": _REFERRING.format(other="webhooks", table="webhook_deliveries", column="webhook_id"),
    "kept_embeddings": "false",
}

_FUNCTIONS = """
create function reaches_everything() returns boolean language sql stable parallel safe as
$$ select current_setting('drystone.workspace', true) = '*' $$;

create function reach_workspace() returns uuid language sql stable parallel safe as
$$ select cast(nullif(nullif(current_setting('drystone.workspace', true), ''), '*') as uuid) $$;

create function reach_collections() returns uuid[] language sql stable parallel safe as
$$ select cast(nullif(current_setting('drystone.collections', true), '') as uuid[]) $$;

create function find_key(its_prefix text)
returns table (
    workspace_id uuid, prefix text, secret_sha256 bytea, previous_sha256 bytea, is_use_to_note boolean, scopes text[],
    collection_ids uuid[], documents_per_day integer, bytes_per_day bigint
)
language sql stable security definer set search_path = public, pg_temp as $$
    select workspace_id, prefix, secret_sha256, case when previous_until > now() then previous_secret_sha256 end,
           last_used_at is null or last_used_at < now() - interval '60 s',
           scopes, collection_ids, documents_per_day, bytes_per_day
    from api_keys
    where prefix = its_prefix and revoked_at is null and (expires_at is null or expires_at > now())
$$;

-- Whoever holds the row is changing the key; its use is noted a minute later.
create function note_key_use(its_prefix text) returns void
language sql security definer set search_path = public, pg_temp as $$
    update api_keys set last_used_at = now()
    where id = (select id from api_keys where prefix = its_prefix for update skip locked)
$$;
"""


def upgrade() -> None:
    for statement in _FUNCTIONS.split("\n\n"):
        op.execute(statement)
    app_role = context.config.attributes["app_role"]
    for function in ("find_key(text)", "note_key_use(text)"):
        op.execute(f"revoke execute on function {function} from public")
        op.execute(f'grant execute on function {function} to "{app_role}"')
    for table, rule in (_RULES | dict.fromkeys(_vector_tables(), None)).items():
        said = rule or _REFERRING.format(other="collections", table=table, column="collection_id")
        op.execute(f"alter table {table} enable row level security, force row level security")
        op.execute(f"create policy reach on {table} using ((select reaches_everything()) or {said})")
        op.execute(f"create policy owner on {table} to current_user using (true)")


def downgrade() -> None:
    for table in (*_RULES, *_vector_tables()):
        op.execute(f"drop policy if exists reach on {table}")
        op.execute(f"drop policy if exists owner on {table}")
        op.execute(f"alter table {table} no force row level security, disable row level security")
    for function in ("note_key_use(text)", "find_key(text)", "reach_collections()", "reach_workspace()"):
        op.execute(f"drop function {function}")
    op.execute("drop function reaches_everything()")


def _vector_tables() -> list[str]:
    """Made for each embedding space, not by revisions."""
    found = op.get_bind().exec_driver_sql("select id from embedding_spaces order by id")
    return [f"vectors_{row.id}" for row in found]

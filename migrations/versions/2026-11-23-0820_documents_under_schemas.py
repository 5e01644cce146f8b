"""Let documents name a category or profile that their attributes are to fit; index attributes that are times.

Locks: documents and collections while their rows are read once, some seconds for a million; writes of documents' attributes while
those that look like times are indexed.
Back: the downgrade drops what documents name and what was found; attributes stay.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021_documents_under_schemas"
down_revision = "0020_mentions"
branch_labels = None
depends_on = None

_KIND = "schema_kind in ('category', 'profile') and schema_id is not null or schema_kind is null and schema_id is null"
# A day, or a moment, of UTC where it has no offset; to the microsecond, what is finer cut off. Null for all else. Immutable: what it
# casts is ISO 8601 with an offset, whatever the settings of a session are.
_INDEXED_TIME = r"""
create function indexed_time(given text) returns timestamptz language plpgsql immutable strict parallel safe as $$
declare
    plain text := given;
    shape text;
begin
    if given not like '____-__-__%' or length(given) > 64 then
        return null;
    end if;
    shape := translate(given, '123456789', '000000000');
    if shape = '0000-00-00' then
        plain := given || 'T00:00:00Z';
    elsif shape not in ('0000-00-00T00:00:00Z', '0000-00-00T00:00:00+00:00', '0000-00-00T00:00:00-00:00') then
        -- A regular expression takes several times as long as all else here.
        if shape !~ '^0000-00-00[Tt ]00:00(?::00(?:\.0+)?)?(?:[Zz]|[+-]00:00)?$' then
            return null;
        end if;
        if right(given, 1) not in ('Z', 'z') and left(right(given, 6), 1) not in ('+', '-') then
            plain := given || 'Z';
        end if;
        plain := regexp_replace(plain, '(\.\d{6})\d+', '\1');
    end if;
    return case when pg_input_is_valid(plain, 'timestamptz') then plain::timestamptz end;
end
$$
"""
_COLUMNS = """document.id as document_id, each.key, document.collection_id,
       case jsonb_typeof(value) when 'number' then indexed_number(value::numeric) end as number,
       case jsonb_typeof(value) when 'string' then left(value #>> '{}', 256) end as string,
       case jsonb_typeof(value) when 'boolean' then value::boolean end as boolean"""
_TIME = """,
       case jsonb_typeof(value) when 'string' then indexed_time(left(value #>> '{}', 256)) end as time"""


def _on_change(names: str, columns: str) -> str:
    return f"""
create or replace function index_attributes() returns trigger language plpgsql as $$
begin
    if tg_op <> 'INSERT' then
        delete from document_attributes where document_id = old.id;
    end if;
    if tg_op <> 'DELETE' and new.purged_at is null then
        insert into document_attributes (document_id, key, collection_id, number, string, boolean{names})
        select {columns}
        from (select new.id, new.collection_id) as document, jsonb_each(new.attributes) as each
        where jsonb_typeof(value) in ('number', 'string', 'boolean') and length(key) <= 256;
    end if;
    return null;
end
$$
"""


def upgrade() -> None:
    op.execute("set local statement_timeout = 0")  # of an index over all that is there
    for table in ("collections", "documents"):
        op.add_column(table, sa.Column("schema_kind", sa.Text(), nullable=True))
        op.add_column(table, sa.Column("schema_id", sa.Uuid(), nullable=True))
        op.create_check_constraint(op.f(f"ck_{table}_schema_kind"), table, _KIND)
    op.add_column("documents", sa.Column("schema_version_id", sa.Uuid(), nullable=True))
    op.add_column("documents", sa.Column("schema_sha256", sa.LargeBinary(), nullable=True))
    op.add_column("documents", sa.Column("schema_problem", postgresql.JSONB(), nullable=True))
    op.create_index(
        "ix_documents_schema_id",
        "documents",
        ["schema_id", "schema_sha256", "id"],
        postgresql_where=sa.text("schema_id is not null and deleted_at is null"),
    )
    op.create_index(
        "ix_documents_schema_problem",
        "documents",
        ["collection_id", "id"],
        postgresql_where=sa.text("schema_problem is not null and deleted_at is null"),
    )
    op.add_column("document_attributes", sa.Column("time", sa.DateTime(timezone=True), nullable=True))
    op.execute(_INDEXED_TIME)
    op.execute(_on_change(", time", _COLUMNS + _TIME))
    op.execute("update document_attributes set time = indexed_time(string) where indexed_time(string) is not null")
    op.create_index(
        "ix_document_attributes_time",
        "document_attributes",
        ["collection_id", "key", "time", "document_id"],
        postgresql_where=sa.text("time is not null"),
    )


def downgrade() -> None:
    op.execute("delete from jobs where kind = 'documents.recheck'")
    op.execute(_on_change("", _COLUMNS))
    op.drop_column("document_attributes", "time")
    op.execute("drop function indexed_time(text)")
    op.drop_index("ix_documents_schema_problem", table_name="documents")
    op.drop_index("ix_documents_schema_id", table_name="documents")
    for name in ("schema_problem", "schema_sha256", "schema_version_id"):
        op.drop_column("documents", name)
    for table in ("documents", "collections"):
        op.drop_constraint(op.f(f"ck_{table}_schema_kind"), table, type_="check")
        op.drop_column(table, "schema_id")
        op.drop_column(table, "schema_kind")

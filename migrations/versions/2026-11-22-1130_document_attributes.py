"""Index the attributes of documents by type, and documents by the time they were made, for filters.

Locks: writes of documents while those that are there are indexed.
Back: the downgrade drops the index only; attributes stay with their documents.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008_document_attributes"
down_revision = "0007_lexical_segments"
branch_labels = None
depends_on = None

_AT_ONCE = 10_000

# Any two numbers keep their order, or become equal. What double precision cannot hold is an error to PostgreSQL's cast.
_INDEXED_NUMBER = """
create function indexed_number(given numeric) returns double precision language sql immutable parallel safe as $$
    select case when given <> 0 and abs(given) < 1e-300 then 0
                else least(greatest(given, -1e308), 1e308) end::double precision
$$
"""
# 256 characters: drystone.documents.filters. Longer keys cannot be asked for, and an index takes only so many bytes.
_ATTRIBUTES = """
select document.id as document_id, each.key, document.collection_id,
       case jsonb_typeof(value) when 'number' then indexed_number(value::numeric) end as number,
       case jsonb_typeof(value) when 'string' then left(value #>> '{}', 256) end as string,
       case jsonb_typeof(value) when 'boolean' then value::boolean end as boolean
"""
_INDEXABLE = "jsonb_typeof(value) in ('number', 'string', 'boolean') and length(key) <= 256"
_ON_CHANGE = f"""
create function index_attributes() returns trigger language plpgsql as $$
begin
    if tg_op <> 'INSERT' then
        delete from document_attributes where document_id = old.id;
    end if;
    if tg_op <> 'DELETE' and new.purged_at is null then
        insert into document_attributes (document_id, key, collection_id, number, string, boolean)
        {_ATTRIBUTES}
        from (select new.id, new.collection_id) as document, jsonb_each(new.attributes) as each
        where {_INDEXABLE};
    end if;
    return null;
end
$$
"""
_TRIGGERS = (
    """
    create trigger index_attributes_of_new after insert on documents
    for each row when (new.attributes <> '{}') execute function index_attributes()
    """,
    """
    create trigger index_attributes_of_changed after update of attributes, collection_id, purged_at on documents
    for each row when ((old.attributes, old.collection_id, old.purged_at)
                       is distinct from (new.attributes, new.collection_id, new.purged_at))
    execute function index_attributes()
    """,
    """
    create trigger index_attributes_of_removed after delete on documents
    for each row execute function index_attributes()
    """,
)
_FILL = f"""
with document as materialized (
    select id, collection_id, attributes from documents
    where purged_at is null and id > :last order by id limit {_AT_ONCE}
), filled as (
    insert into document_attributes (document_id, key, collection_id, number, string, boolean)
    {_ATTRIBUTES}
    from document, jsonb_each(document.attributes) as each
    where {_INDEXABLE}
)
select id from document order by id desc limit 1
"""


def upgrade() -> None:
    op.execute("set local statement_timeout = 0")  # of an index over all that is there
    op.create_table(
        "document_attributes",
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Float(), nullable=True),
        sa.Column("string", sa.Text(collation="C"), nullable=True),
        sa.Column("boolean", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("document_id", "key", name="pk_document_attributes"),
    )
    op.execute(_INDEXED_NUMBER)
    op.execute(_ON_CHANGE)
    for trigger in _TRIGGERS:
        op.execute(trigger)
    _fill()
    for column in ("number", "string", "boolean"):
        op.create_index(
            f"ix_document_attributes_{column}",
            "document_attributes",
            ["collection_id", "key", column, "document_id"],
            unique=False,
            postgresql_where=sa.text(f"{column} is not null"),
        )
    op.create_index("ix_documents_collection_id_created_at", "documents", ["collection_id", "created_at"], unique=False)


def _fill() -> None:
    last: object = "00000000-0000-0000-0000-000000000000"
    while last is not None:
        last = op.get_bind().scalar(sa.text(_FILL), {"last": last})


def downgrade() -> None:
    op.drop_index("ix_documents_collection_id_created_at", table_name="documents")
    for name in ("new", "changed", "removed"):
        op.execute(f"drop trigger index_attributes_of_{name} on documents")
    op.execute("drop function index_attributes()")
    op.drop_table("document_attributes")
    op.execute("drop function indexed_number(numeric)")

"""Create what makes spaces for vectors that callers bring: the table of a dimension, when a collection of it is made.

A function of the owner, because the role that serves requests can create nothing. It makes what `index.spaces.ensure` makes;
a test compares the two.

Locks: none here. The function, the first time that a dimension is asked for, holds `chunks` against writing for a moment.
Back: the downgrade drops the function; spaces that were made stay, with what is in them.
"""

from __future__ import annotations

from alembic import context, op

revision = "0026_callers_spaces"
down_revision = "0025_readers"
branch_labels = None
depends_on = None

_FUNCTION = """
create function make_callers_space(its_dimension integer, has_graph boolean) returns smallint
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    found smallint;
    its_table text;
begin
    if its_dimension is null or its_dimension not between 1 and 4000 then
        raise exception 'no vectors of % dimensions', its_dimension using errcode = '22023';
    end if;
    select id into found from embedding_spaces where model = 'drystone:caller' and dimension = its_dimension;
    if found is not null then
        return found;
    end if;
    perform pg_advisory_xact_lock(7355007);
    select id into found from embedding_spaces where model = 'drystone:caller' and dimension = its_dimension;
    if found is not null then
        return found;
    end if;
    if (select count(*) from embedding_spaces where model = 'drystone:caller') >= 32 then
        return null;
    end if;
    insert into embedding_spaces (model, dimension) values ('drystone:caller', its_dimension) returning id into found;
    its_table := 'vectors_' || found;
    execute format('create table %I (
        chunk_id bigint primary key references chunks (id) on delete cascade,
        collection_id uuid not null,
        document_id uuid not null,
        embedding halfvec(%s) not null
    )', its_table, its_dimension);
    if has_graph then
        execute format('create index %I on %I using hnsw (embedding halfvec_ip_ops) with (m = 16, ef_construction = 200)',
            'ix_' || its_table || '_embedding', its_table);
    end if;
    execute format('create index %I on %I (collection_id)', 'ix_' || its_table || '_collection_id', its_table);
    execute format('create index %I on %I (document_id)', 'ix_' || its_table || '_document_id', its_table);
    execute format('alter table %I enable row level security, force row level security', its_table);
    execute format('create policy reach on %1$I using ((select reaches_everything()) or exists (
        select from collections as referred where referred.id = %1$I.collection_id))', its_table);
    execute format('create policy owner on %I to current_user using (true)', its_table);
    perform make_passages_view(found);
    return found;
end
$$
"""


def upgrade() -> None:
    app_role = context.config.attributes["app_role"]
    op.execute(_FUNCTION)
    op.execute("revoke execute on function make_callers_space(integer, boolean) from public")
    op.execute(f'grant execute on function make_callers_space(integer, boolean) to "{app_role}"')


def downgrade() -> None:
    op.execute("drop function make_callers_space(integer, boolean)")

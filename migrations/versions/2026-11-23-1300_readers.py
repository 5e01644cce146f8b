"""Create readers, roles of tools that speak SQL, and the schema `reading` with the views that are all they can read.

Who reads is told by `session_user`, which no session can change, and what that role may see by its row in `readers`. A view
runs as the owner, for whom everything is open; a restrictive policy on each table behind a view closes it again for whoever
is neither the application nor the owner. It stands in policies and not in views that are barriers, because PostgreSQL
walks no graph of vectors for a question that is asked outside of such a view (docs/adr/0047).

Views of vectors are made for each embedding space by make_passages_view(), of those that there are here, and of later ones by
`index.spaces`.

Locks: each of these tables for a moment, exclusively; nothing is read or written anew.
Back: the downgrade drops views, policies and the table; the roles stay, and can read nothing: drop them by hand.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0025_readers"
down_revision = "0024_visits"
branch_labels = None
depends_on = None

# It becomes part of statements as it is.
_ROLE = "^drystone_reader_[a-z0-9]+$"
_RULE = "(select reaches_everything()) or workspace_id = (select reach_workspace())"

# What a reader's role comes to. Whoever may read the table of documents itself is the application or the owner, whom other
# policies hold; everybody else is taken for a reader, and one without a row reaches no workspace.
_FUNCTIONS = (
    """
    create function is_reader() returns boolean
    language sql stable parallel safe set search_path = pg_catalog, pg_temp as
    $$ select not pg_catalog.has_table_privilege(session_user, 'public.documents', 'select') $$
    """,
    """
    create function reader_workspace() returns uuid
    language sql stable parallel safe security definer set search_path = public, pg_temp as
    $$ select workspace_id from readers where role = session_user and (expires_at is null or expires_at > now()) $$
    """,
    """
    create function reader_confined() returns uuid[]
    language sql stable parallel safe security definer set search_path = public, pg_temp as
    $$ select collection_ids from readers where role = session_user $$
    """,
    # The policy of collections decides.
    """
    create function reader_collections() returns uuid[]
    language sql stable parallel safe security definer set search_path = public, pg_temp as
    $$ select array(select id from collections) $$
    """,
)
_OF_WORKSPACE = "workspace_id = (select reader_workspace())"
_OF_COLLECTION = "collection_id = any((select reader_collections())::uuid[])"
_OF_DOCUMENT = (
    _OF_COLLECTION + " and exists (select from documents as document where document.id = {table}.document_id)"
)

# Of a condition over others of these tables theirs is a part.
_POLICIES = {
    "collections": f"deleted_at is null and {_OF_WORKSPACE}"
    " and ((select reader_confined()) is null or id = any((select reader_confined())::uuid[]))",
    "documents": f"deleted_at is null and current_version_id is not null and {_OF_COLLECTION}",
    "versions": """exists (
        select from documents as document
        where document.id = versions.document_id and document.current_version_id = versions.id
    )""",
    "files": f"{_OF_WORKSPACE} and exists (select from versions as version where version.file_id = files.id)",
    "chunks": _OF_COLLECTION
    + """ and exists (
        select from documents as document
        where document.id = chunks.document_id and document.current_version_id = chunks.version_id
    )""",
    "mentions": _OF_DOCUMENT.format(table="mentions"),
    "entities": f"deleted_at is null and {_OF_WORKSPACE}",
    "entity_versions": """exists (
        select from entities as entity
        where entity.id = entity_versions.entity_id and entity.current_id = entity_versions.id
    )""",
    "series": f"{_OF_WORKSPACE} and exists (select from entities as entity where entity.id = series.entity_id)",
    **{
        table: f"{_OF_WORKSPACE} and exists (select from series as of_row where of_row.id = {table}.series_id)"
        for table in ("observations", "observation_hours")
    },
}

_VIEWS = {
    "collections": """
        select collection.id, collection.name, collection.label, collection.description, collection.language,
               space.model, space.dimension, collection.space_id, 'passages_' || collection.space_id as passages_view,
               collection.created_at
        from public.collections as collection
        join public.embedding_spaces as space on space.id = collection.space_id
    """,
    "documents": """
        select document.id, document.collection_id, collection.name as collection, document.external_id,
               coalesce(document.title, version.title, version.name) as title, version.name,
               version.id as version_id, version.number as version, file.media_type, file.size_bytes,
               encode(file.sha256, 'hex') as sha256, version.detected_language as language, document.attributes,
               document.dated_on, version.chunk_count as passages, version.text_length as characters,
               document.parent_id, document.member_path, document.created_at, document.updated_at, version.ready_at
        from public.documents as document
        join public.collections as collection on collection.id = document.collection_id
        join public.versions as version on version.id = document.current_version_id
        join public.files as file on file.id = version.file_id
    """,
    "passages": """
        select passage.id, passage.collection_id, collection.name as collection, passage.document_id, document.external_id,
               version.id as version_id, version.number as version,
               coalesce(document.title, version.title, version.name) as title,
               passage.ordinal, passage.title_path, passage.text, passage.start_offset, passage.end_offset, passage.page,
               case when passage.page is not null
                   then greatest(passage.page, width_bucket(passage.end_offset - 1::bigint, version.page_starts))
               end as page_end,
               version.detected_language as language, document.attributes, document.dated_on, collection.space_id
        from public.chunks as passage
        join public.documents as document on document.id = passage.document_id
        join public.versions as version on version.id = passage.version_id
        join public.collections as collection on collection.id = passage.collection_id
    """,
    "entities": """
        select entity.id, entity.type, entity.key, version.label, version.description, version.aliases, version.parents,
               version.number as version, version.schema_definition, entity.created_at, version.published_at
        from public.entities as entity
        join public.entity_versions as version on version.id = entity.current_id
    """,
    "mentions": """
        select mention.chunk_id as passage_id, mention.document_id, mention.collection_id, mention.entity_id,
               entity.key as entity, mention.starts, mention.ends
        from public.mentions as mention
        join public.entities as entity on entity.id = mention.entity_id
    """,
    "observations": """
        select series.id as series_id, series.entity_id, entity.key as entity, series.metric, series.source, series.unit,
               observation.observed_at, observation.value, observation.attributes,
               evidence.document_id as evidence_document_id, evidence.id as evidence_version_id,
               case when evidence.id is not null then observation.evidence_start end as evidence_start,
               case when evidence.id is not null then observation.evidence_end end as evidence_end
        from public.observations as observation
        join public.series as series on series.id = observation.series_id
        join public.entities as entity on entity.id = series.entity_id
        left join public.versions as evidence on evidence.id = observation.evidence_version_id
    """,
    "observation_hours": """
        select series.id as series_id, series.entity_id, entity.key as entity, series.metric, series.source, series.unit,
               hours.hour, hours.count, hours.sum, hours.min, hours.max, hours.first, hours.last
        from public.observation_hours as hours
        join public.series as series on series.id = hours.series_id
        join public.entities as entity on entity.id = series.entity_id
    """,
}

# The owner and the application see nothing through a view, lest the latter gets round what it said it would reach.
_ONLY_READERS = "where (select public.is_reader())"

# A document is looked up for each vector that a walk of the graph meets: PostgreSQL would make a set of all of them for `exists`.
_MAKE_PASSAGES_VIEW = """
create function make_passages_view(its_space_id integer) returns void
language plpgsql set search_path = public, pg_temp as $$
declare
    its_table text := 'vectors_' || its_space_id;
    its_view text := 'passages_' || its_space_id;
begin
    if not exists (select from pg_policies where schemaname = 'public' and tablename = its_table and policyname = 'readers') then
        execute format(
            'create policy readers on %1$I as restrictive for select to current_user using (not (select is_reader()) or '
            'collection_id = any((select reader_collections())::uuid[]) '
            'and (select true from documents as document where document.id = %1$I.document_id))', its_table);
    end if;
    if to_regclass('reading.' || its_view) is null then
        execute format(
            'create view reading.%I as '
            'select passage.*, vector.embedding from public.%I as vector '
            'join reading.passages as passage on passage.id = vector.chunk_id and passage.collection_id = vector.collection_id '
            'where passage.space_id = %s', its_view, its_table, its_space_id);
        execute format('grant select on reading.%I to public', its_view);
    end if;
end $$
"""


def upgrade() -> None:
    op.create_table(
        "readers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("collection_ids", sa.ARRAY(sa.Uuid()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_readers_workspace_id_workspaces"),
        sa.PrimaryKeyConstraint("id", name="pk_readers"),
        sa.UniqueConstraint("role", name="uq_readers_role"),
        sa.CheckConstraint(f"role ~ '{_ROLE}'", name="ck_readers_role"),
    )
    op.execute("alter table readers enable row level security, force row level security")
    op.execute(f"create policy reach on readers using ({_RULE})")
    op.execute("create policy owner on readers to current_user using (true)")
    # Who is to read what is no matter of web's or the worker's.
    op.execute(f'revoke insert, update, delete on readers from "{context.config.attributes["app_role"]}"')
    for function in _FUNCTIONS:
        op.get_bind().exec_driver_sql(function)
    for table, condition in _POLICIES.items():
        said = f"not (select is_reader()) or {condition}"
        op.get_bind().exec_driver_sql(
            f"create policy readers on {table} as restrictive for select to current_user using ({said})"
        )
    op.execute("create schema reading")
    op.execute("grant usage on schema reading to public")
    for view, statement in _VIEWS.items():
        op.get_bind().exec_driver_sql(f"create view reading.{view} as {statement} {_ONLY_READERS}")
        op.execute(f"grant select on reading.{view} to public")
    op.get_bind().exec_driver_sql(_MAKE_PASSAGES_VIEW)
    op.execute("revoke execute on function make_passages_view(integer) from public")
    for space_id in _spaces():
        op.execute(f"select make_passages_view({space_id})")


def downgrade() -> None:
    op.execute("drop schema reading cascade")
    op.execute("drop function make_passages_view(integer)")
    for table in (*_POLICIES, *(f"vectors_{space_id}" for space_id in _spaces())):
        op.execute(f"drop policy if exists readers on {table}")
    for function in ("reader_collections", "reader_confined", "reader_workspace", "is_reader"):
        op.execute(f"drop function {function}()")
    op.drop_table("readers")


def _spaces() -> list[int]:
    """Those that have a table of vectors: it is made for each space, not by revisions."""
    found = op.get_bind().exec_driver_sql(
        "select id from embedding_spaces where to_regclass('vectors_' || id) is not null"
    )
    return [row.id for row in found]

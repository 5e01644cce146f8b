"""Statements of bundles: what one snapshot shows of some collections, and what is taken here already."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.catalogue.models import Kind

_AT_ONCE = 200
# Observations that are held at a time.
_ROWS_AT_ONCE = 5000


async def look_at_one_moment(session: AsyncSession) -> None:
    """All that this transaction reads fits together, however long it takes."""
    await session.execute(text("set transaction isolation level repeatable read, read only"))
    await session.execute(text("set local idle_in_transaction_session_timeout = 0"))


async def collections(session: AsyncSession, workspace_id: UUID) -> Sequence[Row[Any]]:
    """The live collections of a workspace by name, with their models and how much is in them."""
    return (await session.execute(_COLLECTIONS, {"workspace_id": workspace_id})).all()


async def documents(session: AsyncSession, collection_id: UUID) -> AsyncIterator[tuple[Row[Any], Sequence[Row[Any]]]]:
    """The live documents of a collection by id, each with its versions by number."""
    after = UUID(int=0)
    while True:
        given = {"collection_id": collection_id, "after": after, "limit": _AT_ONCE}
        page = (await session.execute(_DOCUMENTS, given)).all()
        if not page:
            return
        after = page[-1].id
        versions: dict[UUID, list[Row[Any]]] = {row.id: [] for row in page}
        for version in await session.execute(_VERSIONS, {"ids": list(versions)}):
            versions[version.document_id].append(version)
        for row in page:
            yield row, versions[row.id]


async def chunks(session: AsyncSession, collection_id: UUID) -> AsyncIterator[Sequence[Row[Any]]]:
    """The passages of a collection's live documents by document and ordinal, some at a time."""
    document, ordinal = UUID(int=0), -1
    while True:
        given = {"collection_id": collection_id, "document": document, "ordinal": ordinal, "limit": 1000}
        page = (await session.execute(_CHUNKS, given)).all()
        if not page:
            return
        document, ordinal = page[-1].document_id, page[-1].ordinal
        yield page


async def blobs(session: AsyncSession, collection_ids: Sequence[UUID]) -> AsyncIterator[tuple[bytes, int | None]]:
    """The blobs of collections' live documents by hash, with their sizes where the database knows them."""
    result = await session.stream(_BLOBS, {"ids": list(collection_ids)})
    async for row in result:
        yield row.sha256, row.size_bytes


async def catalogue(
    session: AsyncSession, workspace_id: UUID, kind: Kind
) -> AsyncIterator[tuple[Row[Any], Sequence[Row[Any]]]]:
    """All of a kind, deleted ones too, by key and id, each with its versions by number."""
    key, last = "", UUID(int=0)
    while True:
        given = {"workspace_id": workspace_id, "key": key, "last": last, "limit": _AT_ONCE}
        page = (await session.execute(_CATALOGUE[kind], given)).all()
        if not page:
            return
        key, last = page[-1].key, page[-1].id
        versions: dict[UUID, list[Row[Any]]] = {row.id: [] for row in page}
        for version in await session.execute(_CATALOGUE_VERSIONS[kind], {"ids": list(versions)}):
            versions[version.subject_id].append(version)
        for row in page:
            yield row, versions[row.id]


async def series(session: AsyncSession, workspace_id: UUID) -> Sequence[Row[Any]]:
    """The series of entities that are not deleted, by entity, metric and source, with how many rows each has."""
    return (await session.execute(_SERIES, {"workspace_id": workspace_id})).all()


async def observations(session: AsyncSession, counts: Mapping[int, int]) -> AsyncIterator[Sequence[Row[Any]]]:
    """The raw rows of these series in this order, each by time, some at a time. counts: how many each has."""
    small: list[int] = []
    held = 0
    for series_id, count in counts.items():
        if held + count > _ROWS_AT_ONCE:
            yield (await session.execute(_OBSERVATIONS, {"ids": small})).all()
            small, held = [], 0
        if count <= _ROWS_AT_ONCE:
            small.append(series_id)
            held += count
            continue
        after = datetime(1, 1, 1, tzinfo=UTC)
        while page := (await session.execute(_LATER, {"id": series_id, "after": after, "limit": _ROWS_AT_ONCE})).all():
            after = page[-1].observed_at
            yield page
    yield (await session.execute(_OBSERVATIONS, {"ids": small})).all()


async def versions_here(session: AsyncSession, document_ids: Sequence[UUID]) -> dict[tuple[UUID, int], UUID]:
    """The versions of these documents, by document and number."""
    rows = await session.execute(_VERSIONS_HERE, {"ids": list(document_ids)})
    return {(row.document_id, row.number): row.id for row in rows}


async def workspace(session: AsyncSession, name: str) -> UUID | None:
    """The workspace of this name."""
    found: UUID | None = await session.scalar(text("select id from workspaces where name = :name"), {"name": name})
    return found


async def taken(session: AsyncSession, ids: Sequence[UUID]) -> set[UUID]:
    """Those of these ids that something here has or had: what was deleted under one would be deleted again."""
    return set(await session.scalars(_TAKEN, {"ids": list(ids)}))


async def has_change(session: AsyncSession, collection_id: UUID) -> bool:
    """Whether the collection's model is being changed."""
    return bool(await session.scalar(_HAS_CHANGE, {"id": collection_id}))


async def add_version(session: AsyncSession, values: dict[str, Any]) -> None:
    """Add a version as it is said to be."""
    await session.execute(_ADD_VERSION, values)


async def date_document(session: AsyncSession, values: dict[str, Any]) -> None:
    """Give a document that was just added its state, current version and time."""
    await session.execute(_DATE_DOCUMENT, values)


def _under(of: str) -> str:
    """What a row is under: kind, id and key."""
    key = f"""case {of}.schema_kind
           when 'category' then (select e.key from entities e where e.id = {of}.schema_id)
           else (select p.key from profiles p where p.id = {of}.schema_id) end"""
    return f"{of}.schema_kind, {of}.schema_id, {key} as schema_key"


_COLLECTIONS = text(f"""
select k.id, k.name, k.description, k.language, k.space_id, k.created_at, s.model, s.dimension, {_under("k")},
       (select count(*) from documents d where d.collection_id = k.id and d.deleted_at is null) as documents,
       (select count(*) from chunks c join documents d on d.current_version_id = c.version_id
        where d.collection_id = k.id and d.deleted_at is null) as chunks
from collections k join embedding_spaces s on s.id = k.space_id
where k.workspace_id = :workspace_id and k.deleted_at is null
order by k.name
""")

_DOCUMENTS = text(f"""
select d.id, d.external_id, d.parent_id, d.member_path, d.sha256, d.name, d.title, d.attributes, d.current_version_id, d.created_by,
       d.created_at, {_under("d")}
from documents d
where d.collection_id = :collection_id and d.deleted_at is null and d.id > :after
order by d.id limit :limit
""")

_VERSIONS = text("""
select v.id, v.document_id, v.number, f.sha256, f.size_bytes, f.media_type, v.name, v.state, v.text_sha256, v.text_length,
       v.page_starts, v.title, v.language, v.detected_language, v.parser_version, v.chunker_version, v.chunk_count,
       v.error_code, v.error_message, v.error_hint, v.created_at, v.ready_at
from versions v join files f on f.id = v.file_id
where v.document_id = any(:ids)
order by v.document_id, v.number
""")

_CHUNKS = text("""
select c.id, c.document_id, c.ordinal, c.start_offset, c.end_offset, c.page, c.title_path, c.content_hash, c.length, c.text,
       c.space_before
from chunks c join documents d on d.id = c.document_id and d.current_version_id = c.version_id
where d.collection_id = :collection_id and d.deleted_at is null
  and (c.document_id, c.ordinal) > (cast(:document as uuid), cast(:ordinal as int))
order by c.document_id, c.ordinal limit :limit
""")

_BLOBS = text("""
with of_bundle as materialized (
    select v.text_sha256, v.file_id from versions v join documents d on d.id = v.document_id
    where d.collection_id = any(:ids) and d.deleted_at is null
)
select sha256, max(size_bytes) as size_bytes
from (
    select f.sha256, f.size_bytes from files f where f.id in (select file_id from of_bundle)
    union all
    select text_sha256, null from of_bundle where text_sha256 is not null
) as referred (sha256, size_bytes)
group by sha256 order by sha256
""")


def _subjects(table: str, columns: str = "") -> TextClause:
    return text(f"""
select id, key, created_at, deleted_at{columns} from {table}
where workspace_id = :workspace_id and current_id is not null and (key, id) > (cast(:key as text) collate "C", cast(:last as uuid))
order by key, id limit :limit
""")


def _versions_of(kind: Kind, columns: str) -> TextClause:
    return text(f"""
select {kind}_id as subject_id, label, description, published_at, {columns} from {kind}_versions as version
where {kind}_id = any(:ids) order by {kind}_id, number
""")


_PINS = """(
    select coalesce(jsonb_object_agg(member.entity_id, pinned.number), '{}')
    from module_members as member join entity_versions as pinned on pinned.id = member.entity_version_id
    where member.module_version_id = version.id
) as entities"""
_CATALOGUE: dict[Kind, TextClause] = {
    "entity": _subjects("entities", ", type"),
    "module": _subjects("modules"),
    "profile": _subjects("profiles"),
}
_CATALOGUE_VERSIONS: dict[Kind, TextClause] = {
    "entity": _versions_of("entity", "aliases, parents, schema_definition"),
    "module": _versions_of("module", f"version, dependencies, {_PINS}"),
    "profile": _versions_of("profile", "modules"),
}

_SERIES = text("""
select s.id, s.entity_id, e.key as entity, s.metric, s.source, s.unit,
       (select count(*) from observations o where o.series_id = s.id) as observations
from series s join entities e on e.id = s.entity_id and e.deleted_at is null and e.current_id is not null
where s.workspace_id = :workspace_id
order by e.key, s.metric, s.source
""")

_OF_OBSERVATION = """series_id, observed_at, value, cast(attributes as text) as attributes, evidence_version_id, evidence_start,
       evidence_end, evidence_sha256"""
# By the primary key, whatever PostgreSQL thinks of the array's length.
_OBSERVATIONS = text(f"""
select o.* from unnest(cast(:ids as bigint[])) with ordinality as g (id, place)
cross join lateral (
    select {_OF_OBSERVATION} from observations where series_id = g.id order by observed_at limit {_ROWS_AT_ONCE}
) as o
order by g.place, o.observed_at
""")
_LATER = text(f"""
select {_OF_OBSERVATION} from observations where series_id = :id and observed_at > :after
order by observed_at limit :limit
""")

_VERSIONS_HERE = text("select document_id, number, id from versions where document_id = any(:ids)")

_TAKEN = text("""
select id from documents where id = any(:ids)
union select id from versions where id = any(:ids)
union select id from collections where id = any(:ids)
union select subject_id from deletions where subject_id = any(:ids)
""")

_HAS_CHANGE = text("select exists (select from reembeddings where collection_id = :id and ended_at is null)")

# The attempt is that of no job here: it says that the version was published once.
_ADD_VERSION = text("""
insert into versions (id, workspace_id, document_id, number, file_id, name, state, text_sha256, text_length, page_starts, title,
                      language, detected_language, parser_version, chunker_version, chunk_count, attempt,
                      error_code, error_message, error_hint, created_at, ready_at)
values (:id, :workspace_id, :document_id, :number, :file_id, :name, :state, :text_sha256, :text_length,
        cast(:page_starts as bigint[]), :title, :language, :detected_language, :parser_version, :chunker_version,
        :chunk_count, :attempt, :error_code, :error_message, :error_hint, :created_at, :ready_at)
""")

_DATE_DOCUMENT = text("""
update documents set state = :state, current_version_id = :current_version_id, created_at = :created_at where id = :id
""")

"""Statements of documents. Callers hold the transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, bindparam, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.core.ids import new_id
from drystone.documents.chunking import Chunk as Passage
from drystone.documents.models import (
    FAILED,
    PENDING,
    READY,
    SCHEMA_COLUMNS,
    WORK_CANCELLED,
    Chunk,
    Collection,
    Deletion,
    Document,
    File,
    Version,
)


async def find_collection(
    session: AsyncSession, workspace_id: UUID, name_or_id: str, *, share: bool = False
) -> Collection | None:
    """The live collection of this name or id; share: keep it from being deleted until the transaction ends."""
    by_id = _as_uuid(name_or_id)
    query = (_SHARED if share else _FOUND)["name" if by_id is None else "id"]
    return (
        await session.scalars(query, {"its_workspace_id": workspace_id, "wanted": by_id or name_or_id})
    ).one_or_none()


async def add_collection(
    session: AsyncSession,
    workspace_id: UUID,
    *,
    name: str,
    description: str,
    language: str,
    space_id: int,
    collection_id: UUID | None = None,
    schema_kind: str | None = None,
    schema_id: UUID | None = None,
) -> UUID | None:
    """The id of the collection now made; None when one of that name exists."""
    added: UUID | None = await session.scalar(
        upsert(Collection)
        .values(
            id=collection_id or new_id(),
            workspace_id=workspace_id,
            name=name,
            description=description,
            language=language,
            space_id=space_id,
            schema_kind=schema_kind,
            schema_id=schema_id,
        )
        .on_conflict_do_nothing(
            index_elements=[Collection.workspace_id, Collection.name], index_where=Collection.deleted_at.is_(None)
        )
        .returning(Collection.id)
    )
    return added


async def page_collections(session: AsyncSession, workspace_id: UUID) -> list[Collection]:
    """All live collections, by name."""
    query = select(Collection).where(Collection.workspace_id == workspace_id, Collection.deleted_at.is_(None))
    return list((await session.scalars(query.order_by(Collection.name))).all())


async def page_collections_by_id(
    session: AsyncSession,
    workspace_id: UUID,
    visible: list[UUID] | None,
    *,
    after: UUID | None,
    newest_first: bool,
    limit: int,
) -> list[Collection]:
    """Live collections behind the id `after`. visible: only of these; None: of all in the workspace."""
    query = select(Collection).where(Collection.workspace_id == workspace_id, Collection.deleted_at.is_(None))
    if visible is not None:
        query = query.where(Collection.id.in_(visible))
    if after is not None:
        query = query.where(Collection.id < after if newest_first else Collection.id > after)
    query = query.order_by(Collection.id.desc() if newest_first else Collection.id).limit(limit)
    return list((await session.scalars(query)).all())


@dataclass(frozen=True)
class Totals:
    """Documents of a collection by what became of their newest version, the bytes of all their files, and when it was last
    used: None where nobody notes that.
    """

    pending: int = 0
    ready: int = 0
    failed: int = 0
    cancelled: int = 0
    size_bytes: int = 0
    used_at: datetime | None = None


async def totals(session: AsyncSession, collection_ids: Sequence[UUID]) -> dict[UUID, Totals]:
    """What is in each collection."""
    rows = await session.execute(_TOTALS, {"ids": list(collection_ids), "cancelled": WORK_CANCELLED})
    return {
        row.id: Totals(row.pending, row.ready, row.failed, row.cancelled, row.size_bytes, row.used_at) for row in rows
    }


async def count_by_state(session: AsyncSession, collection_ids: Sequence[UUID]) -> dict[UUID, dict[str, int]]:
    """For each collection: documents by state, and chunks of those that can be searched under `chunks`."""
    counts: dict[UUID, dict[str, int]] = {i: {PENDING: 0, READY: 0, FAILED: 0, "chunks": 0} for i in collection_ids}
    rows = await session.execute(
        select(Document.collection_id, Document.state, func.count(), func.coalesce(func.sum(Version.chunk_count), 0))
        .outerjoin(Version, Version.id == Document.current_version_id)
        .where(Document.collection_id.in_(collection_ids), Document.deleted_at.is_(None))
        .group_by(Document.collection_id, Document.state)
    )
    for collection_id, state, documents, chunks in rows:
        counts[collection_id][state] = documents
        counts[collection_id]["chunks"] += chunks or 0
    return counts


async def file_id(
    session: AsyncSession, workspace_id: UUID, *, sha256: bytes, size_bytes: int, media_type: str
) -> UUID:
    """The id of the file of these bytes and this type, added where it is new."""
    file = {
        "id": new_id(),
        "workspace_id": workspace_id,
        "sha256": sha256,
        "size_bytes": size_bytes,
        "media_type": media_type,
    }
    return UUID(int=(await session.execute(_FILE_ID, file)).scalar_one().int)


async def add_document(session: AsyncSession, values: dict[str, Any]) -> bool:
    """Add a document; False when its identity is taken by a live one."""
    mostly_none = dict.fromkeys(["parent_id", "member_path", *SCHEMA_COLUMNS])
    problem = values.get("schema_problem")
    as_json = {"attributes": json.dumps(values["attributes"]), "schema_problem": problem and json.dumps(problem)}
    document = mostly_none | values | as_json
    return (await session.execute(_ADD_DOCUMENT, document)).first() is not None


async def lock_by_identity(
    session: AsyncSession, collection_id: UUID, *, external_id: str | None, sha256: bytes
) -> Document | None:
    """The live document of this identity, its row locked."""
    query = select(Document).where(Document.collection_id == collection_id, Document.deleted_at.is_(None))
    if external_id is None:
        query = query.where(Document.external_id.is_(None), Document.parent_id.is_(None), Document.sha256 == sha256)
    else:
        query = query.where(Document.external_id == external_id)
    return (await session.scalars(query.with_for_update())).one_or_none()


@dataclass(frozen=True)
class AddedVersion:
    """size_bytes: of its file. model: of the space of its collection."""

    size_bytes: int
    model: str


async def add_version(session: AsyncSession, values: dict[str, Any]) -> AddedVersion:
    """Add a version, pending unless said otherwise."""
    row = (await session.execute(_ADD_VERSION, _PENDING_VERSION | values)).one()
    return AddedVersion(row.size_bytes, row.model)


async def newest_version(session: AsyncSession, document_id: UUID) -> Row[Version, File]:
    """The newest version of a document, with its file."""
    return (
        await session.execute(
            select(Version, File)
            .join(File, File.id == Version.file_id)
            .where(Version.document_id == document_id)
            .order_by(Version.number.desc())
            .limit(1)
        )
    ).one()


async def page_versions(
    session: AsyncSession, document_id: UUID, *, before: int | None, limit: int
) -> Sequence[Row[Version, File]]:
    """Versions of a document with their files, newest first."""
    query = select(Version, File).join(File, File.id == Version.file_id).where(Version.document_id == document_id)
    if before is not None:
        query = query.where(Version.number < before)
    return (await session.execute(query.order_by(Version.number.desc()).limit(limit))).all()


async def find_version(session: AsyncSession, document_id: UUID, number: int) -> Row[Version, File] | None:
    """A version of a document by its number, with its file."""
    query = select(Version, File).join(File, File.id == Version.file_id)
    query = query.where(Version.document_id == document_id, Version.number == number)
    return (await session.execute(query)).one_or_none()


@dataclass(frozen=True)
class Pending:
    """What the worker needs to know of a version it is to make searchable."""

    version_id: UUID
    version_number: int
    document_id: UUID
    collection_id: UUID
    workspace_id: UUID
    batch_id: UUID | None
    title: str | None
    attributes: dict[str, Any]
    sha256: bytes
    size_bytes: int
    media_type: str
    language: str
    space_id: int
    second_space_id: int | None = None
    schema_id: UUID | None = None


async def pending_version(session: AsyncSession, version_id: UUID) -> Pending | None:
    """The version, unless it or its document or collection is gone, deleted, or it is no longer pending."""
    return (await pending_versions(session, [version_id])).get(version_id)


async def pending_versions(session: AsyncSession, version_ids: Sequence[UUID]) -> dict[UUID, Pending]:
    """Those of these versions that still wait: not gone nor deleted, with document and collection, and pending."""
    rows = await session.execute(_PENDING, {"ids": list(version_ids)})
    return {row.version_id: Pending(**row._mapping) for row in rows}


@dataclass(frozen=True)
class Locked:
    """A live document whose row is locked. current_number: the version that search sees; None: there was none.

    space_id, second_space_id: of its collection.
    """

    current_version_id: UUID | None
    current_number: int | None
    latest_version_id: UUID | None
    space_id: int
    second_space_id: int | None


async def lock_documents(session: AsyncSession, document_ids: Sequence[UUID]) -> dict[UUID, Locked]:
    """Those of these documents that are not deleted, their rows locked until the transaction ends."""
    await session.execute(_LOCK_DOCUMENTS, {"ids": list(document_ids)})
    rows = await session.execute(_LOCKED_DOCUMENTS, {"ids": list(document_ids)})
    return {
        row.id: Locked(
            row.current_version_id, row.current_number, row.latest_version_id, row.space_id, row.second_space_id
        )
        for row in rows
    }


async def lock_collection(session: AsyncSession, collection_id: UUID) -> None:
    """Hold the collection's row until the transaction ends: no upload into it comes in between."""
    await session.execute(select(Collection.id).where(Collection.id == collection_id).with_for_update())


async def lock_collections(session: AsyncSession, collection_ids: Sequence[UUID]) -> list[Collection]:
    """Those of these collections that are not deleted, their rows locked."""
    query = select(Collection).where(Collection.id.in_(collection_ids), Collection.deleted_at.is_(None))
    return list((await session.scalars(query.order_by(Collection.id).with_for_update())).all())


async def lock_document(session: AsyncSession, document_id: UUID) -> Document | None:
    """The document if it is not deleted, its row locked."""
    query = select(Document).where(Document.id == document_id, Document.deleted_at.is_(None)).with_for_update()
    return (await session.scalars(query)).one_or_none()


@dataclass(frozen=True)
class KnownMember:
    """A member of an archive as it is now: its newest version. is_of_this_unpacking: made for the archive's newest."""

    sha256: bytes
    state: str
    error_code: str | None
    attributes: dict[str, Any]
    schema_id: UUID | None
    is_of_this_unpacking: bool


async def members(session: AsyncSession, parent_id: UUID) -> dict[str, KnownMember]:
    """The live members of an archive by their paths."""
    rows = await session.execute(_MEMBERS, {"parent_id": parent_id})
    return {
        row.member_path: KnownMember(
            row.sha256, row.state, row.error_code, row.attributes, row.schema_id, row.is_of_this_unpacking
        )
        for row in rows
    }


async def lock_member(session: AsyncSession, parent_id: UUID, path: str) -> Document | None:
    """The live member at a path of an archive, its row locked."""
    query = select(Document).where(
        Document.parent_id == parent_id, Document.member_path == path, Document.deleted_at.is_(None)
    )
    return (await session.scalars(query.with_for_update())).one_or_none()


async def add_member(session: AsyncSession, values: dict[str, Any]) -> None:
    """Add a document of an archive; the caller holds the archive's row."""
    await session.execute(insert(Document).values(**values))


async def share_collection(session: AsyncSession, collection_id: UUID) -> bool:
    """Keep a live collection from being deleted until the transaction ends; False when it is deleted.

    Its space may change meanwhile: a change of model must not wait for a stream of uploads to end.
    """
    query = select(Collection.id).where(Collection.id == collection_id, Collection.deleted_at.is_(None))
    return await session.scalar(query.with_for_update(read=True, key_share=True)) is not None


async def has_newer_version(session: AsyncSession, document_id: UUID, number: int) -> bool:
    """Whether a later version of a document is ready or on its way."""
    query = select(Version.id).where(
        Version.document_id == document_id, Version.number > number, Version.state != FAILED
    )
    return await session.scalar(query.limit(1)) is not None


async def job_documents(session: AsyncSession, subject_ids: Sequence[UUID]) -> dict[UUID, Row[Any]]:
    """For each id of a version or document, which is what jobs of this room are about: its document, named."""
    name = func.coalesce(Version.name, Document.name)
    columns = (Document.id, name.label("name"), func.coalesce(Document.title, Version.title, name).label("title"))
    by_version = (
        select(Version.id.label("subject_id"), *columns)
        .join(Document, Document.id == Version.document_id)
        .where(Version.id.in_(subject_ids))
    )
    by_document = (
        select(Document.id.label("subject_id"), *columns)
        .outerjoin(Version, Version.id == Document.latest_version_id)
        .where(Document.id.in_(subject_ids))
    )
    rows: Any = await session.execute(by_version.union_all(by_document))
    return {row.subject_id: row for row in rows}


async def collection_names(session: AsyncSession, collection_ids: Sequence[UUID]) -> dict[UUID, str]:
    """The names of collections, deleted ones too."""
    rows = await session.execute(select(Collection.id, Collection.name).where(Collection.id.in_(collection_ids)))
    return {row.id: row.name for row in rows}


async def version_ids(session: AsyncSession, document_id: UUID) -> list[UUID]:
    """The versions of a document."""
    return list((await session.scalars(select(Version.id).where(Version.document_id == document_id))).all())


async def remove_chunks(session: AsyncSession, document_id: UUID) -> None:
    """Remove all chunks of a document; their vectors go with them."""
    await session.execute(delete(Chunk).where(Chunk.document_id == document_id))


@dataclass(frozen=True)
class NewChunk:
    """A passage of a version, as its row."""

    pending: Pending
    passage: Passage
    content_hash: bytes
    length: int


async def add_chunks(session: AsyncSession, chunks: Sequence[NewChunk]) -> list[int]:
    """Add chunks, of one version or several; their ids, in the order given."""
    rows = await session.execute(
        _ADD_CHUNKS,
        {
            "collection_ids": [c.pending.collection_id for c in chunks],
            "document_ids": [c.pending.document_id for c in chunks],
            "version_ids": [c.pending.version_id for c in chunks],
            "ordinals": [c.passage.ordinal for c in chunks],
            "starts": [c.passage.start for c in chunks],
            "ends": [c.passage.end for c in chunks],
            "pages": [c.passage.page for c in chunks],
            # PostgreSQL's arrays of arrays must be rectangular: paths travel as one text each.
            "paths": ["\x1f".join(c.passage.title_path) for c in chunks],
            "hashes": [c.content_hash for c in chunks],
            "lengths": [c.length for c in chunks],
            "texts": [c.passage.text for c in chunks],
            "spaces": [c.passage.space_before for c in chunks],
        },
    )
    ids = {(row.version_id, row.ordinal): row.id for row in rows}
    return [ids[c.pending.version_id, c.passage.ordinal] for c in chunks]


async def set_ready(session: AsyncSession, versions: Sequence[dict[str, Any]]) -> None:
    """Make versions the ones that search sees, and their documents ready where nothing newer is on its way.

    versions: for each `version_id`, `document_id` and the columns that parsing and chunking filled; bytes as hex.
    """
    await session.execute(_SET_READY, {"versions": json.dumps(versions)})


async def set_version(session: AsyncSession, version_id: UUID, **values: Any) -> None:
    """Change a version's columns."""
    await session.execute(update(Version).where(Version.id == version_id).values(**values))


async def set_document(session: AsyncSession, document_id: UUID, **values: Any) -> None:
    """Change a document's columns, its revision and its time."""
    await session.execute(
        update(Document)
        .where(Document.id == document_id)
        .values(revision=Document.revision + 1, updated_at=func.now(), **values)
    )


async def try_set_document(session: AsyncSession, document_id: UUID, **values: Any) -> bool:
    """As `set_document`; False, with nothing changed, when another live document has that identity."""
    try:
        async with session.begin_nested():
            await set_document(session, document_id, **values)
    except IntegrityError:
        return False
    return True


async def tombstone(
    session: AsyncSession,
    condition: str,
    parameters: dict[str, Any],
    *,
    actor: str,
    request_id: str | None,
    details: dict[str, Any] | None = None,
) -> dict[UUID, tuple[UUID, int]]:
    """Delete the live documents for which `condition` holds, and the members of archives among them.

    Each gets its tombstone, a note that outlives its rows, an audit row and an event. condition: SQL over a row `document`.
    Gives what was touched: collection id -> (workspace id, how many).
    """
    ids = list((await session.scalars(text(_LOCK_LIVE.format(condition=condition)), parameters)).all())
    members = await session.scalars(text(_LOCK_LIVE.format(condition="parent_id = any(:ids)")), {"ids": ids})
    rows = await session.execute(
        _TOMBSTONE,
        {
            "ids": [*ids, *members.all()],
            "actor": actor,
            "request_id": request_id,
            "details": json.dumps(details or {}),
        },
    )
    return {row.collection_id: (row.workspace_id, row.documents) for row in rows}


async def find_live(
    session: AsyncSession, condition: str, parameters: dict[str, Any], *, limit: int
) -> tuple[int, list[UUID]]:
    """How many live documents `tombstone` would delete, and the first ids."""
    row = (await session.execute(text(_FIND_LIVE.format(condition=condition)), {**parameters, "limit": limit})).one()
    return row.documents, list(row.first or ())


async def live_ids(session: AsyncSession, condition: str, parameters: dict[str, Any]) -> set[UUID]:
    """The live documents for which `condition` holds."""
    rows = await session.scalars(text(_LIVE.format(condition=condition)), parameters)
    return set(rows.all())


async def note_deletion(
    session: AsyncSession, workspace_id: UUID, subject_kind: str, subject_id: UUID, *, actor: str, external_id: str
) -> None:
    """Note that something else than a document was deleted. external_id: what it was called."""
    await session.execute(
        insert(Deletion).values(
            workspace_id=workspace_id,
            subject_kind=subject_kind,
            subject_id=subject_id,
            external_id=external_id,
            actor=actor,
        )
    )


async def is_collection_deleted(session: AsyncSession, collection_id: UUID) -> bool:
    """Whether the collection itself is deleted, as opposed to documents in it."""
    query = select(Collection.id).where(Collection.id == collection_id, Collection.deleted_at.is_not(None))
    return await session.scalar(query) is not None


async def hidden_documents(session: AsyncSession, collection_id: UUID, *, limit: int, chunks: int) -> list[UUID]:
    """Deleted documents that still hold something: up to `limit`, or fewer with about so many chunks; at least one."""
    rows = await session.scalars(_HIDDEN, {"collection_id": collection_id, "limit": limit, "chunks": chunks})
    return list(rows.all())


async def lock_deleted(session: AsyncSession, document_ids: Sequence[UUID]) -> list[UUID]:
    """Those of these documents that are deleted, their rows locked."""
    query = (
        select(Document.id).where(Document.id.in_(document_ids), Document.deleted_at.is_not(None)).order_by(Document.id)
    )
    return list((await session.scalars(query.with_for_update())).all())


async def purge(session: AsyncSession, document_ids: Sequence[UUID]) -> None:
    """Remove what is left of deleted documents but their tombstones."""
    await session.execute(delete(Chunk).where(Chunk.document_id.in_(document_ids)))
    await session.execute(delete(Version).where(Version.document_id.in_(document_ids)))
    await session.execute(
        update(Document)
        .where(Document.id.in_(document_ids))
        .values(purged_at=func.now(), current_version_id=None, latest_version_id=None)
    )


# A collection by its name or its id. Built once: to put a statement together takes longer than to run it.
_FOUND = {
    column.key: select(Collection).where(
        Collection.workspace_id == bindparam("its_workspace_id"),
        Collection.deleted_at.is_(None),
        column == bindparam("wanted"),
    )
    for column in (Collection.name, Collection.id)
}
_SHARED = {name: query.with_for_update(read=True, key_share=True) for name, query in _FOUND.items()}

_HIDDEN = text("""
select id
from (
    select id, sum(chunk_count) over (order by id) - chunk_count as before
    from (
        select document.id, coalesce(version.chunk_count, 0) as chunk_count
        from documents as document left join versions as version on version.id = document.current_version_id
        where document.collection_id = :collection_id
          and document.deleted_at is not null and document.purged_at is null
        order by document.id limit :limit
    ) as each
) as summed
where before < :chunks
order by id
""")

_TOTALS = text("""
select collections.id, uses.used_at,
       count(*) filter (where versions.state = 'pending') as pending,
       count(*) filter (where versions.state = 'ready') as ready,
       count(*) filter (where versions.state = 'failed' and versions.error_code is distinct from :cancelled) as failed,
       count(*) filter (where versions.state = 'failed' and versions.error_code = :cancelled) as cancelled,
       cast(coalesce(sum(files.size_bytes), 0) as bigint) as size_bytes
from collections
left join collection_uses as uses on uses.collection_id = collections.id
left join documents on documents.collection_id = collections.id and documents.deleted_at is null
left join versions on versions.id = documents.latest_version_id
left join files on files.id = versions.file_id
where collections.id = any(:ids)
group by collections.id, uses.used_at
""")

_FILE_ID = text("""
insert into files (id, workspace_id, sha256, size_bytes, media_type)
values (:id, :workspace_id, :sha256, :size_bytes, :media_type)
on conflict (workspace_id, sha256, media_type) do update
-- created_at too: the sweep, which may be about to remove an unused row, then finds it young.
set size_bytes = excluded.size_bytes, created_at = now()
returning id
""")

# Every conflict is one of identity: external_id, bytes, or place in an archive.
_ADD_DOCUMENT = text("""
insert into documents (id, workspace_id, collection_id, external_id, parent_id, member_path, sha256, name, title,
                       attributes, schema_kind, schema_id, schema_version_id, schema_sha256, schema_problem,
                       latest_version_id, created_by)
values (:id, :workspace_id, :collection_id, :external_id, :parent_id, :member_path, :sha256, :name, :title,
        cast(:attributes as jsonb), :schema_kind, :schema_id, :schema_version_id, :schema_sha256,
        cast(:schema_problem as jsonb), :latest_version_id, :created_by)
on conflict do nothing
returning id
""")

_PENDING_VERSION: dict[str, Any] = {
    "batch_id": None,
    "state": PENDING,
    "error_code": None,
    "error_message": None,
    "error_hint": None,
}

_ADD_VERSION = text("""
with added as (
    insert into versions (id, workspace_id, document_id, number, file_id, name, batch_id, state,
                          error_code, error_message, error_hint)
    values (:id, :workspace_id, :document_id, :number, :file_id, :name, :batch_id, :state,
            :error_code, :error_message, :error_hint)
)
select files.size_bytes, embedding_spaces.model
from files, documents
join collections on collections.id = documents.collection_id
join embedding_spaces on embedding_spaces.id = collections.space_id
where files.id = :file_id and documents.id = :document_id
""")

# Of the two spaces of an open change the one that is not the collection's own.
_SECOND = (
    """case when change.to_space_id = collections.space_id then change.from_space_id else change.to_space_id end"""
)
_CHANGE = "left join reembeddings as change on change.collection_id = collections.id and change.ended_at is null"

_PENDING = text(f"""
select versions.id as version_id, versions.number as version_number, versions.document_id, versions.batch_id,
       documents.collection_id, documents.workspace_id, documents.title, documents.attributes, documents.schema_id,
       files.sha256, files.size_bytes, files.media_type, collections.language, collections.space_id,
       {_SECOND} as second_space_id
from unnest(cast(:ids as uuid[])) as wanted (id)
join versions on versions.id = wanted.id
join documents on documents.id = versions.document_id
join collections on collections.id = documents.collection_id
join files on files.id = versions.file_id
{_CHANGE}
where versions.state = 'pending' and documents.deleted_at is null and collections.deleted_at is null
""")

_LOCK_DOCUMENTS = text("""
select id from documents where id = any(cast(:ids as uuid[])) and deleted_at is null order by id for update
""")

# In a statement of its own: one that waits for a row sees it as it is then, but all other tables as they were before it
# waited. A version that came and was published meanwhile would have no number.
_LOCKED_DOCUMENTS = text(f"""
select documents.id, documents.current_version_id, documents.latest_version_id,
       (select number from versions where versions.id = documents.current_version_id) as current_number,
       collections.space_id, {_SECOND} as second_space_id
from documents join collections on collections.id = documents.collection_id {_CHANGE}
where documents.id = any(cast(:ids as uuid[])) and documents.deleted_at is null
""")

_ADD_CHUNKS = text("""
insert into chunks (collection_id, document_id, version_id, ordinal, start_offset, end_offset, page, title_path,
                    content_hash, length, text, space_before)
select collection_id, document_id, version_id, ordinal, start_offset, end_offset, page,
       coalesce(string_to_array(nullif(path, ''), e'\\x1f'), '{}'), content_hash, length, words, space
from unnest(cast(:collection_ids as uuid[]), cast(:document_ids as uuid[]), cast(:version_ids as uuid[]),
            cast(:ordinals as int[]), cast(:starts as int[]), cast(:ends as int[]), cast(:pages as int[]),
            cast(:paths as text[]), cast(:hashes as bytea[]), cast(:lengths as int[]), cast(:texts as text[]),
            cast(:spaces as text[]))
     as c (collection_id, document_id, version_id, ordinal, start_offset, end_offset, page, path, content_hash,
           length, words, space)
returning id, version_id, ordinal
""")

_SET_READY = text("""
with given as materialized (
    select * from jsonb_to_recordset(cast(:versions as jsonb)) as v (
        version_id uuid, document_id uuid, text_sha256 text, text_length int, page_starts bigint[], title text,
        language text, parser_version text, chunker_version text, chunk_count int, attempt int, detected_language text)
), made as (
    update versions
    set state = 'ready', text_sha256 = decode(given.text_sha256, 'hex'), text_length = given.text_length,
        page_starts = given.page_starts, title = given.title, language = given.language,
        detected_language = given.detected_language,
        parser_version = given.parser_version, chunker_version = given.chunker_version,
        chunk_count = given.chunk_count, attempt = given.attempt, ready_at = now()
    from given where versions.id = given.version_id
)
update documents
set current_version_id = given.version_id, revision = documents.revision + 1, updated_at = now(),
    state = case when documents.latest_version_id = given.version_id then 'ready' else documents.state end
from given where documents.id = given.document_id
""")

_MEMBERS = text("""
select d.member_path, f.sha256, v.state, v.error_code, d.attributes, d.schema_id, v.created_at >= a.created_at as is_of_this_unpacking
from documents d
join versions v on v.id = d.latest_version_id
join files f on f.id = v.file_id
join documents p on p.id = d.parent_id
join versions a on a.id = p.latest_version_id
where d.parent_id = :parent_id and d.deleted_at is null
""")

# Rows are locked in the order of their ids: two deletes that overlap wait for each other instead of for ever. In a
# statement of its own: one that both locks and updates passes over rows that somebody changed while it waited.
_LIVE = "select document.id from documents as document where deleted_at is null and {condition}"
_LOCK_LIVE = _LIVE + " order by id for update of document"

_TOMBSTONE = text("""
with gone as (
    update documents set deleted_at = now(), updated_at = now(), revision = revision + 1
    where id = any(:ids) and deleted_at is null
    returning workspace_id, collection_id, id, external_id, sha256
), noted as (
    insert into deletions (workspace_id, subject_kind, subject_id, external_id, sha256, actor)
    select workspace_id, 'document', id, external_id, sha256, :actor from gone order by id
), audited as (
    insert into audit (workspace_id, actor, action, subject_kind, subject_id, request_id, before_sha256, details)
    select workspace_id, :actor, 'document.delete', 'document', id, :request_id, sha256, cast(:details as jsonb)
    from gone order by id
), told as (
    insert into events (workspace_id, kind, subject_kind, subject_id, collection_id)
    select workspace_id, 'document.deleted', 'document', id, collection_id from gone order by id
)
select collection_id, workspace_id, count(*) as documents from gone group by collection_id, workspace_id
""")

_FIND_LIVE = """
with chosen as materialized (
    select id from documents as document where deleted_at is null and {condition}
), whole as materialized (
    select id from chosen
    union
    select id from documents where deleted_at is null and parent_id in (select id from chosen)
)
select (select count(*) from whole) as documents, array(select id from whole order by id limit :limit) as first
"""


def _as_uuid(value: str) -> UUID | None:
    try:
        return UUID(value)
    except ValueError:
        return None

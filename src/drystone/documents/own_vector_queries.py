"""Statements of passages that come with their vectors: one for each kind of row, whatever the number of passages.

Callers hold the transaction.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.core.ids import new_id
from drystone.index.spaces import vector_table


@dataclass(frozen=True)
class Given:
    """A passage to be written. sha256: of its text in UTF-8. schema: columns of what it is under, while it is new."""

    external_id: str
    sha256: bytes
    size_bytes: int
    text_length: int
    attributes: Mapping[str, Any]
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Made:
    """A version to be made of a document, ready at once."""

    document_id: UUID
    version_id: UUID
    number: int
    file_id: UUID
    sha256: bytes
    text_length: int
    language: str


async def known(session: AsyncSession, collection_id: UUID, external_ids: Sequence[str]) -> dict[str, bytes]:
    """The hashes of the texts that live passages of these ids have now."""
    rows = await session.execute(_KNOWN, {"collection_id": collection_id, "external_ids": list(external_ids)})
    return {row.external_id: row.sha256 for row in rows}


async def add_files(
    session: AsyncSession, workspace_id: UUID, sizes: Mapping[bytes, int], media_type: str
) -> dict[bytes, UUID]:
    """The id of the file of each of these bytes, added where it is new. In the order of hashes: nobody waits in a circle."""
    hashes = sorted(sizes)
    rows = await session.execute(
        _ADD_FILES,
        {
            "workspace_id": workspace_id,
            "media_type": media_type,
            "ids": [new_id() for _ in hashes],
            "hashes": hashes,
            "sizes": [sizes[sha256] for sha256 in hashes],
        },
    )
    return {row.sha256: row.id for row in rows}


async def add_documents(
    session: AsyncSession, workspace_id: UUID, collection_id: UUID, actor: str, given: Sequence[Given]
) -> dict[str, tuple[UUID, UUID]]:
    """Add those whose id no live document has; by that id, their own and that of their version to come.

    In the order of their ids, so that two who add the same wait for each other one way only.
    """
    rows = [
        {
            "id": str(new_id()),
            "version_id": str(new_id()),
            "external_id": each.external_id,
            "sha256": each.sha256.hex(),
            "attributes": each.attributes,
            **{name: _said(value) for name, value in each.schema.items()},
        }
        for each in sorted(given, key=lambda each: each.external_id)
    ]
    added = await session.execute(
        _ADD_DOCUMENTS,
        {
            "workspace_id": workspace_id,
            "collection_id": collection_id,
            "actor": actor,
            "documents": json.dumps(rows),
        },
    )
    return {row.external_id: (row.id, row.latest_version_id) for row in added}


async def lock(
    session: AsyncSession, space_id: int, collection_id: UUID, external_ids: Sequence[str]
) -> list[Row[Any]]:
    """The live documents of these ids, their rows locked: what is known of each, and its vector as bytes."""
    given = {"collection_id": collection_id, "external_ids": list(external_ids)}
    await session.execute(_LOCK, given)
    # In a statement of its own: one that waits for a row sees all other tables as they were before it waited.
    return list((await session.execute(_locked(vector_table(space_id)), given)).all())


async def add_versions(session: AsyncSession, workspace_id: UUID, made: Sequence[Made]) -> None:
    """Add versions that are ready, and have search see them."""
    rows = [
        {
            "id": str(each.version_id),
            "document_id": str(each.document_id),
            "number": each.number,
            "file_id": str(each.file_id),
            "sha256": each.sha256.hex(),
            "text_length": each.text_length,
            "language": each.language,
        }
        for each in made
    ]
    await session.execute(_ADD_VERSIONS, {"workspace_id": workspace_id, "versions": json.dumps(rows)})


async def set_documents(session: AsyncSession, changes: Sequence[Mapping[str, Any]]) -> None:
    """Change documents. changes: of each `id`, `sha256` and `version_id` (None: as before), `attributes` and the columns of
    its schema.
    """
    rows = [
        {name: value.hex() if isinstance(value, bytes) else _said(value) for name, value in each.items()}
        for each in changes
    ]
    await session.execute(_SET_DOCUMENTS, {"documents": json.dumps(rows)})


async def remove_chunks(session: AsyncSession, document_ids: Sequence[UUID]) -> None:
    """Remove all chunks of these documents; vectors and mentions go with them."""
    await session.execute(_REMOVE_CHUNKS, {"document_ids": list(document_ids)})


async def find(
    session: AsyncSession, collection_id: UUID, external_ids: Sequence[str], *, space_id: int | None
) -> dict[str, Row[Any]]:
    """The live passages of these ids: id, external_id, attributes, text. space_id: of the vectors that come along."""
    given = {"collection_id": collection_id, "external_ids": list(external_ids)}
    statement = _FIND if space_id is None else _find_with_vectors(vector_table(space_id))
    return {row.external_id: row for row in await session.execute(statement, given)}


async def ids_of(session: AsyncSession, collection_id: UUID, external_ids: Sequence[str]) -> list[UUID]:
    """The live documents of these ids."""
    given = {"collection_id": collection_id, "external_ids": list(external_ids)}
    return list((await session.scalars(_IDS, given)).all())


async def vectors_of_versions(
    session: AsyncSession, space_id: int, version_ids: Sequence[UUID]
) -> dict[UUID, np.ndarray]:
    """The vector of each of these versions that is still there, float32."""
    rows = await session.execute(_of_versions(vector_table(space_id)), {"version_ids": list(version_ids)})
    return {row.version_id: floats(row.raw) for row in rows}


def floats(raw: bytes) -> np.ndarray:
    """What PostgreSQL sends of a halfvec, as float32: after its length and two bytes of nothing, halves."""
    return np.frombuffer(raw, ">f2", offset=4).astype(np.float32)


def _said(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, UUID) else value


_LIVE = """
collection_id = :collection_id and deleted_at is null and external_id = any(cast(:external_ids as text[]))
"""
_KNOWN = text(f"select external_id, sha256 from documents where {_LIVE}")
_IDS = text(f"select id from documents where {_LIVE}")
_LOCK = text(f"select id from documents where {_LIVE} order by id for update")

_ADD_FILES = text("""
insert into files (id, workspace_id, sha256, size_bytes, media_type)
select id, :workspace_id, sha256, size_bytes, :media_type
from unnest(cast(:ids as uuid[]), cast(:hashes as bytea[]), cast(:sizes as bigint[])) as f (id, sha256, size_bytes)
order by sha256
on conflict (workspace_id, sha256, media_type) do update
-- created_at too: the sweep, which may be about to remove an unused row, then finds it young.
set size_bytes = excluded.size_bytes, created_at = now()
returning id, sha256
""")

_ADD_DOCUMENTS = text("""
insert into documents (id, workspace_id, collection_id, external_id, sha256, attributes, schema_kind, schema_id,
                       schema_version_id, schema_sha256, schema_problem, state, current_version_id, latest_version_id,
                       created_by)
select id, :workspace_id, :collection_id, external_id, decode(sha256, 'hex'), attributes, schema_kind, schema_id,
       schema_version_id, decode(schema_sha256, 'hex'), schema_problem, 'ready', version_id, version_id, :actor
from jsonb_to_recordset(cast(:documents as jsonb)) as d (
    id uuid, version_id uuid, external_id text, sha256 text, attributes jsonb, schema_kind text, schema_id uuid,
    schema_version_id uuid, schema_sha256 text, schema_problem jsonb)
order by external_id collate "C"
on conflict do nothing
returning id, external_id, latest_version_id
""")

_ADD_VERSIONS = text("""
insert into versions (id, workspace_id, document_id, number, file_id, state, text_sha256, text_length, page_starts,
                      language, parser_version, chunk_count, attempt, ready_at)
select id, :workspace_id, document_id, number, file_id, 'ready', decode(sha256, 'hex'), text_length, '{}', language,
       'caller', 1, 1, now()
from jsonb_to_recordset(cast(:versions as jsonb)) as v (
    id uuid, document_id uuid, number int, file_id uuid, sha256 text, text_length int, language text)
""")

_SET_DOCUMENTS = text("""
update documents
set sha256 = coalesce(decode(d.sha256, 'hex'), documents.sha256), attributes = d.attributes,
    current_version_id = coalesce(d.version_id, documents.current_version_id),
    latest_version_id = coalesce(d.version_id, documents.latest_version_id),
    schema_kind = d.schema_kind, schema_id = d.schema_id, schema_version_id = d.schema_version_id,
    schema_sha256 = decode(d.schema_sha256, 'hex'), schema_problem = d.schema_problem,
    revision = documents.revision + 1, updated_at = now()
from jsonb_to_recordset(cast(:documents as jsonb)) as d (
    id uuid, version_id uuid, sha256 text, attributes jsonb, schema_kind text, schema_id uuid, schema_version_id uuid,
    schema_sha256 text, schema_problem jsonb)
where documents.id = d.id
""")

_REMOVE_CHUNKS = text("delete from chunks where document_id = any(cast(:document_ids as uuid[]))")

_PASSAGE = """
select documents.id, documents.external_id, documents.attributes, chunks.text {more}
from documents
join chunks on chunks.version_id = documents.current_version_id and chunks.ordinal = 0 {join}
where documents.collection_id = :collection_id and documents.deleted_at is null
  and documents.external_id = any(cast(:external_ids as text[]))
"""
_FIND = text(_PASSAGE.format(more="", join=""))


@functools.cache
def _find_with_vectors(table: str) -> TextClause:
    join = f"join {table} as vectors on vectors.chunk_id = chunks.id"
    return text(_PASSAGE.format(more=", halfvec_send(vectors.embedding) as raw", join=join))


@functools.cache
def _of_versions(table: str) -> TextClause:
    return text(f"""
select chunks.version_id, halfvec_send(vectors.embedding) as raw
from chunks join {table} as vectors on vectors.chunk_id = chunks.id
where chunks.version_id = any(cast(:version_ids as uuid[])) and chunks.ordinal = 0
""")


@functools.cache
def _locked(table: str) -> TextClause:
    return text(f"""
select documents.id, documents.external_id, documents.sha256, documents.attributes, documents.schema_kind,
       documents.schema_id, documents.schema_version_id, documents.schema_sha256, documents.schema_problem,
       (select max(number) from versions where versions.document_id = documents.id) as number,
       halfvec_send(vectors.embedding) as raw
from documents
left join chunks on chunks.version_id = documents.current_version_id and chunks.ordinal = 0
left join {table} as vectors on vectors.chunk_id = chunks.id
where {_LIVE.replace("collection_id", "documents.collection_id", 1)}
""")

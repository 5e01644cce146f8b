"""The search statements."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.documents import chunking
from drystone.documents.filters import Comparison, Compound, attributes, condition, entity_keys, narrowing

# Up to here every vector is compared; above, the graph is walked on until enough rows pass the filter.
EXACT_UP_TO = 10_000


def is_few(passages: int, all_vectors: float) -> bool:
    """Whether comparing these takes less than walking a graph of so many vectors in which only these may be found.

    A walk meets one of them in all_vectors / passages; each met costs some fifty times as much as one compared in a row
    (docs/adr/0022). From one in 150 on it would give up (hnsw.max_scan_tuples) before it has met a hundred.
    """
    return passages <= EXACT_UP_TO or passages**2 <= 100 * all_vectors or 150 * passages <= all_vectors


@dataclass(frozen=True)
class Scope:
    """What a search may find: passages of these collections, of documents that are not deleted and pass the filter.

    hidden: deleted documents whose passages are still there. apart: a document that is not to be found, itself asked about.
    """

    collection_ids: Sequence[UUID]
    filter: Comparison | Compound | None = None
    hidden: Sequence[UUID] = ()
    apart: UUID | None = None

    @property
    def is_all(self) -> bool:
        """Whether every passage there is may be found."""
        return self.filter is None and not self.hidden and self.apart is None

    def condition(self, parameters: dict[str, Any], *, narrowed: bool = False) -> str:
        """SQL over a row `document`; adds its values to `parameters`.

        narrowed: for a statement that looks for all such documents, not at one, and has the parameter `collection_ids`.
        """
        clauses = ["document.deleted_at is null"]
        if self.filter is not None:
            clauses.append(condition(self.filter, parameters))
            clauses += narrowing(self.filter, parameters) if narrowed else []
        if self.apart is not None:
            parameters["apart"] = self.apart
            clauses.append("document.id <> cast(:apart as uuid)")
        return " and ".join(clauses)


async def hidden(session: AsyncSession, collection_ids: Sequence[UUID]) -> list[UUID]:
    """Deleted documents whose passages are not yet removed."""
    return list((await session.scalars(_HIDDEN, {"collection_ids": list(collection_ids)})).all())


async def count_searchable(session: AsyncSession, scope: Scope, *, up_to: int) -> int:
    """Chunks that may be found; counting stops somewhere above `up_to`."""
    if scope.filter is not None:
        await session.execute(_PLANNED_FOR_VALUES)
    parameters: dict[str, Any] = {"collection_ids": list(scope.collection_ids), "up_to": up_to}
    where = scope.condition(parameters, narrowed=True)
    return int(await session.scalar(text(COUNT.format(where=where)), parameters) or 0)


@dataclass(frozen=True)
class Mismatch:
    """An attribute that a filter compares in vain. types: those that its values have here; empty: nobody has it."""

    key: str
    wanted: str
    types: Sequence[str]


async def mismatches(session: AsyncSession, scope: Scope) -> list[Mismatch]:
    """Attributes of the filter of which no value has the type it is compared with; the first few."""
    found = []
    for key, wanted in list(attributes(scope.filter))[:_MOST_LOOKED_UP] if scope.filter is not None else ():
        row = (await session.execute(_TYPES, {"collection_ids": list(scope.collection_ids), "key": key})).one()
        types = [str(name) for name in _COLUMNS if getattr(row, name)]
        if wanted not in types:
            found.append(Mismatch(key, wanted, types))
    return found


async def unknown_entities(session: AsyncSession, scope: Scope) -> dict[str, list[str]]:
    """Keys in the filter that no entity has, the first few, and to each the keys that may be meant."""
    keys = entity_keys(scope.filter) if scope.filter is not None else {}
    if not keys:
        return {}
    here = {"collection_ids": list(scope.collection_ids)}
    unknown = (await session.scalars(_UNKNOWN, here | {"keys": list(keys), "limit": _MOST_LOOKED_UP})).all()
    return {key: await _meant(session, here, key) for key in unknown}


async def _meant(session: AsyncSession, here: dict[str, Any], said: str) -> list[str]:
    rows = (await session.execute(_ALIKE, here | {"said": said.lower(), "first": said[:1].lower()})).all()
    same = [row.key for row in rows if row.is_same]
    return same or difflib.get_close_matches(said, [row.key for row in rows], _MOST_MEANT)


async def searchable(session: AsyncSession, scope: Scope) -> np.ndarray:
    """All chunks that may be found: int64, ascending."""
    parameters: dict[str, Any] = {"collection_ids": list(scope.collection_ids)}
    where = scope.condition(parameters, narrowed=True)
    statement = text(f"""
        select array(
            select chunk.id
            from documents as document join chunks as chunk on chunk.document_id = document.id
            where document.collection_id = any(cast(:collection_ids as uuid[])) and {where}
        )
    """)
    return np.sort(np.array(await session.scalar(statement, parameters), np.int64))


async def among_searchable(session: AsyncSession, scope: Scope, chunk_ids: np.ndarray) -> np.ndarray:
    """Those of these chunks that may be found: int64, ascending."""
    parameters: dict[str, Any] = {"chunk_ids": chunk_ids.tolist()}
    where = scope.condition(parameters)
    statement = text(f"""
        select array(
            select chunk.id
            from chunks as chunk join documents as document on document.id = chunk.document_id
            where chunk.id = any(cast(:chunk_ids as bigint[])) and {where}
        )
    """)
    return np.sort(np.array(await session.scalar(statement, parameters), np.int64))


async def contents(session: AsyncSession, document_id: UUID) -> list[str]:
    """What a document's passages are found by, in order: each below its titles."""
    rows = await session.execute(
        text("select title_path, text from chunks where document_id = :document_id order by ordinal"),
        {"document_id": document_id},
    )
    return [chunking.content(row.title_path, row.text) for row in rows]


async def contents_of(session: AsyncSession, chunk_ids: Sequence[int]) -> dict[int, str]:
    """What each of these passages is found by: its titles and below them its text."""
    rows = await session.execute(
        text("select id, title_path, text from chunks where id = any(cast(:chunk_ids as bigint[]))"),
        {"chunk_ids": list(chunk_ids)},
    )
    return {row.id: chunking.content(row.title_path, row.text) for row in rows}


async def documents_of(session: AsyncSession, chunk_ids: Sequence[int]) -> dict[int, UUID]:
    """The document of each chunk."""
    rows = await session.execute(
        text("select id, document_id from chunks where id = any(cast(:chunk_ids as bigint[]))"),
        {"chunk_ids": list(chunk_ids)},
    )
    return {row.id: row.document_id for row in rows}


async def passages(session: AsyncSession, chunk_ids: Sequence[int]) -> dict[int, Row[Any]]:
    """What a hit shows of each of these chunks."""
    rows = (await session.execute(_PASSAGES, {"chunk_ids": list(chunk_ids)})).all()
    return {row.chunk_id: row for row in rows}


async def neighbours(session: AsyncSession, chunk_ids: Sequence[int], distance: int) -> dict[int, list[Row[Any]]]:
    """For each of these chunks those up to so many before and after it in its document, in order, itself left out."""
    rows = await session.execute(_NEIGHBOURS, {"chunk_ids": list(chunk_ids), "distance": distance})
    found: dict[int, list[Row[Any]]] = {chunk_id: [] for chunk_id in chunk_ids}
    for row in rows:
        found[row.chunk_id].append(row)
    return found


COUNT = """
select coalesce(sum(chunk_count), 0)
from (
    select version.chunk_count
    from documents as document join versions as version on version.id = document.current_version_id
    where document.collection_id = any(cast(:collection_ids as uuid[])) and {where}
    limit :up_to + 1
) as each
"""
# One plan for all values of a filter would be right for none: a year may be that of a thousandth or of half of all.
# And what passes may lie far from the question, where a walk needs more candidates to find as much (docs/adr/0027).
_PLANNED_FOR_VALUES = text("""
select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('hnsw.ef_search', '400', true)
""")
_MOST_LOOKED_UP = 8
_COLUMNS = ("number", "string", "boolean", "time")
_TYPES = text(
    "select "
    + ", ".join(
        f"""exists (
            select 1 from document_attributes as attribute
            where collection_id = any(cast(:collection_ids as uuid[])) and key = :key and {column} is not null
        ) as {column}"""
        for column in _COLUMNS
    )
)
_MOST_MEANT = 3
_HERE = """entity.deleted_at is null and entity.workspace_id in
    (select workspace_id from collections where id = any(cast(:collection_ids as uuid[])))"""
_UNKNOWN = text(f"""
select said from unnest(cast(:keys as text[])) with ordinality as given (said, place)
where not exists (select from entities as entity where entity.key = said and {_HERE})
order by place limit :limit
""")
# Somebody may have said the label, or begun the key rightly.
_ALIKE = text(f"""
select entity.key, :said in (lower(entity.key), lower(version.label)) as is_same
from entities as entity join entity_versions as version on version.id = entity.current_id
where {_HERE}
  and (starts_with(lower(entity.key), :first) or lower(version.label) = :said)
order by is_same desc, entity.key limit 5000
""")
_HIDDEN = text("""
select id from documents
where collection_id = any(cast(:collection_ids as uuid[])) and deleted_at is not null and purged_at is null
""")
_PASSAGES = text("""
select chunk.id as chunk_id, chunk.text, chunk.start_offset, chunk.end_offset, chunk.title_path, chunk.ordinal,
       chunk.space_before, chunk.page,
       -- The last character's page: so many start at or before it.
       case when chunk.page is not null
           then greatest(chunk.page, width_bucket(cast(chunk.end_offset - 1 as bigint), version.page_starts))
       end as page_end,
       document.id as document_id, document.external_id, document.attributes, version.name,
       coalesce(document.title, version.title, version.name) as title,
       version.id as version_id, version.number as version_number, version.detected_language, version.language,
       collection.name as collection
from chunks as chunk
join documents as document on document.id = chunk.document_id
join versions as version on version.id = chunk.version_id
join collections as collection on collection.id = document.collection_id
where chunk.id = any(cast(:chunk_ids as bigint[])) and document.deleted_at is null
""")
_NEIGHBOURS = text("""
select chunk.id as chunk_id, near.text, near.start_offset, near.end_offset, near.ordinal - chunk.ordinal as distance
from chunks as chunk
join chunks as near on near.version_id = chunk.version_id
    and near.ordinal between chunk.ordinal - :distance and chunk.ordinal + :distance and near.id <> chunk.id
where chunk.id = any(cast(:chunk_ids as bigint[]))
order by chunk.id, near.ordinal
""")

"""Statements of mentions. Callers hold the transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True)
class Found:
    """Where a passage names an entity: offsets in the document's text, ascending."""

    entity_id: UUID
    starts: list[int]
    ends: list[int]


@dataclass(frozen=True)
class Place:
    """A passage, and what it belongs to."""

    chunk_id: int
    collection_id: UUID
    document_id: UUID


async def share(session: AsyncSession, workspace_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """The names of these workspaces; a round for other ones does not begin until the transaction ends.

    In two statements: what is locked is what the second one sees. To be had before the rows of documents.
    """
    await session.execute(_SHARE, {"ids": list(workspace_ids)})
    return await names_ids(session, workspace_ids)


async def alone(session: AsyncSession, workspace_id: UUID) -> UUID | None:
    """Wait for all who hold `share`, and keep others out until the transaction ends; the id of the names."""
    await session.execute(_ALONE, {"id": workspace_id})
    return (await names_ids(session, [workspace_id])).get(workspace_id)


async def names_ids(session: AsyncSession, workspace_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """The id of the names of each workspace that has any."""
    rows = await session.execute(_NAMES_IDS, {"ids": list(workspace_ids)})
    return {row.workspace_id: row.names_id for row in rows}


async def names(session: AsyncSession, workspace_id: UUID) -> tuple[UUID | None, list[tuple[UUID, list[str]]]]:
    """What entities are called, all names of each, and the id of these names: as they were at one moment."""
    rows = (await session.execute(_NAMES, {"workspace_id": workspace_id})).all()
    named = [
        (row.id, [row.label, *(name for each in row.aliases.values() for name in each)])
        for row in rows
        if row.id is not None
    ]
    return (rows[0].names_id if rows else None), named


async def add(session: AsyncSession, found: Sequence[tuple[Place, Sequence[Found]]]) -> None:
    """Write the mentions of passages that have none."""
    each = [(place, one) for place, all_ in found for one in all_]
    if not each:
        return
    spots = [
        (number, start, end)
        for number, (_, one) in enumerate(each)
        for start, end in zip(one.starts, one.ends, strict=True)
    ]
    await session.execute(
        _ADD,
        {
            "chunk_ids": [place.chunk_id for place, _ in each],
            "collection_ids": [place.collection_id for place, _ in each],
            "document_ids": [place.document_id for place, _ in each],
            "entity_ids": [one.entity_id for _, one in each],
            # PostgreSQL's arrays of arrays must be rectangular.
            "numbers": [number for number, _, _ in spots],
            "starts": [start for _, start, _ in spots],
            "ends": [end for _, _, end in spots],
        },
    )


async def replace(session: AsyncSession, found: Sequence[tuple[Place, Sequence[Found]]]) -> int:
    """Have passages mention what was found and nothing else; how many of them change."""
    ids = [place.chunk_id for place, _ in found]
    before: dict[int, set[tuple[Any, ...]]] = {}
    for row in await session.execute(_PRESENT, {"chunk_ids": ids}):
        before.setdefault(row.chunk_id, set()).add((row.entity_id, tuple(row.starts), tuple(row.ends)))
    changed = [
        (place, now)
        for place, now in found
        if before.get(place.chunk_id, set()) != {(one.entity_id, tuple(one.starts), tuple(one.ends)) for one in now}
    ]
    if stale := [place.chunk_id for place, _ in changed if place.chunk_id in before]:
        await session.execute(_REMOVE, {"chunk_ids": stale})
    await add(session, changed)
    return len(changed)


@dataclass(frozen=True)
class Position:
    """The last passage that a round has looked at."""

    document_id: UUID
    ordinal: int


BEGINNING = Position(UUID(int=0), -1)


async def next_passages(
    session: AsyncSession, workspace_id: UUID, after: Position, *, documents: int, limit: int
) -> tuple[Position | None, Sequence[Row[Any]]]:
    """Passages that searches see, after a position; and that of the last of them. None: there are no more documents."""
    given = {"workspace_id": workspace_id, "document_id": after.document_id, "ordinal": after.ordinal}
    page = (await session.scalars(_DOCUMENTS, {**given, "limit": documents})).all()
    if not page:
        return None, []
    rows = (await session.execute(_PASSAGES, {**given, "document_ids": list(page), "limit": limit})).all()
    if len(rows) == limit:
        return Position(rows[-1].document_id, rows[-1].ordinal), rows
    return Position(page[-1], _NO_MORE), rows


async def is_run_by_another(session: AsyncSession, workspace_id: UUID, kind: str, job_id: UUID) -> bool:
    """Whether another job of this kind is running for the workspace."""
    given = {"workspace_id": workspace_id, "kind": kind, "job_id": job_id}
    return bool(await session.scalar(_RUN_BY_ANOTHER, given))


async def left_behind(session: AsyncSession, kind: str, *, since_s: float) -> list[UUID]:
    """Workspaces whose mentions are of older names, and that no job of this kind is for, nor was until so long ago."""
    return list(await session.scalars(_LEFT_BEHIND, {"kind": kind, "since_s": since_s}))


_NO_MORE = 2**31 - 1
_SHARE = text("""
select pg_advisory_xact_lock_shared(7355003, number)
from (select distinct hashtext(cast(id as text)) as number
      from unnest(cast(:ids as uuid[])) as wanted (id) order by number) as ordered
""")
_ALONE = text("select pg_advisory_xact_lock(7355003, hashtext(cast(cast(:id as uuid) as text)))")
_NAMES_IDS = text("""
select workspace_id, names_id from catalogues
where workspace_id = any(cast(:ids as uuid[])) and names_id is not null
""")
_NAMES = text("""
select catalogue.names_id, entity.id, version.label, version.aliases
from catalogues as catalogue
left join (entities as entity join entity_versions as version on version.id = entity.current_id)
    on entity.workspace_id = catalogue.workspace_id and entity.deleted_at is null
where catalogue.workspace_id = :workspace_id
""")
_ADD = text("""
insert into mentions (chunk_id, entity_id, collection_id, document_id, starts, ends)
select chunk_id, entity_id, collection_id, document_id, starts, ends
from unnest(cast(:chunk_ids as bigint[]), cast(:entity_ids as uuid[]), cast(:collection_ids as uuid[]),
            cast(:document_ids as uuid[])) with ordinality
     as named (chunk_id, entity_id, collection_id, document_id, place)
join (
    select number, array_agg(starts order by starts) as starts, array_agg(ends order by starts) as ends
    from unnest(cast(:numbers as int[]), cast(:starts as int[]), cast(:ends as int[])) as spot (number, starts, ends)
    group by number
) as spots on spots.number = named.place - 1
""")
_PRESENT = text("""
select chunk_id, entity_id, starts, ends from mentions where chunk_id = any(cast(:chunk_ids as bigint[]))
""")
_REMOVE = text("delete from mentions where chunk_id = any(cast(:chunk_ids as bigint[]))")
_DOCUMENTS = text("""
select id from documents
where workspace_id = :workspace_id and id >= :document_id and deleted_at is null and current_version_id is not null
  and (id > :document_id or cast(:ordinal as int) < 2147483647)
order by id limit :limit
""")
_PASSAGES = text("""
select chunk.id, chunk.collection_id, chunk.document_id, chunk.version_id, chunk.ordinal, chunk.start_offset, chunk.text
from (
    select id, current_version_id from documents where id = any(cast(:document_ids as uuid[])) order by id
) as document
cross join lateral (
    select id, collection_id, document_id, version_id, ordinal, start_offset, text from chunks
    where version_id = document.current_version_id
      and ordinal > case when document.id = :document_id then cast(:ordinal as int) else -1 end
    order by ordinal limit :limit
) as chunk
order by document.id, chunk.ordinal limit :limit
""")
_RUN_BY_ANOTHER = text("""
select exists (
    select from jobs where subject_id = :workspace_id and kind = :kind and state = 'running' and id <> :job_id
)
""")
_LEFT_BEHIND = text("""
select catalogue.workspace_id
from catalogues as catalogue left join mention_rounds as latest on latest.workspace_id = catalogue.workspace_id
where catalogue.names_id is not null
  and (latest.names_id is distinct from catalogue.names_id or latest.ended_at is null)
  and not exists (
      select from jobs
      where subject_id = catalogue.workspace_id and kind = :kind
        and (state in ('queued', 'running')
             or finished_at > clock_timestamp() - make_interval(secs => cast(:since_s as float8)))
  )
order by 1
""")


# --- asking ---


@dataclass(frozen=True)
class Named:
    """An entity that is mentioned. mentions, passages: how often, and in how many passages."""

    id: UUID
    key: str
    type: str
    label: str
    mentions: int
    passages: int


async def page_passages(
    session: AsyncSession,
    entity_id: UUID,
    *,
    collection_ids: Collection[UUID] | None,
    after: tuple[UUID, int] | None,
    limit: int,
    first: date | None = None,
    end: date | None = None,
) -> Sequence[Row[Any]]:
    """Passages that mention an entity, of the newest document first, in these collections or all within reach.

    first, end: only of documents dated from the one day up to the other.
    """
    given: dict[str, Any] = {"entity_id": entity_id, "limit": limit}
    conditions = ["mention.entity_id = :entity_id", "document.deleted_at is null"]
    for name, sign, day in (("first", ">=", first), ("end", "<", end)):
        if day is not None:
            conditions.append(f"document.dated_on {sign} :{name}")
            given[name] = day
    if collection_ids is not None:
        conditions.append("mention.collection_id = any(cast(:collection_ids as uuid[]))")
        given["collection_ids"] = list(collection_ids)
    if after is not None:
        conditions.append(
            "mention.document_id <= :document_id and (mention.document_id < :document_id or mention.chunk_id > :chunk_id)"
        )
        given |= {"document_id": after[0], "chunk_id": after[1]}
    return (await session.execute(text(_PAGE.format(where=" and ".join(conditions))), given)).all()


async def of_document(session: AsyncSession, document_id: UUID, *, limit: int) -> tuple[list[Named], int]:
    """Entities that a document mentions, most often first; and how many there are."""
    rows = (await session.execute(_OF_DOCUMENT, {"document_id": document_id, "limit": limit})).all()
    return [Named(*row[:-1]) for row in rows], (rows[0].total if rows else 0)


async def of_passages(session: AsyncSession, chunk_ids: Collection[int]) -> Sequence[Row[Any]]:
    """What these passages mention: chunk_id, id, key, type, label, starts, ends."""
    return (await session.execute(_OF_PASSAGES, {"chunk_ids": list(chunk_ids)})).all()


async def count_in(session: AsyncSession, chunk_ids: Collection[int], *, limit: int) -> list[Row[Any]]:
    """Entities that these passages mention, those of most passages first: id, key, type, label, passages, documents."""
    return list((await session.execute(_COUNT_IN, {"chunk_ids": list(chunk_ids), "limit": limit})).all())


@dataclass(frozen=True)
class Within:
    """Mentions of these entities, in these collections or all within reach, by documents dated from `first` up to `end`."""

    entity_ids: Collection[UUID]
    collection_ids: Collection[UUID] | None
    first: date
    end: date

    def parameters(self) -> dict[str, Any]:
        return {
            "entity_ids": list(self.entity_ids),
            "collection_ids": None if self.collection_ids is None else list(self.collection_ids),
            "first": self.first,
            "end": self.end,
        }


async def page_mentioned(
    session: AsyncSession,
    workspace_id: UUID,
    *,
    entity_ids: Collection[UUID] | None,
    collection_ids: Collection[UUID] | None,
    after: UUID | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """Entities that are mentioned by documents in these collections, or all within reach, by id: id, key, created_at."""
    given = {
        "workspace_id": workspace_id,
        "entity_ids": None if entity_ids is None else list(entity_ids),
        "collection_ids": None if collection_ids is None else list(collection_ids),
        "after": after or UUID(int=0),
        "limit": limit,
    }
    return (await session.execute(_MENTIONED, given)).all()


async def spans_of(session: AsyncSession, within: Within) -> dict[UUID, tuple[date, date]]:
    """The first and the last day of each of these entities that has any."""
    rows = await session.execute(_SPANS, within.parameters())
    return {row.entity_id: (row.first_on, row.last_on) for row in rows}


async def page_days(
    session: AsyncSession, within: Within, *, newest_first: bool = False, limit: int
) -> Sequence[Row[Any]]:
    """Days on which these entities are mentioned, by day: entity_id, day, mentions, passages, documents.

    Beside each previous_day and previous_mentions, of the same entity, or None.
    """
    return (await session.execute(_PAGE_OF_DAYS[newest_first], within.parameters() | {"limit": limit})).all()


async def newest_days(session: AsyncSession, within: Within) -> Sequence[Row[Any]]:
    """Of each of these entities the last of its days, as `page_days` has them."""
    return (await session.execute(_NEWEST_DAYS, within.parameters())).all()


async def all_days(session: AsyncSession, within: Within) -> Sequence[Row[Any]]:
    """A row an entity that has any: entity_id, and as lists its days and how often it is mentioned on each, by day."""
    return (await session.execute(_ALL_DAYS, within.parameters())).all()


async def latest_round(session: AsyncSession, workspace_id: UUID) -> Row[Any]:
    """How far a workspace's mentions are: state (none, waiting, under_way, current), passages, began_at, ended_at."""
    return (await session.execute(_ROUND, {"workspace_id": workspace_id})).one()


_ENTITY = """
join entities as entity on entity.id = mention.entity_id and entity.deleted_at is null
join entity_versions as version on version.id = entity.current_id
"""
_PAGE = """
select mention.chunk_id, mention.document_id, mention.starts, mention.ends, chunk.text, chunk.start_offset,
       chunk.end_offset, chunk.page, chunk.title_path, document.external_id, version.id as version_id,
       version.number as version_number, version.name,
       coalesce(document.title, version.title, version.name) as title, collection.name as collection
from mentions as mention
join chunks as chunk on chunk.id = mention.chunk_id
join documents as document on document.id = mention.document_id
join versions as version on version.id = chunk.version_id
join collections as collection on collection.id = mention.collection_id
where {where}
order by mention.document_id desc, mention.chunk_id
limit :limit
"""
_OF_DOCUMENT = text(f"""
select entity.id, entity.key, entity.type, version.label, sum(cardinality(mention.starts)) as mentions,
       count(*) as passages, count(*) over () as total
from chunks as chunk join mentions as mention on mention.chunk_id = chunk.id {_ENTITY}
where chunk.document_id = :document_id
group by entity.id, version.label
order by mentions desc, entity.key
limit :limit
""")
_OF_PASSAGES = text(f"""
select mention.chunk_id, entity.id, entity.key, entity.type, version.label, mention.starts, mention.ends
from mentions as mention {_ENTITY}
where mention.chunk_id = any(cast(:chunk_ids as bigint[]))
order by entity.key, mention.chunk_id
""")
_COUNT_IN = text(f"""
select entity.id, entity.key, entity.type, version.label, count(*) as passages,
       count(distinct mention.document_id) as documents
from mentions as mention {_ENTITY}
where mention.chunk_id = any(cast(:chunk_ids as bigint[]))
group by entity.id, version.label
order by passages desc, documents desc, entity.key
limit :limit
""")
_ROUND = text("""
select case
           when catalogue.names_id is null then 'none'
           when latest.names_id is distinct from catalogue.names_id then 'waiting'
           when latest.ended_at is null then 'under_way'
           else 'current' end as state,
       latest.passages, latest.began_at, latest.ended_at
from (select) as one
left join catalogues as catalogue on catalogue.workspace_id = :workspace_id and names_id is not null
left join mention_rounds as latest on latest.workspace_id = catalogue.workspace_id and latest.names_id is not null
""")
_IN_COLLECTIONS = (
    """(cast(:collection_ids as uuid[]) is null or mention.collection_id = any(cast(:collection_ids as uuid[])))"""
)
_MENTIONED = text(f"""
select entity.id, entity.key, entity.created_at
from entities as entity
cross join lateral (
    select from mentions as mention
    join documents as document on document.id = mention.document_id and document.deleted_at is null
    where mention.entity_id = entity.id and {_IN_COLLECTIONS}
    limit 1
) as one
where entity.workspace_id = :workspace_id and entity.deleted_at is null and entity.id > :after
  and (cast(:entity_ids as uuid[]) is null or entity.id = any(cast(:entity_ids as uuid[])))
order by entity.id
limit :limit
""")
_DATED = "join documents as document on document.id = mention.document_id and document.deleted_at is null"
_DAYS = f"""
select mention.entity_id, document.dated_on as day, cast(sum(mention.mentions) as bigint) as mentions,
       cast(sum(mention.passages) as bigint) as passages, count(*) as documents
from (
    select mention.entity_id, mention.document_id, sum(cardinality(mention.starts)) as mentions, count(*) as passages
    from mentions as mention
    where mention.entity_id = any(cast(:entity_ids as uuid[])) and {_IN_COLLECTIONS}
    group by mention.entity_id, mention.document_id
) as mention {_DATED}
where document.dated_on < :end {{since}}
group by mention.entity_id, document.dated_on
"""
_SINCE = "and document.dated_on >= :first"
_ALL = f"""
from mentions as mention {_DATED}
where mention.entity_id = any(cast(:entity_ids as uuid[])) and {_IN_COLLECTIONS}
  and document.dated_on < :end {_SINCE}
"""
_SPANS = text(f"""
select mention.entity_id, min(document.dated_on) as first_on, max(document.dated_on) as last_on {_ALL}
group by mention.entity_id
""")
_PAGE_OF_DAYS = {
    newest_first: text(f"""
select * from (
    select days.*, lag(day) over its as previous_day, lag(mentions) over its as previous_mentions
    from ({_DAYS.format(since="")}) as days
    window its as (partition by entity_id order by day)
) as days
where day >= :first
order by day {"desc" if newest_first else "asc"}, entity_id
limit :limit
""")
    for newest_first in (False, True)
}
_NEWEST_DAYS = text(f"""
select distinct on (entity_id) days.* from ({_DAYS.format(since=_SINCE)}) as days order by entity_id, day desc
""")
_ALL_DAYS = text(f"""
select entity_id, array_agg(day order by day) as days, array_agg(mentions order by day) as mentions
from (
    select mention.entity_id, document.dated_on as day, sum(cardinality(mention.starts)) as mentions {_ALL}
    group by mention.entity_id, document.dated_on
) as days
group by entity_id
""")

"""SQL of the catalogue. Entities, modules and profiles are asked alike: each is a row, and a version that is current."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.catalogue.content import Content, EntityContent, ModuleContent, ProfileContent
from drystone.catalogue.models import Action, EntityType, Kind


@dataclass(frozen=True)
class View:
    """One of them as it is, or was. number, content, published_*: of the version that is shown."""

    kind: Kind
    id: UUID
    key: str
    revision: int
    version_id: UUID
    number: int
    content: Content
    created_by: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    published_by: str
    published_at: datetime

    @property
    def etag(self) -> str:
        """Another that got the same key has another."""
        return f'"{self.id.hex}-{self.revision}"'


@dataclass(frozen=True)
class Choice:
    """Which of them; None: whatever it is. words: somewhere in the key or a name. module_version_id: its members.

    revision: as they were then. is_deleted: those that were deleted, by now.
    """

    type: EntityType | None = None
    words: str | None = None
    module_version_id: UUID | None = None
    revision: int | None = None
    is_deleted: bool = False


@dataclass(frozen=True)
class Past:
    """One thing that was done to it. number: of the version that was current then; None after a deletion."""

    revision: int
    at: datetime
    actor: str
    message: str
    action: Action
    number: int | None
    version: str | None


@dataclass(frozen=True)
class Reference:
    """Somebody who refers, or is referred to."""

    kind: Kind
    id: UUID
    key: str
    label: str
    role: str
    type: EntityType | None


@dataclass(frozen=True)
class _Table:
    name: str
    versions: str
    of: str
    columns: str
    # What else of a row is searched for words.
    words: str = "false"


_TABLES: dict[Kind, _Table] = {
    "entity": _Table(
        "entities",
        "entity_versions",
        "entity_id",
        "subject.type, version.aliases, version.parents, version.schema_definition",
        "exists (select from jsonb_path_query(version.aliases, '$.*[*]') as alias where alias #>> '{}' ilike :words)",
    ),
    "module": _Table(
        "modules",
        "module_versions",
        "module_id",
        """version.version, version.dependencies,
       array(select entities.key from module_members join entities on entities.id = entity_id
             where module_version_id = version.id order by entities.key) as entities""",
    ),
    "profile": _Table("profiles", "profile_versions", "profile_id", "version.modules"),
}


def _select(kind: Kind, source: str, revision: str = "subject.revision") -> str:
    table = _TABLES[kind]
    return f"""
select subject.id, subject.key, {revision} as revision, version.id as version_id, version.number, subject.created_by,
       subject.created_at, subject.updated_at, subject.deleted_at, version.published_by, version.published_at, version.label,
       version.description, {table.columns}
{source.format(rows=table.name, versions=table.versions, of=table.of)}"""


_CURRENT = "from {rows} as subject join {versions} as version on version.id = subject.current_id"
_OF_ROW = "from {rows} as subject join {versions} as version on version.{of} = subject.id"
# What each of them was at a revision.
_THEN = """from (
    select distinct on (subject_id) subject_id, action, version_id from catalogue_changes
    where workspace_id = :workspace_id and kind = cast(:kind as catalogue_kind) and revision <= :at_revision
    order by subject_id, revision desc
) as latest
join {versions} as version on version.id = latest.version_id and latest.action <> 'delete'
join {rows} as subject on subject.id = latest.subject_id"""
# The same of some keys only: without a look at the history of all others.
_THEN_OF = _THEN.replace(
    "and revision <=",
    """and subject_id in (select id from {rows} where workspace_id = :workspace_id and key = any(:keys))
      and revision <=""",
)
_REVISION_THEN = """(
    select count(*) from catalogue_changes
    where workspace_id = :workspace_id and kind = cast(:kind as catalogue_kind) and subject_id = subject.id and revision <= :at_revision
)"""


# Edges lead from one to what its current version refers to.
_CLOSURE = (
    _CURRENT
    + """
where subject.id in (
    with recursive reached (id) as (
        select cast(:id as uuid)
        union
        select edge.target_id from reached join catalogue_edges as edge on edge.source_id = reached.id
        where edge.target_kind = 'entity'
    )
    select id from reached
)
order by subject.key"""
)
_OF_PROFILE = """from (
    with recursive reached (id) as (
        select target_id from catalogue_edges where source_id = :id and target_kind = 'module'
        union
        select edge.target_id from reached join catalogue_edges as edge on edge.source_id = reached.id
        where edge.target_kind = 'module'
    )
    select id from reached
) as reached
join modules as module on module.id = reached.id
join module_members as member on member.module_version_id = module.current_id
join entity_versions as version on version.id = member.entity_version_id
join entities as subject on subject.id = member.entity_id
order by subject.key"""


def _view(kind: Kind, row: Row[Any]) -> View:
    content: Content
    if kind == "entity":
        content = EntityContent(row.type, row.label, row.description, row.aliases, row.parents, row.schema_definition)
    elif kind == "module":
        content = ModuleContent(row.version, row.label, row.description, row.entities, row.dependencies)
    else:
        content = ProfileContent(row.label, row.description, row.modules)
    return View(
        kind,
        row.id,
        row.key,
        row.revision,
        row.version_id,
        row.number,
        content,
        row.created_by,
        row.created_at,
        row.updated_at,
        row.deleted_at,
        row.published_by,
        row.published_at,
    )


async def hold(session: AsyncSession, workspace_id: UUID) -> int:
    """Keep others from changing the catalogue until the transaction ends; its revision."""
    await session.execute(_MAKE, {"workspace_id": workspace_id})
    return int((await session.execute(_HOLD, {"workspace_id": workspace_id})).scalar_one())


async def revision(session: AsyncSession, workspace_id: UUID) -> Row[Any] | None:
    """The newest revision: revision, at, actor, message; None before the first."""
    return (await session.execute(_NEWEST, {"workspace_id": workspace_id, "until": None})).one_or_none()


async def revision_at(session: AsyncSession, workspace_id: UUID, moment: datetime) -> int:
    """The revision that was the newest at this time; 0 before the first."""
    found = (await session.execute(_NEWEST, {"workspace_id": workspace_id, "until": moment})).one_or_none()
    return 0 if found is None else int(found.revision)


async def page_revisions(
    session: AsyncSession, workspace_id: UUID, *, before: int | None, limit: int
) -> Sequence[Row[Any]]:
    """Revisions, newest first: revision, at, actor, message, changes (how many)."""
    given = {"workspace_id": workspace_id, "before": before, "limit": limit}
    return (await session.execute(_REVISIONS, given)).all()


async def counts(session: AsyncSession, workspace_id: UUID) -> Mapping[str, int]:
    """How many entities, modules and profiles there are."""
    row = (await session.execute(_COUNTS, {"workspace_id": workspace_id})).one()
    return dict(row._mapping)


async def everything(session: AsyncSession, workspace_id: UUID, kind: Kind) -> list[View]:
    """All of a kind that are not deleted."""
    statement = text(
        _select(kind, _CURRENT)
        + " where subject.workspace_id = :workspace_id and subject.deleted_at is null order by subject.key"
    )
    return [_view(kind, row) for row in await session.execute(statement, {"workspace_id": workspace_id})]


async def deleted(
    session: AsyncSession, workspace_id: UUID, kind: Kind, keys: Sequence[str], *, first: Sequence[UUID] = ()
) -> list[View]:
    """For each of these keys the one that had it and was deleted last; one of the ids in `first` before others."""
    statement = text(
        _select(kind, _CURRENT).replace("select subject.id", "select distinct on (subject.key) subject.id", 1)
        + " where subject.workspace_id = :workspace_id and subject.key = any(:keys) and subject.deleted_at is not null"
        " order by subject.key, subject.id = any(:first) desc, subject.deleted_at desc, subject.id desc"
    )
    rows = await session.execute(statement, {"workspace_id": workspace_id, "keys": list(keys), "first": list(first)})
    return [_view(kind, row) for row in rows]


async def all_deleted(session: AsyncSession, workspace_id: UUID, kind: Kind, keys: Sequence[str]) -> list[View]:
    """All that had one of these keys and were deleted, the last first."""
    statement = text(
        _select(kind, _CURRENT)
        + " where subject.workspace_id = :workspace_id and subject.key = any(:keys) and subject.deleted_at is not null"
        " order by subject.deleted_at desc, subject.id desc"
    )
    rows = await session.execute(statement, {"workspace_id": workspace_id, "keys": list(keys)})
    return [_view(kind, row) for row in rows]


async def taken(session: AsyncSession, ids: Sequence[UUID]) -> set[UUID]:
    """Those of these ids that an entity, module or profile has, deleted or not."""
    return set(await session.scalars(_TAKEN, {"ids": list(ids)}))


async def versions_by_content(session: AsyncSession, entity_ids: Sequence[UUID]) -> dict[tuple[UUID, bytes], UUID]:
    """Versions of these entities, by entity and SHA-256 of what they say; of those that say the same the newest."""
    rows = await session.execute(_VERSIONS_BY_CONTENT, {"ids": list(entity_ids)})
    return {(row.entity_id, row.content_sha256): row.id for row in rows}


async def then(
    session: AsyncSession, workspace_id: UUID, kind: Kind, keys: Sequence[str], *, revision: int
) -> list[View]:
    """Those of these keys that were there at a revision."""
    statement = text(_select(kind, _THEN_OF) + " where subject.workspace_id = :workspace_id")
    given = {"workspace_id": workspace_id, "kind": kind, "keys": list(keys), "at_revision": revision}
    return [_view(kind, row) for row in await session.execute(statement, given)]


async def deleted_then(
    session: AsyncSession, workspace_id: UUID, kind: Kind, keys: Sequence[str], *, revision: int
) -> Mapping[str, UUID]:
    """For each of these keys the one that had it and was deleted last, up to a revision."""
    statement = text(f"""
select distinct on (subject.key) subject.key, subject.id from {_TABLES[kind].name} as subject
join catalogue_changes as change on change.workspace_id = subject.workspace_id and change.subject_id = subject.id
where subject.workspace_id = :workspace_id and subject.key = any(:keys) and change.kind = cast(:kind as catalogue_kind)
  and change.action = 'delete' and change.revision <= :revision
order by subject.key, change.revision desc""")
    given = {"workspace_id": workspace_id, "kind": kind, "keys": list(keys), "revision": revision}
    return {row.key: row.id for row in await session.execute(statement, given)}


async def members(session: AsyncSession, module_version_id: UUID) -> list[View]:
    """The entities of a module's version as they are pinned there."""
    source = """from module_members as member
join entity_versions as version on version.id = member.entity_version_id
join entities as subject on subject.id = member.entity_id
where member.module_version_id = :module_version_id order by subject.key"""
    rows = await session.execute(text(_select("entity", source)), {"module_version_id": module_version_id})
    return [_view("entity", row) for row in rows]


async def closure(session: AsyncSession, entity_id: UUID) -> list[View]:
    """An entity and all that it speaks of, at first or second hand, as they are now."""
    rows = await session.execute(text(_select("entity", _CLOSURE)), {"id": entity_id})
    return [_view("entity", row) for row in rows]


async def of_profile(session: AsyncSession, profile_id: UUID) -> list[View]:
    """The entities of a profile's modules and of those that they depend on, as they are pinned."""
    rows = await session.execute(text(_select("entity", _OF_PROFILE)), {"id": profile_id})
    return [_view("entity", row) for row in rows]


async def find(
    session: AsyncSession, workspace_id: UUID, kind: Kind, key: str | UUID, *, at: int | None = None
) -> View | None:
    """The one of this key or id, at a revision or now; of several that had the key, the one that is there, else the last."""
    which = "subject.id = :key" if isinstance(key, UUID) else "subject.key = :key"
    given = {"workspace_id": workspace_id, "key": key, "kind": kind, "at_revision": at}
    if at is None:
        del given["kind"], given["at_revision"]
        statement = _select(kind, _CURRENT)
    else:
        statement = _select(kind, _THEN, _REVISION_THEN)
    statement += f" where subject.workspace_id = :workspace_id and {which} order by subject.deleted_at desc nulls first, subject.id desc limit 1"
    row = (await session.execute(text(statement), given)).one_or_none()
    return None if row is None else _view(kind, row)


async def page(
    session: AsyncSession,
    workspace_id: UUID,
    kind: Kind,
    choice: Choice,
    *,
    after: tuple[str, UUID] | None,
    limit: int | None,
) -> list[View]:
    """Those of the choice that come after a key and id, in their order; None: all."""
    table, given = _TABLES[kind], dict[str, Any](workspace_id=workspace_id, limit=limit)
    conditions = ["subject.workspace_id = :workspace_id"]
    if choice.revision is None:
        statement = _select(kind, _CURRENT)
        conditions.append(f"subject.deleted_at is {'not ' if choice.is_deleted else ''}null")
    else:
        statement = _select(kind, _THEN, _REVISION_THEN)
        given |= {"kind": kind, "at_revision": choice.revision}
    if choice.type is not None:
        conditions.append("subject.type = cast(:type as entity_type)")
        given["type"] = choice.type
    if choice.words is not None:
        conditions.append(f"(subject.key ilike :words or version.label ilike :words or {table.words})")
        given["words"] = f"%{_literally(choice.words)}%"
    if choice.module_version_id is not None:
        conditions.append(
            "subject.id in (select entity_id from module_members where module_version_id = :module_version_id)"
        )
        given["module_version_id"] = choice.module_version_id
    if after is not None:
        conditions.append("(subject.key, subject.id) > (:after_key, :after_id)")
        given |= {"after_key": after[0], "after_id": after[1]}
    statement += f"\nwhere {' and '.join(conditions)} order by subject.key, subject.id limit :limit"
    return [_view(kind, row) for row in await session.execute(text(statement), given)]


def _literally(words: str) -> str:
    return words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


async def page_versions(
    session: AsyncSession, kind: Kind, subject_id: UUID, *, before: int | None, limit: int
) -> list[View]:
    """Versions of one, newest first."""
    statement = (
        _select(kind, _OF_ROW)
        + """
where subject.id = :id and (cast(:before as integer) is null or version.number < :before)
order by version.number desc limit :limit"""
    )
    rows = await session.execute(text(statement), {"id": subject_id, "before": before, "limit": limit})
    return [_view(kind, row) for row in rows]


async def find_version(session: AsyncSession, kind: Kind, subject_id: UUID, number: int) -> View | None:
    statement = _select(kind, _OF_ROW) + " where subject.id = :id and version.number = :number"
    row = (await session.execute(text(statement), {"id": subject_id, "number": number})).one_or_none()
    return None if row is None else _view(kind, row)


async def history(
    session: AsyncSession, workspace_id: UUID, kind: Kind, subject_id: UUID, *, before: int | None, limit: int
) -> list[Past]:
    """What was done to one, newest first. before: a revision of the catalogue."""
    version = "version.version" if kind == "module" else "cast(null as text)"
    statement = text(f"""
select change.revision, done.at, done.actor, done.message, change.action, version.number, {version} as version
from catalogue_changes as change
join catalogue_revisions as done on done.workspace_id = change.workspace_id and done.revision = change.revision
left join {_TABLES[kind].versions} as version on version.id = change.version_id
where change.workspace_id = :workspace_id and change.kind = cast(:kind as catalogue_kind) and change.subject_id = :id
  and (cast(:before as bigint) is null or change.revision < :before)
order by change.revision desc
limit :limit""")
    given = {"workspace_id": workspace_id, "kind": kind, "id": subject_id, "before": before, "limit": limit}
    return [Past(*row) for row in await session.execute(statement, given)]


async def references(session: AsyncSession, workspace_id: UUID, subject_id: UUID, *, outward: bool) -> list[Reference]:
    """Whom it refers to (outward), or who refers to it, by kind, key and role."""
    rows = await session.execute(
        _REFERS_TO if outward else _REFERRED_BY, {"workspace_id": workspace_id, "id": subject_id}
    )
    return [Reference(*row) for row in rows]


async def time_of_change(session: AsyncSession, workspace_id: UUID) -> datetime:
    """Now, and later than the newest revision, whatever the clock says."""
    found: datetime = (await session.execute(_TIME, {"workspace_id": workspace_id})).scalar_one()
    return found


async def point(session: AsyncSession, kind: Kind, rows: Sequence[Mapping[str, Any]]) -> None:
    """Have each (id, current_id, at, deleted_at) be as this says, one revision on."""
    if rows:
        await session.execute(text(_POINT.format(table=_TABLES[kind].name)), list(rows))


async def drop_edges(session: AsyncSession, workspace_id: UUID, source_ids: Sequence[UUID]) -> None:
    await session.execute(_DROP_EDGES, {"workspace_id": workspace_id, "ids": list(source_ids)})


async def note_names(session: AsyncSession, workspace_id: UUID, names_id: UUID) -> None:
    """Entities are called something else from now on."""
    await session.execute(_NOTE_NAMES, {"workspace_id": workspace_id, "names_id": names_id})


async def note_revision(session: AsyncSession, workspace_id: UUID, revision: int) -> None:
    await session.execute(_NOTE_REVISION, {"workspace_id": workspace_id, "revision": revision})


_MAKE = text("insert into catalogues (workspace_id) values (:workspace_id) on conflict do nothing")
_HOLD = text("select revision from catalogues where workspace_id = :workspace_id for update")
_NOTE_REVISION = text("update catalogues set revision = :revision where workspace_id = :workspace_id")
_NOTE_NAMES = text("update catalogues set names_id = :names_id where workspace_id = :workspace_id")

_TAKEN = text("""
select id from entities where id = any(:ids)
union select id from modules where id = any(:ids)
union select id from profiles where id = any(:ids)
""")
_VERSIONS_BY_CONTENT = text("""
select entity_id, content_sha256, id from entity_versions where entity_id = any(:ids) order by entity_id, number
""")

_TIME = text("""
select greatest(clock_timestamp(), max(at) + interval '1 microsecond') from catalogue_revisions
where workspace_id = :workspace_id
""")

_NEWEST = text("""
select revision, at, actor, message from catalogue_revisions
where workspace_id = :workspace_id and (cast(:until as timestamptz) is null or at <= :until)
order by at desc
limit 1
""")

_REVISIONS = text("""
select done.revision, done.at, done.actor, done.message,
       (select count(*) from catalogue_changes as change
        where change.workspace_id = done.workspace_id and change.revision = done.revision) as changes
from catalogue_revisions as done
where workspace_id = :workspace_id and (cast(:before as bigint) is null or revision < :before)
order by revision desc
limit :limit
""")

_COUNTS = text("""
select (select count(*) from entities where workspace_id = :workspace_id and deleted_at is null) as entities,
       (select count(*) from modules where workspace_id = :workspace_id and deleted_at is null) as modules,
       (select count(*) from profiles where workspace_id = :workspace_id and deleted_at is null) as profiles
""")

_POINT = """
update {table} set current_id = :current_id, revision = revision + 1, updated_at = :at, deleted_at = :deleted_at
where id = :id
"""

_DROP_EDGES = text("delete from catalogue_edges where workspace_id = :workspace_id and source_id = any(:ids)")


def _edges(ours: str, theirs: str) -> Any:
    return text(f"""
select edge.{theirs}_kind as kind, other.id, other.key, version.label, edge.role, other.type
from catalogue_edges as edge
join (
    select id, key, current_id, cast(type as text) as type from entities
    union all
    select id, key, current_id, null from modules
    union all
    select id, key, current_id, null from profiles
) as other on other.id = edge.{theirs}_id
join (
    select id, label from entity_versions
    union all
    select id, label from module_versions
    union all
    select id, label from profile_versions
) as version on version.id = other.current_id
where edge.workspace_id = :workspace_id and edge.{ours}_id = :id
order by kind, other.key, edge.role
""")


_REFERS_TO = _edges("source", "target")
_REFERRED_BY = _edges("target", "source")

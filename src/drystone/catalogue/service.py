"""What there is in the catalogue, and what there was. Every key that may read reads all of its workspace's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.catalogue import queries
from drystone.catalogue.content import Content, EntityContent, ModuleContent, ProfileContent
from drystone.catalogue.fitting import Shape
from drystone.catalogue.graphs import Graph
from drystone.catalogue.models import Kind
from drystone.catalogue.queries import Choice, Past, Reference, View
from drystone.core.errors import Invalid, NotFound, pointer_to

PLURALS: dict[Kind, str] = {"entity": "entities", "module": "modules", "profile": "profiles"}


@dataclass(frozen=True)
class Overview:
    """A catalogue in a few numbers. at, actor, message: of its newest revision."""

    revision: int
    at: datetime | None
    actor: str | None
    message: str | None
    entities: int
    modules: int
    profiles: int

    @property
    def etag(self) -> str:
        return tag_of(self.revision)


def tag_of(revision: int) -> str:
    """The entity tag of a catalogue as a whole."""
    return f'"{revision}"'


async def overview(session: AsyncSession, principal: Principal) -> Overview:
    principal.require("read")
    newest = await queries.revision(session, principal.workspace_id)
    found = await queries.counts(session, principal.workspace_id)
    if newest is None:
        return Overview(0, None, None, None, **found)
    return Overview(newest.revision, newest.at, newest.actor, newest.message, **found)


async def revisions(
    session: AsyncSession, principal: Principal, *, before: int | None, limit: int
) -> Sequence[Row[Any]]:
    """Revisions of the catalogue, newest first."""
    principal.require("read")
    return await queries.page_revisions(session, principal.workspace_id, before=before, limit=limit)


async def get(
    session: AsyncSession, principal: Principal, kind: Kind, key: str, *, as_of: datetime | None = None
) -> View:
    """The one of this key or id, as it is, or was at a time. Raises NotFound, also for one that is deleted."""
    principal.require("read")
    at = None if as_of is None else await queries.revision_at(session, principal.workspace_id, as_of)
    found = await queries.find(session, principal.workspace_id, kind, _key_or_id(key), at=at)
    if found is None or (as_of is None and found.deleted_at is not None):
        _not_found(kind, key, found, as_of)
    return found


async def get_any(session: AsyncSession, principal: Principal, kind: Kind, key: str) -> View:
    """The one of this key or id, also where it is deleted. Raises NotFound."""
    principal.require("read")
    found = await queries.find(session, principal.workspace_id, kind, _key_or_id(key))
    if found is None:
        _not_found(kind, key, None, None)
    return found


async def key_of(session: AsyncSession, principal: Principal, kind: Kind, key: str) -> str:
    """A key, or that of the one of this id. Raises NotFound for an id that is nobody's."""
    found = _key_or_id(key)
    return found if isinstance(found, str) else (await get(session, principal, kind, key)).key


async def page(
    session: AsyncSession,
    principal: Principal,
    kind: Kind,
    choice: Choice,
    *,
    module: str | None = None,
    as_of: datetime | None = None,
    after: tuple[str, UUID] | None,
    limit: int,
) -> list[View]:
    """Those of a choice, by key; as they were at a time. module: whose members. Raises NotFound for an unknown one."""
    principal.require("read")
    if as_of is not None:
        if choice.is_deleted:
            raise Invalid(
                "catalogue.deleted_then",
                "What was deleted is listed as it is now, not as of a time.",
                hint="leave out deleted or as_of; the history of each tells when it was deleted",
                pointer=pointer_to("deleted"),
            )
        choice = replace(choice, revision=await queries.revision_at(session, principal.workspace_id, as_of))
    if module is not None:
        found = await get(session, principal, "module", module, as_of=as_of)
        choice = replace(choice, module_version_id=found.version_id)
    return await queries.page(session, principal.workspace_id, kind, choice, after=after, limit=limit)


async def versions(
    session: AsyncSession, principal: Principal, kind: Kind, key: str, *, before: int | None, limit: int
) -> list[View]:
    """Versions of one, newest first, also of one that is deleted. Raises NotFound."""
    found = await get_any(session, principal, kind, key)
    return await queries.page_versions(session, kind, found.id, before=before, limit=limit)


async def version(session: AsyncSession, principal: Principal, kind: Kind, key: str, number: int) -> View:
    """One version by its number. Raises NotFound."""
    newest = await get_any(session, principal, kind, key)
    found = await queries.find_version(session, kind, newest.id, number)
    if found is None:
        raise NotFound(
            f"{kind}.no_such_version",
            f"The {kind} {newest.key!r} has no version {number}.",
            hint=f"the newest is {newest.number}",
        )
    return found


async def history(
    session: AsyncSession, principal: Principal, kind: Kind, key: str, *, before: int | None, limit: int
) -> list[Past]:
    """What was done to one, newest first, deletions and restorings too. Raises NotFound."""
    found = await get_any(session, principal, kind, key)
    return await queries.history(session, principal.workspace_id, kind, found.id, before=before, limit=limit)


async def references(
    session: AsyncSession, principal: Principal, kind: Kind, key: str
) -> tuple[list[Reference], list[Reference]]:
    """Whom one refers to, and who refers to it. Raises NotFound."""
    found = await get(session, principal, kind, key)
    outward = await queries.references(session, principal.workspace_id, found.id, outward=True)
    return outward, await queries.references(session, principal.workspace_id, found.id, outward=False)


async def graph(
    session: AsyncSession,
    principal: Principal,
    *,
    entities: bool = False,
    profile: str | None = None,
    as_of: datetime | None = None,
) -> Graph:
    """Who depends on whom. entities: with those, too. profile: this one and what it stands on. Raises NotFound for an unknown one."""
    principal.require("read")
    top = None if profile is None else await get(session, principal, "profile", profile, as_of=as_of)
    then = None if as_of is None else await queries.revision_at(session, principal.workspace_id, as_of)
    kinds: tuple[Kind, ...] = ("profile", "module", "entity") if entities else ("profile", "module")
    found: dict[tuple[Kind, str], Content] = {}
    for kind in kinds:
        views = await queries.page(session, principal.workspace_id, kind, Choice(revision=then), after=None, limit=None)
        found |= {(kind, view.key): view.content for view in views}
    whole = Graph.of(found)
    return whole if top is None else whole.below(("profile", top.key))


async def shape(session: AsyncSession, view: View) -> Shape:
    """What things of a category look like now, or of the categories of a profile; of one that is not deleted."""
    found = await (queries.closure if view.kind == "entity" else queries.of_profile)(session, view.id)
    entities = {each.key: each.content for each in found if isinstance(each.content, EntityContent)}
    categories = [view.key] if view.kind == "entity" else [key for key in entities if entities[key].type == "category"]
    return Shape(entities, tuple(categories))


async def entities_of(
    session: AsyncSession, principal: Principal, key: str, *, as_of: datetime | None = None
) -> tuple[ProfileContent, dict[str, EntityContent]]:
    """A profile, and the entities of its modules and of those that they depend on, as they are pinned. Raises NotFound."""
    profile = await get(session, principal, "profile", key, as_of=as_of)
    assert isinstance(profile.content, ProfileContent)
    waiting, seen = list(profile.content.modules), set[str]()
    found: dict[str, EntityContent] = {}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        module = await get(session, principal, "module", name, as_of=as_of)
        assert isinstance(module.content, ModuleContent)
        waiting += module.content.dependencies
        for member in await queries.members(session, module.version_id):
            assert isinstance(member.content, EntityContent)
            found[member.key] = member.content
    return profile.content, found


def _key_or_id(key: str) -> str | UUID:
    try:
        return UUID(key)
    except ValueError:
        return key


def _not_found(kind: Kind, key: str, deleted: View | None, as_of: datetime | None) -> NoReturn:
    path, code = f"/api/v1/{PLURALS[kind]}", f"{kind}.not_found"
    if as_of is not None:
        said = f"There was no {kind} {key!r} at {as_of.isoformat()}."
        hint = f"{path}/{key}/history tells what was done to it"
    elif deleted is not None:
        said = f"The {kind} {key!r} was deleted at {deleted.deleted_at:%Y-%m-%d %H:%M} UTC."
        code, hint = f"{kind}.is_deleted", f"POST {path}/{key}/restore brings it back"
    else:
        said, hint = f"There is no {kind} {key!r}.", f"GET {path} lists what there is"
    raise NotFound(code, said, hint=hint, key=key)

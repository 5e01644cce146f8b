"""The catalogue in a bundle: entities, modules and profiles with all their versions, those that were deleted among them.

Who published what is left out: keys of one installation are nobody in another, so that the same catalogue is the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.bundle import queries
from drystone.bundle.container import Reading, Writing, damaged, lines, write
from drystone.bundle.schema import (
    CATALOGUE,
    EntityLine,
    EntityVersionPart,
    ModuleLine,
    ModuleVersionPart,
    ProfileLine,
    ProfileVersionPart,
)
from drystone.catalogue import bringing
from drystone.catalogue.bringing import Brought, Past
from drystone.catalogue.content import ModuleContent, ProfileContent
from drystone.catalogue.models import KINDS, Kind
from drystone.core.errors import Conflict


async def export(session: AsyncSession, bundle: Writing, workspace_id: UUID) -> dict[str, int]:
    """Write it; how many there are of each, by the manifest's names."""
    counts = {}
    for kind, member in zip(KINDS, CATALOGUE, strict=True):
        count = 0
        with bundle.member(member) as file:
            async for row, versions in queries.catalogue(session, workspace_id, kind):
                write(file, _line(kind, row, versions))
                count += 1
        counts[member.removeprefix("catalogue/").removesuffix(".ndjson")] = count
    return counts


def _line(kind: Kind, row: Row[Any], versions: Sequence[Row[Any]]) -> EntityLine | ModuleLine | ProfileLine:
    about = {name: getattr(row, name) for name in ("id", "key", "created_at", "deleted_at")}
    try:
        if kind == "entity":
            parts = [EntityVersionPart(**_said(each, EntityVersionPart)) for each in versions]
            return EntityLine(**about, type=row.type, versions=parts)
        if kind == "module":
            return ModuleLine(
                **about, versions=[ModuleVersionPart(**_said(each, ModuleVersionPart)) for each in versions]
            )
        return ProfileLine(
            **about, versions=[ProfileVersionPart(**_said(each, ProfileVersionPart)) for each in versions]
        )
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        raise Conflict(
            "bundle.not_portable",
            f"The {kind} {row.key!r} is not as bundles may have it: {first['loc']} {first['msg']}.",
            hint="export without the catalogue: --no-catalogue",
        ) from exc


def _said(row: Row[Any], part: type[Any]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in part.model_fields}


def read(bundle: Reading) -> list[Brought]:
    """All of it. Raises Invalid for lines that are none."""
    if not bundle.has_catalogue:
        return []
    entities = list(lines(bundle, CATALOGUE[0], EntityLine))
    keys = {str(each.id): each.key for each in entities}
    return [
        *map(_entity, entities),
        *(_module(each, keys) for each in lines(bundle, CATALOGUE[1], ModuleLine)),
        *map(_profile, lines(bundle, CATALOGUE[2], ProfileLine)),
    ]


def _entity(line: EntityLine) -> Brought:
    versions = [Past(line.content(each), each.published_at) for each in line.versions]
    return Brought("entity", line.id, line.key, line.created_at, line.deleted_at, versions)


def _module(line: ModuleLine, keys: dict[str, str]) -> Brought:
    return Brought("module", line.id, line.key, line.created_at, line.deleted_at, list(_releases(line, keys)))


def _releases(line: ModuleLine, keys: dict[str, str]) -> Iterator[Past]:
    for number, each in enumerate(line.versions, start=1):
        if lacking := [entity_id for entity_id in each.entities if entity_id not in keys]:
            raise damaged(f"version {number} of the module {line.key!r}: its entity {lacking[0][:40]} is not there")
        members = [keys[entity_id] for entity_id in each.entities]
        if len(set(members)) != len(members):
            raise damaged(f"version {number} of the module {line.key!r}: two of its entities have one key")
        content = ModuleContent(each.version, each.label, each.description, members, each.dependencies)
        pins = {UUID(entity_id): pinned for entity_id, pinned in each.entities.items()}
        yield Past(content, each.published_at, pins)


def _profile(line: ProfileLine) -> Brought:
    versions = [
        Past(ProfileContent(each.label, each.description, each.modules), each.published_at) for each in line.versions
    ]
    return Brought("profile", line.id, line.key, line.created_at, line.deleted_at, versions)


def check(bundle: Reading) -> list[Brought]:
    """All of it, which is a catalogue that the rules allow. Raises Invalid."""
    brought = read(bundle)
    manifest = bundle.manifest
    counts = tuple(sum(each.kind == kind for each in brought) for kind in KINDS)
    if counts != (manifest.entities, manifest.modules, manifest.profiles):
        raise damaged("it has another number of entities, modules or profiles than its manifest says")
    for kind in KINDS:
        order = [(each.key, str(each.id)) for each in brought if each.kind == kind]
        if order != sorted(order):
            raise damaged(f"the lines of a {kind} are not in order")
    if said := bringing.fault(brought):
        raise damaged(said.rstrip("."))
    return brought

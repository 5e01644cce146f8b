"""A catalogue of another installation is brought here: what there is, with all its versions, as one revision.

What is the same here already is left alone, and what differs is refused, so it may be brought twice. The same rules hold as
for a changeset. Who wrote what, and by which changesets, stays where it was.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Action, Entry, Principal
from drystone.catalogue import applying, definitions, models, queries, rules, semver
from drystone.catalogue.content import Content, EntityContent, ModuleContent, is_key
from drystone.catalogue.models import KINDS, Kind
from drystone.catalogue.rules import Change, State
from drystone.core.errors import Conflict
from drystone.core.ids import new_id
from drystone.jobs import events
from drystone.jobs.broker import Nudger
from drystone.jobs.events import Happening

_TOLD = 100
_TABLES: Mapping[Kind, tuple[type[Any], type[Any]]] = {
    "entity": (models.Entity, models.EntityVersion),
    "module": (models.Module, models.ModuleVersion),
    "profile": (models.Profile, models.ProfileVersion),
}


@dataclass(frozen=True)
class Past:
    """A version. pins: of a module's version, its entities by id, and the number of the version each is pinned to."""

    content: Content
    published_at: datetime
    pins: Mapping[UUID, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Brought:
    """An entity, module or profile as it was there. versions: all, from number 1; the last is the newest."""

    kind: Kind
    id: UUID
    key: str
    created_at: datetime
    deleted_at: datetime | None
    versions: Sequence[Past]

    @property
    def content(self) -> Content:
        return self.versions[-1].content

    @property
    def name(self) -> tuple[Kind, str]:
        return self.kind, self.key


@dataclass
class Arrival:
    """What became of it. ids: theirs -> ours. already: those that were here, or had been and were deleted here as there."""

    added: int = 0
    already: int = 0
    ids: dict[UUID, UUID] = field(default_factory=dict)


def fault(brought: Sequence[Brought]) -> str | None:
    """What keeps these from being a catalogue, the first of it; None: they are one. Asks no database."""
    for said in _faults(brought):
        return said
    verdict = rules.check(State(), [Change(*each.name, "put", each.content) for each in _live(brought)])
    return verdict.problems[0].sentence if verdict.problems else None


def _faults(brought: Sequence[Brought]) -> Iterator[str]:
    by_id = {each.id: each for each in brought}
    if len(by_id) != len(brought):
        yield "an id is there twice"
    if again := [name for name, count in Counter(each.name for each in _live(brought)).items() if count > 1]:
        yield f"the {again[0][0]} {again[0][1]!r} is there twice"
    for each in brought:
        if not is_key(each.key):
            yield f"{each.key!r} cannot be a key"
        for number, version in enumerate(each.versions, start=1):
            for said in _faults_of(version, by_id, is_live=each.deleted_at is None and number == len(each.versions)):
                yield f"version {number} of the {each.kind} {each.key!r}: {said}"
        numbers = [past.content.version for past in each.versions if isinstance(past.content, ModuleContent)]
        if len(set(numbers)) != len(numbers):
            yield f"the module {each.key!r} was released twice under one version"


def _faults_of(version: Past, by_id: Mapping[UUID, Brought], *, is_live: bool) -> Iterator[str]:
    content = version.content
    if isinstance(content, EntityContent):
        yield from (each.sentence for each in definitions.faults(content.type, content.schema_definition))
    elif isinstance(content, ModuleContent):
        if content.version is None or semver.parse(content.version) is None:
            yield f"{content.version!r} is no version"
        for entity_id, number in version.pins.items():
            entity = by_id.get(entity_id)
            if entity is None or entity.kind != "entity" or number > len(entity.versions):
                yield f"version {number} of its entity {entity_id} is not there"
            elif is_live and entity.deleted_at is not None:
                yield f"its entity {entity.key!r} is deleted"


def _live(brought: Sequence[Brought]) -> list[Brought]:
    return [each for each in brought if each.deleted_at is None]


async def bring(
    session: AsyncSession, nudger: Nudger, principal: Principal, brought: Sequence[Brought], *, message: str
) -> Arrival:
    """Add what is not here yet, all of it, as one revision. `fault` has nothing to say of them.

    Raises Conflict with all that is here under the same key and says something else, or does not go with what is here.
    """
    principal.require_whole("write")
    revision = await queries.hold(session, principal.workspace_id) + 1
    new, arrival = await _without_known(session, principal, brought)
    if new:
        taken = await queries.taken(session, [each.id for each in new])
        arrival.ids |= {each.id: new_id() if each.id in taken else each.id for each in new}
        at = await queries.time_of_change(session, principal.workspace_id)
        pinned = await _versions_here(session, brought, new, arrival.ids)
        await _Arriving(session, principal, new, arrival.ids, pinned, revision, at).write(message)
        arrival.added = len(new)
    if any(each.kind == "entity" and each.deleted_at is None for each in new):
        await applying.names_changed(session, nudger, principal.workspace_id)
    return arrival


async def _without_known(
    session: AsyncSession, principal: Principal, brought: Sequence[Brought]
) -> tuple[list[Brought], Arrival]:
    """Those that are not here, by kind as they are to be written; and under which ids the others are."""
    present = {
        (kind, view.key): view
        for kind in KINDS
        for view in await queries.everything(session, principal.workspace_id, kind)
    }
    differing = [each for each in _live(brought) if each.name in present and present[each.name].content != each.content]
    if differing:
        raise _differs(differing)
    gone = await _gone(session, principal.workspace_id, brought)
    arrival, new = Arrival(), []
    for each in sorted(brought, key=lambda one: KINDS.index(one.kind)):
        if each.deleted_at is None:
            here = present[each.name].id if each.name in present else None
        else:
            here = gone.get((*each.name, each.content.sha256))
        if here is None:
            new.append(each)
        else:
            arrival.ids[each.id] = here
            arrival.already += 1
    if new:
        await _check(present, _live(new))
    return new, arrival


async def _gone(
    session: AsyncSession, workspace_id: UUID, brought: Sequence[Brought]
) -> dict[tuple[Kind, str, bytes], UUID]:
    """Those that were deleted here, by what they said last."""
    return {
        (kind, view.key, view.content.sha256): view.id
        for kind in KINDS
        for view in await queries.all_deleted(
            session,
            workspace_id,
            kind,
            sorted({each.key for each in brought if each.kind == kind and each.deleted_at is not None}),
        )
    }


async def _check(present: applying.Present, new: Sequence[Brought]) -> None:
    found: dict[Kind, dict[str, Any]] = {kind: {} for kind in KINDS}
    for (kind, key), view in present.items():
        found[kind][key] = view.content
    state = State(found["entity"], found["module"], found["profile"])
    changes = [Change(*each.name, "put", each.content) for each in new]
    verdict = await asyncio.to_thread(rules.check, state, changes)
    if verdict.problems:
        first = verdict.problems[0]
        raise Conflict(
            "catalogue.does_not_fit",
            f"The catalogue does not go with the one here: {first.sentence}",
            hint=f"{first.fix}; or leave it out: --catalogue skip",
            errors=[{"pointer": "", "detail": each.sentence, "hint": each.fix} for each in verdict.problems],
        )


def _differs(differing: Sequence[Brought]) -> Conflict:
    named = [f"{each.kind} {each.key}" for each in differing[:_TOLD]]
    more = f", and {len(differing) - _TOLD} more" if len(differing) > _TOLD else ""
    return Conflict(
        "catalogue.differs",
        f"What the catalogue here says otherwise: {', '.join(named)}{more}.",
        hint="change or delete these here, or leave the catalogue out with --catalogue skip; nothing was imported",
        errors=[{"pointer": "", "detail": each} for each in named],
    )


async def _versions_here(
    session: AsyncSession, brought: Sequence[Brought], new: Sequence[Brought], ids: Mapping[UUID, UUID]
) -> dict[tuple[UUID, int], UUID]:
    """Of entities that were here before, the version that stands for each of theirs: one that says the same, else the newest."""
    is_new = {each.id for each in new}
    known = [each for each in brought if each.kind == "entity" and each.id not in is_new]
    here = await queries.versions_by_content(session, [ids[each.id] for each in known])
    return {
        (each.id, number): here.get((ids[each.id], past.content.sha256)) or here[ids[each.id], each.content.sha256]
        for each in known
        for number, past in enumerate(each.versions, start=1)
    }


class _Arriving:
    """One revision, being written. pinned: (their entity, number) -> version here, of entities that were here before."""

    def __init__(
        self,
        session: AsyncSession,
        principal: Principal,
        new: Sequence[Brought],
        ids: Mapping[UUID, UUID],
        pinned: dict[tuple[UUID, int], UUID],
        revision: int,
        at: datetime,
    ) -> None:
        self._session, self._principal, self._new = session, principal, new
        self._ids, self._versions = ids, pinned
        self._revision, self._at = revision, at
        self._known = {each.name: ids[each.id] for each in _live(new)}

    async def write(self, message: str) -> None:
        workspace_id = self._principal.workspace_id
        await queries.note_revision(self._session, workspace_id, self._revision)
        done = {"revision": self._revision, "at": self._at, "actor": self._principal.actor, "message": message}
        await self._insert(models.Revision, [done])
        for kind in KINDS:
            await self._write_kind(kind, [each for each in self._new if each.kind == kind])
        await self._write_edges()
        await self._insert(models.Change, [self._change(each) for each in self._new])
        await access.record_each(self._session, self._principal, [self._entry(each) for each in self._new])
        await events.emit_all(self._session, [self._happening(each) for each in _live(self._new)])

    async def _write_kind(self, kind: Kind, brought: list[Brought]) -> None:
        subject, version = _TABLES[kind]
        for each in brought:
            self._versions |= {(each.id, number): new_id() for number in range(1, len(each.versions) + 1)}
        await self._insert(subject, [self._subject(each) for each in brought])
        await self._insert(version, [row for each in brought for row in self._rows(each)])
        if kind == "module":
            await self._insert(models.Member, [row for each in brought for row in self._members(each)])
        await queries.point(self._session, kind, [self._pointer(each) for each in brought])

    async def _insert(self, model: type[Any], rows: list[dict[str, Any]]) -> None:
        if rows:
            ours = {"workspace_id": self._principal.workspace_id}
            await self._session.execute(insert(model), [ours | row for row in rows])

    def _subject(self, each: Brought) -> dict[str, Any]:
        row = {"id": self._ids[each.id], "key": each.key, "revision": 0, "created_by": self._principal.actor}
        row |= {"created_at": each.created_at, "updated_at": self._at, "deleted_at": each.deleted_at}
        return {**row, "type": each.content.type} if isinstance(each.content, EntityContent) else row

    def _rows(self, each: Brought) -> Iterator[dict[str, Any]]:
        for number, version in enumerate(each.versions, start=1):
            said = version.content.said()
            said.pop("type" if each.kind == "entity" else "entities", None)
            yield said | {
                "id": self._versions[each.id, number],
                f"{each.kind}_id": self._ids[each.id],
                "number": number,
                "content_sha256": version.content.sha256,
                "published_at": version.published_at,
                "published_by": self._principal.actor,
            }

    def _members(self, each: Brought) -> Iterator[dict[str, Any]]:
        for number, version in enumerate(each.versions, start=1):
            for entity_id, pinned in version.pins.items():
                yield {
                    "module_version_id": self._versions[each.id, number],
                    "entity_id": self._ids[entity_id],
                    "entity_version_id": self._versions[entity_id, pinned],
                }

    def _pointer(self, each: Brought) -> dict[str, Any]:
        current_id = self._versions[each.id, len(each.versions)]
        return {"id": self._ids[each.id], "current_id": current_id, "at": self._at, "deleted_at": each.deleted_at}

    async def _write_edges(self) -> None:
        lacking = {
            (kind, key)
            for each in _live(self._new)
            for _, kind, key in applying.references(each.content)
            if (kind, key) not in self._known
        }
        for kind, key in sorted(lacking):
            found = await queries.find(self._session, self._principal.workspace_id, kind, key)
            assert found is not None, "the rules found it"
            self._known[kind, key] = found.id
        await self._insert(models.Edge, [row for each in _live(self._new) for row in self._edges(each)])

    def _edges(self, each: Brought) -> Iterator[dict[str, Any]]:
        for role, kind, key in applying.references(each.content):
            yield {
                "source_id": self._ids[each.id],
                "source_kind": each.kind,
                "role": role,
                "target_id": self._known[kind, key],
                "target_kind": kind,
            }

    def _change(self, each: Brought) -> dict[str, Any]:
        is_gone = each.deleted_at is not None
        return {
            "revision": self._revision,
            "subject_id": self._ids[each.id],
            "kind": each.kind,
            "action": "delete" if is_gone else "put",
            "version_id": None if is_gone else self._versions[each.id, len(each.versions)],
        }

    def _entry(self, each: Brought) -> Entry:
        done = "publish" if each.deleted_at is None else "delete"
        return Entry(
            cast(Action, f"{each.kind}.{done}"),
            each.kind,
            self._ids[each.id],
            before_sha256=None,
            after_sha256=each.content.sha256 if each.deleted_at is None else None,
            details={"key": each.key, "number": len(each.versions), "revision": self._revision, "id": str(each.id)},
        )

    def _happening(self, each: Brought) -> Happening:
        told: dict[str, Any] = {"key": each.key, "number": len(each.versions), "revision": self._revision}
        if isinstance(each.content, ModuleContent):
            told["version"] = each.content.version
        workspace_id, subject_id = self._principal.workspace_id, self._ids[each.id]
        return Happening(workspace_id, f"{each.kind}.published", each.kind, subject_id, data=told)

"""A changeset is applied: all of it or nothing, one after the other, with versions, history, audit and events.

The one way into the catalogue. What may be done is up to `rules`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Entry, Principal
from drystone.catalogue import definitions, models, queries, rules, service
from drystone.catalogue.content import Content, EntityContent, ModuleContent, ProfileContent
from drystone.catalogue.models import KINDS, Kind
from drystone.catalogue.queries import View
from drystone.catalogue.rules import Change, Outcome, Problem, State, Verdict
from drystone.core import crash_points
from drystone.core.errors import Conflict, DrystoneError, Invalid, NotFound, pointer_to
from drystone.core.ids import new_id
from drystone.jobs import events
from drystone.jobs import service as jobs
from drystone.jobs.broker import Nudger
from drystone.jobs.events import Happening

MOST_CHANGES = 5000

_ACTIONS: dict[tuple[Kind, str], access.Action] = {
    ("entity", "put"): "entity.publish",
    ("entity", "delete"): "entity.delete",
    ("entity", "restore"): "entity.restore",
    ("module", "put"): "module.publish",
    ("module", "delete"): "module.delete",
    ("module", "restore"): "module.restore",
    ("profile", "put"): "profile.publish",
    ("profile", "delete"): "profile.delete",
    ("profile", "restore"): "profile.restore",
}
_EVENTS: dict[tuple[Kind, str], str] = {
    ("entity", "put"): "entity.published",
    ("entity", "delete"): "entity.deleted",
    ("entity", "restore"): "entity.restored",
    ("module", "put"): "module.published",
    ("module", "delete"): "module.deleted",
    ("module", "restore"): "module.restored",
    ("profile", "put"): "profile.published",
    ("profile", "delete"): "profile.deleted",
    ("profile", "restore"): "profile.restored",
}
_SUBJECTS: dict[Kind, type[models.Entity | models.Module | models.Profile]] = {
    "entity": models.Entity,
    "module": models.Module,
    "profile": models.Profile,
}
_VERSIONS: dict[Kind, type[models.EntityVersion | models.ModuleVersion | models.ProfileVersion]] = {
    "entity": models.EntityVersion,
    "module": models.ModuleVersion,
    "profile": models.ProfileVersion,
}

# Called once nothing can change any more: with the catalogue's revision, and what there is by kind and key.
Check = Callable[[int, "Present"], None]
Present = dict[tuple[Kind, str], View]
# Where in what was sent a problem lies.
Pointer = Callable[[Problem], str]


@dataclass(frozen=True)
class Wanted:
    """A change, and the revision that its author knew: 0: none was there; None: whatever it is."""

    change: Change
    revision: int | None = None
    # Which is to be restored of several that had the key; None: the one that was deleted last.
    id: UUID | None = None


@dataclass(frozen=True)
class Done:
    """What became of one. id: None where it would be made. number: of its version from now on."""

    outcome: Outcome
    id: UUID | None
    number: int


@dataclass(frozen=True)
class Applied:
    """revision: of the catalogue from now on; the one before where nothing changed."""

    revision: int
    done: tuple[Done, ...]


async def apply(
    session: AsyncSession,
    nudger: Nudger,
    principal: Principal,
    wanted: Sequence[Wanted],
    *,
    message: str = "",
    bump_modules: bool = False,
    is_trial: bool = False,
    check: Check | None = None,
    pointer: Pointer | None = None,
) -> Applied:
    """Do what these changes say, all of it. is_trial: say what would be done, and do nothing.

    Raises Conflict or Invalid with all that keeps it from being done; Conflict with status 412 for what has changed since it
    was read; Denied; what `check` raises.
    """
    principal.require_whole("write")
    revision = await queries.hold(session, principal.workspace_id)
    present = await _present(session, principal.workspace_id)
    gone = await _gone(session, principal.workspace_id, wanted)
    if check is not None:
        check(revision, present)
    _check_revisions(wanted, present)
    state = await _state(session, present, gone)
    # In a thread: of thousands it takes seconds, in which the others' requests go on.
    changes = [each.change for each in wanted]
    verdict = await asyncio.to_thread(rules.check, state, changes, bump_modules=bump_modules)
    _refuse(verdict.problems, pointer or in_changeset)
    plan = _Plan(verdict, present, gone)
    if is_trial or not plan.steps:
        return Applied(revision, tuple(plan.done))
    writing = _Writing(
        session, principal, plan, revision + 1, await queries.time_of_change(session, principal.workspace_id)
    )
    await writing.write(message)
    if any(step.changes_names for step in plan.steps):
        await names_changed(session, nudger, principal.workspace_id)
    if any(step.changes_shapes for step in plan.steps):
        await shapes_changed(session, nudger, principal.workspace_id)
    return Applied(revision + 1, tuple(plan.made()))


async def names_changed(session: AsyncSession, nudger: Nudger, workspace_id: UUID) -> None:
    """A job for each change: whether one that is there already has seen it nobody knows. It ends at once if it has."""
    await queries.note_names(session, workspace_id, new_id())
    await jobs.enqueue(
        session,
        nudger,
        kind=models.NAMES_CHANGED,
        subject_id=workspace_id,
        workspace_id=workspace_id,
        cost=models.REFRESH_COST,
    )


async def shapes_changed(session: AsyncSession, nudger: Nudger, workspace_id: UUID) -> None:
    """A job for each change, which ends at once where nothing rests on what was changed."""
    await jobs.enqueue(
        session,
        nudger,
        kind=models.SCHEMAS_CHANGED,
        subject_id=workspace_id,
        workspace_id=workspace_id,
        cost=models.REFRESH_COST,
    )


async def trial(
    session: AsyncSession, workspace_id: UUID, wanted: Sequence[Wanted], *, bump_modules: bool = False
) -> tuple[tuple[Problem, ...], tuple[Done, ...]]:
    """What keeps changes from being applied, and what would become of each, without keeping others from changing anything."""
    present = await _present(session, workspace_id)
    gone = await _gone(session, workspace_id, wanted)
    state = await _state(session, present, gone)
    verdict = await asyncio.to_thread(rules.check, state, [each.change for each in wanted], bump_modules=bump_modules)
    return verdict.problems, () if verdict.problems else tuple(_Plan(verdict, present, gone).done)


@dataclass(frozen=True)
class _Step:
    """A row to be written: with a version of its own, or pointing to one that there is already."""

    outcome: Outcome
    id: UUID
    before: View | None
    version_id: UUID
    number: int
    has_version: bool
    is_new: bool

    @property
    def changes_names(self) -> bool:
        """Whether passages may mention other entities from now on."""
        now, before = self.outcome.content, self.before and self.before.content
        if not isinstance(now, EntityContent):
            return False
        if self.outcome.action != "put" or not isinstance(before, EntityContent):
            return True
        return (now.label, now.aliases) != (before.label, before.aliases)

    @property
    def changes_shapes(self) -> bool:
        """Whether things of a category or profile that was there before may look otherwise from now on."""
        now, before = self.outcome.content, self.before and self.before.content
        if self.outcome.action != "put" or not (isinstance(now, EntityContent) and isinstance(before, EntityContent)):
            return not self.is_new
        # As JSON: Python holds 1 and true for equal.
        return replace(now, label="", description="", aliases={}) != replace(
            before, label="", description="", aliases={}
        )


class _Plan:
    """What is to be written of a verdict, ids given out."""

    def __init__(self, verdict: Verdict, present: Present, gone: Present) -> None:
        self.steps: list[_Step] = []
        self.done: list[Done] = []
        for outcome in verdict.outcomes:
            at = (outcome.kind, outcome.key)
            before = gone.get(at) if outcome.action == "restore" else present.get(at)
            if outcome.is_unchanged and before is not None:
                self.done.append(Done(outcome, before.id, before.number))
            else:
                self._take(outcome, before)
        self._known = {at: view.id for at, view in present.items()}
        self._pins = {view.key: view.version_id for at, view in present.items() if at[0] == "entity"}
        for step in self.steps:
            self._known[step.outcome.kind, step.outcome.key] = step.id
            if step.outcome.kind == "entity":
                self._pins[step.outcome.key] = step.version_id

    def _take(self, outcome: Outcome, before: View | None) -> None:
        has_version = outcome.action != "delete" and (before is None or before.content != outcome.content)
        number = (before.number if before else 0) + has_version
        version_id = new_id() if has_version or before is None else before.version_id
        step = _Step(
            outcome, before.id if before else new_id(), before, version_id, number, has_version, before is None
        )
        self.steps.append(step)
        self.done.append(Done(outcome, before.id if before else None, number))

    def made(self) -> Iterator[Done]:
        """What was done, with the ids of what is new."""
        for each in self.done:
            yield replace(each, id=self.id_of(each.outcome.kind, each.outcome.key))

    def id_of(self, kind: Kind, key: str) -> UUID:
        return self._known[kind, key]

    def pins(self, module: ModuleContent) -> Iterator[tuple[UUID, UUID]]:
        """The entities of a module, with the versions that are theirs from now on."""
        for key in module.entities:
            yield self.id_of("entity", key), self._pins[key]


class _Writing:
    """One revision, being written."""

    def __init__(self, session: AsyncSession, principal: Principal, plan: _Plan, revision: int, at: datetime) -> None:
        self._session = session
        self._principal = principal
        self._plan = plan
        self._revision = revision
        self._at = at
        self._workspace = {"workspace_id": principal.workspace_id}

    async def write(self, message: str) -> None:
        await queries.note_revision(self._session, self._principal.workspace_id, self._revision)
        done = {"revision": self._revision, "at": self._at, "actor": self._principal.actor, "message": message}
        await self._insert(models.Revision, [done])
        for kind in KINDS:
            await self._write_kind(kind, [step for step in self._plan.steps if step.outcome.kind == kind])
        crash_points.reach("mid_catalogue_change")
        await self._write_edges()
        await self._insert(models.Change, [self._change(step) for step in self._plan.steps])
        await access.record_each(self._session, self._principal, [self._entry(step) for step in self._plan.steps])
        await events.emit_all(self._session, [self._happening(step) for step in self._plan.steps])

    async def _write_kind(self, kind: Kind, steps: list[_Step]) -> None:
        await self._insert(_SUBJECTS[kind], [self._subject(step) for step in steps if step.is_new])
        await self._insert(_VERSIONS[kind], [self._version(step) for step in steps if step.has_version])
        if kind == "module":
            await self._insert(models.Member, [row for step in steps for row in self._members(step)])
        await queries.point(self._session, kind, [self._pointer(step) for step in steps])

    async def _write_edges(self) -> None:
        sources = [step.id for step in self._plan.steps if not step.is_new]
        await queries.drop_edges(self._session, self._principal.workspace_id, sources)
        rows = [row for step in self._plan.steps if step.outcome.action != "delete" for row in self._edges(step)]
        await self._insert(models.Edge, rows)

    async def _insert(self, model: type[Any], rows: list[dict[str, Any]]) -> None:
        if rows:
            await self._session.execute(insert(model), [{**self._workspace, **row} for row in rows])

    def _subject(self, step: _Step) -> dict[str, Any]:
        content = step.outcome.content
        row = {"id": step.id, "key": step.outcome.key, "revision": 0, "created_by": self._principal.actor}
        row |= {"created_at": self._at, "updated_at": self._at}
        return {**row, "type": content.type} if isinstance(content, EntityContent) else row

    def _version(self, step: _Step) -> dict[str, Any]:
        content = step.outcome.content
        said = content.said()
        said.pop("type" if step.outcome.kind == "entity" else "entities", None)
        return said | {
            "id": step.version_id,
            f"{step.outcome.kind}_id": step.id,
            "number": step.number,
            "content_sha256": content.sha256,
            "published_at": self._at,
            "published_by": self._principal.actor,
        }

    def _members(self, step: _Step) -> Iterator[dict[str, Any]]:
        if step.has_version and isinstance(step.outcome.content, ModuleContent):
            for entity_id, version_id in self._plan.pins(step.outcome.content):
                yield {"module_version_id": step.version_id, "entity_id": entity_id, "entity_version_id": version_id}

    def _pointer(self, step: _Step) -> dict[str, Any]:
        deleted_at = self._at if step.outcome.action == "delete" else None
        return {"id": step.id, "current_id": step.version_id, "at": self._at, "deleted_at": deleted_at}

    def _edges(self, step: _Step) -> Iterator[dict[str, Any]]:
        for role, kind, key in references(step.outcome.content):
            yield {
                "source_id": step.id,
                "source_kind": step.outcome.kind,
                "role": role,
                "target_id": self._plan.id_of(kind, key),
                "target_kind": kind,
            }

    def _change(self, step: _Step) -> dict[str, Any]:
        is_gone = step.outcome.action == "delete"
        return {
            "revision": self._revision,
            "subject_id": step.id,
            "kind": step.outcome.kind,
            "action": step.outcome.action,
            "version_id": None if is_gone else step.version_id,
        }

    def _entry(self, step: _Step) -> Entry:
        outcome = step.outcome
        is_there = step.before is not None and step.before.deleted_at is None
        return Entry(
            _ACTIONS[outcome.kind, outcome.action],
            outcome.kind,
            step.id,
            before_sha256=step.before.content.sha256 if step.before is not None and is_there else None,
            after_sha256=None if outcome.action == "delete" else outcome.content.sha256,
            details={"key": outcome.key, "number": step.number, "revision": self._revision},
        )

    def _happening(self, step: _Step) -> Happening:
        outcome = step.outcome
        told: dict[str, Any] = {"key": outcome.key, "number": step.number, "revision": self._revision}
        if isinstance(outcome.content, ModuleContent):
            told["version"] = outcome.content.version
        if outcome.action == "put" and not step.is_new:
            told["step"] = outcome.step.name.lower()
        kind = _EVENTS[outcome.kind, outcome.action]
        return Happening(self._principal.workspace_id, kind, outcome.kind, step.id, data=told)


def references(content: Content) -> Iterator[tuple[str, Kind, str]]:
    """Role, kind and key of all that a content refers to."""
    if isinstance(content, EntityContent):
        yield from (("parent", "entity", key) for key in content.parents)
        for key, is_required in definitions.names(content.type, content.schema_definition).items():
            yield "required" if is_required else "optional", "entity", key
    elif isinstance(content, ModuleContent):
        yield from (("member", "entity", key) for key in content.entities)
        yield from (("dependency", "module", key) for key in content.dependencies)
    elif isinstance(content, ProfileContent):
        yield from (("module", "module", key) for key in content.modules)


async def _present(session: AsyncSession, workspace_id: UUID) -> Present:
    return {(kind, view.key): view for kind in KINDS for view in await queries.everything(session, workspace_id, kind)}


async def _gone(session: AsyncSession, workspace_id: UUID, wanted: Sequence[Wanted]) -> Present:
    """Those that are to be restored."""
    keys: dict[Kind, list[str]] = defaultdict(list)
    for each in wanted:
        if each.change.action == "restore":
            keys[each.change.kind].append(each.change.key)
    ids = [each.id for each in wanted if each.id is not None]
    return {
        (kind, view.key): view
        for kind, named in keys.items()
        for view in await queries.deleted(session, workspace_id, kind, named, first=ids)
    }


async def _state(session: AsyncSession, present: Present, gone: Present) -> State:
    found: dict[Kind, dict[str, Any]] = {kind: {} for kind in KINDS}
    for (kind, key), view in present.items():
        found[kind][key] = view.content
    pinned: dict[str, dict[str, EntityContent]] = {}
    for (kind, key), view in gone.items():
        if kind == "module":
            pinned[key] = await _pinned(session, present, view)
    deleted = {at: view.content for at, view in gone.items()}
    return State(found["entity"], found["module"], found["profile"], deleted, pinned)


async def _pinned(session: AsyncSession, present: Present, module: View) -> dict[str, EntityContent]:
    found = {}
    for member in await queries.members(session, module.version_id):
        now = present.get(("entity", member.key))
        if (now is None or now.id == member.id) and isinstance(member.content, EntityContent):
            found[member.key] = member.content
    return found


def _check_revisions(wanted: Sequence[Wanted], present: Present) -> None:
    for place, each in enumerate(wanted):
        view = present.get((each.change.kind, each.change.key))
        found = view.revision if view else 0
        if each.revision is not None and each.revision != found:
            what = f"The {each.change.kind} {each.change.key!r}"
            raise Conflict(
                "request.precondition_failed",
                f"{what} is at revision {found}, not {each.revision}." if found else f"{what} does not exist.",
                hint="read it again, look at what has changed, and send the revision of that answer",
                status=412,
                pointer=pointer_to("changes", place, "revision"),
            )


def in_changeset(problem: Problem) -> str:
    """Where in a list of changes a problem lies."""
    if problem.change is None:
        return ""
    path = ("content", *problem.path) if problem.path else ()
    return pointer_to("changes", problem.change, *path)


def in_content(problem: Problem) -> str:
    """Where a problem lies whose changeset is one content."""
    return pointer_to(*problem.path)


def _refuse(problems: Sequence[Problem], pointer: Pointer) -> None:
    """Raise all problems as one error; a single one, or several alike, under its own code."""
    if not problems:
        return
    codes = {problem.code for problem in problems}
    first = problems[0]
    more = len(problems) - 1
    errors = [
        {
            "pointer": pointer(each),
            "detail": each.sentence,
            "code": each.code,
            "hint": each.fix,
            "kind": each.kind,
            "key": each.key,
        }
        for each in problems
    ]
    kind: type[DrystoneError] = Conflict if codes <= rules.CONFLICTS else Invalid
    if codes <= {f"{each}.not_found" for each in KINDS}:
        kind = NotFound
    raise kind(
        first.code if len(codes) == 1 else "catalogue.problems",
        first.sentence if not more else f"{first.sentence} And {more} more: `errors` tells each.",
        hint=first.fix,
        errors=errors,
    )


async def put(
    session: AsyncSession,
    nudger: Nudger,
    principal: Principal,
    key: str,
    content: Content,
    *,
    message: str = "",
    bump_modules: bool = False,
    check: Callable[[View | None], None],
) -> tuple[View, bool]:
    """Have one be as this says; how it is then, and whether it was made. check: called with what there is, or None."""
    kind = content.kind
    change = Change(kind, key, "put", content)
    applied = await apply(
        session,
        nudger,
        principal,
        [Wanted(change)],
        message=message,
        bump_modules=bump_modules,
        check=lambda _, present: check(present.get((kind, key))),
        pointer=in_content,
    )
    return await service.get(session, principal, kind, key), applied.done[0].outcome.is_new


async def delete(
    session: AsyncSession,
    nudger: Nudger,
    principal: Principal,
    kind: Kind,
    key: str,
    *,
    message: str = "",
    check: Callable[[View | None], None],
) -> None:
    """Delete one; its versions are kept. Raises Conflict that names who refers to it."""
    found = await service.get(session, principal, kind, key)
    change = Change(kind, found.key, "delete")
    await apply(
        session,
        nudger,
        principal,
        [Wanted(change)],
        message=message,
        check=lambda _, present: check(present.get((kind, found.key))),
        pointer=in_content,
    )


async def restore(
    session: AsyncSession, nudger: Nudger, principal: Principal, kind: Kind, key: str, *, message: str = ""
) -> View:
    """Bring back the one of this key that was deleted last. Raises Conflict where the key is another's by now."""
    found = await service.get_any(session, principal, kind, key)
    wanted = Wanted(Change(kind, found.key, "restore"), id=found.id)
    await apply(session, nudger, principal, [wanted], message=message, pointer=in_content)
    return await service.get(session, principal, kind, found.key)

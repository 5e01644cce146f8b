"""The rules of the catalogue: what a changeset may do to a state, and which versions follow from it. Pure: no database.

Whatever is allowed leaves a catalogue in which every reference leads somewhere, nothing goes round in a circle, each module
holds or depends on all that it speaks of, and no version promises what it does not keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter

from drystone.catalogue import comparing, definitions, semver
from drystone.catalogue.content import (
    SHAPE_OF_KEY,
    Content,
    EntityContent,
    ModuleContent,
    ProfileContent,
    is_key,
)
from drystone.catalogue.definitions import Difference, Path, Step
from drystone.catalogue.models import Action, Kind

# Told at once of one changeset.
MOST_PROBLEMS = 100
_REASONS = 3
# Problems that lie in what there is, not in what was sent.
CONFLICTS = frozenset(
    {
        "entity.in_use",
        "entity.key_taken",
        "module.in_use",
        "module.key_taken",
        "module.not_bumped",
        "module.range_left",
        "module.step_too_small",
        "profile.key_taken",
        "profile.range_left",
    }
)


@dataclass(frozen=True)
class Change:
    """What is to become of one. content: of a put, of the same kind."""

    kind: Kind
    key: str
    action: Action
    content: Content | None = None


@dataclass(frozen=True)
class State:
    """A catalogue at one time, by keys: all that is not deleted, modules with their versions.

    deleted: what a restore would bring back. pinned: of modules among these, the entities as their newest version has them;
    those that are others by now are left out.
    """

    entities: Mapping[str, EntityContent] = field(default_factory=dict)
    modules: Mapping[str, ModuleContent] = field(default_factory=dict)
    profiles: Mapping[str, ProfileContent] = field(default_factory=dict)
    deleted: Mapping[tuple[Kind, str], Content] = field(default_factory=dict)
    pinned: Mapping[str, Mapping[str, EntityContent]] = field(default_factory=dict)

    def of(self, kind: Kind) -> Mapping[str, Content]:
        return {"entity": self.entities, "module": self.modules, "profile": self.profiles}[kind]


@dataclass(frozen=True)
class Problem:
    """What keeps a changeset from being applied. change: the place of the change it comes from; path: where in its content.

    kind, key: of the one it would break. fix: what to do about it.
    """

    code: str
    sentence: str
    fix: str
    kind: Kind
    key: str
    change: int | None = None
    path: Path = ()


@dataclass(frozen=True)
class Outcome:
    """What becomes of one. content: as it is from then on, or was when it was deleted.

    is_new: there was none of this key. is_implied: no change asked for it, the changes of members did. step, reasons: how far
    it goes for those who rely on it.
    """

    kind: Kind
    key: str
    action: Action
    content: Content
    step: Step = Step.NONE
    reasons: tuple[str, ...] = ()
    is_new: bool = False
    is_implied: bool = False
    is_unchanged: bool = False


@dataclass(frozen=True)
class Verdict:
    """problems: none, or nothing may be applied. outcomes: in the order of the changes, those that they imply last."""

    problems: tuple[Problem, ...]
    outcomes: tuple[Outcome, ...]
    after: State


def check(state: State, changes: Sequence[Change], *, bump_modules: bool = False) -> Verdict:
    """What these changes together would do, and what keeps them from it.

    bump_modules: modules whose members change get the next version by themselves; otherwise they must be in the changeset.
    """
    review = _Review(state, changes, bump_modules)
    review.run()
    return Verdict(tuple(review.problems[:MOST_PROBLEMS]), tuple(review.outcomes()), review.after)


class _Review:
    def __init__(self, state: State, changes: Sequence[Change], bump_modules: bool) -> None:
        self.before = state
        self.changes = changes
        self.bumps = bump_modules
        self.problems: list[Problem] = []
        self._place: dict[tuple[Kind, str], int] = {}
        self._entities = dict(state.entities)
        self._modules = dict(state.modules)
        self._profiles = dict(state.profiles)
        self._differences: dict[tuple[Kind, str], list[Difference]] = {}
        self._implied: list[str] = []

    @property
    def after(self) -> State:
        return State(self._entities, self._modules, self._profiles, self.before.deleted, self.before.pinned)

    def run(self) -> None:
        for place, change in enumerate(self.changes):
            self._take(place, change)
        if self.problems:
            return  # what they would lead to cannot be told
        for key in self._touched("entity"):
            self._check_entity(key)
        self._check_references()
        self._check_circles()
        if self.problems:
            return
        for key in sorted(self._modules):
            self._settle(key)
        self._check_ranges()
        self._check_closed()

    def outcomes(self) -> Iterator[Outcome]:
        for change in self.changes:
            found = self._of(change.kind).get(change.key) or self.before.of(change.kind).get(change.key)
            if found is not None:
                yield self._outcome(change.kind, change.key, change.action, found)
        for key in self._implied:
            yield replace(self._outcome("module", key, "put", self._modules[key]), is_implied=True)

    def _outcome(self, kind: Kind, key: str, action: Action, content: Content) -> Outcome:
        former = self.before.of(kind).get(key)
        if action != "put":
            return Outcome(kind, key, action, content)
        if former is None:
            return Outcome(kind, key, action, content, is_new=True)
        if kind == "entity" and (kind, key) not in self._differences and not self.problems:
            self._differences[kind, key] = comparing.of_entity(key, self.before.entities, self._entities)
        differences = self._differences.get((kind, key), [])
        reasons = tuple(each.sentence for each in sorted(differences, key=lambda each: -each.step))
        step = comparing.step_of(differences)
        return Outcome(kind, key, action, content, step, reasons, is_unchanged=former == content)

    # One change at a time

    def _take(self, place: int, change: Change) -> None:
        kind, key = change.kind, change.key
        if (kind, key) in self._place:
            first = self._place[kind, key]
            said = f"The {kind} {key!r} is changed twice, at {first} and at {place}."
            self._say("changeset.twice", said, "say once what is to become of it", change, place)
            return
        self._place[kind, key] = place
        if change.action == "put":
            self._put(place, change)
        elif change.action == "delete":
            self._delete(place, change)
        else:
            self._restore(place, change)

    def _put(self, place: int, change: Change) -> None:
        kind, key = change.kind, change.key
        former = self.before.of(kind).get(key)
        if change.content is None or change.content.kind != kind:
            self._say(
                f"{kind}.no_content", f"Nothing is said of the {kind} {key!r}.", "send its content", change, place
            )
        elif former is None and not is_key(key):
            self._say(
                f"{kind}.bad_key",
                f"{key!r} cannot be a key.",
                SHAPE_OF_KEY,
                change,
                place,
            )
        elif isinstance(former, EntityContent) and former.type != getattr(change.content, "type", None):
            self._say(
                "entity.type_is_fixed",
                f"{key!r} is a {former.type}, and stays one.",
                "choose another key, or delete it first",
                change,
                place,
                ("type",),
            )
        else:
            self._of(kind)[key] = change.content

    def _delete(self, place: int, change: Change) -> None:
        if self._of(change.kind).pop(change.key, None) is None:
            said = f"There is no {change.kind} {change.key!r}."
            self._say(f"{change.kind}.not_found", said, f"list what there is of {_MANY[change.kind]}", change, place)

    def _restore(self, place: int, change: Change) -> None:
        kind, key = change.kind, change.key
        if key in self.before.of(kind):
            said = f"There is a {kind} {key!r}, and it is not deleted."
            fix = "leave it, or delete that one first: its versions are kept"
            self._say(f"{kind}.key_taken", said, fix, change, place)
        elif (kept := self.before.deleted.get((kind, key))) is None:
            said = f"No {kind} {key!r} was deleted."
            fix = f"list {_MANY[kind]} that are deleted"
            self._say(f"{kind}.not_found", said, fix, change, place)
        else:
            self._of(kind)[key] = kept

    # What is said of one entity

    def _check_entity(self, key: str) -> None:
        entity = self._entities[key]
        if self._changes("entity", key) == "restore" or self.before.entities.get(key) == entity:
            return  # it was taken once
        for fault in definitions.faults(entity.type, entity.schema_definition):
            path = ("schema_definition", *fault.path)
            self._note("schema.invalid", fault.sentence, fault.fix, "entity", key, path)
        says = definitions.says_a_datatype(entity.schema_definition)
        if entity.type == "property" and not says and not entity.parents:
            said = f"The property {key!r} does not say what its values are."
            fix = 'say its datatype, for example "type": "number", or name a parent that does'
            self._note("entity.no_datatype", said, fix, "entity", key, ("schema_definition",))
        twice = [parent for place, parent in enumerate(entity.parents) if parent in entity.parents[:place]]
        if twice:
            said = f"{twice[0]!r} is named twice as a parent."
            self._note("entity.parent_twice", said, "name it once", "entity", key, ("parents",))

    # Where references lead

    def _check_references(self) -> None:
        for key, entity in sorted(self._entities.items()):
            self._check_parents(key, entity)
            self._check_names(key, entity)
        for key, module in sorted(self._modules.items()):
            for place, member in enumerate(module.entities):
                if member not in self._entities:
                    self._dangles("module", key, "entity", member, "holds", ("entities", place))
            for other in module.dependencies:
                if other not in self._modules:
                    self._dangles("module", key, "module", other, "depends on", ("dependencies", other))
        for key, profile in sorted(self._profiles.items()):
            for other in profile.modules:
                if other not in self._modules:
                    self._dangles("profile", key, "module", other, "chooses", ("modules", other))

    def _check_parents(self, key: str, entity: EntityContent) -> None:
        for place, parent in enumerate(entity.parents):
            found = self._entities.get(parent)
            if found is None:
                self._dangles("entity", key, "entity", parent, "has the parent", ("parents", place))
            elif found.type != entity.type and self._changes("entity", key):
                said = f"{key!r} is a {entity.type}, and {parent!r} a {found.type}."
                fix = f"the parents of a {entity.type} are of the same type"
                self._note("entity.wrong_parent", said, fix, "entity", key, ("parents", place))

    def _check_names(self, key: str, entity: EntityContent) -> None:
        if entity.type == "property" or (self._changes("entity", key) and self.problems):
            return  # of what is no schema no names are read
        for name in definitions.names(entity.type, entity.schema_definition):
            found, path = self._entities.get(name), definitions.where(entity.schema_definition, name)
            if found is None:
                self._dangles("entity", key, "entity", name, "names", ("schema_definition", *path))
            elif found.type == "category":
                said = f"{key!r} names {name!r}, which is a category."
                fix = "name properties and subobjects; what a category inherits comes from its parents"
                self._note("entity.wrong_name", said, fix, "entity", key, ("schema_definition", *path))

    def _dangles(self, kind: Kind, key: str, other_kind: Kind, other: str, does: str, path: Path) -> None:
        """Somebody refers to what is not there: it was never, or the changeset deletes it."""
        if self._changes(kind, key):
            said = f"The {kind} {key!r} {does} {other!r}, and there is no such {other_kind}."
            fix = f"put {other!r} in the same changeset, or write the key of one that exists"
            self._note(f"{other_kind}.unknown", said, fix, kind, key, path)
            return
        said = f"The {other_kind} {other!r} is in use: the {kind} {key!r} {does} it."
        fix = f"change or delete the {kind} {key!r} in the same changeset"
        place = self._place.get((other_kind, other))
        self.problems.append(Problem(f"{other_kind}.in_use", said, fix, kind, key, place))

    # Circles

    def _check_circles(self) -> None:
        self._check_circle(
            "entity", {key: [each for each in entity.parents if each in self._entities] for key, entity in self._entities.items()},
            "entity.circle", "is its own ancestor", ("parents",),
        )  # fmt: skip
        self._check_circle("module", {key: list(module.dependencies) for key, module in self._modules.items()},
            "module.circle", "depends on itself", ("dependencies",),
        )  # fmt: skip
        if not self.problems:
            needs = {key: self._needs(key) for key, entity in self._entities.items() if entity.type != "property"}
            self._check_circle(
                "entity", needs, "entity.endless", "must hold one of its own kind", ("schema_definition",)
            )

    def _check_circle(self, kind: Kind, graph: Mapping[str, Iterable[str]], code: str, says: str, path: Path) -> None:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as exc:
            circle: list[str] = exc.args[1][::-1]
            at = next((key for key in circle if self._changes(kind, key)), circle[0])
            said = f"{at!r} {says}: {' → '.join(circle)}."
            self._note(code, said, "leave one of these out", kind, at, path)

    def _needs(self, key: str) -> list[str]:
        """The subobjects without which there is no thing of this entity."""
        found = comparing.names(self._entities, key)
        return [name for name, must in found.items() if must and self._entities[name].type == "subobject"]

    # Versions of modules

    def _settle(self, key: str) -> None:
        """Find the version that a module has from now on."""
        new, action = self._modules[key], self._changes("module", key)
        old = self.before.modules.get(key)
        members: Mapping[str, EntityContent] = self.before.entities
        if action == "restore":
            old, members = new, self.before.pinned.get(key, {})
        given = new.version if action == "put" else None
        if given is not None and semver.parse(given) is None:
            said = f"{given!r} is no version."
            self._note("module.bad_version", said, "three numbers, as in 1.2.0", "module", key, ("version",))
            self._modules[key] = replace(new, version=old.version if old else semver.FIRST)
        elif old is None or old.version is None:
            self._modules[key] = replace(new, version=given or semver.FIRST)
        else:
            entities = self.before.entities
            found = comparing.of_module(old, new, members, entities, self._entities, self.before.modules)
            self._differences["module", key] = found
            self._step(key, old.version, given, found)

    def _step(self, key: str, former: str, given: str | None, differences: list[Difference]) -> None:
        step, action = comparing.step_of(differences), self._changes("module", key)
        least = semver.after(former, step)
        if given is None or (given == former and self.bumps):
            given = None
        if given is not None and _numbers(given) < _numbers(least):
            reasons = _told(differences)
            says = f"{_NAMES[step]} step: {reasons}" if reasons else "version before"
            said = f"Module {key!r} cannot be {given} after {former}, it takes at least {least} ({says})."
            fix = f"write version {least} or higher, or leave it out"
            self._note("module.step_too_small", said, fix, "module", key, ("version",))
        elif action is None and step is not Step.NONE and not self.bumps:
            self._not_bumped(key, former, least, step, differences)
        else:
            self._modules[key] = replace(self._modules[key], version=given or least)
            if action is None and step is not Step.NONE:
                self._implied.append(key)

    def _not_bumped(self, key: str, former: str, least: str, step: Step, differences: list[Difference]) -> None:
        member = self._cause(key)
        place = None if member is None else self._place["entity", member]
        said = f"Module {key!r} {former} holds {member!r}: it would have to become {least} ({_NAMES[step]} step: {_told(differences)})."
        fix = f"say bump_modules=true, or put module {key!r} in the same changeset"
        self.problems.append(Problem("module.not_bumped", said, fix, "module", key, place))

    # What goes with what

    def _check_ranges(self) -> None:
        for key, module in sorted(self._modules.items()):
            for other, wanted in module.dependencies.items():
                self._check_range("module", key, "depends on", other, wanted, ("dependencies", other))
        for key, profile in sorted(self._profiles.items()):
            for other, wanted in profile.modules.items():
                self._check_range("profile", key, "chooses", other, wanted, ("modules", other))

    def _check_range(self, kind: Kind, key: str, does: str, other: str, wanted: str, path: Path) -> None:
        version = self._modules[other].version or semver.FIRST
        if not semver.is_range(wanted):
            if self._changes(kind, key):
                said = f"{wanted!r} is no range of versions."
                self._note("module.bad_range", said, f"for example ^{version}, >=1.2 <3 or *", kind, key, path)
        elif not semver.admits(wanted, version) and not any(each.key == other for each in self.problems):
            is_ours = self._changes(kind, key) is not None
            said = f"The {kind} {key!r} {does} {other} {wanted}, and {other} is {version}{'' if is_ours else ' then'}."
            fix = (
                f"write ^{version} there"
                if is_ours
                else f"put {kind} {key!r} in the same changeset, with {other}: ^{version}"
            )
            place = self._place.get((kind, key), self._origin(other))
            self.problems.append(Problem(f"{kind}.range_left", said, fix, kind, key, place, path if is_ours else ()))

    def _check_closed(self) -> None:
        closures = self._closures()
        for key, module in sorted(self._modules.items()):
            for member in module.entities:
                for name in self._speaks_of(member):
                    if name not in closures[key]:
                        self._not_closed(key, member, name)

    def _closures(self) -> dict[str, set[str]]:
        """What each module holds, with all it depends on."""
        found: dict[str, set[str]] = {}
        for key in TopologicalSorter(
            {key: list(each.dependencies) for key, each in self._modules.items()}
        ).static_order():
            module = self._modules[key]
            found[key] = set(module.entities).union(*(found[other] for other in module.dependencies))
        return found

    def _speaks_of(self, key: str) -> list[str]:
        entity = self._entities[key]
        return [*entity.parents, *definitions.names(entity.type, entity.schema_definition)]

    def _not_closed(self, key: str, member: str, name: str) -> None:
        said = f"Module {key!r} holds {member!r}, which refers to {name!r}, and neither it nor what it depends on holds that."
        holders = [other for other, module in sorted(self._modules.items()) if name in module.entities]
        fix = f"put {name!r} among its entities"
        if holders:
            fix += f", or depend on {holders[0]} ^{self._modules[holders[0]].version}"
        place = self._place.get(("module", key), self._place.get(("entity", member)))
        path: Path = ("entities", self._modules[key].entities.index(member)) if ("module", key) in self._place else ()
        self.problems.append(Problem("module.not_closed", said, fix, "module", key, place, path))

    # Telling

    def _of(self, kind: Kind) -> dict[str, Content]:
        return {"entity": self._entities, "module": self._modules, "profile": self._profiles}[kind]  # type: ignore[return-value]  # contents of one kind each

    def _touched(self, kind: Kind) -> list[str]:
        return [change.key for change in self.changes if change.kind == kind and change.key in self._of(kind)]

    def _changes(self, kind: Kind, key: str) -> Action | None:
        place = self._place.get((kind, key))
        return None if place is None else self.changes[place].action

    def _origin(self, module: str) -> int | None:
        """The change that made a module another: its own, or that of the member that changes most."""
        if ("module", module) in self._place:
            return self._place["module", module]
        member = self._cause(module)
        return None if member is None else self._place["entity", member]

    def _cause(self, module: str) -> str | None:
        """The member of a module that goes farthest from what it was: the first of several by the alphabet."""
        steps = {
            key: comparing.step_of(comparing.of_entity(key, self.before.entities, self._entities))
            for key in self._modules[module].entities
            if ("entity", key) in self._place and key in self.before.entities and key in self._entities
        }
        return max(steps, key=lambda key: steps[key], default=None)

    def _note(self, code: str, said: str, fix: str, kind: Kind, key: str, path: Path = ()) -> None:
        self.problems.append(Problem(code, said, fix, kind, key, self._place.get((kind, key)), path))

    def _say(self, code: str, said: str, fix: str, change: Change, place: int, path: Path = ()) -> None:
        self.problems.append(Problem(code, said, fix, change.kind, change.key, place, path))


_MANY: dict[Kind, str] = {"entity": "entities", "module": "modules", "profile": "profiles"}
_NAMES = {Step.NONE: "no", Step.PATCH: "a patch", Step.MINOR: "a minor", Step.MAJOR: "a major"}


def _numbers(version: str) -> tuple[int, int, int]:
    return semver.parse(version) or (0, 0, 0)


def _told(differences: list[Difference]) -> str:
    """The reasons for the farthest step, the first of them."""
    step = comparing.step_of(differences)
    said = [each.sentence for each in differences if each.step == step]
    more = len(said) - _REASONS
    return "; ".join(said[:_REASONS]) + (f"; and {more} more" if more > 0 else "")

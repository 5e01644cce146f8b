"""How far what became of an entity or a module goes for those who rely on it: the step that a version must take. Pure."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import cast

from drystone.catalogue import definitions, semver
from drystone.catalogue.content import EntityContent, ModuleContent
from drystone.catalogue.definitions import Difference, Step

Entities = Mapping[str, EntityContent]


def ancestors(entities: Entities, key: str) -> list[str]:
    """The parents of an entity and theirs, nearest first; each once, also where they go round in a circle."""
    found: dict[str, None] = {}
    waiting = list(entities[key].parents) if key in entities else []
    while waiting:
        parent = waiting.pop(0)
        if parent not in found and parent in entities and parent != key:
            found[parent] = None
            waiting += entities[parent].parents
    return list(found)


def names(entities: Entities, key: str) -> dict[str, bool]:
    """What things of a category or subobject have, by what it says itself and what it inherits; whether they must."""
    found: dict[str, bool] = {}
    for each in (key, *ancestors(entities, key)):
        for name, is_required in definitions.names(entities[each].type, entities[each].schema_definition).items():
            found[name] = is_required or found.get(name, False)
    return found


def of_entity(key: str, before: Entities, after: Entities) -> list[Difference]:
    """How an entity differs from what it was."""
    old, new = before[key], after[key]
    if old is new or old == new:
        return []
    found = [
        Difference(Step.PATCH, f"its {name} says something else")
        for name in ("label", "description", "aliases")
        if getattr(old, name) != getattr(new, name)
    ]
    found += _of_parents(old, new)
    if new.type == "property":
        found += definitions.differences(old.schema_definition, new.schema_definition)
    else:
        found += _of_names(names(before, key), names(after, key))
        found += _of_structure(old, new)
    # What is none of the above is the order in which something was written.
    return found or [Difference(Step.PATCH, "it is written otherwise")]


def of_module(
    old: ModuleContent,
    new: ModuleContent,
    members: Entities,
    before: Entities,
    after: Entities,
    modules: Mapping[str, ModuleContent],
) -> list[Difference]:
    """How a module differs from its version before.

    members: the entities of that version, as they were pinned. before, modules: all there were. after: all there are now.
    """
    found = [
        Difference(Step.PATCH, f"its {name} says something else")
        for name in ("label", "description")
        if getattr(old, name) != getattr(new, name)
    ]
    found += [Difference(Step.MAJOR, f"{key} is gone") for key in old.entities if key not in new.entities]
    for key in new.entities:
        if key not in old.entities:
            found.append(Difference(Step.MINOR, f"{key} is new"))
        elif key in after and key not in members:
            found.append(Difference(Step.MAJOR, f"{key} is another entity"))
        elif key in after and members[key] is not after[key]:
            compared = of_entity(key, _with(before, key, members[key]), after)
            found += [Difference(each.step, f"{key}: {each.sentence}") for each in compared]
    return found + list(_of_dependencies(old, new, modules))


def step_of(differences: list[Difference]) -> Step:
    """The farthest of them."""
    return max((each.step for each in differences), default=Step.NONE)


def _with(entities: Entities, key: str, entity: EntityContent) -> Entities:
    """These entities, one of them as it is given: a view, since a catalogue may have thousands."""
    return (
        entities if entities.get(key) is entity else ChainMap({key: entity}, cast("dict[str, EntityContent]", entities))
    )


def _of_parents(old: EntityContent, new: EntityContent) -> Iterator[Difference]:
    for parent in sorted({*old.parents} - {*new.parents}):
        yield Difference(Step.MAJOR, f"{parent} is no parent any more")
    for parent in sorted({*new.parents} - {*old.parents}):
        # A property's parent limits its values; that of a category is seen in what its things have.
        yield Difference(Step.MAJOR if new.type == "property" else Step.MINOR, f"{parent} is a parent now")


def _of_names(old: Mapping[str, bool], new: Mapping[str, bool]) -> Iterator[Difference]:
    for name in sorted({*old, *new}):
        if name not in new:
            yield Difference(Step.MAJOR, f"{name} is gone")
        elif new[name] and not old.get(name, False):
            yield Difference(Step.MAJOR, f"{name} is required now")
        elif name not in old:
            yield Difference(Step.MINOR, f"{name} is new")
        elif old[name] and not new[name]:
            yield Difference(Step.MINOR, f"{name} is optional now")


def _of_structure(old: EntityContent, new: EntityContent) -> Iterator[Difference]:
    """What else a category's or subobject's definition says, beyond the names that its things have."""
    before, after = dict(old.schema_definition), dict(new.schema_definition)
    for definition in (before, after):
        definition.setdefault("type", "object")
        definition.pop("required", None)
    said, says = before.pop("properties", {}), after.pop("properties", {})
    for name in sorted({*said, *says}):
        yield from definitions.differences(said.get(name, {}), says.get(name, {}), name)
    yield from definitions.differences(before, after)


def _of_dependencies(
    old: ModuleContent, new: ModuleContent, modules: Mapping[str, ModuleContent]
) -> Iterator[Difference]:
    for key in sorted({*old.dependencies, *new.dependencies}):
        before, after = old.dependencies.get(key), new.dependencies.get(key)
        former = modules[key].version if key in modules else None
        if before == after:
            continue
        if after is None:
            yield Difference(Step.MAJOR, f"it does not depend on {key} any more")
        elif before is None:
            yield Difference(Step.MINOR, f"it depends on {key}")
        elif former is None or not semver.admits(after, former):
            yield Difference(Step.MAJOR, f"it does not go with {key} {former or before} any more")
        else:
            yield Difference(Step.PATCH, f"it goes with {key} {after}")

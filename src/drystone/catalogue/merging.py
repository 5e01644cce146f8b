"""Three states of one entity, module or profile: what a draft rests on, what it would have, what there is by now. Pure.

They are compared place by place, and what two sides did at different places is done together. Total: any JSON may stand in a
definition, since a draft is merged before it is checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from drystone.catalogue.content import Content, ModuleContent, content_of
from drystone.catalogue.definitions import OF_NAMED_SCHEMAS, OF_SCHEMA
from drystone.catalogue.models import Kind

# Who differs from the base: the draft, the catalogue, both alike, both in ways that go together, both in ways that do not.
Side = Literal["ours", "theirs", "same", "merged", "conflict"]
Take = Literal["ours", "theirs"]
Path = tuple[str, ...]
# Which side is to win at a place where they conflict; None: nobody has said.
Chooser = Callable[[Path], Take | None]


class Missing:
    """What is not there, in distinction from null."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()


@dataclass(frozen=True)
class Difference:
    """A place at which not all three say the same. path: within the content; empty: the whole of it.

    base, ours, theirs: what stands there, or MISSING. is_settled: False for a conflict that nobody has chosen about.
    """

    path: Path
    side: Side
    base: Any
    ours: Any
    theirs: Any
    is_settled: bool = True


@dataclass(frozen=True)
class Merge:
    """content: with what both sides did; None: it is gone. Where they conflict it says what was chosen, else ours."""

    differences: tuple[Difference, ...]
    content: Content | None

    @property
    def conflicts(self) -> tuple[Difference, ...]:
        """Those that nobody has chosen about."""
        return tuple(each for each in self.differences if not each.is_settled)


def merge(
    kind: Kind,
    base: Content | None,
    ours: Content | None,
    theirs: Content | None,
    take: Chooser = lambda _: None,
) -> Merge:
    """What both sides did since the base; None: it is not there.

    A module without a version of ours says nothing about it: it gets the least that its changes demand.
    """
    sides = base, _with_version(ours, base, theirs), theirs
    walk = _Walk(take)
    value = walk.merge((), "content", *(MISSING if each is None else each.said() for each in sides))
    content = None if value is MISSING else content_of(kind, value)
    if isinstance(content, ModuleContent) and isinstance(ours, ModuleContent) and ours.version is None:
        content = replace(content, version=None)
    return Merge(tuple(walk.differences), content)


def says_nothing(content: Content | None, there: Content | None) -> bool:
    """Whether a content has nothing to say beyond what there is."""
    return _with_version(content, there) == there


# How what stands at a place is merged: name by name; as a set; as a set that must have been there; or as one value.
_Form = Literal["content", "schema", "schemas", "sets", "atoms", "set", "choice", "atom"]
_OF_CONTENT: Mapping[str, _Form] = {
    "aliases": "sets",
    "parents": "set",
    "entities": "set",
    "dependencies": "atoms",
    "modules": "atoms",
    "schema_definition": "schema",
}
_OF_MAP: Mapping[str, _Form] = {"schemas": "schema", "sets": "set", "atoms": "atom"}


class _Walk:
    def __init__(self, take: Chooser) -> None:
        self._take = take
        self.differences: list[Difference] = []

    def merge(self, path: Path, form: _Form, base: Any, ours: Any, theirs: Any) -> Any:
        """What stands here from then on; what was found is noted."""
        if _same(base, ours) and _same(base, theirs):
            return base
        if form in ("content", "schema", "schemas", "sets", "atoms") and _are_maps(base, ours, theirs):
            return self._by_name(path, form, base, ours, theirs)
        if _same(ours, theirs):
            return self._note(path, "same", base, ours, theirs, ours)
        if _same(base, theirs):
            return self._note(path, "ours", base, ours, theirs, ours)
        if _same(base, ours):
            return self._note(path, "theirs", base, ours, theirs, theirs)
        if form in ("set", "choice") and (both := _union(form, base, ours, theirs)) is not None:
            return self._note(path, "merged", base, ours, theirs, both)
        chosen = self._take(path)
        value = theirs if chosen == "theirs" else ours
        return self._note(path, "conflict", base, ours, theirs, value, is_settled=chosen is not None)

    def _by_name(self, path: Path, form: _Form, base: Any, ours: Any, theirs: Any) -> dict[str, Any]:
        sides = [{} if each is MISSING else each for each in (base, ours, theirs)]
        merged = {}
        for name in dict.fromkeys(name for side in sides for name in side):
            value = self.merge((*path, name), _inner(form, name), *(side.get(name, MISSING) for side in sides))
            if value is not MISSING:
                merged[name] = value
        return merged

    def _note(self, path: Path, side: Side, base: Any, ours: Any, theirs: Any, value: Any, **more: bool) -> Any:
        self.differences.append(Difference(path, side, base, ours, theirs, **more))
        return value


def _are_maps(base: Any, ours: Any, theirs: Any) -> bool:
    """Whether both sides have names here, and there was nothing else before."""
    return isinstance(ours, dict) and isinstance(theirs, dict) and (base is MISSING or isinstance(base, dict))


def _inner(form: _Form, name: str) -> _Form:
    if form == "content":
        return _OF_CONTENT.get(name, "atom")
    if form != "schema":
        return _OF_MAP[form]
    if name in OF_NAMED_SCHEMAS:
        return "schemas"
    if name in OF_SCHEMA:
        return "schema"
    if name in ("enum", "type"):
        return "choice"
    if name == "dependentRequired":
        return "sets"
    return "set" if name == "required" else "atom"


def _union(form: _Form, base: Any, ours: Any, theirs: Any) -> list[Any] | None:
    """What is left of the base, and then what either side has added; None where that would not be what both meant.

    A choice that was not there allowed everything: two new ones are no union of each other.
    """
    was = [] if base is MISSING and form == "set" else base
    if not all(isinstance(each, list) for each in (was, ours, theirs)):
        return None
    before, mine, other = ({_text(item): item for item in side} for side in (was, ours, theirs))
    if len(before) < len(was) or len(mine) < len(ours) or len(other) < len(theirs):
        return None
    if _is_reordered(before, mine) or _is_reordered(before, other):
        return None
    added = {name: item for name, item in sorted({**mine, **other}.items()) if name not in before}
    return [item for name, item in before.items() if name in mine and name in other] + list(added.values())


def _is_reordered(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return [name for name in before if name in after] != [name for name in after if name in before]


def _same(one: Any, other: Any) -> bool:
    if one is MISSING or other is MISSING:
        return one is other
    return _text(one) == _text(other)


def _text(value: Any) -> str:
    # Python holds 1, 1.0 and true for equal; JSON does not.
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _with_version(content: Content | None, *others: Content | None) -> Content | None:
    """A module that says no version, with that of the first of the others that has one."""
    if not isinstance(content, ModuleContent) or content.version is not None:
        return content
    return replace(content, version=next(_versions(others), None))


def _versions(contents: tuple[Content | None, ...]) -> Iterator[str]:
    yield from (each.version for each in contents if isinstance(each, ModuleContent) and each.version is not None)

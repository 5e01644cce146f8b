"""Do attributes fit a category, or one of the categories of a profile? Entities put together to a validator. Pure.

What fits is what the JSON Schema that `schemas` writes allows, formats included.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any
from urllib.parse import unquote

from drystone.catalogue import comparing, definitions, schemas
from drystone.catalogue.content import EntityContent
from drystone.catalogue.definitions import Fault, Path

# Of attributes: documents.describing has the same.
_DEEPEST = 16
# How often one place within attributes may be looked at, by the worst path through a schema: some tenths of a second.
MOST_LOOKS = 4_000
# Of what one validator says; attributes are few, and each is told once.
_MOST_ERRORS = 1000
_SHOWN = 60
_TIMES = ("date", "date-time")
_NAMES = {
    "integer": "a whole number",
    "object": "an object",
    "array": "a list",
    "null": "null",
    "boolean": "true or false",
}


@dataclass(frozen=True)
class Datatype:
    """What the values of an attribute are. types: of JSON, whole numbers as `number`. form: `date` or `date-time`, else None."""

    types: frozenset[str]
    form: str | None = None

    def __str__(self) -> str:
        if self.form is not None:
            return f"a {self.form}"
        return " or ".join(_NAMES.get(each, f"a {each}") for each in sorted(self.types))


@dataclass(frozen=True, eq=False)
class Shape:
    """What things of some categories look like: those of any of these. entities: by key, all that they speak of."""

    entities: Mapping[str, EntityContent]
    categories: tuple[str, ...]

    @cached_property
    def sha256(self) -> bytes:
        """Of all that decides what fits; what entities are called does not."""
        said = {key: [each.type, each.parents, each.schema_definition] for key, each in self.entities.items()}
        plain = json.dumps([said, self.categories], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(plain.encode()).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shape) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    @property
    def fault(self) -> Fault | None:
        """Why nothing can be compared with it; None: it can."""
        if not self.categories:
            return Fault((), "It has no category.", "a profile needs a module with a category")
        return _validators(self)[1]

    def faults(self, thing: Mapping[str, Any]) -> list[Fault]:
        """What keeps a thing from fitting, one fault for each of its attributes; of several categories, of the nearest one."""
        nearest: list[Fault] | None = None
        for validator in _validators(self)[0]:
            if validator.is_valid(dict(thing)):
                return []
            its = list(self._told(validator.iter_errors(dict(thing)), thing))
            nearest = its if nearest is None or _distance(its, thing) < _distance(nearest, thing) else nearest
        return nearest or []

    @cached_property
    def datatypes(self) -> Mapping[str, Datatype]:
        """What attributes are that its categories name, where that can be told."""
        names = {name for key in self.categories for name in comparing.names(self.entities, key)}
        found = {name: _datatype(self.entities, name) for name in sorted(names & self.entities.keys())}
        return {name: each for name, each in found.items() if each is not None}

    def _told(self, errors: Iterator[Any], thing: Mapping[str, Any]) -> Iterator[Fault]:
        """One for each attribute. What a parent foresees that does not hold as a whole is not held for unforeseen beside that."""
        found = [(error, fault) for error in islice(errors, _MOST_ERRORS) for fault in self._faults(error, thing)]
        plain = [fault for error, fault in found if not self._follows(error, fault)]
        by_attribute: dict[Path, Fault] = {}
        for fault in plain or [fault for _, fault in found]:
            by_attribute.setdefault(fault.path[:1], fault)
        yield from by_attribute.values()

    def _follows(self, error: Any, fault: Fault) -> bool:
        return error.kind.name == "unevaluatedProperties" and fault.path[-1] in self.entities

    def _faults(self, error: Any, thing: Mapping[str, Any]) -> Iterator[Fault]:
        path: Path = tuple(error.instance_path)
        keyword = error.kind.name
        if keyword == "required":
            name = error.kind.property
            yield Fault((*path, name), f"{_named((*path, name))} is missing.", f"add it: {self._expected(name)}")
        elif keyword in ("additionalProperties", "unevaluatedProperties"):
            for name in error.kind.unexpected:
                yield Fault((*path, name), f"{_named((*path, name))} is not foreseen here.", self._foreseen(path))
        else:
            name = next((part for part in reversed(path) if isinstance(part, str)), None)
            fix = f"send {self._expected(name)}" if name is not None else "see what its definition says"
            yield Fault(path, _sentence(error, path, _value_at(thing, path)), fix)

    def _foreseen(self, path: Path) -> str:
        if path:
            return "leave it out"
        names = sorted({name for key in self.categories for name in comparing.names(self.entities, key)})
        return f"leave it out; there are: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}"

    def _expected(self, name: str) -> str:
        if name not in self.entities:
            return "what its definition says"
        found = [name, *comparing.ancestors(self.entities, name)]
        facts = definitions.facts(*(self.entities[each].schema_definition for each in found))
        if facts.allowed is not None:
            said = f"one of {', '.join(_short(each) for each in facts.allowed[:10])}{', …' if len(facts.allowed) > 10 else ''}"
        elif facts.datatype in _TIMES:
            said = f"a {facts.datatype} such as 2025-01-31{'T12:00:00Z' if facts.datatype == 'date-time' else ''}"
        else:
            said = _NAMES.get(facts.datatype or "", f"a {facts.datatype}" if facts.datatype else "what is defined")
        of = f"a list, each {said}" if facts.most != 1 else said
        unit = f" in {facts.unit}" if facts.unit is not None else ""
        return f"{of}{unit}; GET /api/v1/entities/{name} has its definition"


def _distance(faults: Sequence[Fault], thing: Mapping[str, Any]) -> tuple[int, int]:
    """How far from fitting: what has nothing of a category's own is farther than what has it wrong."""
    return sum(each.path[0] not in thing for each in faults if each.path), len(faults)


def _sentence(error: Any, path: Path, value: Any) -> str:
    named, keyword = _named(path), error.kind.name
    if keyword == "type":
        return f"{named} is {_short(value)}, {_kind_of(value)}, and must be {_types(error.kind.types)}."
    if keyword == "format":
        return f"{named} is {_short(value)}, which is no {error.kind.format}."
    if keyword == "enum":
        return f"{named} is {_short(value)}, which is not among what is allowed."
    if keyword == "const":
        return f"{named} is {_short(value)}, and must be {_short(error.kind.expected_value)}."
    if keyword in ("anyOf", "oneOf", "not", "false schema", "falseSchema"):
        return f"{named} is nothing that is allowed here."
    said = error.message if len(error.message) <= 3 * _SHOWN else f"{keyword} does not allow it"
    return f"{named}: {said.rstrip('.')}."


def _named(path: Path) -> str:
    said = ".".join(map(str, path))
    return repr(said if len(said) <= 2 * _SHOWN else f"{said[: 2 * _SHOWN]}…") if path else "What they are together"


def _value_at(thing: Any, path: Path) -> Any:
    for part in path:
        thing = thing[part]
    return thing


def _short(value: Any) -> str:
    said = json.dumps(value, ensure_ascii=False, default=str)
    return said if len(said) <= _SHOWN else f"{said[:_SHOWN]}…"


def _kind_of(value: Any) -> str:
    kind = type_of(value)
    return _NAMES.get(kind, f"a {kind}") if kind != "boolean" else "a boolean"


def _types(types: Sequence[str]) -> str:
    return " or ".join(_NAMES.get(each, f"a {each}") for each in types)


def _datatype(entities: Mapping[str, EntityContent], name: str) -> Datatype | None:
    """Of an attribute, as the nearest of its definition and those of its ancestors says it; None where none tells plainly."""
    if entities[name].type != "property":
        return Datatype(frozenset(["object"]))
    form = None
    for each in (name, *comparing.ancestors(entities, name)):
        said = entities[each].schema_definition
        form = form or said.get("format")
        if types := _types_of(said):
            is_time = types == {"string"} and form in _TIMES
            return Datatype(types, form if is_time else None)
    return None


def _types_of(said: Mapping[str, Any]) -> frozenset[str]:
    given = said.get("type")
    if given is not None:
        listed = [given] if isinstance(given, str) else given
        return frozenset("number" if each == "integer" else each for each in listed)
    values = [said["const"]] if "const" in said else said.get("enum", ())
    return frozenset(map(type_of, values))


def type_of(value: Any) -> str:
    """The type that JSON has for a value."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object" if isinstance(value, Mapping) else "null"


@lru_cache(maxsize=64)
def _validators(shape: Shape) -> tuple[Sequence[Any], Fault | None]:
    """One for each category, or why there is none. Kept: to make them takes longer than to ask them."""
    import jsonschema_rs

    made = []
    for key in shape.categories:
        written = schemas.json_schema(shape.entities, [key], title="", description="")
        # Not as its one choice of several, of which errors would only say that there is none.
        schema = {"$ref": f"#/$defs/{key}", "$defs": written["$defs"]}
        if looks(schema) > MOST_LOOKS:
            return (), Fault((), f"What {key!r} says is too involved to be compared with anything.", _SIMPLER)
        try:
            made.append(definitions.validator(schema, validate_formats=True))
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as exc:
            said = str(getattr(exc, "message", exc)).splitlines()[0][: 3 * _SHOWN]
            return (), Fault((), f"What {key!r} says cannot be used: {said}.", _SIMPLER)
    return made, None


_SIMPLER = (
    "change its definition: fewer $ref, allOf, anyOf and oneOf within each other, and none that lead back to themselves"
)
_IN_PLACE = ("allOf", "anyOf", "oneOf")


def looks(schema: Mapping[str, Any]) -> float:
    """How often the worst place within attributes is looked at; infinite where looking never ends.

    A validator goes every way that a schema offers for a value. Ways that part and meet again multiply at each level.
    """
    counting = _Counting(schema)
    try:
        return counting.of(schema, _DEEPEST)
    except RecursionError:
        return float("inf")


class _Counting:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._known: dict[tuple[int, int], float] = {}

    def of(self, schema: Any, depth: int) -> float:
        if not isinstance(schema, Mapping):
            return 1
        key = (id(schema), depth)
        if key not in self._known:
            self._known[key] = float("inf")  # until it is known: a way that leads back here never ends
            self._known[key] = self._count(schema, depth)
        return self._known[key]

    def _count(self, schema: Mapping[str, Any], depth: int) -> float:
        total = 1 + sum(self.of(each, depth) for each in self._in_place(schema))
        return total + (self._within(schema, depth - 1) if depth else 0)

    def _in_place(self, schema: Mapping[str, Any]) -> Iterator[Any]:
        for keyword in _IN_PLACE:
            yield from schema.get(keyword, ())
        for keyword in ("not", "if", "then", "else"):
            if keyword in schema:
                yield schema[keyword]
        yield from schema.get("dependentSchemas", {}).values()
        if isinstance(reference := schema.get("$ref"), str):
            yield self._target(reference)

    def _within(self, schema: Mapping[str, Any], depth: int) -> float:
        """Of one value in an object, or in a list, that all of these may look at."""

        def of(keyword: str) -> float:
            return self.of(schema[keyword], depth) if keyword in schema else 0

        named = max((self.of(each, depth) for each in schema.get("properties", {}).values()), default=0)
        matched = sum(self.of(each, depth) for each in schema.get("patternProperties", {}).values())
        of_object = named + matched + of("additionalProperties") + of("unevaluatedProperties") + of("propertyNames")
        placed = max((self.of(each, depth) for each in schema.get("prefixItems", ())), default=0)
        return max(of_object, placed + of("items") + of("contains") + of("unevaluatedItems"))

    def _target(self, reference: str) -> Any:
        """Where a reference within the schema leads; nothing for one that leads nowhere, which no validator is made of."""
        here: Any = self._root
        for part in unquote(reference).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(here, Mapping):
                here = here.get(name)
            elif isinstance(here, Sequence) and name.isdecimal() and int(name) < len(here):
                here = here[int(name)]
            else:
                return None
        return here

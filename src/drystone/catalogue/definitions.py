"""An entity's definition: a JSON Schema 2020-12 with one keyword more, `unit`. Checked, read, compared. Pure.

Of a category and of a subobject the names under `properties` and in `required` are keys of properties and subobjects. Of a
property the schema is of its value: `type` and `format` its datatype, `type: array` its cardinality, `enum` what is allowed.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any

from drystone.catalogue.models import EntityType
from drystone.core.text import is_storable

MOST_BYTES = 64 * 1024
DEEPEST = 24
# Different patterns of a definition, and how long they may be together. Whoever makes automata of them holds Python's lock: the
# worst that is taken needs some 40 ms (classes such as \p{L} whose case does not matter take most), and no pattern more memory
# than this.
MOST_PATTERNS, MOST_PATTERN_CHARACTERS = 20, 1000
_PATTERN_BYTES = 128 << 10
DIALECT = "https://json-schema.org/draft/2020-12/schema"

Path = tuple[str | int, ...]


class Step(IntEnum):
    """How far a change goes for those who rely on what there was."""

    NONE = 0
    PATCH = 1
    MINOR = 2
    MAJOR = 3


@dataclass(frozen=True)
class Fault:
    """What is wrong with a definition. fix: what to write instead."""

    path: Path
    sentence: str
    fix: str


@dataclass(frozen=True)
class Difference:
    """One thing that changed, and how far it goes."""

    step: Step
    sentence: str


@dataclass(frozen=True)
class Facts:
    """What a property's definition says of its values. most: None: any number. allowed: None: whatever has the datatype."""

    datatype: str | None
    unit: str | None
    least: int
    most: int | None
    allowed: tuple[Any, ...] | None


OF_SCHEMA = frozenset(
    [
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    ]
)
_OF_SCHEMAS = frozenset(["allOf", "anyOf", "oneOf", "prefixItems"])
OF_NAMED_SCHEMAS = frozenset(["$defs", "dependentSchemas", "patternProperties", "properties"])
_TELLING = frozenset(
    [
        "$comment",
        "contentEncoding",
        "contentMediaType",
        "default",
        "deprecated",
        "description",
        "examples",
        "readOnly",
        "title",
        "writeOnly",
    ]
)
_REFERRING = frozenset(["$ref", "$schema"])
# Values, not schemas: nothing in them is a keyword.
DATA = frozenset(["const", "default", "enum", "examples"])
# The greater the value, the less is allowed, and the other way round.
_FLOORS = frozenset(["exclusiveMinimum", "minContains", "minItems", "minLength", "minProperties", "minimum"])
_CEILINGS = frozenset(["exclusiveMaximum", "maxContains", "maxItems", "maxLength", "maxProperties", "maximum"])
_SINGLE = frozenset(
    ["const", "dependentRequired", "enum", "format", "multipleOf", "pattern", "required", "type", "uniqueItems", "unit"]
)
_KNOWN = OF_SCHEMA | _OF_SCHEMAS | OF_NAMED_SCHEMAS | _TELLING | _REFERRING | _FLOORS | _CEILINGS | _SINGLE
# Each stands for itself: without it more is allowed, whatever else is said.
_LIMITS = frozenset(
    ["const", "dependentRequired", "format", "multipleOf", "not", "pattern", "propertyNames", "uniqueItems"]
)


def is_too_deep(value: Any) -> bool:
    """Whether it is nested deeper than any definition may be; asked before anything goes down into it."""
    level = [value]
    for _ in range(DEEPEST + 2):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
        ]
    return bool(level)


def unstorable(schema: Mapping[str, Any]) -> Fault | None:
    """What keeps a definition from being kept at all, right or wrong."""
    return _bounds(schema)


def faults(entity_type: EntityType, schema: Mapping[str, Any]) -> list[Fault]:
    """What keeps a definition from being taken; of one that is too large or too deep, only that."""
    if too_much := _bounds(schema) or _too_many_patterns(schema):
        return [too_much]
    found = [*_vocabulary(schema, ()), *_invalid(schema)]
    if not found:
        found = [*_uncompilable(schema), *_of_type(entity_type, schema)]
    return found


def patterns(value: Any) -> frozenset[str]:
    """All that may be taken for a pattern in it, wherever: a reference may lead to any part of a definition."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            if isinstance(pattern := each.get("pattern"), str):
                found.add(pattern)
            if isinstance(named := each.get("patternProperties"), Mapping):
                found.update(named)
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return frozenset(found)


def validator(schema: Mapping[str, Any], *, validate_formats: bool = False) -> Any:
    """What tells whether values are as the schema says; of jsonschema_rs.

    Fetches nothing, and matches patterns in time linear to the text. Raises ValueError, or an error of jsonschema_rs, for what
    cannot be used.
    """
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(
        dict(schema),
        offline=True,
        validate_formats=validate_formats,
        pattern_options=jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES),
    )


def names(entity_type: EntityType, schema: Mapping[str, Any]) -> dict[str, bool]:
    """The keys that a category's or subobject's definition refers to, and whether each is required."""
    if entity_type == "property":
        return {}
    required = set(schema.get("required", ()))
    return {name: name in required for name in sorted({*schema.get("properties", ()), *required})}


def where(schema: Mapping[str, Any], name: str) -> Path:
    """Where a definition refers to this key."""
    if name in schema.get("properties", ()):
        return ("properties", name)
    return ("required", list(schema.get("required", ())).index(name))


def facts(*schemas: Mapping[str, Any]) -> Facts:
    """What a property's definition says, the nearest of these that says it: its own first, then its ancestors'."""
    many = _first(schemas, "type") == "array"
    inner = [each["items"] for each in schemas if isinstance(each.get("items"), Mapping)] if many else []
    values = [*inner, *schemas]
    of_values = inner if many else schemas
    constant = _first(of_values, "const")
    allowed = _first(of_values, "enum") if constant is None else [constant]
    return Facts(
        datatype=_datatype(_first(of_values, "type"), _first(of_values, "format")),
        unit=_first(values, "unit"),
        least=int(_first(schemas, "minItems") or 0) if many else 0,
        most=_first(schemas, "maxItems") if many else 1,
        allowed=None if allowed is None else tuple(allowed),
    )


def differences(old: Any, new: Any, what: str = "") -> Iterator[Difference]:
    """How a schema differs from the one before. What cannot be seen to allow all that was allowed is held for breaking."""
    old, new = _as_object(old), _as_object(new)
    for keyword in sorted({*old, *new}, key=lambda each: (each not in new, each)):
        before, after = old.get(keyword), new.get(keyword)
        if _same(before, after) and (keyword in old) == (keyword in new):
            continue
        yield from _differences_of(keyword, keyword in old, before, keyword in new, after, what)


def _differences_of(keyword: str, was: bool, before: Any, is_: bool, after: Any, what: str) -> Iterator[Difference]:
    place = f"{what}: " if what else ""
    if keyword in _TELLING or keyword.startswith("x-") or keyword == "$schema":
        yield Difference(Step.PATCH, f"{place}{keyword} says something else")
    elif keyword == "properties":
        yield from _named_differences(before or {}, after or {}, what)
    elif keyword == "required":
        yield from _required_differences(before or [], after or [], place)
    elif keyword == "type":
        yield _type_difference(was, before, is_, after, place)
    elif keyword == "enum":
        yield _enum_difference(before, after, place)
    elif keyword in ("items", "additionalProperties", "unevaluatedProperties", "unevaluatedItems", "contentSchema"):
        yield from differences(before if was else {}, after if is_ else {}, f"{what} {keyword}".strip())
    elif keyword == "unit":
        yield Difference(Step.MAJOR, f"{place}the unit is {_said(is_, after)}, and was {_said(was, before)}")
    elif keyword in _FLOORS | _CEILINGS:
        yield _bound_difference(keyword, was, before, is_, after, place)
    elif was and keyword in _LIMITS and (not is_ or (keyword == "uniqueItems" and after is False)):
        yield Difference(Step.MINOR, f"{place}{keyword} no longer limits it")
    elif not was and keyword == "$defs":
        yield Difference(Step.PATCH, f"{place}{keyword} is new")
    else:
        yield Difference(Step.MAJOR, f"{place}{keyword} is another, and may allow less than before")


def _named_differences(old: Mapping[str, Any], new: Mapping[str, Any], what: str) -> Iterator[Difference]:
    for name in sorted({*old, *new}):
        inner = f"{what} {name}".strip()
        if name not in new:
            yield Difference(Step.MAJOR, f"{inner} is gone")
        elif name not in old:
            yield Difference(Step.MINOR, f"{inner} is new")
        else:
            yield from differences(old[name], new[name], inner)


def _required_differences(old: Sequence[str], new: Sequence[str], place: str) -> Iterator[Difference]:
    for name in sorted({*new} - {*old}):
        yield Difference(Step.MAJOR, f"{place}{name} is required now")
    for name in sorted({*old} - {*new}):
        yield Difference(Step.MINOR, f"{place}{name} is optional now")


def _type_difference(was: bool, before: Any, is_: bool, after: Any, place: str) -> Difference:
    old, new = _types(before) if was else None, _types(after) if is_ else None
    allows_all = new is None or (old is not None and old <= new)
    said = f"{place}the datatype is {_said(is_, after)}, and was {_said(was, before)}"
    return Difference(Step.MINOR if allows_all else Step.MAJOR, said)


def _enum_difference(before: Any, after: Any, place: str) -> Difference:
    if after is None:
        return Difference(Step.MINOR, f"{place}any value is allowed now")
    if before is None:
        return Difference(Step.MAJOR, f"{place}only some values are allowed now")
    old, new = ({json.dumps(value, sort_keys=True) for value in values} for values in (before, after))
    if gone := sorted(old - new):
        return Difference(
            Step.MAJOR, f"{place}{', '.join(gone[:5])} {'is' if len(gone) == 1 else 'are'} not allowed any more"
        )
    if added := sorted(new - old):
        return Difference(
            Step.MINOR, f"{place}{', '.join(added[:5])} {'is' if len(added) == 1 else 'are'} allowed, too"
        )
    return Difference(Step.PATCH, f"{place}allowed values stand in another order")


def _bound_difference(keyword: str, was: bool, before: Any, is_: bool, after: Any, place: str) -> Difference:
    is_wider = not is_ or (was and (after < before if keyword in _FLOORS else after > before))
    said = f"{place}{keyword} is {_said(is_, after)}, and was {_said(was, before)}"
    if keyword in ("minContains", "maxContains"):
        is_wider = False  # without it one is needed: what is wider depends on `contains`
    return Difference(Step.MINOR if is_wider else Step.MAJOR, said)


def _as_object(schema: Any) -> Mapping[str, Any]:
    if isinstance(schema, Mapping):
        return schema
    return {} if schema else {"not": {}}


def _types(given: Any) -> frozenset[str]:
    found = frozenset([given] if isinstance(given, str) else given)
    return found | {"integer"} if "number" in found else found


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _said(is_there: bool, value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if is_there else "not said"


def _first(schemas: Sequence[Mapping[str, Any]], keyword: str) -> Any:
    return next((each[keyword] for each in schemas if keyword in each), None)


def _datatype(kind: Any, form: Any) -> str | None:
    if isinstance(kind, list):
        return " or ".join(kind)
    found: str | None = form if kind == "string" and form else kind
    return found


def _bounds(schema: Mapping[str, Any]) -> Fault | None:
    fault = _storable(schema, ())
    if fault is None and len(json.dumps(schema, ensure_ascii=False).encode()) > MOST_BYTES:
        fault = Fault((), f"The definition is larger than {MOST_BYTES // 1024} KiB.", "divide it into several entities")
    return fault


def _too_many_patterns(schema: Mapping[str, Any]) -> Fault | None:
    found = patterns(schema)
    if len(found) <= MOST_PATTERNS and sum(map(len, found)) <= MOST_PATTERN_CHARACTERS:
        return None
    return Fault(
        (),
        f"It has more than {MOST_PATTERNS} patterns, or more than {MOST_PATTERN_CHARACTERS} characters of them.",
        "list what is allowed under enum, or divide it into several entities",
    )


def _storable(value: Any, path: Path) -> Fault | None:
    if len(path) > DEEPEST:
        return Fault(
            path[:3], f"The definition is nested deeper than {DEEPEST} levels.", "divide it into several entities"
        )
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str) or not is_storable(name):
                return Fault(path, "A name in it cannot be stored.", "names are strings without NUL characters")
            if fault := _storable(inner, (*path, name)):
                return fault
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            if fault := _storable(inner, (*path, place)):
                return fault
    elif isinstance(value, float) and not math.isfinite(value):
        return Fault(path, "It is no number of JSON.", "write a finite number")
    elif isinstance(value, str) and not is_storable(value):
        return Fault(path, "It holds a NUL character or half a surrogate pair.", "write other characters")
    elif value is not None and not isinstance(value, str | int | float | bool):
        return Fault(path, f"A {type(value).__name__} is nothing that JSON has.", "write it as a string, in quotes")
    return None


def _vocabulary(schema: Any, path: Path) -> Iterator[Fault]:
    """Keywords that JSON Schema would pass over without a word: misspelt ones among them."""
    if not isinstance(schema, Mapping):
        return
    for keyword, value in schema.items():
        here = (*path, keyword)
        if keyword not in _KNOWN and not keyword.startswith("x-"):
            yield _unknown(keyword, here)
        elif keyword == "$ref" and not (value == "#" or str(value).startswith("#/")):
            yield Fault(
                here,
                f"{keyword} leads out of the definition.",
                "put it under $defs, and refer to it as #/$defs/NAME",
            )
        elif keyword == "$schema" and str(value).removesuffix("#") != DIALECT:
            yield Fault(here, "The definition is of another dialect.", f"it is read as {DIALECT}: leave $schema out")
        elif keyword == "unit" and not (isinstance(value, str) and 0 < len(value.strip()) <= 100):
            yield Fault(here, "A unit is a short text.", 'for example "unit": "µg/m³"')
        elif keyword in OF_SCHEMA:
            yield from _vocabulary(value, here)
        elif keyword in _OF_SCHEMAS and isinstance(value, list):
            for place, inner in enumerate(value):
                yield from _vocabulary(inner, (*here, place))
        elif keyword in OF_NAMED_SCHEMAS and isinstance(value, Mapping):
            for name, inner in value.items():
                yield from _vocabulary(inner, (*here, name))


_NOT_TAKEN = dict.fromkeys(["$id", "$vocabulary"], "leave it out: an entity's key names it") | {
    **dict.fromkeys(
        ["$anchor", "$dynamicAnchor", "$dynamicRef"], "put it under $defs, and refer to it as #/$defs/NAME"
    ),
    "definitions": "put it under $defs",
    "dependencies": "use dependentRequired or dependentSchemas",
}


def _unknown(keyword: str, path: Path) -> Fault:
    if keyword in _NOT_TAKEN:
        return Fault(path, f"{keyword} is not taken here.", _NOT_TAKEN[keyword])
    near = difflib.get_close_matches(keyword, sorted(_KNOWN), n=1)
    fix = f"did you mean {near[0]}?" if near else "for notes of your own begin its name with x-"
    return Fault(path, f"There is no keyword {keyword!r}.", fix)


@cache
def _of_schemas() -> Any:
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator({"$ref": DIALECT}, offline=True)


def _invalid(schema: Mapping[str, Any]) -> Iterator[Fault]:
    for error in _of_schemas().iter_errors(dict(schema)):
        yield Fault(
            tuple(error.instance_path),
            f"It is no JSON Schema: {error.message}.",
            "see JSON Schema 2020-12 for what may stand here",
        )


def _uncompilable(schema: Mapping[str, Any]) -> Iterator[Fault]:
    """References that lead nowhere, and patterns that could take for ever, or much memory."""
    import jsonschema_rs

    try:
        validator(schema)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as exc:
        said = getattr(exc, "message", str(exc)).splitlines()[0]
        yield Fault(
            tuple(getattr(exc, "instance_path", ())),
            f"It cannot be used: {said}.",
            "references begin with # and lead to a part of the definition; patterns have neither lookaround nor backreferences, "
            "and do not repeat large classes often",
        )


def _of_type(entity_type: EntityType, schema: Mapping[str, Any]) -> Iterator[Fault]:
    if entity_type == "property":
        return
    if schema.get("type", "object") != "object":
        yield Fault(("type",), f"What a {entity_type} describes is an object.", 'leave type out, or write "object"')
    if "unit" in schema:
        yield Fault(("unit",), f"A {entity_type} has no unit.", "units belong to properties")


def says_a_datatype(schema: Mapping[str, Any]) -> bool:
    """Whether a property's definition tells what its values are."""
    return not {"type", "enum", "const", "$ref", "allOf", "anyOf", "oneOf"}.isdisjoint(schema)

"""Definitions of entities: what is taken, what they say, and how far a change of one goes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drystone.catalogue import definitions
from drystone.catalogue.content import EntityContent, normal
from drystone.catalogue.definitions import Facts, Step, differences, facts, faults


def _step(old: Any, new: Any) -> Step:
    return max((each.step for each in differences(old, new)), default=Step.NONE)


@pytest.mark.parametrize(
    ("old", "new", "step"),
    [
        ({"type": "number"}, {"type": "number"}, Step.NONE),
        ({"type": "number"}, {"type": "number", "description": "hourly mean"}, Step.PATCH),
        ({"type": "number"}, {"type": "number", "x-source": "EEA"}, Step.PATCH),
        ({"type": "integer"}, {"type": "number"}, Step.MINOR),
        ({"type": "number"}, {"type": "integer"}, Step.MAJOR),
        ({"type": "number"}, {"type": "string"}, Step.MAJOR),
        ({"type": "number", "unit": "µg/m³"}, {"type": "number", "unit": "ppb"}, Step.MAJOR),
        ({"enum": ["a", "b"]}, {"enum": ["a", "b", "c"]}, Step.MINOR),
        ({"enum": ["a", "b"]}, {"enum": ["a"]}, Step.MAJOR),
        ({"enum": ["a", "b"]}, {"enum": ["b", "a"]}, Step.PATCH),
        ({"enum": [1]}, {"enum": [True]}, Step.MAJOR),
        ({"type": "string"}, {"type": "string", "enum": ["a"]}, Step.MAJOR),
        ({"minimum": 0}, {"minimum": -10}, Step.MINOR),
        ({"minimum": 0}, {"minimum": 1}, Step.MAJOR),
        ({"maximum": 10}, {}, Step.MINOR),
        ({}, {"maximum": 10}, Step.MAJOR),
        ({"type": "array", "maxItems": 5}, {"type": "array", "maxItems": 1}, Step.MAJOR),
        ({"type": "array", "maxItems": 1}, {"type": "array", "maxItems": 5}, Step.MINOR),
        ({"items": {"type": "integer"}}, {"items": {"type": "number"}}, Step.MINOR),
        ({"const": 1}, {"const": 0}, Step.MAJOR),
        ({"pattern": "^a"}, {"pattern": "^b"}, Step.MAJOR),
        ({"pattern": "^a"}, {}, Step.MINOR),
        ({"anyOf": [{"minimum": 1}]}, {"anyOf": [{"minimum": 0}]}, Step.MAJOR),
        ({"properties": {"a": {}}}, {"properties": {}}, Step.MAJOR),
        ({"properties": {}}, {"properties": {"a": {}}}, Step.MINOR),
        ({"required": []}, {"required": ["a"]}, Step.MAJOR),
        ({"required": ["a"]}, {"required": []}, Step.MINOR),
        ({"items": {}}, {"items": False}, Step.MAJOR),
    ],
)
def test_a_change_goes_as_far_as_it_breaks(old: dict[str, Any], new: dict[str, Any], step: Step) -> None:
    assert _step(old, new) == step


_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, -1.5]), st.text("ab", max_size=3),
    st.lists(st.integers(-2, 2), max_size=3),
)  # fmt: skip
_TYPES = st.sampled_from(["boolean", "integer", "null", "number", "string", "array"])
_SMALL = st.fixed_dictionaries(
    {},
    optional={
        "type": st.one_of(_TYPES, st.lists(_TYPES, min_size=1, max_size=3, unique=True)),
        "enum": st.lists(_VALUES, min_size=1, max_size=4, unique_by=repr),
        "const": _VALUES,
        "minimum": st.integers(-3, 3),
        "exclusiveMaximum": st.integers(-3, 3),
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        "minLength": st.integers(0, 3),
        "maxLength": st.integers(0, 3),
        "pattern": st.sampled_from(["^a", "b$"]),
        "maxItems": st.integers(0, 3),
        "uniqueItems": st.booleans(),
        "title": st.sampled_from(["x", "y"]),
        "not": st.fixed_dictionaries({"minimum": st.integers(-1, 1)}),
        "allOf": st.lists(st.fixed_dictionaries({"maximum": st.integers(-1, 1)}), min_size=1, max_size=2),
        "contains": st.fixed_dictionaries({"minimum": st.integers(-1, 1)}),
        "minContains": st.integers(0, 2),
        "prefixItems": st.lists(st.fixed_dictionaries({"minimum": st.integers(-1, 1)}), min_size=1, max_size=2),
        "items": st.one_of(st.booleans(), st.fixed_dictionaries({"minimum": st.integers(-2, 2)})),
    },
)
_SCHEMAS = st.one_of(_SMALL, _SMALL.map(lambda schema: {**schema, "unit": "m"}))


@st.composite
def _pairs(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two schemas of which the second is the first with a little taken from another."""
    old, other = draw(_SCHEMAS), draw(_SCHEMAS)
    taken = draw(st.sets(st.sampled_from(sorted({*old, *other, "type"})), max_size=3))
    return old, {k: v for k, v in {**old, **other}.items() if (k in other if k in taken else k in old)} | {
        k: v for k, v in old.items() if k not in taken
    }


@settings(max_examples=1500, deadline=None)
@given(_pairs(), st.lists(_VALUES, min_size=1, max_size=8))
def test_what_was_valid_stays_valid_unless_the_step_is_major(
    pair: tuple[dict[str, Any], dict[str, Any]], values: list[Any]
) -> None:
    old, new = (jsonschema_rs.Draft202012Validator(schema) for schema in pair)

    if _step(*pair) < Step.MAJOR:
        assert [value for value in values if old.is_valid(value) and not new.is_valid(value)] == []


@given(_SCHEMAS)
def test_nothing_differs_from_itself(schema: dict[str, Any]) -> None:
    assert _step(schema, schema) == Step.NONE


@pytest.mark.parametrize(
    ("schema", "path", "said"),
    [
        ({"type": "number", "minimun": 0}, ("minimun",), "did you mean minimum?"),
        ({"type": "nmber"}, ("type",), "JSON Schema"),
        ({"type": "number", "unit": ""}, ("unit",), "unit"),
        ({"$ref": "https://example.org/x"}, ("$ref",), "#"),
        ({"$ref": "#/$defs/none"}, (), "does not exist"),
        ({"type": "string", "pattern": "("}, ("pattern",), "regex"),
        ({"type": "string", "pattern": "(?=a)a"}, ("pattern",), "lookaround"),
        ({"$anchor": "x"}, ("$anchor",), "#/$defs"),
        ({"$ref": "#x"}, ("$ref",), "#/$defs"),
        ({"$id": "https://example.org/x"}, ("$id",), "key"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, ("$schema",), "2020-12"),
        ({"items": {"definitions": {}}}, ("items", "definitions"), "$defs"),
        ({"enum": [float("nan")]}, ("enum", 0), "finite"),
        ({"title": "a\0b"}, ("title",), "NUL"),
        ({"title": "x" * definitions.MOST_BYTES}, (), "64 KiB"),
        ({"pattern": r"(?i:\p{L}{100})a"}, ("pattern",), "repeat large classes"),
        ({"pattern": "(((a{99}){99}){99}){99}"}, ("pattern",), "repeat large classes"),
        ({"patternProperties": {f"^x{number}": {} for number in range(21)}}, (), "20 patterns"),
        ({"$defs": {"a": {"items": {"pattern": "a" * 501}}}, "pattern": "b" * 500}, (), "1000 characters"),
        ({"$ref": "#/x-a/0", "x-a": [{"pattern": "a" * 1001}]}, (), "1000 characters"),
    ],
)
def test_a_wrong_definition_says_where_and_what_to_write(
    schema: dict[str, Any], path: tuple[Any, ...], said: str
) -> None:
    (fault, *_) = faults("property", schema)

    assert fault.path == path
    assert said in f"{fault.sentence} {fault.fix}"


def test_a_definition_that_is_too_deep_is_refused_before_it_is_read() -> None:
    schema: dict[str, Any] = {}
    for _ in range(200):
        schema = {"not": schema}

    (fault,) = faults("property", schema)

    assert "deeper" in fault.sentence


# Near the largest automaton that is taken, and the slowest classes to make.
_WORST = {
    "automata": [rf"{number:02}(?i:\w{{340}})" for number in range(20)],
    "classes": [rf"{number:02}(?i:[" + r"\PL" * 10 + "])" for number in range(20)],
    "cases": [rf"{number:02}(?i)\pL\pL" for number in range(20)],
}


@pytest.mark.parametrize("patterns", _WORST.values(), ids=_WORST)
def test_what_patterns_cost_is_bounded(patterns: list[str]) -> None:
    """In a process of its own: how large it was at most can be asked of whole processes only."""
    schema = {"properties": {f"p{number}": {"pattern": each} for number, each in enumerate(patterns)}}
    assert sum(map(len, patterns)) <= definitions.MOST_PATTERN_CHARACTERS
    assert faults("category", schema) == []
    asked = (
        "import json, resource, sys; from drystone.catalogue import definitions;"
        "schema = json.load(sys.stdin);"
        "definitions.faults('category', {'properties': {'a': {'pattern': 'a'}}});"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "definitions.faults('category', schema);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )

    told = subprocess.run(
        [sys.executable, "-c", asked], input=json.dumps(schema), capture_output=True, text=True, check=True
    )

    assert int(told.stdout) * (1 if sys.platform == "darwin" else 1024) < 16 << 20


def test_the_same_pattern_again_costs_nothing() -> None:
    assert faults("category", {"properties": {f"p{number}": {"pattern": "^[A-Z]{2}$"} for number in range(300)}}) == []


def test_words_of_ones_own_are_taken_where_they_say_so() -> None:
    schema = {"type": "number", "x-instrument": {"anything": ["at", "all"]}, "examples": [{"minimun": 1}]}

    assert faults("property", schema) == []


def test_a_property_tells_datatype_unit_cardinality_and_values() -> None:
    one = facts({"type": "number", "unit": "µg/m³"})
    many = facts({"type": "array", "items": {"type": "string", "format": "date"}, "minItems": 1, "maxItems": 3})
    chosen = facts({"enum": ["a", "b"]}, {"type": "string", "unit": "of the parent"})

    assert one == Facts("number", "µg/m³", 0, 1, None)
    assert many == Facts("date", None, 1, 3, None)
    assert chosen == Facts("string", "of the parent", 0, 1, ("a", "b"))


_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text("aé", max_size=3),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text("ab", max_size=2), inner, max_size=3)),
    max_leaves=8,
)


@given(_JSON)
def test_the_canonical_form_is_its_own(value: Any) -> None:
    assert repr(normal(normal(value))) == repr(normal(value))


def test_contents_are_equal_when_json_says_so() -> None:
    written = [EntityContent("property", "a", schema_definition={"enum": [value]}) for value in (1, 1.0, True)]

    assert written[0] == written[1]
    assert written[0].sha256 == written[1].sha256
    assert written[0] != written[2]

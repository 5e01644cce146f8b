"""Whether attributes fit a category, how what does not is told, and what is not even tried."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drystone.catalogue import schemas
from drystone.catalogue.content import EntityContent
from drystone.catalogue.fitting import MOST_LOOKS, Datatype, Shape, looks, type_of

AGAIN: dict[str, Any] = {"max_examples": 300, "deadline": None, "derandomize": True, "database": None}


def prop(label: str, **definition: Any) -> EntityContent:
    return EntityContent("property", label, schema_definition=definition)


ENTITIES = {
    "name": prop("Name", type="string", minLength=1),
    "no2": prop("Nitrogen dioxide", type="number", unit="µg/m³", minimum=0),
    "opened": prop("Opened", type="string", format="date"),
    "seen": EntityContent("property", "Seen", parents=["opened"], schema_definition={"format": "date-time"}),
    "level": prop("Level", enum=[1, 2, 3]),
    "tags": prop("Tags", type="array", items={"type": "string"}, maxItems=3),
    "anything": prop("Anything", anyOf=[{"type": "string"}, {"type": "number"}]),
    "place": EntityContent("subobject", "Place", schema_definition={"required": ["name"]}),
    "site": EntityContent("category", "Site", schema_definition={"required": ["name"], "properties": {"opened": {}}}),
    "station": EntityContent(
        "category",
        "Station",
        parents=["site"],
        schema_definition={
            "properties": {"no2": {"maximum": 500}, "level": {}, "tags": {}, "place": {}, "seen": {}, "anything": {}},
            "unevaluatedProperties": False,
        },
    ),
}
STATION, SITE, EITHER = Shape(ENTITIES, ("station",)), Shape(ENTITIES, ("site",)), Shape(ENTITIES, ("site", "station"))
GOOD: dict[str, Any] = {"name": "Mill Lane", "no2": 21.5, "opened": "2025-01-31", "level": 2, "tags": ["kerb"]}


def test_what_fits_has_no_faults() -> None:
    assert STATION.faults(GOOD) == []
    assert STATION.faults(GOOD | {"place": {"name": "Wallford"}, "no2": 1}) == []


@pytest.mark.parametrize(
    ("change", "path", "said", "fix"),
    [
        ({"no2": "high"}, ("no2",), "'no2' is \"high\", a string, and must be a number.", "a number in µg/m³"),
        ({"no2": -1}, ("no2",), "'no2': -1 is less than the minimum of 0.", "a number"),
        ({"no2": 501}, ("no2",), "'no2': 501 is greater than the maximum of 500.", "a number"),
        ({"opened": "2025-02-29"}, ("opened",), "which is no date.", "a date such as 2025-01-31"),
        ({"level": 4}, ("level",), "'level' is 4, which is not among what is allowed.", "one of 1, 2, 3"),
        ({"tags": ["a", 5]}, ("tags", 1), "'tags.1' is 5, a number, and must be a string.", "a list, each a string"),
        ({"place": {}}, ("place", "name"), "'place.name' is missing.", "add it: a string"),
        ({"place": []}, ("place",), "'place' is [], a list, and must be an object.", "send"),
        ({"mood": 1}, ("mood",), "'mood' is not foreseen here.", "there are: anything, level, name, no2, opened"),
        ({"anything": None}, ("anything",), "'anything' is nothing that is allowed here.", "send"),
        ({"name": None}, ("name",), "'name' is null, null, and must be a string.", "a string"),
    ],
)
def test_what_does_not_fit_is_told_with_where_what_and_what_instead(
    change: dict[str, Any], path: tuple[Any, ...], said: str, fix: str
) -> None:
    (fault,) = STATION.faults(GOOD | change)

    assert fault.path == path
    assert said in fault.sentence
    assert fix in fault.fix


def test_each_attribute_is_told_once() -> None:
    faults = STATION.faults({"no2": "x", "tags": [1, 2, 3, 4], "level": 9})

    assert sorted(fault.path[0] for fault in faults) == ["level", "name", "no2", "tags"]


def test_of_several_categories_one_is_enough_and_the_nearest_is_told() -> None:
    assert EITHER.faults({"name": "A", "own": 1}) == []
    assert [fault.path for fault in EITHER.faults({"opened": 5, "name": "A"})] == [("opened",)]


def test_without_a_category_nothing_can_be_compared() -> None:
    fault = Shape({"name": ENTITIES["name"]}, ()).fault

    assert fault is not None
    assert fault.sentence == "It has no category."


def test_the_hash_is_of_what_decides_and_of_nothing_else() -> None:
    renamed = ENTITIES | {
        "no2": EntityContent("property", "NO₂", "d", {"en": ["x"]}, [], ENTITIES["no2"].schema_definition)
    }
    wider = ENTITIES | {"no2": prop("Nitrogen dioxide", type="number", unit="µg/m³", minimum=-5)}

    assert Shape(renamed, ("station",)).sha256 == STATION.sha256
    assert Shape(wider, ("station",)).sha256 != STATION.sha256
    assert SITE.sha256 != STATION.sha256


def test_datatypes_are_those_that_can_be_told() -> None:
    assert STATION.datatypes == {
        "name": Datatype(frozenset(["string"])),
        "no2": Datatype(frozenset(["number"])),
        "opened": Datatype(frozenset(["string"]), "date"),
        "seen": Datatype(frozenset(["string"]), "date-time"),
        "level": Datatype(frozenset(["number"])),
        "tags": Datatype(frozenset(["array"])),
        "place": Datatype(frozenset(["object"])),
    }


@pytest.mark.parametrize(
    "definition",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/a"}]}}},
        {
            "$ref": "#/$defs/0",
            "$defs": {str(n): {"anyOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(30)} | {"30": {}},
        },
        {"properties": {"x": {"$ref": "#"}}, "allOf": [{"properties": {"x": {"$ref": "#"}}}] * 3},
        {"items": {"oneOf": [{"$ref": "#"}, {"$ref": "#"}, {"$ref": "#"}]}},
        {"$ref": "#/$defs/0", "$defs": {str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(3000)} | {"3000": {}}},
    ],
)
def test_what_would_take_for_ever_is_not_tried(definition: dict[str, Any]) -> None:
    deep = Shape(
        {
            "a": prop("A", **definition),
            "c": EntityContent("category", "C", schema_definition={"properties": {"a": {}}}),
        },
        ("c",),
    )

    assert looks(definition) > MOST_LOOKS
    assert deep.fault is not None
    assert "too involved" in deep.fault.sentence


def test_what_people_write_is_tried() -> None:
    tree = {"properties": {"children": {"items": {"$ref": "#"}}, "left": {"$ref": "#"}, "right": {"$ref": "#"}}}
    chain = {
        f"c{n}": EntityContent(
            "category", "C", parents=[f"c{n + 1}"] if n < 11 else [], schema_definition={"properties": {"name": {}}}
        )
        for n in range(12)
    }

    assert looks(tree) <= MOST_LOOKS
    assert Shape(chain | {"name": ENTITIES["name"]}, ("c0",)).fault is None


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 600)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["2025-01-31", "2025-02-30", "2025-01-31T12:00:00Z"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "x"]), inner, max_size=2),
    max_leaves=5,
)
THINGS = st.dictionaries(st.sampled_from([*ENTITIES, "own", "a/b", "~"]), VALUES, max_size=6)


@settings(**AGAIN)
@given(THINGS)
def test_what_is_told_is_what_a_validator_of_the_schema_says(thing: dict[str, Any]) -> None:
    """Faults exactly where the JSON Schema that is handed on does not allow it, each in an attribute, none twice."""
    for shape in (STATION, SITE, EITHER):
        written = schemas.json_schema(ENTITIES, shape.categories, title="", description="")
        is_valid = jsonschema_rs.Draft202012Validator(written, validate_formats=True).is_valid(thing)

        faults = shape.faults(thing)

        assert (faults == []) == is_valid
        assert len({fault.path[0] for fault in faults}) == len(faults)
        assert all(fault.sentence and fault.fix for fault in faults)


@settings(**AGAIN)
@given(THINGS)
def test_a_value_that_fits_has_the_datatype_that_is_told(thing: dict[str, Any]) -> None:
    if STATION.faults(thing | {"name": "A"}):
        return
    for name, datatype in STATION.datatypes.items():
        if name in thing:
            assert type_of((thing | {"name": "A"})[name]) in datatype.types

"""Three states of one thing: nothing that one side did is lost, and it does not matter which side is which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.catalogue.air import AIR, NO2, STATION, prop

from drystone.catalogue import merging
from drystone.catalogue.content import Content, EntityContent, ModuleContent, ProfileContent
from drystone.catalogue.merging import MISSING, Merge, Path, Take, merge
from drystone.catalogue.models import Kind

_KEYS = st.sampled_from("abcd")
_LISTS = st.lists(_KEYS, max_size=3, unique=True)
_VALUES = st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.sampled_from([1.5, "x"]), _LISTS)
_SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.booleans(), st.just({})),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.one_of(st.sampled_from(["number", "string"]), st.lists(st.sampled_from(["number", "string", "null"]), unique=True, max_size=2)),
            "enum": st.one_of(st.lists(_VALUES, max_size=3, unique_by=repr), st.just([1, 1])),
            "minimum": st.integers(0, 2),
            "const": st.dictionaries(_KEYS, _VALUES, max_size=2),
            "required": _LISTS,
            "properties": st.dictionaries(_KEYS, inner, max_size=3),
            "dependentRequired": st.dictionaries(_KEYS, _LISTS, max_size=2),
            "items": inner,
            "allOf": st.lists(inner, max_size=2),
            "x-note": _VALUES,
        },
    ),
    max_leaves=6,
)  # fmt: skip
_ENTITIES = st.builds(
    EntityContent,
    st.sampled_from(["category", "property"]),
    st.sampled_from("LMN"),
    st.sampled_from(["", "d", "e"]),
    st.dictionaries(st.sampled_from(["de", "en"]), _LISTS, max_size=2),
    _LISTS,
    _SCHEMAS.filter(lambda schema: isinstance(schema, dict)),
)
_RANGES = st.dictionaries(_KEYS, st.sampled_from(["^1", "*"]), max_size=3)
_MODULES = st.builds(
    ModuleContent, st.sampled_from(["1.0.0", "1.1.0"]), st.sampled_from("LM"), st.just(""), _LISTS, _RANGES
)
_PROFILES = st.builds(ProfileContent, st.sampled_from("LM"), st.sampled_from(["", "d"]), _RANGES)


def _three(contents: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Three states of one kind, two of them the same more often than chance would have it."""
    some = st.one_of(st.none(), contents)
    return st.one_of(st.tuples(some, some, some), _edited(contents))


@st.composite
def _edited(draw: st.DrawFn, contents: st.SearchStrategy[Any]) -> tuple[Any, Any, Any]:
    """A base, and two that differ from it in some of its fields."""
    base = draw(contents)
    sides = []
    for _ in range(2):
        other = draw(contents)
        names = draw(st.lists(st.sampled_from(sorted(base.said())), max_size=3, unique=True))
        sides.append(replace(base, **{name: getattr(other, name) for name in names}))
    return base, sides[0], sides[1]


_STATES = st.one_of(_three(_ENTITIES), _three(_MODULES), _three(_PROFILES))


def _merge(base: Content | None, ours: Content | None, theirs: Content | None, take: Take | None = None) -> Merge:
    kind: Kind = next((each.kind for each in (base, ours, theirs) if each is not None), "entity")
    return merge(kind, base, ours, theirs, lambda _: take)


@given(_STATES)
@settings(max_examples=200)
def test_it_does_not_matter_which_side_is_which(states: Any) -> None:
    base, ours, theirs = states

    one, other = _merge(base, ours, theirs), _merge(base, theirs, ours)

    assert [each.path for each in one.conflicts] == [] or other.conflicts
    assert {each.path for each in one.conflicts} == {each.path for each in other.conflicts}
    if not one.conflicts:
        assert one.content == other.content
    assert _merge(base, ours, theirs, "ours").content == _merge(base, theirs, ours, "theirs").content


@given(_STATES)
def test_where_nothing_changed_upstream_all_stays_as_it_is(states: Any) -> None:
    base, ours, _ = states

    assert _merge(base, ours, base).content == ours
    assert _merge(base, ours, base).conflicts == ()
    assert {each.side for each in _merge(base, ours, base).differences} <= {"ours"}


@given(_STATES)
def test_what_both_did_alike_is_done(states: Any) -> None:
    base, ours, _ = states

    assert _merge(base, ours, ours).content == ours
    assert _merge(base, ours, ours).conflicts == ()
    assert _merge(base, base, ours).content == ours


@given(_STATES)
@settings(max_examples=200)
def test_no_place_that_one_side_changed_is_lost(states: Any) -> None:
    base, ours, theirs = states
    found = _merge(base, ours, theirs).content
    if found is None or base is None or ours is None or theirs is None:
        return

    before, mine, other, after = (_places(each.said()) for each in (base, ours, theirs, found))
    for path in {*before, *mine, *other}:
        was, has, is_ = (side.get(path, MISSING) for side in (before, mine, other))
        if was == is_:
            assert after.get(path, MISSING) == has, path
        if was == has:
            assert after.get(path, MISSING) == is_, path


def _places(said: Mapping[str, Any]) -> dict[Path, str]:
    """What stands at each place: fields, languages, ranges, and keywords of the definition."""
    found: dict[Path, str] = {}
    for name, value in said.items():
        if name in ("aliases", "dependencies", "modules", "schema_definition"):
            found |= {(name, inner): repr(_sorted(each)) for inner, each in value.items()}
        else:
            found[name,] = repr(value)
    return found


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else value


@given(_STATES)
@settings(max_examples=200)
def test_what_was_merged_is_stale_no_more(states: Any) -> None:
    """Rebased on what there is by now, a draft is what it was merged to, and merging again changes nothing."""
    base, ours, theirs = states
    merged = _merge(base, ours, theirs, "ours").content

    again = _merge(theirs, merged, theirs)

    assert again.content == merged
    assert {each.side for each in again.differences} <= {"ours"}


@given(_STATES)
def test_a_choice_settles_every_conflict(states: Any) -> None:
    base, ours, theirs = states
    open_ = _merge(base, ours, theirs).conflicts

    for take in ("ours", "theirs"):
        settled = _merge(base, ours, theirs, take)
        assert settled.conflicts == ()
        assert [each.path for each in settled.differences if each.side == "conflict"] == [each.path for each in open_]


@given(_three(_MODULES))
def test_members_are_merged_as_sets(states: Any) -> None:
    base, ours, theirs = states
    if None in (base, ours, theirs):
        return
    before, mine, other = set(base.entities), set(ours.entities), set(theirs.entities)

    found = _merge(base, ours, theirs, "ours").content

    assert isinstance(found, ModuleContent)
    assert set(found.entities) == (before & mine & other) | (mine - before) | (other - before)


def _sides(merged: Merge) -> dict[str, str]:
    return {"/".join(each.path): each.side for each in merged.differences}


def test_each_field_is_told_apart() -> None:
    ours = replace(NO2, label="NO2", schema_definition={"type": "number", "unit": "µg/m³", "minimum": 0, "maximum": 9})
    theirs = replace(NO2, aliases={"de": ["x"]}, schema_definition={"type": "number", "unit": "ppb", "minimum": -1})

    found = merge("entity", NO2, ours, theirs)

    assert _sides(found) == {
        "label": "ours",
        "aliases/de": "theirs",
        "schema_definition/maximum": "ours",
        "schema_definition/minimum": "theirs",
        "schema_definition/unit": "theirs",
    }
    assert found.content == replace(
        NO2, label="NO2", aliases={"de": ["x"]},
        schema_definition={"type": "number", "unit": "ppb", "minimum": -1, "maximum": 9},
    )  # fmt: skip


def test_two_that_change_one_place_conflict_there_only() -> None:
    ours, theirs = replace(NO2, label="a", description="mine"), replace(NO2, label="b")

    found = merge("entity", NO2, ours, theirs)
    settled = merge("entity", NO2, ours, theirs, {("label",): "theirs"}.get)  # type: ignore[arg-type]  # a dict's get

    assert _sides(found) == {"label": "conflict", "description": "ours"}
    assert [(each.path, each.base, each.ours, each.theirs) for each in found.conflicts] == [
        (("label",), "a label", "a", "b")
    ]
    assert settled.conflicts == ()
    assert settled.content == replace(theirs, description="mine")


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "found"),
    [
        (["a", "b"], ["a", "b", "c"], ["b", "d"], ["b", "c", "d"]),
        (["a"], ["a", "d"], ["a", "c"], ["a", "c", "d"]),
        (["a", "b"], ["b", "a"], ["a", "b", "c"], None),
        ([1, 1.5], [1, 1.5, True], [1], [1, True]),
    ],
)
def test_allowed_values_are_merged_as_a_set_unless_they_were_put_in_another_order(
    base: list[Any], ours: list[Any], theirs: list[Any], found: list[Any] | None
) -> None:
    merged = merge("entity", prop(enum=base), prop(enum=ours), prop(enum=theirs))

    assert isinstance(merged.content, EntityContent)
    assert bool(merged.conflicts) == (found is None)
    assert merged.content.schema_definition["enum"] == (ours if found is None else found)


def test_what_was_not_limited_is_not_limited_to_both_at_once() -> None:
    """Two new lists of allowed values: together they would allow what neither side does."""
    merged = merge("entity", prop(), prop(enum=["a"]), prop(enum=["b"]))

    assert [each.path for each in merged.conflicts] == [("schema_definition", "enum")]


def test_a_value_that_looks_like_a_definition_is_one_value() -> None:
    one, two = prop(default={"required": ["a"]}), prop(default={"required": ["b"]})

    assert _sides(merge("entity", prop(default={"required": []}), one, two)) == {
        "schema_definition/default": "conflict"
    }


def test_what_is_deleted_and_changed_conflicts_as_a_whole() -> None:
    changed = replace(STATION, label="b")

    assert _sides(merge("entity", STATION, None, changed)) == {"": "conflict"}
    assert merge("entity", STATION, None, changed, lambda _: "theirs").content == changed
    assert merge("entity", STATION, None, changed, lambda _: "ours").content is None
    assert _sides(merge("entity", STATION, changed, None)) == {"": "conflict"}
    assert merge("entity", STATION, None, STATION).content is None


def test_a_version_that_is_left_out_is_no_difference() -> None:
    base, theirs = replace(AIR, version="1.0.0"), replace(AIR, version="1.1.0", label="b")
    ours = replace(AIR, version=None, entities=[*AIR.entities, "o3"])

    merged = merge("module", base, ours, theirs)

    assert _sides(merged) == {"version": "theirs", "label": "theirs", "entities": "ours"}
    assert merged.content == replace(theirs, version=None, entities=[*AIR.entities, "o3"])
    assert merging.says_nothing(replace(theirs, version=None), theirs)
    assert not merging.says_nothing(merged.content, theirs)

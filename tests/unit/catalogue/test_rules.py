"""The rules of the catalogue: what a changeset may do, what it is told otherwise, and which versions follow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.catalogue import air
from tests.unit.catalogue.air import AIR, CITY, CORE, NO2, STATION, codes, delete, do, entity, prop, put

from drystone.catalogue import comparing, definitions, semver
from drystone.catalogue.content import Content, EntityContent, ModuleContent, ProfileContent
from drystone.catalogue.definitions import Step
from drystone.catalogue.models import Kind
from drystone.catalogue.rules import Change, State, check


def _versions(state: State) -> dict[str, str | None]:
    return {key: module.version for key, module in state.modules.items()}


def test_a_whole_catalogue_is_put_at_once_in_any_order() -> None:
    changes = [put(key, content) for (_, key), content in air.ALL.items()]

    verdict = check(State(), changes[::-1])

    assert codes(verdict) == []
    assert _versions(verdict.after) == {"core": "1.0.0", "air": "1.0.0"}


def test_the_same_again_changes_nothing() -> None:
    verdict = check(air.state(), [put(key, content) for (_, key), content in air.ALL.items()])

    assert all(outcome.is_unchanged for outcome in verdict.outcomes)


@pytest.mark.parametrize(
    ("changed", "version"),
    [
        (replace(NO2, description="hourly mean"), "1.0.1"),
        (replace(NO2, aliases={"de": ["Stickstoffdioxid"]}), "1.0.1"),
        (prop(type="number", unit="µg/m³"), "1.1.0"),
        (prop(type="number", unit="ppb", minimum=0), "2.0.0"),
        (prop(type="integer", unit="µg/m³", minimum=0), "2.0.0"),
    ],
)
def test_a_member_that_changes_takes_its_module_along(changed: EntityContent, version: str) -> None:
    state = replace(air.state(), profiles={})

    verdict = check(state, [put("no2", changed)], bump_modules=True)

    assert codes(verdict) == []
    assert _versions(verdict.after) == {"core": "1.0.0", "air": version}
    assert [outcome.key for outcome in verdict.outcomes if outcome.is_implied] == ["air"]


def test_a_member_is_not_changed_behind_its_module_s_back() -> None:
    (problem,) = check(air.state(), [put("no2", prop(type="number", unit="µg/m³"))]).problems

    assert problem.code == "module.not_bumped"
    assert problem.change == 0
    assert "1.1.0 (a minor step: no2: minimum is not said, and was 0)" in problem.sentence
    assert "bump_modules=true" in problem.fix


def test_what_makes_a_module_another_is_the_member_that_changes_most() -> None:
    """Others are sent with it, as an import sends whatever has a file: they stand before it, and are what they were."""
    without_name = entity("category", {"required": ["place"], "properties": {"status": {}, "no2": {}}})
    changes = [put("no2", replace(NO2, label="other words")), put("status", air.STATUS), put("station", without_name)]

    (bumped,) = check(replace(air.state(), profiles={}), changes).problems
    (left,) = check(air.state(), changes, bump_modules=True).problems

    assert (bumped.code, bumped.change) == ("module.not_bumped", 2)
    assert "holds 'station'" in bumped.sentence
    assert (left.code, left.change) == ("profile.range_left", 2)


def test_a_module_may_go_further_than_it_must_and_no_less() -> None:
    widened = put("no2", prop(type="number", unit="µg/m³"))

    assert codes(check(air.state(), [widened, put("air", replace(AIR, version="1.4.0"))])) == []
    assert codes(check(air.state(), [widened, put("air", replace(AIR, version="1.0.1"))])) == ["module.step_too_small"]
    assert codes(check(air.state(), [put("air", replace(AIR, version="0.9.0"))])) == ["module.step_too_small"]
    assert codes(check(air.state(), [put("air", replace(AIR, version="1.1"))])) == ["module.bad_version"]


def test_a_version_that_was_left_as_it_was_is_stepped_where_that_is_asked_for() -> None:
    changes = [put("no2", prop(type="number", unit="µg/m³")), put("air", replace(AIR, version="1.0.0"))]

    assert codes(check(air.state(), changes)) == ["module.step_too_small"]
    assert _versions(check(air.state(), changes, bump_modules=True).after)["air"] == "1.1.0"


def test_who_relies_on_a_module_is_asked_before_it_breaks() -> None:
    breaking = put("name", prop(type="integer"))
    told = check(air.state(), [breaking], bump_modules=True).problems
    mended = [
        breaking,
        put("air", replace(AIR, dependencies={"core": "^2.0"})),
        put("city", replace(CITY, modules={"air": "*"})),
    ]

    assert [(each.code, each.key) for each in told] == [("module.range_left", "air")]
    assert told[0].change == 0
    assert "core: ^2.0.0" in told[0].fix
    verdict = check(air.state(), mended, bump_modules=True)
    assert codes(verdict) == []
    assert _versions(verdict.after) == {"core": "2.0.0", "air": "2.0.0"}


def test_a_profile_is_asked_too() -> None:
    verdict = check(air.state(), [put("no2", prop(type="string"))], bump_modules=True)

    assert codes(verdict) == ["profile.range_left"]


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        (put("a", entity("category", {"required": ["none"]})), "entity.unknown", ("schema_definition", "required", 0)),
        (put("a", entity("category", {"properties": {"none": {}}})), "entity.unknown", ("schema_definition", "properties", "none")),
        (put("a", entity("category", {}, parents=["none"])), "entity.unknown", ("parents", 0)),
        (put("a", entity("category", {}, parents=["no2"])), "entity.wrong_parent", ("parents", 0)),
        (put("a", entity("category", {}, parents=["station", "station"])), "entity.parent_twice", ("parents",)),
        (put("a", entity("category", {}, parents=["a"])), "entity.circle", ("parents",)),
        (put("a", entity("category", {"properties": {"station": {}}})), "entity.wrong_name", ("schema_definition", "properties", "station")),
        (put("a", entity("subobject", {"required": ["a"]})), "entity.endless", ("schema_definition",)),
        (put("a", entity("category", {"unit": "m"})), "schema.invalid", ("schema_definition", "unit")),
        (put("a", prop(title="x")), "entity.no_datatype", ("schema_definition",)),
        (put("A", prop(type="number")), "entity.bad_key", ()),
        (put("0195e7e4-1111-7111-8111-111111111111", prop(type="number")), "entity.bad_key", ()),
        (put("no2", entity("category", {})), "entity.type_is_fixed", ("type",)),
        (put("m", ModuleContent(None, "m", entities=["none"])), "entity.unknown", ("entities", 0)),
        (put("m", ModuleContent(None, "m", dependencies={"none": "*"})), "module.unknown", ("dependencies", "none")),
        (put("m", ModuleContent(None, "m", dependencies={"m": "*"})), "module.circle", ("dependencies",)),
        (put("m", ModuleContent(None, "m", dependencies={"core": "one"})), "module.bad_range", ("dependencies", "core")),
        (put("m", ModuleContent(None, "m", dependencies={"core": "^2"})), "module.range_left", ("dependencies", "core")),
        (put("m", ModuleContent(None, "m", entities=["station"])), "module.not_closed", ("entities", 0)),
        (put("m", ModuleContent("1.0", "m")), "module.bad_version", ("version",)),
        (put("p", ProfileContent("p", modules={"none": "*"})), "module.unknown", ("modules", "none")),
        (put("p", ProfileContent("p", modules={"air": ""})), "module.bad_range", ("modules", "air")),
        (delete("entity", "none"), "entity.not_found", ()),
        (delete("module", "core"), "module.in_use", ()),
        (do("entity", "none", "restore"), "entity.not_found", ()),
        (do("entity", "no2", "restore"), "entity.key_taken", ()),
        (Change("entity", "a", "put", CORE), "entity.no_content", ()),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(change: Change, code: str, path: tuple[Any, ...]) -> None:
    problems = check(air.state(), [change]).problems

    assert problems[0].code == code
    assert (problems[0].change, problems[0].path) == (0, path)
    assert problems[0].fix


def test_who_refers_to_what_is_to_go_is_named() -> None:
    problems = check(air.state(), [delete("entity", "no2")]).problems

    assert {(problem.code, problem.kind, problem.key) for problem in problems} == {
        ("entity.in_use", "entity", "station"),
        ("entity.in_use", "module", "air"),
    }


def test_what_refers_may_go_in_the_same_changeset() -> None:
    changes = [delete("profile", "city"), delete("module", "air"), delete("entity", "station"), delete("entity", "no2")]

    assert codes(check(air.state(), changes)) == []


def test_the_same_may_not_be_changed_twice() -> None:
    assert codes(check(air.state(), [put("no2", NO2), delete("entity", "no2")])) == ["changeset.twice"]


def test_what_comes_back_is_held_to_the_rules_like_anything_else() -> None:
    state = replace(
        State(), deleted={("entity", "station"): STATION, ("module", "core"): replace(CORE, version="1.2.0")}
    )

    assert "entity.unknown" in codes(check(state, [do("entity", "station", "restore")]))
    assert "entity.unknown" in codes(check(state, [do("module", "core", "restore")]))


def test_a_module_that_comes_back_steps_for_what_its_members_became_meanwhile() -> None:
    there = air.state()
    core = there.modules["core"]
    pinned = {**{key: there.entities[key] for key in core.entities}, "name": prop(type="integer")}
    state = State(there.entities, deleted={("module", "core"): core}, pinned={"core": pinned})

    verdict = check(state, [do("module", "core", "restore")])

    assert codes(verdict) == []
    assert _versions(verdict.after) == {"core": "2.0.0"}


def test_what_moves_to_a_parent_is_still_there() -> None:
    site = entity("category", {"required": ["name"]})
    station = entity("category", {"required": ["place"], "properties": {"status": {}, "no2": {}}}, parents=["site"])
    changes = [put("site", site), put("station", station), put("air", replace(AIR, entities=[*AIR.entities, "site"]))]

    verdict = check(air.state(), changes)

    assert codes(verdict) == []
    assert _versions(verdict.after)["air"] == "1.1.0"


def test_what_a_parent_requires_is_required() -> None:
    site = entity("category", {"required": ["status"]})
    station = replace(STATION, parents=["site"])
    changes = [put("site", site), put("station", station), put("air", replace(AIR, entities=[*AIR.entities, "site"]))]

    verdict = check(replace(air.state(), profiles={}), changes)

    assert _versions(verdict.after)["air"] == "2.0.0"


@pytest.mark.parametrize(
    ("version", "step", "after"),
    [
        ("1.2.3", Step.NONE, "1.2.3"),
        ("1.2.3", Step.PATCH, "1.2.4"),
        ("1.2.3", Step.MINOR, "1.3.0"),
        ("1.2.3", Step.MAJOR, "2.0.0"),
        ("0.2.3", Step.MINOR, "0.2.4"),
        ("0.2.3", Step.MAJOR, "0.3.0"),
    ],
)
def test_the_least_version_after_a_step(version: str, step: Step, after: str) -> None:
    assert semver.after(version, step) == after


@given(st.tuples(*[st.integers(0, 9)] * 3), st.sampled_from(list(Step)))
def test_a_caret_leaves_out_what_breaks_and_nothing_else(numbers: tuple[int, ...], step: Step) -> None:
    version = ".".join(map(str, numbers))
    if numbers[:2] == (0, 0):
        return  # ^0.0.3 is 0.0.3 alone

    assert semver.admits(f"^{version}", semver.after(version, step)) == (step < Step.MAJOR)


_KEYS = ("a", "b", "c", "d")
_ENTITIES = st.one_of(
    st.builds(
        lambda schema: EntityContent("property", "p", schema_definition=schema),
        st.sampled_from([{"type": "number"}, {"type": "number", "minimum": 0}, {"type": "string"}]),
    ),
    st.builds(
        lambda type_, parents, required, optional: EntityContent(
            type_, "x", parents=parents, schema_definition={"required": required, "properties": {key: {} for key in optional}}
        ),
        st.sampled_from(["category", "subobject"]),
        st.lists(st.sampled_from(_KEYS), max_size=1),
        st.lists(st.sampled_from(_KEYS), max_size=1),
        st.lists(st.sampled_from(_KEYS), max_size=1),
    ),
)  # fmt: skip
_RANGES = st.dictionaries(st.sampled_from(_KEYS), st.sampled_from(["*", "^1.0"]), max_size=1)
_MODULES = st.builds(
    lambda entities, dependencies: ModuleContent(None, "m", entities=entities, dependencies=dependencies),
    st.lists(st.sampled_from(_KEYS), max_size=2, unique=True),
    _RANGES,
)
_PROFILES = st.builds(lambda modules: ProfileContent("p", modules=modules), _RANGES)
_CONTENTS = st.one_of(_ENTITIES, _ENTITIES, _MODULES, _PROFILES)
_PUTS = st.builds(put, st.sampled_from(_KEYS), _CONTENTS)
_DELETES = st.builds(delete, st.sampled_from(["entity", "module", "profile"]), st.sampled_from(_KEYS))
_CHANGESETS = st.lists(st.one_of(_PUTS, _PUTS, _DELETES), min_size=1, max_size=4)


@settings(max_examples=400, deadline=None)
@given(st.lists(_CHANGESETS, min_size=1, max_size=12))
def test_a_catalogue_stays_whole_whatever_is_done_to_it(changesets: list[list[Change]]) -> None:
    state = State()
    for changes in changesets:
        verdict = check(state, changes, bump_modules=True)
        if verdict.problems:
            continue
        _judge_steps(state, verdict.after)
        state = verdict.after
        _judge(state)


def _judge(state: State) -> None:
    """What must hold of every catalogue, said otherwise than the rules say it."""
    for key, entity_ in state.entities.items():
        assert {*entity_.parents, *definitions.names(entity_.type, entity_.schema_definition)} <= state.entities.keys()
        assert all(state.entities[parent].type == entity_.type for parent in entity_.parents)
        above, found = set(entity_.parents), set[str]()
        while above - found:
            found |= above
            above = {parent for each in found for parent in state.entities[each].parents}
        assert key not in found
    for module in state.modules.values():
        held = _held(state, module)
        for member in module.entities:
            spoken = state.entities[member]
            assert {*spoken.parents, *definitions.names(spoken.type, spoken.schema_definition)} <= held
    chosen: list[dict[str, str]] = [dict(each.dependencies) for each in state.modules.values()]
    for other, wanted in (
        item for each in [*chosen, *(dict(p.modules) for p in state.profiles.values())] for item in each.items()
    ):
        version = state.modules[other].version
        assert version is not None
        assert semver.admits(wanted, version)


def _held(state: State, module: ModuleContent, depth: int = 0) -> set[str]:
    assert depth <= len(state.modules), "modules depend on each other in a circle"
    return set(module.entities).union(*(_held(state, state.modules[key], depth + 1) for key in module.dependencies))


def _judge_steps(before: State, after: State) -> None:
    """No module keeps a version that promises what is not so any more."""
    for key, old in before.modules.items():
        new = after.modules.get(key)
        if new is None:
            continue
        assert old.version is not None
        assert new.version is not None
        if any(before.entities[each] != after.entities.get(each) for each in old.entities) or old != new:
            assert old.version != new.version
        for member in set(old.entities) & set(new.entities):
            lost = comparing.names(before.entities, member).keys() - comparing.names(after.entities, member).keys()
            assert (
                not lost or new.version.split(".")[0] > old.version.split(".")[0] or not _is_own(before, after, member)
            )


def _is_own(before: State, after: State, member: str) -> bool:
    """Whether the member itself was changed: what its ancestors lose is told by their own modules."""
    return before.entities[member] != after.entities[member]


@settings(max_examples=200, deadline=None)
@given(st.lists(_CHANGESETS, min_size=1, max_size=6), _CHANGESETS)
def test_the_order_of_changes_says_nothing(changesets: list[list[Change]], last: list[Change]) -> None:
    state = State()
    for changes in changesets:
        verdict = check(state, changes, bump_modules=True)
        state = state if verdict.problems else verdict.after
    one, other = check(state, last), check(state, last[::-1])

    assert bool(one.problems) == bool(other.problems)
    if not one.problems:
        assert _all(one.after) == _all(other.after)


def _all(state: State) -> dict[tuple[Kind, str], Content]:
    kinds: tuple[Kind, ...] = ("entity", "module", "profile")
    return {(kind, key): content for kind in kinds for key, content in state.of(kind).items()}

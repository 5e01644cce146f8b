"""What a form of the draft editor says, and how a difference is shown."""

from __future__ import annotations

import pytest

from drystone.catalogue.content import EntityContent, ModuleContent, ProfileContent
from drystone.catalogue.drafts import Edit, Proposal
from drystone.catalogue.merging import MISSING, Difference, Merge
from drystone.catalogue.models import Kind
from drystone.catalogue.rules import Problem
from drystone.console import differences, draft_forms
from drystone.console.draft_forms import Faults

ENTITY = EntityContent(
    "property",
    "Ozone",
    "A gas.\nBlue.",
    {"de": ["Ozon", "O: drei"], "en": ["O3"]},
    ["gas"],
    {"type": "number", "minimum": 0},
)
MODULE = ModuleContent("1.2.0", "Air", "", ["no2", "o3"], {"core": "^1.0", "units": ">=1 <3"})
PROFILE = ProfileContent("City", "", {"air": "^1.2"})


@pytest.mark.parametrize(
    ("kind", "content"),
    [("entity", ENTITY), ("module", MODULE), ("profile", PROFILE)],
    ids=["entity", "module", "profile"],
)
def test_what_a_form_shows_is_what_it_says(kind: Kind, content: EntityContent | ModuleContent | ProfileContent) -> None:
    values = {name: value.replace("\n", "\r\n") for name, value in draft_forms.values_of(kind, content).items()}

    made, faults = draft_forms.read(kind, "a", "put", values)

    assert not faults
    assert made == Edit(kind, "a", "put", content)


def test_a_form_that_is_empty_says_the_least() -> None:
    made, faults = draft_forms.read("module", "air", "put", {"label": "Air", "version": " "})

    assert not faults
    assert made is not None
    assert made.content == ModuleContent(None, "Air")


def test_a_removal_needs_no_content() -> None:
    made, faults = draft_forms.read("entity", "o3", "delete", {"schema_definition": "{"})

    assert not faults
    assert made == Edit("entity", "o3", "delete", None)


def test_what_is_wrong_is_left_out_of_what_the_rules_are_asked() -> None:
    values = {**draft_forms.values_of("entity", ENTITY), "label": "", "schema_definition": "{"}
    made, faults = draft_forms.read("entity", "No Key", "put", values)

    left = draft_forms.rest("entity", "No Key", "put", values, faults)

    assert made is None
    assert faults.of.keys() == {"key", "label", "schema_definition"}
    assert left is not None
    assert isinstance(left.content, EntityContent)
    assert (left.content.parents, left.content.schema_definition) == (["gas"], {})
    assert draft_forms.rest("entity", "o3", "put", {**values, "type": "thing"}, Faults({"type": ["?"]})) is None


def test_what_may_come_from_what_was_left_out_is_not_told() -> None:
    def found() -> Faults:
        return Faults({"": ["whole"], "parents": ["nobody"], "schema_definition": ["empty"]}, ["others"])

    by_definition, by_label = Faults({"schema_definition": ["no JSON"]}), Faults({"label": ["none"]})
    by_definition.join_rest(found())
    by_label.join_rest(found())

    assert by_definition == Faults({"schema_definition": ["no JSON"], "parents": ["nobody"]})
    assert by_label.of.keys() == {"label", "", "parents", "schema_definition"}
    assert by_label.elsewhere == ["others"]


def test_lines_that_say_nothing_of_a_module_are_told_by_their_number() -> None:
    _, faults = draft_forms.read("profile", "city", "put", {"label": "City", "modules": "air ^1\n\ncore\nair ^2"})

    assert [each.partition(":")[0] for each in faults.of["modules"]] == [
        "Line 3 says no versions",
        "Line 4 names air again.",
    ]


def test_findings_stand_at_the_field_they_come_from_and_others_below() -> None:
    proposals = [Proposal("entity", key, "put", ENTITY, 0, 1) for key in ("no2", "o3")]
    problems = [
        Problem("entity.no_parent", "No gas.", "add it", "entity", "o3", 1, ("parents", 0)),
        Problem("schema.invalid", "No schema.", "", "entity", "no2", 0, ("schema_definition",)),
        Problem("module.not_bumped", "Air holds it.", "bump_modules=true", "module", "air", 1, ()),
        Problem("draft.empty", "Nothing.", "", "entity", ""),
    ]

    faults = draft_forms.of_rules("entity", "o3", problems, proposals)

    assert faults.of["parents"] == ["No gas. Fix: add it."]
    assert "Modules follow their members" in faults.of[""][0]
    assert faults.elsewhere == ["no2: No schema.", "Nothing."]


def test_a_new_thing_is_shown_field_by_field_without_empty_ones() -> None:
    whole = Difference(
        (), "ours", MISSING, {"type": "property", "label": "Ozone", "aliases": {"de": ["Ozon"]}, "parents": []}, MISSING
    )

    rows = list(differences.rows(whole))

    assert [(row.where, row.base, row.ours) for row in rows] == [
        ("type", None, "property"), ("label", None, "Ozone"), ("other names", None, "de: Ozon"),
    ]  # fmt: skip


def test_a_place_within_is_named_and_a_conflict_about_all_of_it_is_one_choice() -> None:
    inner = Difference(("schema_definition", "properties", "no2"), "theirs", {}, {}, {"minimum": 0})
    whole = Difference((), "conflict", {"label": "a"}, MISSING, {"label": "b"}, is_settled=False)

    [one], [other] = list(differences.rows(inner)), list(differences.rows(whole))

    assert (one.where, one.pointer) == ("definition › properties › no2", "/schema_definition/properties/no2")
    assert (other.where, other.pointer, other.ours) == ("all of it", "", None)
    assert Merge((whole,), None).conflicts

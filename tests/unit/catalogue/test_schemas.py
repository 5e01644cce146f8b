"""A profile as JSON Schema: what its things look like, with what parents say and where references lead."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from tests.unit.catalogue import air
from tests.unit.catalogue.air import entity, prop

from drystone.catalogue import schemas
from drystone.catalogue.content import EntityContent

ENTITIES: dict[str, EntityContent] = {
    **air.state().entities,
    "site": entity("category", {"required": ["name"], "properties": {"owner": {"maxLength": 5}}}),
    "owner": prop(type="string", minLength=2),
    "station": entity(
        "category", {"required": ["place"], "properties": {"no2": {"maximum": 1000}, "codes": {}}}, parents=["site"]
    ),
    "codes": entity(
        "property",
        {"type": "array", "items": {"$ref": "#/$defs/code"}, "$defs": {"code": {"enum": ["a", {"$ref": "#/x"}]}}},
    ),
}
PLACE = {"latitude": 52.5, "longitude": 13.4}


def _made(*keys: str) -> Any:
    return schemas.json_schema(ENTITIES, keys, title="t", description="")


@pytest.mark.parametrize(
    ("thing", "is_valid"),
    [
        ({"name": "Mitte", "place": PLACE}, True),
        ({"name": "Mitte", "place": PLACE, "no2": 40.5, "codes": ["a", {"$ref": "#/x"}], "owner": "city"}, True),
        ({"place": PLACE}, False),
        ({"name": "Mitte", "place": {"latitude": 52.5}}, False),
        ({"name": "Mitte", "place": PLACE, "no2": -1}, False),
        ({"name": "Mitte", "place": PLACE, "no2": 1001}, False),
        ({"name": "Mitte", "place": PLACE, "codes": ["b"]}, False),
        ({"name": "Mitte", "place": PLACE, "owner": "c"}, False),
        ({"name": "Mitte", "place": PLACE, "owner": "the city"}, False),
    ],
)
def test_a_thing_is_valid_as_its_category_and_its_parents_say(thing: dict[str, Any], is_valid: bool) -> None:
    validator = jsonschema_rs.Draft202012Validator(_made("station"), offline=True)

    assert validator.is_valid(thing) == is_valid


def test_all_that_is_spoken_of_is_in_it_and_nothing_else() -> None:
    assert set(_made("station")["$defs"]) == {
        "station",
        "site",
        "name",
        "place",
        "latitude",
        "longitude",
        "no2",
        "codes",
        "owner",
    }
    assert "anyOf" not in _made("no2")


def test_components_of_openapi_refer_to_each_other() -> None:
    made = schemas.openapi(ENTITIES, ["station"], title="t", description="d")

    station = made["components"]["schemas"]["station"]
    assert station["allOf"] == [{"$ref": "#/components/schemas/site"}]
    assert station["properties"]["place"] == {"$ref": "#/components/schemas/place"}
    items = made["components"]["schemas"]["codes"]["items"]
    assert items == {"$ref": "#/components/schemas/codes/$defs/code"}

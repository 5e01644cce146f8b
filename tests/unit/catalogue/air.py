"""A small catalogue of air quality: what stations measure, and the limits for it."""

from __future__ import annotations

from typing import Any

from drystone.catalogue.content import Content, EntityContent, ModuleContent, ProfileContent
from drystone.catalogue.models import Action, EntityType, Kind
from drystone.catalogue.rules import Change, State, Verdict, check


def entity(
    type_: EntityType, schema: dict[str, Any], *, parents: list[str] | None = None, label: str = ""
) -> EntityContent:
    return EntityContent(type_, label or "a label", parents=parents or [], schema_definition=schema)


def prop(**schema: Any) -> EntityContent:
    return entity("property", schema)


NO2 = prop(type="number", unit="µg/m³", minimum=0)
NAME = prop(type="string")
STATUS = prop(enum=["planned", "running", "closed"])
PLACE = entity("subobject", {"required": ["latitude", "longitude"]})
DEGREES = prop(type="number", minimum=-180, maximum=180, unit="°")
STATION = entity("category", {"required": ["name", "place"], "properties": {"status": {}, "no2": {}}})

CORE = ModuleContent(None, "Core", entities=["name", "latitude", "longitude", "place"])
AIR = ModuleContent(None, "Air", entities=["no2", "status", "station"], dependencies={"core": "^1.0"})
CITY = ProfileContent("City", modules={"air": "^1.0"})

ALL: dict[tuple[Kind, str], Content] = {
    ("entity", "name"): NAME,
    ("entity", "latitude"): DEGREES,
    ("entity", "longitude"): DEGREES,
    ("entity", "place"): PLACE,
    ("entity", "no2"): NO2,
    ("entity", "status"): STATUS,
    ("entity", "station"): STATION,
    ("module", "core"): CORE,
    ("module", "air"): AIR,
    ("profile", "city"): CITY,
}


def put(key: str, content: Content) -> Change:
    return Change(content.kind, key, "put", content)


def delete(kind: Kind, key: str) -> Change:
    return Change(kind, key, "delete")


def do(kind: Kind, key: str, action: Action) -> Change:
    return Change(kind, key, action)


def state() -> State:
    """The whole of it, as it is after it was put."""
    verdict = check(State(), [put(key, content) for (_, key), content in ALL.items()])
    assert verdict.problems == ()
    return verdict.after


def codes(verdict: Verdict) -> list[str]:
    return [problem.code for problem in verdict.problems]

"""What things of a profile look like, as JSON Schema 2020-12: for validators, forms, and descriptions of other APIs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from drystone.catalogue import comparing
from drystone.catalogue.content import EntityContent
from drystone.catalogue.definitions import DATA, DIALECT, OF_NAMED_SCHEMAS

Entities = Mapping[str, EntityContent]


def json_schema(entities: Entities, keys: Iterable[str], *, title: str, description: str) -> dict[str, Any]:
    """One document: valid is a thing of any of the categories. `#/$defs/KEY` is the schema of one entity."""
    chosen = sorted(keys)
    said: dict[str, Any] = {"$schema": DIALECT, "title": title}
    if description:
        said["description"] = description
    if categories := [key for key in chosen if entities[key].type == "category"]:
        said["anyOf"] = [{"$ref": f"#/$defs/{key}"} for key in categories]
    return said | {"$defs": _definitions(entities, chosen, "#/$defs")}


def openapi(entities: Entities, keys: Iterable[str], *, title: str, description: str) -> dict[str, Any]:
    """A description of OpenAPI 3.1 without paths, whose components are the entities."""
    info = {"title": title, "version": "1", **({"description": description} if description else {})}
    schemas = _definitions(entities, sorted(keys), "#/components/schemas")
    return {"openapi": "3.1.0", "info": info, "components": {"schemas": schemas}}


def _definitions(entities: Entities, keys: list[str], at: str) -> dict[str, Any]:
    """A schema for each of these entities and for all they speak of, by key; they refer to each other below `at`."""
    found: dict[str, Any] = {}
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key not in found:
            found[key] = _definition(entities[key], f"{at}/{key}", at)
            waiting += [*entities[key].parents, *comparing.names(entities, key)]
    return dict(sorted(found.items()))


def _definition(entity: EntityContent, home: str, at: str) -> dict[str, Any]:
    said: dict[str, Any] = _moved(dict(entity.schema_definition), home)
    if entity.type != "property":
        named = said.get("properties", {})
        names = sorted({*named, *said.get("required", ())})
        properties = {name: _narrowed({"$ref": f"{at}/{name}"}, named.get(name)) for name in names}
        said |= {"type": "object", "properties": properties}
    if entity.parents:
        said["allOf"] = [*({"$ref": f"{at}/{parent}"} for parent in entity.parents), *said.get("allOf", ())]
    about = {"title": entity.label} | ({"description": entity.description} if entity.description else {})
    return about | said


def _narrowed(reference: dict[str, Any], more: Any) -> Any:
    """What a name stands for, and what its use here adds to that."""
    return reference if more in (None, True, {}) else {"allOf": [reference, more]}


def _moved(schema: Any, home: str) -> Any:
    """The same, its references leading to where it stands now."""
    if isinstance(schema, list):
        return [_moved(each, home) for each in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {name: value if name in DATA else _moved(value, home) for name, value in schema.items()}
    for name in OF_NAMED_SCHEMAS & schema.keys():  # names there are nobody's keywords
        moved[name] = {inner: _moved(value, home) for inner, value in schema[name].items()}
    reference = schema.get("$ref")
    if isinstance(reference, str):
        moved["$ref"] = home + reference.removeprefix("#")
    return moved

"""A catalogue of air quality over HTTP, for tests."""

from __future__ import annotations

from typing import Any

import httpx

A = "/api/v1"
NAME = {"type": "property", "label": "Name", "schema_definition": {"type": "string"}}
NO2 = {
    "type": "property",
    "label": "Nitrogen dioxide",
    "aliases": {"en": ["NO2"], "de": ["Stickstoffdioxid"]},
    "schema_definition": {"type": "number", "unit": "µg/m³", "minimum": 0},
}
STATION = {
    "type": "category",
    "label": "Station",
    "schema_definition": {"required": ["name"], "properties": {"no2": {}}},
}
CORE = {"label": "Core", "entities": ["name"]}
AIR = {"label": "Air quality", "entities": ["no2", "station"], "dependencies": {"core": "^1.0"}}
CITY = {"label": "City", "modules": {"air": "^1.0"}}
ALL: list[dict[str, Any]] = [
    {"kind": "profile", "key": "city", "content": CITY},
    {"kind": "module", "key": "air", "content": AIR},
    {"kind": "module", "key": "core", "content": CORE},
    {"kind": "entity", "key": "station", "content": STATION},
    {"kind": "entity", "key": "no2", "content": NO2},
    {"kind": "entity", "key": "name", "content": NAME},
]


async def change(client: httpx.AsyncClient, *changes: dict[str, Any], **more: Any) -> httpx.Response:
    """Send a changeset."""
    headers = more.pop("headers", {})
    return await client.post(f"{A}/catalogue/changes", json={"changes": list(changes), **more}, headers=headers)


async def fill(client: httpx.AsyncClient) -> None:
    """Put all of it."""
    answer = await change(client, *ALL, message="first")
    assert answer.status_code == 200, answer.text


async def whole(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    """All that there is, or was, by kind and key: what its authors wrote, with numbers and versions."""
    names: tuple[str, ...] = (
        "key",
        "number",
        "label",
        "description",
        "type",
        "aliases",
        "parents",
        "schema_definition",
    )
    names += ("version", "entities", "dependencies", "modules")
    found = {}
    for kind in ("entities", "modules", "profiles"):
        answer = await client.get(f"{A}/{kind}", params=query)
        assert answer.status_code == 200, answer.text
        for item in answer.json()["items"]:
            found[f"{kind}/{item['key']}"] = {name: item[name] for name in names if name in item}
    return found

from __future__ import annotations

from typing import Any

from drystone.cli.graphs import mermaid

FOUND: dict[str, list[dict[str, Any]]] = {
    "profiles": [{"key": "city", "label": 'The "city" <b>', "modules": {"air": "^1.0"}}],
    "modules": [
        {"key": "air", "label": "Air", "version": "1.1.0", "entities": ["station"], "dependencies": {"core": "*"}},
        {"key": "core", "label": "Core", "version": "1.0.0", "entities": ["name"], "dependencies": {}},
    ],
    "entities": [
        {"key": "name", "label": "Name", "type": "property", "parents": [], "schema_definition": {"required": ["x"]}},
        {"key": "site", "label": "Site", "type": "category", "parents": [], "schema_definition": {}},
        {
            "key": "station",
            "label": "Station",
            "type": "category",
            "parents": ["site"],
            "schema_definition": {"required": ["name"], "properties": {"name": {}}},
        },
    ],
}


def test_modules_and_profiles_are_drawn_with_their_ranges() -> None:
    assert mermaid(FOUND, entities=False).splitlines() == [
        "flowchart LR",
        '  p0(["The #34;city#34; #60;b#62;"])',
        '  m0["Air 1.1.0"]',
        '  m1["Core 1.0.0"]',
        '  p0 -->|"^1.0"| m0',
        '  m0 -->|"*"| m1',
    ]


def test_entities_are_drawn_where_that_is_asked_for() -> None:
    drawn = mermaid(FOUND, entities=True).splitlines()

    assert {"  m0 -.-> e2", '  e2 -->|"is a"| e1', '  e2 -->|"has"| e0'} <= set(drawn)
    assert len([line for line in drawn if "-->" in line or "-.->" in line]) == 6

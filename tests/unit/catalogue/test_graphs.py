from __future__ import annotations

from drystone.catalogue.content import Content, EntityContent, ModuleContent, ProfileContent
from drystone.catalogue.graphs import At, Graph, Node, mermaid

ENTITIES: dict[At, Content] = {
    ("entity", "name"): EntityContent("property", "Name", schema_definition={"required": ["x"]}),
    ("entity", "site"): EntityContent("category", "Site", schema_definition={"required": ["gone"]}),
    ("entity", "station"): EntityContent(
        "category",
        "Station",
        parents=["site"],
        schema_definition={"required": ["name"], "properties": {"name": {}, "site": {}}},
    ),
}
MODULES: dict[At, Content] = {
    ("profile", "city"): ProfileContent('The "city"\n<b>', modules={"air": "^1.0"}),
    ("profile", "other"): ProfileContent("Other", modules={"core": "*"}),
    ("module", "air"): ModuleContent("1.1.0", "Air", entities=["station"], dependencies={"core": "*"}),
    ("module", "core"): ModuleContent("1.0.0", "Core", entities=["name"]),
}


def test_modules_and_profiles_are_written_with_their_ranges() -> None:
    assert mermaid(Graph.of(MODULES)).splitlines() == [
        "flowchart LR",
        '  p0(["The #34;city#34; #60;b#62;"])',
        '  p1(["Other"])',
        '  m0["Air 1.1.0"]',
        '  m1["Core 1.0.0"]',
        '  p0 -->|"^1.0"| m0',
        '  p1 -->|"*"| m1',
        '  m0 -->|"*"| m1',
    ]


def test_a_label_gives_mermaid_no_orders() -> None:
    label = "%%{init: {'securityLevel': 'loose'}}%%"

    written = mermaid(Graph((Node(("entity", "x"), "category", label),), ()))

    assert not {*"%{}"} & {*written}


def test_entities_are_written_where_they_are_there() -> None:
    written = mermaid(Graph.of(MODULES | ENTITIES)).splitlines()

    assert {"  m0 -.-> e2", '  e2 -->|"is a"| e1', '  e2 -->|"has"| e0', '  e2 -->|"may have"| e1'} <= set(written)
    assert len([line for line in written if "-->" in line or "-.->" in line]) == 8


def test_what_a_profile_stands_on_is_a_graph_of_its_own() -> None:
    below = Graph.of(MODULES | ENTITIES).below(("profile", "other"))

    assert [node.at for node in below.nodes] == [("profile", "other"), ("module", "core"), ("entity", "name")]
    assert [(arrow.source[1], arrow.target[1]) for arrow in below.arrows] == [("other", "core"), ("core", "name")]

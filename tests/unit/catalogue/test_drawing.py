from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drystone.catalogue import drawing
from drystone.catalogue.graphs import Arrow, At, Graph, Node
from drystone.core.errors import Invalid

SVG = "{http://www.w3.org/2000/svg}"


@st.composite
def _graphs(draw: st.DrawFn) -> Graph:
    """Any graph of entities: with cycles, arrows to oneself, several between two."""
    keys: list[At] = [("entity", f"e{number}") for number in range(draw(st.integers(0, 12)))]
    ends = st.sampled_from(keys) if keys else st.nothing()
    pairs = draw(st.lists(st.tuples(ends, ends), max_size=30)) if keys else []
    nodes = [Node(at, "category", draw(st.text("aä<&\x0b\u200f漢 ", max_size=40))) for at in keys]
    return Graph(tuple(nodes), tuple(Arrow(one, other, "has", "words") for one, other in pairs))


@given(_graphs())
def test_whatever_the_graph_each_thing_has_a_box_of_its_own_and_each_arrow_a_line(graph: Graph) -> None:
    root = ElementTree.fromstring(drawing.svg_of(graph, "A & B"))
    boxes = [_box(group) for group in root.findall(f"{SVG}g")]
    wide, tall = (float(each) for each in root.attrib["viewBox"].split()[2:])
    lines = [path for path in root.findall(f"{SVG}path") if "url(#head)" in "".join(path.attrib.values())]

    assert (len(boxes), len(lines)) == (len(graph.nodes), len(graph.arrows))
    for (left, top, right, bottom), (other_left, other_top, other_right, other_bottom) in itertools.combinations(
        boxes, 2
    ):
        assert right <= other_left or other_right <= left or bottom <= other_top or other_bottom <= top
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= wide
        assert 40 <= top < bottom <= tall - 40


def test_arrows_point_to_the_right_and_a_cycle_is_closed_to_the_left() -> None:
    keys: list[At] = [("entity", key) for key in "abc"]
    arrows = [Arrow(one, other, "has") for one, other in [*itertools.pairwise(keys), (keys[2], keys[0])]]
    drawn = drawing.svg_of(Graph(tuple(Node(at, "property", at[1]) for at in keys), tuple(arrows)), "Cycle")

    assert drawn.count("marker-end") == 2
    assert drawn.count("marker-start") == 1
    lefts = [_box(group)[0] for group in ElementTree.fromstring(drawn).findall(f"{SVG}g")]
    assert lefts == sorted(lefts)


def test_labels_are_escaped_and_long_ones_are_cut_with_the_whole_told() -> None:
    label = "<script>alert(1)</script> & so on and on and on"
    drawn = drawing.svg_of(Graph((Node(("entity", "x"), "category", label),), ()), "<b>\u202e")

    assert "\u202e" not in drawn
    assert "<script" not in drawn
    assert "<b>" not in drawn
    assert re.search(r"&lt;script&gt;alert[^<]*…</text>", drawn)
    assert "and on and on (category x)</title>" in drawn


def test_what_nobody_could_read_is_not_drawn() -> None:
    many = tuple(Node(("entity", f"e{number}"), "category", "x") for number in range(drawing.MOST_NODES + 1))

    with pytest.raises(Invalid, match="401 things"):
        drawing.svg_of(Graph(many, ()), "Many")


def _chain(nodes: int, long: int) -> Graph:
    """Nodes one behind the other, and as many arrows from its beginning to its end."""
    keys: list[At] = [("entity", f"e{number}") for number in range(nodes)]
    arrows = [*itertools.pairwise(keys), *[(keys[0], keys[-1])] * long]
    return Graph(
        tuple(Node(at, "subobject", at[1]) for at in keys), tuple(Arrow(one, other, "has") for one, other in arrows)
    )


def test_arrows_that_are_long_count_for_the_columns_they_cross() -> None:
    with pytest.raises(Invalid, match="90 things with 449 arrows"):
        drawing.svg_of(_chain(90, 360), "Long")

    assert "marker-end" in drawing.svg_of(_chain(90, 60), "Long")


def _box(group: ElementTree.Element) -> tuple[float, float, float, float]:
    """left, top, right, bottom"""
    shape = group.find(f"{SVG}rect")
    assert shape is not None
    x, y, wide, tall = (float(shape.attrib[name]) for name in ("x", "y", "width", "height"))
    return x, y, x + wide, y + tall

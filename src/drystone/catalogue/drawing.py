"""A graph as an SVG document: columns from left to right, each arrow towards the right where there is no cycle. Pure.

After Sugiyama, Tagawa and Toda (1981): nodes are put into columns by their longest way from a beginning, what spans several
columns gets a place in each, columns are ordered by the middle of their neighbours, and moved to where those are.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from drystone.catalogue.graphs import Arrow, At, Graph, Node, NodeKind, Role
from drystone.core import svg
from drystone.core.errors import Invalid

# With more, nobody could read it, and ordering them would take seconds. Spots: nodes, and places of arrows in columns between.
MOST_NODES, MOST_ARROWS, MOST_SPOTS = 400, 2000, 6000
# Drawings that a process makes at once; others wait for so long.
AT_ONCE, WAIT_S = 2, 5.0
_SWEEPS = 8
_TALL, _THIN, _BETWEEN = 30.0, 8.0, 14.0
_GAP, _LEFT, _TOP = 110.0, 16.0, 64.0
_CHARACTER, _PADDING, _LONGEST = 7.4, 24.0, 32
_COLOURS: dict[NodeKind, int] = {"profile": 0, "module": 5, "category": 2, "subobject": 4, "property": 1}
_DASHES: dict[Role, str] = {"may have": ' stroke-dasharray="6 4"', "holds": ' stroke-dasharray="1 4"'}
_LEGEND: tuple[tuple[Role, str], ...] = (("has", "needs, has"), ("may have", "may have"), ("holds", "holds"))

# A node, or the place that an arrow (by its number) has in a column between its ends.
_Spot = At | tuple[int, int]


@dataclass
class _Layout:
    """columns: spots from top to bottom. ways: of each arrow its spots, from its left end to its right one. y: of each its middle."""

    columns: list[list[_Spot]]
    ways: list[list[_Spot]]
    y: dict[_Spot, float] = field(default_factory=dict)


def svg_of(graph: Graph, title: str) -> str:
    """The document. Raises Invalid for more than MOST_NODES nodes, MOST_ARROWS arrows or, where these are long, MOST_SPOTS."""
    if len(graph.nodes) > MOST_NODES or len(graph.arrows) > MOST_ARROWS:
        raise _too_large(graph)
    depth = _depths(graph)
    if len(graph.nodes) + sum(_length(arrow, depth) for arrow in graph.arrows) > MOST_SPOTS:
        raise _too_large(graph)
    nodes = {node.at: node for node in graph.nodes}
    layout = _spread(graph, depth)
    _order(layout)
    _place(layout)
    wide = [_width(column, nodes) for column in layout.columns]
    left = [_LEFT + sum(wide[:number]) + number * _GAP for number in range(len(wide))]
    column_of = {spot: number for number, column in enumerate(layout.columns) for spot in column}
    drawn = [
        _line(arrow, way, layout, column_of, left, wide) for arrow, way in zip(graph.arrows, layout.ways, strict=True)
    ]
    boxes = [_box(node, left[column_of[at]], wide[column_of[at]], layout.y[at]) for at, node in nodes.items()]
    bottom = max(layout.y.values(), default=_TOP) + _TALL
    full = max((left[-1] + wide[-1] if wide else 0.0) + _LEFT, 420.0, _LEFT * 2 + len(title) * 9)
    return svg.document(
        title,
        full,
        bottom + 44,
        [*(path for path, _ in drawn), *(words for _, words in drawn), *boxes, *_legend(bottom + 20)],
    )


def _too_large(graph: Graph) -> Invalid:
    return Invalid(
        "catalogue.graph_too_large",
        f"A drawing of {len(graph.nodes)} things with {len(graph.arrows)} arrows could not be read.",
        hint=f"up to {MOST_NODES} with {MOST_ARROWS}, fewer if these are long: choose a profile, leave entities out, or take mermaid",
    )


def _length(arrow: Arrow, depth: Mapping[At, int]) -> int:
    """How many columns lie between its ends."""
    return max(abs(depth[arrow.target] - depth[arrow.source]) - 1, 0)


def _spread(graph: Graph, depth: Mapping[At, int]) -> _Layout:
    columns: list[list[_Spot]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in graph.nodes:
        columns[depth[node.at]].append(node.at)
    ways: list[list[_Spot]] = []
    for number, arrow in enumerate(graph.arrows):
        first, last = sorted((arrow.source, arrow.target), key=depth.__getitem__)
        between: list[_Spot] = [(number, column) for column in range(depth[first] + 1, depth[last])]
        for column, spot in enumerate(between, depth[first] + 1):
            columns[column].append(spot)
        ways.append([first, *between, last])
    return _Layout(columns, ways)


def _depths(graph: Graph) -> dict[At, int]:
    """Of each node the longest way to it. Arrows that would close a cycle do not count."""
    onward: dict[At, list[At]] = defaultdict(list)
    for arrow in graph.arrows:
        onward[arrow.source].append(arrow.target)
    order, forward = _finished(graph, onward)
    depth = dict.fromkeys(order, 0)
    for at in reversed(order):
        for target in forward[at]:
            depth[target] = max(depth[target], depth[at] + 1)
    return depth


def _finished(graph: Graph, onward: Mapping[At, Sequence[At]]) -> tuple[list[At], dict[At, list[At]]]:
    """Nodes in the order in which a walk in depth leaves them, and the arrows that lead to none it is still within."""
    order: list[At] = []
    forward: dict[At, list[At]] = defaultdict(list)
    state: dict[At, str] = {}
    for root in graph.nodes:
        if root.at in state:
            continue
        state[root.at] = "within"
        walk = [(root.at, iter(onward[root.at]))]
        while walk:
            at, rest = walk[-1]
            target = next(rest, None)
            if target is None:
                state[at] = "left"
                order.append(at)
                walk.pop()
            elif state.get(target) != "within":
                forward[at].append(target)
                if target not in state:
                    state[target] = "within"
                    walk.append((target, iter(onward[target])))
    return order, forward


def _neighbours(layout: _Layout) -> tuple[dict[_Spot, list[_Spot]], dict[_Spot, list[_Spot]]]:
    """Of each spot those in the column to its left, and in that to its right."""
    before: dict[_Spot, list[_Spot]] = defaultdict(list)
    after: dict[_Spot, list[_Spot]] = defaultdict(list)
    for way in layout.ways:
        for one, other in itertools.pairwise(way):
            after[one].append(other)
            before[other].append(one)
    return before, after


def _order(layout: _Layout) -> None:
    """Put each spot near the middle of its neighbours, column after column, to and fro: fewer lines cross."""
    before, after = _neighbours(layout)
    place = {spot: number for column in layout.columns for number, spot in enumerate(column)}
    for sweep in range(_SWEEPS):
        beside = after if sweep % 2 else before
        for column in reversed(layout.columns) if sweep % 2 else layout.columns:
            wanted = {spot: fmean([place[other] for other in beside[spot]] or [place[spot]]) for spot in column}
            column.sort(key=wanted.__getitem__)
            place |= {spot: number for number, spot in enumerate(column)}


def _place(layout: _Layout) -> None:
    """Give each spot its height: as near to its neighbours as those above and below it allow."""
    before, after = _neighbours(layout)
    for column in layout.columns:
        y = _TOP
        for spot in column:
            layout.y[spot] = y + _tall(spot) / 2
            y += _tall(spot) + _BETWEEN
    for _ in range(_SWEEPS):
        for column in layout.columns:
            wanted = [fmean([layout.y[other] for other in (*before[s], *after[s])] or [layout.y[s]]) for s in column]
            _settle(column, wanted, layout)
    lift = _TOP - min((layout.y[spot] - _tall(spot) / 2 for spot in layout.y), default=_TOP)
    for spot in layout.y:
        layout.y[spot] += lift


def _settle(column: Sequence[_Spot], wanted: Sequence[float], layout: _Layout) -> None:
    """Heights in this order that do not touch: those wanted, pushed down, and all of them back by what that was on average."""
    y, end = [], float("-inf")
    for spot, at in zip(column, wanted, strict=True):
        y.append(max(at, end + _tall(spot) / 2))
        end = y[-1] + _tall(spot) / 2 + _BETWEEN
    back = fmean(a - b for a, b in zip(y, wanted, strict=True)) if y else 0.0
    for spot, at in zip(column, y, strict=True):
        layout.y[spot] = at - back


def _tall(spot: _Spot) -> float:
    return _TALL if isinstance(spot[0], str) else _THIN


def _width(column: Sequence[_Spot], nodes: Mapping[At, Node]) -> float:
    shown = (nodes[spot] for spot in column if isinstance(spot[0], str) and spot in nodes)
    labels = [len(svg.short(node.label, _LONGEST)) for node in shown]
    return max(labels, default=2) * _CHARACTER + _PADDING


def _line(
    arrow: Arrow,
    way: Sequence[_Spot],
    layout: _Layout,
    column_of: Mapping[_Spot, int],
    left: Sequence[float],
    wide: Sequence[float],
) -> tuple[str, str]:
    """The line of an arrow, and the words that stand on it."""
    path, last = [], way[0]
    x, y = left[column_of[last]] + wide[column_of[last]], layout.y[last]
    path.append(f"M{x:.1f} {y:.1f}")
    middle = (x + _GAP / 2, (y + layout.y[way[1]]) / 2) if len(way) > 1 else (x, y)
    for spot in way[1:]:
        to_x, to_y, half = left[column_of[spot]], layout.y[spot], _GAP / 2
        path.append(f"C{x + half:.1f} {y:.1f} {to_x - half:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}")
        x, y = to_x, to_y
        if spot != way[-1]:
            x = to_x + wide[column_of[spot]]
            path.append(f"H{x:.1f}")
    # An arrow that closes a cycle goes from right to left.
    start, end = ("", ' marker-end="url(#head)"') if way[0] == arrow.source else (' marker-start="url(#head)"', "")
    drawn = f'<path d="{"".join(path)}" fill="none" {svg.faint("line")}{_DASHES.get(arrow.role, "")}{start}{end}/>'
    words = arrow.words or ("is a" if arrow.role == "is a" else "")
    return drawn, svg.text(middle[0], middle[1] + 4, words, anchor="middle", kind="clear", size=11) if words else ""


def _box(node: Node, x: float, wide: float, y: float) -> str:
    colour, label = svg.stroke(_COLOURS[node.kind]), svg.short(node.label, _LONGEST)
    rounded = {"profile": 15, "module": 3}.get(node.kind, 8)
    shape = f'<rect x="{x:.1f}" y="{y - _TALL / 2:.1f}" width="{wide:.1f}" height="{_TALL:.0f}" rx="{rounded}"'
    words = svg.text(x + wide / 2, y + 4.5, label, anchor="middle")
    told = f"<title>{svg.escape(node.label)} ({node.kind} {svg.escape(node.at[1])})</title>"
    return f'<g>{told}{shape} {svg.faint("paper")}/>{shape} fill="none" {colour} stroke-width="1.5"/>{words}</g>'


def _legend(y: float) -> Iterator[str]:
    yield (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7"'
        f' orient="auto-start-reverse"><path d="M0 0L8 4L0 8" fill="none" {svg.faint("line")}/></marker></defs>'
    )
    for number, (role, words) in enumerate(_LEGEND):
        x = _LEFT + number * 130
        yield f'<path d="M{x:.0f} {y:.0f}H{x + 34:.0f}" fill="none" {svg.faint("line")}{_DASHES.get(role, "")}/>'
        yield svg.text(x + 42, y + 4, words, kind="muted", size=11)

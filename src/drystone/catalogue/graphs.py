"""Who depends on whom in a catalogue: a graph of profiles, modules and entities, and how Mermaid writes it. Pure."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from drystone.catalogue import definitions
from drystone.catalogue.content import Content, EntityContent, ModuleContent, ProfileContent
from drystone.catalogue.models import EntityType, Kind

NodeKind = Literal["profile", "module"] | EntityType
Role = Literal["needs", "has", "may have", "is a", "holds"]
At = tuple[Kind, str]

_SHAPES: dict[Kind, tuple[str, str]] = {"profile": ('(["', '"])'), "module": ('["', '"]'), "entity": ('("', '")')}


@dataclass(frozen=True)
class Node:
    """A profile, a module or an entity. at: its kind and key. label: with the version of a module."""

    at: At
    kind: NodeKind
    label: str


@dataclass(frozen=True)
class Arrow:
    """That one refers to another. words: the range of versions that it needs."""

    source: At
    target: At
    role: Role
    words: str = ""


@dataclass(frozen=True)
class Graph:
    """nodes: profiles, then modules, then entities, by key. Each arrow begins and ends at one of them."""

    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]

    @classmethod
    def of(cls, contents: Mapping[At, Content]) -> Graph:
        """Of all that these say of each other. What they refer to and is not among them is left out."""
        arrows = (each for at, content in contents.items() for each in _arrows(at, content))
        nodes = tuple(_node(at, content) for at, content in contents.items())
        return cls(nodes, tuple(each for each in arrows if each.target in contents))

    def below(self, top: At) -> Graph:
        """This one, and all that it stands on."""
        onward = defaultdict(list)
        for arrow in self.arrows:
            onward[arrow.source].append(arrow.target)
        found, waiting = {top}, [top]
        while waiting:
            new = [each for each in onward[waiting.pop()] if each not in found]
            found.update(new)
            waiting += new
        nodes = tuple(node for node in self.nodes if node.at in found)
        return Graph(nodes, tuple(arrow for arrow in self.arrows if arrow.source in found))


def mermaid(graph: Graph) -> str:
    """A flowchart, as forges and editors draw it. Source: https://mermaid.js.org/syntax/flowchart.html."""
    numbers: dict[Kind, Iterator[int]] = defaultdict(itertools.count)
    names = {node.at: f"{node.at[0][0]}{next(numbers[node.at[0]])}" for node in graph.nodes}
    lines = ["flowchart LR"]
    for node in graph.nodes:
        first, last = _SHAPES[node.at[0]]
        lines.append(f"  {names[node.at]}{first}{_safe(node.label)}{last}")
    for arrow in graph.arrows:
        words = arrow.words or ("" if arrow.role == "holds" else arrow.role)
        line = f'-->|"{_safe(words)}"|' if words else "-.->"
        lines.append(f"  {names[arrow.source]} {line} {names[arrow.target]}")
    return "\n".join(lines) + "\n"


def _node(at: At, content: Content) -> Node:
    if isinstance(content, EntityContent):
        return Node(at, content.type, content.label)
    if isinstance(content, ModuleContent):
        return Node(at, "module", f"{content.label} {content.version or ''}".rstrip())
    assert isinstance(content, ProfileContent)
    return Node(at, "profile", content.label)


def _arrows(at: At, content: Content) -> Iterator[Arrow]:
    if isinstance(content, ProfileContent):
        yield from _needs(at, content.modules)
    elif isinstance(content, ModuleContent):
        yield from _needs(at, content.dependencies)
        yield from _to_entities(at, content.entities, "holds")
    elif isinstance(content, EntityContent):
        yield from _to_entities(at, content.parents, "is a")
        for key, is_required in definitions.names(content.type, content.schema_definition).items():
            yield Arrow(at, ("entity", key), "has" if is_required else "may have")


def _needs(at: At, wanted: Mapping[str, str]) -> Iterator[Arrow]:
    yield from (Arrow(at, ("module", key), "needs", words) for key, words in sorted(wanted.items()))


def _to_entities(at: At, keys: Iterable[str], role: Role) -> Iterator[Arrow]:
    yield from (Arrow(at, ("entity", key), role) for key in keys)


def _safe(text: str) -> str:
    """Text that Mermaid shows as it is: entity codes for what has a meaning there."""
    shown = "".join(each if each.isprintable() else " " for each in text)
    return "".join(f"#{ord(each)};" if each in '"#%&<>`{}\\' else each for each in shown)

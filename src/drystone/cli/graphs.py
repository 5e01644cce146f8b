"""Who depends on whom in a catalogue, as Mermaid draws it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from drystone.cli import terminal

_SHAPES = {"profiles": ('(["', '"])'), "modules": ('["', '"]'), "entities": ('("', '")')}


def mermaid(found: Mapping[str, Sequence[Mapping[str, Any]]], *, entities: bool) -> str:
    """A flowchart of profiles and modules; entities: with the members of modules and what they refer to."""
    kinds = [kind for kind in _SHAPES if entities or kind != "entities"]
    names = {(kind, item["key"]): f"{kind[0]}{number}" for kind in kinds for number, item in enumerate(found[kind])}
    lines = ["flowchart LR"]
    for kind in kinds:
        first, last = _SHAPES[kind]
        lines += [f"  {names[kind, item['key']]}{first}{_label(item)}{last}" for item in found[kind]]
    for kind in kinds:
        for item in found[kind]:
            for label, other in _arrows(kind, item):
                if other in names:
                    lines.append(f"  {names[kind, item['key']]} {_arrow(label)} {names[other]}")
    return "\n".join(lines) + "\n"


def _arrows(kind: str, item: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    if kind == "profiles":
        yield from ((wanted, ("modules", key)) for key, wanted in sorted(item["modules"].items()))
    elif kind == "modules":
        yield from ((wanted, ("modules", key)) for key, wanted in sorted(item["dependencies"].items()))
        yield from (("", ("entities", key)) for key in item["entities"])
    else:
        yield from (("is a", ("entities", key)) for key in item["parents"])
        if item["type"] != "property":
            schema = item["schema_definition"]
            required = set(schema.get("required", ()))
            for key in sorted({*schema.get("properties", ()), *required}):
                yield "has" if key in required else "may have", ("entities", key)


def _arrow(label: str) -> str:
    return f'-->|"{_safe(label)}"|' if label else "-.->"


def _label(item: Mapping[str, Any]) -> str:
    version = f" {item['version']}" if "version" in item else ""
    return _safe(f"{item['label']}{version}")


def _safe(text: str) -> str:
    """Text that Mermaid shows as it is. Source: https://mermaid.js.org/syntax/flowchart.html, entity codes."""
    return "".join(f"#{ord(each)};" if each in '"#&<>`\\' else each for each in terminal.clean(text))

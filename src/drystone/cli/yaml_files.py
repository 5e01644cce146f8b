"""The catalogue as YAML: a file for each entity, module and profile, as the API takes them. Read with the line of everything.

Read by the rules of YAML 1.2, in which NO, on and 1:30 are words; written so that readers of YAML 1.1 take them for words,
too. Nothing is ever built from a tag; anchors are refused. JSON is read, too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from drystone.core import strict_json
from drystone.core.errors import Invalid

MOST_BYTES = 1 << 20
_DEEPEST = 64
_TAG = "tag:yaml.org,2002:"
# Of YAML 1.2.2, section 10.3.2: the core schema.
_CORE = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
)
# YAML 1.1 takes these for ends of lines, or leaves them out: they are escaped.
_BREAKS = frozenset("\r\x85\u2028\u2029\ufeff")
# In which order names are written: what is read first stands first; others follow by the alphabet.
_ORDER = (
    "type", "label", "description", "version", "aliases", "parents", "format", "unit", "enum", "minimum", "maximum",
    "schema_definition", "dependencies", "entities", "modules", "required", "properties",
)  # fmt: skip
_RANK = {name: place for place, name in enumerate(_ORDER)}
_LEFT_OUT: tuple[Any, ...] = ("", [], {}, None)

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Manuscript:
    """What a file says, and on which line it says each part of it."""

    path: Path
    said: dict[str, Any]
    lines: Mapping[Place, int] = field(default_factory=dict)

    def where(self, place: Place) -> str:
        """File and line of a part, or of what it is in."""
        while place and place not in self.lines:
            place = place[:-1]
        return f"{self.path}:{self.lines.get(place, 1)}"


def read(path: Path, text: str) -> Manuscript:
    """What a file says. Raises Invalid with file and line."""
    import yaml

    if len(text) > MOST_BYTES:
        raise _wrong(path, 1, "it is larger than a megabyte", "divide it")
    try:
        _refuse_marks(path, text)
        loader = _loader()(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except (yaml.MarkedYAMLError, yaml.reader.ReaderError) as exc:
        if path.suffix == ".json" and (said := _json(text)) is not None:
            return Manuscript(path, said)
        raise _unreadable(path, text, exc) from exc
    except RecursionError as exc:
        raise _wrong(path, 1, "it is nested too deep", "make it flatter") from exc
    reading = _Reading(path)
    said = reading.value(node, ()) if node is not None else None
    if not isinstance(said, dict):
        raise _wrong(path, 1, "it holds no fields", "write one a line, as in label: Nitrogen dioxide")
    return Manuscript(path, said, reading.lines)


def _refuse_marks(path: Path, text: str) -> None:
    """Anchors and tags are of use to nobody here: whoever writes one means something that would not be done."""
    import yaml

    if "&" not in text and "!" not in text:
        return
    for token in yaml.scan(text, Loader=_loader()):
        if isinstance(token, yaml.AnchorToken | yaml.TagToken):
            what = "an anchor" if isinstance(token, yaml.AnchorToken) else "a tag"
            raise _wrong(
                path,
                token.start_mark.line + 1,
                f"{what} is not taken",
                "leave it out; texts with & or ! in front need quotes",
            )


def _json(text: str) -> dict[str, Any] | None:
    """An object of JSON that is no YAML: halves of surrogate pairs are escaped in one only. Without its lines."""
    try:
        said = strict_json.DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def written(content: Mapping[str, Any]) -> str:
    """A content as a file: what is empty is left out, and the same content is always the same bytes."""
    import yaml

    kept = {name: value for name, value in content.items() if not any(value == each for each in _LEFT_OUT)}
    text: str = yaml.dump(
        _in_order(kept), Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=110, default_flow_style=False
    )
    return text


def _in_order(value: Any) -> Any:
    if isinstance(value, Mapping):
        names = sorted(value, key=lambda name: (_RANK.get(name, len(_RANK)), name))
        return {name: _in_order(value[name]) for name in names}
    return [_in_order(each) for each in value] if isinstance(value, list) else value


class _Reading:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[int] = set()
        self.lines: dict[Place, int] = {(): 1}

    def value(self, node: Any, place: Place) -> Any:
        import yaml

        line = node.start_mark.line + 1
        self.lines.setdefault(place, line)
        if id(node) in self._seen:
            raise _wrong(self._path, line, "anchors and aliases are not taken", "write it out; a lone * needs quotes")
        self._seen.add(id(node))
        if len(place) > _DEEPEST:
            raise _wrong(self._path, line, "it is nested too deep", "make it flatter")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, (*place, number)) for number, each in enumerate(node.value)]
        return self._scalar(node, line)

    def _mapping(self, node: Any, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, inner in node.value:
            line, name = key.start_mark.line + 1, key.value
            if key.tag != f"{_TAG}str" or not isinstance(name, str):
                raise _wrong(self._path, line, "a name here is no text", "put it in quotes")
            if name in found:
                first = self.lines[*place, name]
                raise _wrong(self._path, line, f"{name} stands there twice, first on line {first}", "keep one of them")
            self.lines[*place, name] = line
            found[name] = self.value(inner, (*place, name))
        return found

    def _scalar(self, node: Any, line: int) -> Any:
        kind, text = node.tag.removeprefix(_TAG), node.value
        try:
            if kind in ("int", "float"):
                return _number(text, kind)
        except (ValueError, OverflowError) as exc:
            raise _wrong(self._path, line, f"{text[:40]!r} is no number", "put it in quotes if it is a text") from exc
        if kind in ("bool", "null", "str"):
            return {"bool": text.lower() == "true", "null": None, "str": text}[kind]
        raise _wrong(self._path, line, f"the tag {node.tag} is not taken", "leave tags out")


def _number(text: str, kind: str) -> int | float:
    """Raises ValueError or OverflowError for one that JSON has no place for, or that is larger than any double."""
    if kind == "float":
        if not math.isfinite(found := float(text)):
            raise OverflowError
        return found
    number = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    float(number)
    return number


@cache
def _loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]  # one of two classes
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's way: none of those of YAML 1.1

    _add_core(Loader)
    return Loader


@cache
def _dumper() -> Any:
    import yaml

    class Dumper(yaml.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = '"' if _BREAKS.intersection(value) else "|" if "\n" in value else None
        return dumper.represent_scalar(f"{_TAG}str", value, style=style)

    _add_core(Dumper)  # beside those of YAML 1.1: whatever looks like something else to either is quoted
    Dumper.add_representer(str, text)
    return Dumper


def _add_core(class_: Any) -> None:
    for name, pattern, first in _CORE:
        firsts = ["" if each == "\0" else each for each in first]
        class_.add_implicit_resolver(f"{_TAG}{name}", re.compile(rf"^(?:{pattern})$"), firsts)


def _unreadable(path: Path, text: str, exc: Any) -> Invalid:
    mark = getattr(exc, "problem_mark", None) or getattr(exc, "context_mark", None)
    line = mark.line + 1 if mark else text.count("\n", 0, getattr(exc, "position", 0)) + 1
    said = getattr(exc, "problem", None) or getattr(exc, "reason", None) or "it is no YAML"
    return _wrong(path, line, said, "texts with : # * & or quotes in them need quotes around them")


def _wrong(path: Path, line: int, what: str, fix: str) -> Invalid:
    return Invalid("catalogue.bad_file", f"{path}:{line}: {what}.", hint=fix)


def place_of(pointer: str) -> Place:
    """The place that a JSON pointer leads to. Numbers are taken for those of a list's items."""
    parts: Sequence[str] = pointer.split("/")[1:]
    names = (part.replace("~1", "/").replace("~0", "~") for part in parts)
    return tuple(int(name) if name.isascii() and name.isdecimal() else name for name in names)

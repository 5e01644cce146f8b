"""JSON and lines of JSON as text that can be read: `path: value`, what belongs to one record in one paragraph.

Numbers stay as they are written, and a name that is given twice is shown twice. What is no JSON after all, such as a
settings file with comments, is read as plain text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from drystone.adapters.parsing import read_text
from drystone.adapters.parsing.decoding import decode
from drystone.adapters.parsing.normalising import Builder
from drystone.adapters.parsing.parsed import Parsed

_MAX_INLINE_CHARS = 200


class _Object(list[tuple[str, Any]]):
    """An object's names and values in their order."""


_DECODER = json.JSONDecoder(object_pairs_hook=_Object, parse_float=str, parse_int=str, parse_constant=str, strict=False)


def read(body: bytes, max_bytes: int) -> Parsed:
    """The values with the paths to them; each object of a list, and each line of several, is a record."""
    text = decode(body).strip()
    try:
        value = _DECODER.decode(text)
    except ValueError:
        if not _looks_like_lines(text):
            return read_text.read(body, max_bytes)
        return _lines(text, max_bytes)
    builder = Builder(max_bytes)
    _whole(builder, value)
    return builder.done("json", _title(value))


def _looks_like_lines(text: str) -> bool:
    first = text.partition("\n")[0]
    try:
        return isinstance(_DECODER.decode(first.strip()), list)
    except ValueError:
        return False


def _lines(text: str, max_bytes: int) -> Parsed:
    """One record a line; a line that is none stays as it is."""
    builder = Builder(max_bytes)
    for line in text.splitlines():
        if line.strip():
            try:
                _record(builder, _DECODER.decode(line.strip()))
            except ValueError:
                builder.block(line)
    return builder.done("jsonl")


def _whole(builder: Builder, value: Any) -> None:
    if not isinstance(value, _Object):
        _records(builder, value)
        return
    # Headings reign over what follows, so what has none comes first.
    lists = [(name, inner) for name, inner in value if _is_list_of_objects(inner)]
    rest = [(name, inner) for name, inner in value if not _is_list_of_objects(inner)]
    scalars = [(name, inner) for name, inner in rest if not isinstance(inner, _Object)]
    _record(builder, _Object(scalars))
    for name, inner in rest:
        if isinstance(inner, _Object):
            builder.block("\n".join(_written(name, inner)))
    for name, inner in lists:
        builder.heading(name, 1)
        _records(builder, inner)


def _records(builder: Builder, value: Any) -> None:
    if _is_list_of_objects(value):
        for item in value:
            _record(builder, item)
    else:
        _record(builder, value)


def _record(builder: Builder, value: Any) -> None:
    builder.block("\n".join(_written("", value)))


def _is_list_of_objects(value: Any) -> bool:
    return type(value) is list and any(isinstance(item, list) for item in value)


def _written(path: str, value: Any) -> Iterator[str]:
    """The lines of a value below a path; values that are not there are left out."""
    if isinstance(value, _Object):
        for name, inner in value:
            yield from _written(f"{path}.{name}" if path else name, inner)
    elif isinstance(value, list):
        yield from _written_list(path, value)
    elif value not in (None, ""):
        text = ("true" if value else "false") if isinstance(value, bool) else str(value)
        yield f"{path}: {text}" if path else text


def _written_list(path: str, values: list[Any]) -> Iterator[str]:
    is_flat = not any(isinstance(value, list) for value in values)
    if is_flat and all(len(str(value)) <= _MAX_INLINE_CHARS for value in values):
        joined = ", ".join(line for value in values for line in _written("", value))
        if joined:
            yield f"{path}: {joined}" if path else joined
        return
    for position, value in enumerate(values):
        yield from _written(f"{path}[{position}]", value)


def _title(value: Any) -> str | None:
    if isinstance(value, _Object):
        return next((inner for name, inner in value if name.lower() == "title" and isinstance(inner, str)), None)
    return None

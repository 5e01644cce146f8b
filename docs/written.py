"""Reference that is written from the code, as Markdown: every command, every setting, every route."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
import typer.main

from drystone.cli import main as cli
from drystone.core import settings as core_settings
from drystone.stack import dotenv
from drystone.web import create_app

_MOST_FIELDS = 40  # of a body; of larger ones /openapi.json tells


def commands() -> str:
    """Each command with its arguments and options."""
    parts = []
    group = ""
    for path, command in _commands(typer.main.get_command(cli.app), ["drystone"]):
        if len(path) > 2 and path[1] != group:
            group = path[1]
            parts.append(f"## drystone {group}")
        words = [f"{'#' * len(path)} {' '.join(path)}", _usage(path, command), command.help or ""]
        rows = [_parameter(each) for each in command.params if not getattr(each, "hidden", False)]
        words.append(_table(("", "meaning", "default"), rows))
        parts.append("\n\n".join(filter(None, words)))
    return "\n\n".join(parts) + "\n"


def settings() -> str:
    """Each variable of `.env` by its group."""
    groups: dict[str, list[tuple[str, ...]]] = {}
    for name, (group, field) in core_settings.variables().items():
        shown = core_settings.example_value(field)
        example = "a random secret" if core_settings.PLACEHOLDER.search(shown) else _code(shown.strip("'"))
        groups.setdefault(group, []).append((_code(name), field.description or "", example))
    return "\n\n".join(
        f"## {group.replace('_', ' ').capitalize()}\n\n{_table(('variable', 'meaning', 'value in a new .env'), rows)}"
        for group, rows in groups.items()
    )


def routes() -> str:
    """Each route of /api/v1 with its parameters, the fields of its body, and its answers, by subject."""
    environment = dotenv.make_environment(data_dir=Path("data"), model_dir=Path("models"), ENVIRONMENT="test")
    described = create_app(core_settings.parse(environment)).openapi()
    parts = []
    for tag in described["tags"]:
        parts.append(f"## {tag['name'].capitalize()}\n\n{tag['description']}")
        for path, methods in described["paths"].items():
            parts += [
                _route(f"{method.upper()} {path}", route, described)
                for method, route in methods.items()
                if route.get("tags", [""])[0] == tag["name"]
            ]
    return "\n\n".join(parts) + "\n"


def _commands(command: Any, path: list[str]) -> Iterator[tuple[list[str], Any]]:
    inner: dict[str, Any] = getattr(command, "commands", {})
    for name, each in inner.items():
        if not each.hidden:
            yield from _commands(each, [*path, name])
    if not inner:
        yield path, command


def _usage(path: list[str], command: Any) -> str:
    pieces = command.collect_usage_pieces(typer.Context(command, info_name=path[-1]))
    return f"```sh\n{' '.join([*path, *pieces])}\n```"


def _parameter(each: Any) -> tuple[str, ...]:
    names = ", ".join(_code(name) for name in (*each.opts, *each.secondary_opts))
    if each.param_type_name == "argument":
        names = _code((each.name or "").upper())
    default = "" if each.default in (None, False) or callable(each.default) else _code(str(each.default))
    return names, getattr(each, "help", None) or "", default


def _route(what: str, route: dict[str, Any], described: dict[str, Any]) -> str:
    words = [f"### {route['summary']}", f"```text\n{what}\n```", route.get("description", "")]
    rows = [
        (_code(each["name"]), f"{each['in']}: {_kind(each['schema'])}", each.get("description", ""))
        for each in route.get("parameters", [])
    ]
    words.append(_table(("parameter", "kind", "meaning"), rows))
    for kind, content in route.get("requestBody", {}).get("content", {}).items():
        fields = _fields(content.get("schema", {}), described)
        words.append(f"A body of {_code(kind)}" + (":" if 0 < len(fields) <= _MOST_FIELDS else "."))
        words.append(_table(("field", "kind", "meaning"), fields if len(fields) <= _MOST_FIELDS else []))
    words.append(
        "Answers: " + ", ".join(f"{status} {each['description']}" for status, each in route["responses"].items())
    )
    return "\n\n".join(filter(None, words))


def _fields(schema: dict[str, Any], described: dict[str, Any]) -> list[tuple[str, ...]]:
    if "$ref" in schema:
        schema = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    needed = schema.get("required", ())
    return [
        (_code(name) + (", required" if name in needed else ""), _kind(each), each.get("description", ""))
        for name, each in schema.get("properties", {}).items()
    ]


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words: string, integer or null, array of Filter."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if several := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return " or ".join(dict.fromkeys(filter(None, map(_kind, several))))
    if values := schema.get("enum"):
        return ", ".join(_code(str(value)) for value in values)
    kind = str(schema.get("format") or schema.get("type", "any"))
    return f"array of {_kind(schema.get('items', {}))}" if kind == "array" else kind


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines])


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def _code(text: str) -> str:
    return f"`{text}`" if text else ""

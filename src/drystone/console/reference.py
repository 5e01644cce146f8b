"""The API's routes as a page, from the same description as /openapi.json. For everybody: it tells nothing of what is kept here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fastapi import Request, Response
from markupsafe import Markup

from drystone.console.pages import new_router, page

router = new_router()

_Schema = Mapping[str, Any]
_AND, _OR = Markup(" & "), Markup(" | ")
_METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Field:
    """A parameter, or a field of a body. kind: its type, with links. where: of a parameter: path, query or header."""

    name: str
    kind: Markup
    is_required: bool
    description: str
    where: str = ""


@dataclass(frozen=True)
class Operation:
    """A method of a path. body: what it takes, by media type. answers: status, what it means, and what it holds."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    parameters: list[Field]
    body: list[tuple[str, Markup]]
    example: str
    answers: list[tuple[str, str, Markup]]


@dataclass(frozen=True)
class Group:
    """Operations of one tag."""

    name: str
    description: str
    operations: list[Operation]


@dataclass(frozen=True)
class Shape:
    """A schema that operations refer to. fields: none where it is no object."""

    name: str
    description: str
    kind: Markup
    fields: list[Field]


@router.get("/docs")
async def get(request: Request) -> Response:
    """All routes by their tags, and below them the schemas that they name."""
    groups, shapes = _read(json.dumps(request.app.openapi()))
    return page(request, "reference.html", groups=groups, shapes=shapes)


@lru_cache(maxsize=2)
def _read(described: str) -> tuple[list[Group], list[Shape]]:
    said = json.loads(described)
    operations: dict[str, list[Operation]] = {}
    for path, methods in said["paths"].items():
        for method in (each for each in _METHODS if each in methods):
            found = methods[method]
            operations.setdefault(found["tags"][0], []).append(_operation(path, method, found))
    groups = [Group(tag["name"], tag["description"], operations.get(tag["name"], [])) for tag in said["tags"]]
    shapes = [_shape(name, schema) for name, schema in said["components"]["schemas"].items()]
    return [group for group in groups if group.operations], shapes


def _operation(path: str, method: str, said: Mapping[str, Any]) -> Operation:
    content: Mapping[str, Any] = said.get("requestBody", {}).get("content", {})
    return Operation(
        id=said["operationId"],
        method=method.upper(),
        path=path,
        summary=said.get("summary", ""),
        description=said.get("description", ""),
        parameters=[
            Field(
                each["name"], kind(each["schema"]), each.get("required", False), each.get("description", ""), each["in"]
            )
            for each in said.get("parameters", [])
        ],
        body=[(media_type, kind(each.get("schema", {}))) for media_type, each in content.items()],
        example=_example(content.values()),
        answers=[
            (status, answer["description"], _kinds(answer.get("content", {})))
            for status, answer in said["responses"].items()
        ],
    )


def _example(contents: Iterable[Mapping[str, Any]]) -> str:
    for each in contents:
        given = each.get("example") or next((one["value"] for one in each.get("examples", {}).values()), None)
        if given is not None:
            return json.dumps(given, indent=2, ensure_ascii=False)
    return ""


def _kinds(content: Mapping[str, Any]) -> Markup:
    found = {media_type: kind(each.get("schema", {})) for media_type, each in content.items()}
    # A problem looks the same everywhere.
    return Markup(", ").join(said for media_type, said in found.items() if "problem" not in media_type)


def _shape(name: str, schema: _Schema) -> Shape:
    required = set(schema.get("required", ()))
    fields = [
        Field(field, kind(each), field in required, each.get("description", ""))
        for field, each in schema.get("properties", {}).items()
    ]
    examples = schema.get("examples")
    told = schema.get("description", "")
    if examples:
        told += f"\n\n{json.dumps(examples[0], ensure_ascii=False)}"
    return Shape(name, told, Markup() if fields else kind(schema), fields)


def kind(schema: _Schema) -> Markup:
    """What a schema allows, in a few words; names of others lead to them."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return Markup('<a href="#schema-{0}">{0}</a>').format(name)
    if "const" in schema:
        return Markup("{}").format(json.dumps(schema["const"]))
    if "enum" in schema:
        return _OR.join(json.dumps(each) for each in schema["enum"])
    for together in ("anyOf", "oneOf", "allOf"):
        if together in schema:
            return (_AND if together == "allOf" else _OR).join(dict.fromkeys(kind(each) for each in schema[together]))
    said = schema.get("type", "anything")
    if said == "array":
        return Markup("{}[]").format(kind(schema.get("items", {})))
    if said == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return Markup("{{name: {}}}").format(kind(schema["additionalProperties"]))
    if said == "object" and "properties" in schema:
        fields = [Markup("{}: {}").format(name, kind(each)) for name, each in schema["properties"].items()]
        return Markup("{{{}}}").format(Markup(", ").join(fields))
    of_form = schema.get("format")
    return Markup("{}{}").format(
        said if isinstance(said, str) else " | ".join(said), f" ({of_form})" if of_form else ""
    )

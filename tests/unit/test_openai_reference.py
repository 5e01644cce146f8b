"""docs/reference/openai.md says of each route and field of the OpenAI-compatible edge that it is there, and of no other."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from drystone.openai import embeddings, file_batches, files, models, store_files, uploads, vector_stores
from drystone.openai.routes import ROUTERS

PAGE = (Path(__file__).parent.parent.parent / "docs" / "reference" / "openai.md").read_text()
STATES = {"supported", "differs", "absent"}
ROUTES = {
    f"{method} {route.path.replace(':path', '')}": route
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in route.methods or ()
}
# Read by the route itself, and refused by name.
FORMS = {"POST /files": {"file", "purpose", "expires_after"}, "POST /uploads/{part_upload_id}/parts": {"data"}}
SHOWN: list[type[BaseModel]] = [
    models.Model,
    embeddings.Embeddings,
    files.File,
    uploads.Upload,
    uploads.Part,
    vector_stores.Store,
    store_files.StoreFile,
    file_batches.FileBatch,
    vector_stores.Results,
    vector_stores.Result,
    store_files.FileContent,
]


def _rows(title: str) -> list[list[str]]:
    """The cells of a chapter's table, without those that are about what is not there as a whole."""
    chapter = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    cells = [[each.strip() for each in line.strip("|").split("|")] for line in re.findall(r"^\| .+ \|$", chapter, re.M)]
    return [row for row in cells if row[0].startswith("`")]


def _queried(dependant: Dependant) -> Iterator[str]:
    yield from (each.alias for each in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _queried(inner)


def _taken(name: str, route: APIRoute) -> set[str]:
    body = route.body_field.field_info.annotation if route.body_field else None
    fields = set(body.model_fields) if isinstance(body, type) and issubclass(body, BaseModel) else set()
    return fields | set(_queried(route.dependant)) | FORMS.get(name, set())


def test_every_route_is_told_and_no_other() -> None:
    told = {row[0].strip("`"): row[1] for row in _rows("Routes")}

    assert {route for route, state in told.items() if state != "absent"} == set(ROUTES)
    assert set(told.values()) <= STATES


def test_every_field_that_is_taken_is_told_and_no_other() -> None:
    told = defaultdict(set)
    for route, field, state, _ in _rows("What is sent"):
        assert state in STATES
        told[route.strip("`")].add(field.strip("`"))

    assert dict(told) == {name: taken for name, route in ROUTES.items() if (taken := _taken(name, route))}


def test_every_field_that_is_answered_is_told_and_no_other() -> None:
    told = defaultdict(set)
    for shown, field, state, _ in _rows("What is answered"):
        assert state in STATES - {"absent"}
        told[shown.strip("`")].add(field.strip("`"))

    assert dict(told) == {each.__name__: set(each.model_fields) for each in SHOWN}

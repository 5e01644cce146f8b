"""What the routes of entities, modules and profiles have in common: their parameters, and pages by key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Path, Query, Response
from pydantic import BaseModel

from drystone.catalogue.bounds import Message
from drystone.catalogue.queries import View
from drystone.core.conditions import Condition
from drystone.core.numbers import MAX_BIGINT, MAX_INTEGER
from drystone.core.text import Text

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_Shown = TypeVar("_Shown", bound=BaseModel)

KeyOrId = Annotated[Text, Path(description="Its key, or its id.")]
Number = Annotated[int, Path(ge=1, le=MAX_INTEGER)]
AsOf = Annotated[
    Text | None,
    Query(description="As it was then: a time (`2026-11-21T20:00:00Z`), or how long ago (`7d`).", examples=["7d"]),
]
Words = Annotated[
    Text | None, Query(min_length=1, max_length=200, description="Part of the key, the label or an alias.")
]
Deleted = Annotated[bool, Query(description="Those that were deleted instead.")]
Limit = Annotated[int, Query(ge=1, le=1000)]
After = Annotated[
    str | None,
    Query(pattern=rf"^[a-z0-9][a-z0-9._-]{{0,99}}~{_UUID}$", description="next_cursor of the page before."),
]
Before = Annotated[int | None, Query(ge=1, le=MAX_BIGINT, description="next_cursor of the page before.")]
BeforeNumber = Annotated[int | None, Query(ge=1, le=MAX_INTEGER, description="next_cursor of the page before.")]
Why = Annotated[Message, Query(description="Why, for the history.")]
Bump = Annotated[
    bool, Query(description="Give modules the next version by themselves that this is a member of; else it is refused.")
]


def after(cursor: str | None) -> tuple[str, UUID] | None:
    """Where the page before ended."""
    if cursor is None:
        return None
    key, _, its_id = cursor.rpartition("~")
    return key, UUID(its_id)


def page(found: list[View], limit: int, shown: Callable[[View], _Shown]) -> tuple[list[_Shown], str | None]:
    """What is shown of one more than `limit`, and the cursor of the next page."""
    last = found[limit - 1] if len(found) > limit else None
    return [shown(view) for view in found[:limit]], f"{last.key}~{last.id}" if last else None


def by_number(found: list[View], limit: int) -> str | None:
    """The cursor of the next page of versions."""
    return str(found[limit - 1].number) if len(found) > limit else None


def holding(condition: Condition) -> Callable[[View | None], None]:
    """The check that a condition asks for."""
    return lambda view: condition.check(view.etag if view else None)


def tell(response: Response, view: View, path: str, *, is_new: bool) -> None:
    """Status and headers of the answer to a change."""
    response.headers["ETag"] = view.etag
    if is_new:
        response.status_code = 201
        response.headers["Location"] = f"/api/v1/{path}/{view.key}"

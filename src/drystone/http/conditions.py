"""If-Match and If-None-Match of a request, and the answer 304."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from drystone.core import conditions
from drystone.core.conditions import Condition
from drystone.http.early import Early

NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "Not changed since the ETag given"}}


async def get_condition(
    request: Request,
    _if_match: Annotated[
        str | None,
        Header(alias="If-Match", description='Go on only if the ETag is one of these, as in `"7"`; else 412.'),
    ] = None,
    _if_none_match: Annotated[
        str | None,
        Header(
            alias="If-None-Match",
            description="Reads: 304 if the ETag is one of these. Changes: 412 then; `*`: only if nothing is there yet.",
        ),
    ] = None,
) -> Condition:
    return conditions.parse(request.headers.getlist("if-match"), request.headers.getlist("if-none-match"))


ConditionOf = Annotated[Condition, Depends(get_condition)]


def tag_of(answer: BaseModel) -> str:
    """The strong entity tag of what has no revision of its own: the hash of how it is shown."""
    return f'"{hashlib.sha256(answer.model_dump_json().encode()).hexdigest()[:32]}"'


def show(condition: Condition, response: Response, tag: str) -> None:
    """Put the tag on the answer to a read; raises the answer 304 when the caller has this state already."""
    if condition.is_unchanged(tag):
        raise Early(Response(status_code=304, headers={"ETag": tag}))
    response.headers["ETag"] = tag

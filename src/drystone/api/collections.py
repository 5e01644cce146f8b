"""/collections: documents that are searched together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.api.schemas import CallersVectors, Collection, CollectionPatch, Collections, NewCollection
from drystone.core.conditions import Condition
from drystone.core.db import transaction
from drystone.core.text import Text
from drystone.documents import collections, schemas
from drystone.documents.collections import Check
from drystone.documents.models import Collection as Row
from drystone.http.conditions import NOT_MODIFIED, ConditionOf, show, tag_of
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.idempotency import Once
from drystone.http.problems import responses
from drystone.index import spaces
from drystone.index.embedders import Embedders
from drystone.index.spaces import Space
from drystone.resources import Resources

router = APIRouter(prefix="/collections", tags=["collections"])


async def _shown(session: AsyncSession, caller: Principal, embedders: Embedders, row: Row) -> Collection:
    return (await _all_shown(session, caller, embedders, [row]))[0]


async def _all_shown(
    session: AsyncSession, caller: Principal, embedders: Embedders, rows: Sequence[Row]
) -> list[Collection]:
    counts = await collections.states(session, caller, rows)
    names = await schemas.names(session, rows)
    return [
        Collection.of(row, counts[row.id], names.get(row.schema_id), await embedders.space(session, row.space_id))
        for row in rows
    ]


async def _space(resources: Resources, caller: Principal, wanted: CallersVectors | None) -> Space:
    """The space of a new collection. One of callers is made where it is missing, in a transaction of its own."""
    if wanted is None:
        return resources.space
    caller.require_whole("write")
    has_graph = resources.settings.vectors.store == "pgvector"
    async with transaction(resources.sessions.within(caller.reach)) as session:
        return await spaces.of_callers(session, wanted.dimension, graph=has_graph)


def _check(session: AsyncSession, caller: Principal, embedders: Embedders, condition: Condition) -> Check:
    """The condition over how the collection is shown, counts included, asked when nothing can change it any more."""

    async def check(row: Row) -> None:
        condition.check(tag_of(await _shown(session, caller, embedders, row)))

    return check


@router.post("", status_code=201, summary="Create a collection", responses=responses(409))
async def create(
    body: NewCollection, caller: Caller, resources: ResourcesOf, once: Once, session: Session, response: Response
) -> Collection:
    """Make an empty collection. An upload into an unknown name makes one too, with the defaults.

    With `vectors` it takes passages that come with theirs, and no files.
    """
    space = await _space(resources, caller, body.vectors)
    under = body.schema_ and await schemas.named(session, caller.workspace_id, body.schema_)
    made = await collections.create(
        session,
        caller,
        space,
        name=body.name,
        description=body.description,
        language=body.language,
        schema=(under.kind, under.view.id) if under else None,
    )
    answer = await _shown(session, caller, resources.embedders, made)
    response.headers["Location"] = f"/api/v1/collections/{made.name}"
    response.headers["ETag"] = tag_of(answer)
    return await once.remember(session, response, answer)


@router.get("", summary="List collections", responses=responses())
async def list_(caller: Caller, resources: ResourcesOf, session: Session) -> Collections:
    """All collections this key may see, with counts."""
    found = await collections.list_all(session, caller)
    return Collections(items=await _all_shown(session, caller, resources.embedders, found))


@router.get("/{collection}", summary="Get a collection", responses=NOT_MODIFIED | responses(404, 412))
async def get(
    collection: Text,
    caller: Caller,
    condition: ConditionOf,
    resources: ResourcesOf,
    session: Session,
    response: Response,
) -> Collection:
    """A collection by name or id, with counts of its documents by state. Its ETag changes with each of them."""
    found = await collections.get(session, caller, collection)
    answer = await _shown(session, caller, resources.embedders, found)
    show(condition, response, tag_of(answer))
    return answer


@router.patch("/{collection}", summary="Change a collection", responses=responses(404, 409, 412))
async def patch(
    collection: Text,
    body: CollectionPatch,
    caller: Caller,
    condition: ConditionOf,
    resources: ResourcesOf,
    once: Once,
    session: Session,
    response: Response,
) -> Collection:
    """Change the description, or the schema of documents to come; name and language are for good."""
    changes: dict[str, Any] = {"description": body.description} if "description" in body.model_fields_set else {}
    if "schema_" in body.model_fields_set:
        under = body.schema_ and await schemas.named(session, caller.workspace_id, body.schema_)
        changes |= {"schema_kind": under.kind if under else None, "schema_id": under.view.id if under else None}
    check = _check(session, caller, resources.embedders, condition)
    row = await collections.describe(session, caller, collection, changes, check=check)
    answer = await _shown(session, caller, resources.embedders, row)
    response.headers["ETag"] = tag_of(answer)
    return await once.remember(session, response, answer)


@router.delete("/{collection}", status_code=204, summary="Delete a collection", responses=responses(404, 412))
async def delete(
    collection: Text, caller: Caller, condition: ConditionOf, resources: ResourcesOf, session: Session
) -> None:
    """Delete a collection with all its documents: out of search at once, off the disk soon after.

    With If-Match nothing is deleted that was not there when the collection was looked at.
    """
    check = _check(session, caller, resources.embedders, condition)
    await collections.delete(session, resources.nudger, caller, collection, check=check)

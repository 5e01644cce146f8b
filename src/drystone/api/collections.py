"""/collections: documents that are searched together."""

from __future__ import annotations

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.api.conditions import NOT_MODIFIED, ConditionOf, show, tag_of
from drystone.api.dependencies import Caller, ResourcesOf, Session
from drystone.api.idempotency import Once
from drystone.api.problems import responses
from drystone.api.schemas import Collection, CollectionPatch, Collections, NewCollection
from drystone.core.conditions import Condition
from drystone.core.text import Text
from drystone.documents import collections
from drystone.documents.collections import Check
from drystone.documents.models import Collection as Row

router = APIRouter(prefix="/collections", tags=["collections"])


async def _shown(session: AsyncSession, caller: Principal, row: Row) -> Collection:
    return Collection.of(row, (await collections.states(session, caller, [row]))[row.id])


def _check(session: AsyncSession, caller: Principal, condition: Condition) -> Check:
    """The condition over how the collection is shown, counts included, asked when nothing can change it any more."""

    async def check(row: Row) -> None:
        condition.check(tag_of(await _shown(session, caller, row)))

    return check


@router.post("", status_code=201, summary="Create a collection", responses=responses(409))
async def create(
    body: NewCollection, caller: Caller, resources: ResourcesOf, once: Once, session: Session, response: Response
) -> Collection:
    """Make an empty collection. An upload into an unknown name makes one too, with the defaults."""
    made = await collections.create(
        session, caller, resources.space, name=body.name, description=body.description, language=body.language
    )
    answer = await _shown(session, caller, made)
    response.headers["Location"] = f"/api/v1/collections/{made.name}"
    response.headers["ETag"] = tag_of(answer)
    return await once.remember(session, response, answer)


@router.get("", summary="List collections", responses=responses())
async def list_(caller: Caller, session: Session) -> Collections:
    """All collections this key may see, with counts."""
    found = await collections.list_all(session, caller)
    counts = await collections.states(session, caller, found)
    return Collections(items=[Collection.of(collection, counts[collection.id]) for collection in found])


@router.get("/{collection}", summary="Get a collection", responses=NOT_MODIFIED | responses(404, 412))
async def get(
    collection: Text, caller: Caller, condition: ConditionOf, session: Session, response: Response
) -> Collection:
    """A collection by name or id, with counts of its documents by state. Its ETag changes with each of them."""
    answer = await _shown(session, caller, await collections.get(session, caller, collection))
    show(condition, response, tag_of(answer))
    return answer


@router.patch("/{collection}", summary="Change a collection", responses=responses(404, 409, 412))
async def patch(
    collection: Text,
    body: CollectionPatch,
    caller: Caller,
    condition: ConditionOf,
    once: Once,
    session: Session,
    response: Response,
) -> Collection:
    """Change the description; name and language are for good."""
    row = await collections.describe(
        session, caller, collection, description=body.description, check=_check(session, caller, condition)
    )
    answer = await _shown(session, caller, row)
    response.headers["ETag"] = tag_of(answer)
    return await once.remember(session, response, answer)


@router.delete("/{collection}", status_code=204, summary="Delete a collection", responses=responses(404, 412))
async def delete(
    collection: Text, caller: Caller, condition: ConditionOf, resources: ResourcesOf, session: Session
) -> None:
    """Delete a collection with all its documents: out of search at once, off the disk soon after.

    With If-Match nothing is deleted that was not there when the collection was looked at.
    """
    await collections.delete(session, resources.nudger, caller, collection, check=_check(session, caller, condition))

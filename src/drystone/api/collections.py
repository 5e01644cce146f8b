"""/collections: documents that are searched together."""

from __future__ import annotations

from fastapi import APIRouter, Response

from drystone.api.dependencies import Caller, ResourcesOf, Session
from drystone.api.problems import responses
from drystone.api.schemas import Collection, Collections, NewCollection
from drystone.core.text import Text
from drystone.documents import collections

router = APIRouter(prefix="/collections", tags=["collections"])


@router.post("", status_code=201, summary="Create a collection", responses=responses(409))
async def create(
    body: NewCollection, caller: Caller, resources: ResourcesOf, session: Session, response: Response
) -> Collection:
    """Make an empty collection. An upload into an unknown name makes one too, with the defaults."""
    made = await collections.create(
        session, caller, resources.space, name=body.name, description=body.description, language=body.language
    )
    response.headers["Location"] = f"/api/v1/collections/{made.name}"
    return Collection.of(made, (await collections.states(session, caller, [made]))[made.id])


@router.get("", summary="List collections", responses=responses())
async def list_(caller: Caller, session: Session) -> Collections:
    """All collections this key may see, with counts."""
    found = await collections.list_all(session, caller)
    counts = await collections.states(session, caller, found)
    return Collections(items=[Collection.of(collection, counts[collection.id]) for collection in found])


@router.get("/{collection}", summary="Get a collection", responses=responses(404))
async def get(collection: Text, caller: Caller, session: Session) -> Collection:
    """A collection by name or id, with counts of its documents by state."""
    found = await collections.get(session, caller, collection)
    return Collection.of(found, (await collections.states(session, caller, [found]))[found.id])


@router.delete("/{collection}", status_code=204, summary="Delete a collection", responses=responses(404))
async def delete(collection: Text, caller: Caller, resources: ResourcesOf, session: Session) -> None:
    """Delete a collection with all its documents: out of search at once, off the disk soon after."""
    await collections.delete(session, resources.nudger, caller, collection)

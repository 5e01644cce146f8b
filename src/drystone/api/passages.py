"""/collections/…/passages: passages that come with their vectors, in collections whose vectors callers bring."""

from __future__ import annotations

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.api.passage_schemas import (
    DeletedPassages,
    KeptPassages,
    NearestPassages,
    NearestRequest,
    PassagesByIds,
    PassagesRequest,
    PassagesToDelete,
    UpsertedPassages,
)
from drystone.core.db import transaction
from drystone.core.text import Text
from drystone.documents import own_vectors
from drystone.documents.own_vectors import Upserted
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.idempotency import Once
from drystone.http.problems import responses
from drystone.search import service
from drystone.search.schemas import Question

router = APIRouter(prefix="/collections/{collection}/passages", tags=["passages"])


@router.put("", summary="Write passages with their vectors", responses=responses(404, 409, 413))
async def upsert(
    collection: Text, body: PassagesRequest, caller: Caller, resources: ResourcesOf, once: Once, response: Response
) -> UpsertedPassages:
    """Write passages by id, all or none: what has an id already is replaced. They can be found when this is answered."""
    given = [each.passage() for each in body.passages]
    caller.require("write")
    await resources.admission.check_disk(sum(len(each.text) for each in given))

    async def remember(session: AsyncSession, done: list[Upserted]) -> None:
        await once.remember(session, response, UpsertedPassages.of(done))

    tools = own_vectors.Tools(resources.sessions, resources.objects, resources.finders, resources.upserts)
    return UpsertedPassages.of(await own_vectors.upsert(tools, caller, collection, given, before_commit=remember))


@router.post("/get", summary="Read passages by their ids", responses=responses(404, 409))
async def get(collection: Text, body: PassagesByIds, caller: Caller, session: Session) -> KeptPassages:
    """Those of these ids that are there, in the order asked, each once."""
    return KeptPassages.of(await own_vectors.get(session, caller, collection, body.ids, with_vectors=body.with_vectors))


@router.post("/delete", summary="Delete passages by their ids", responses=responses(404, 409))
async def delete(
    collection: Text,
    body: PassagesToDelete,
    caller: Caller,
    resources: ResourcesOf,
    once: Once,
    session: Session,
    response: Response,
) -> DeletedPassages:
    """Delete those of these ids that are there: out of every search at once, off the disk soon after."""
    count = await own_vectors.delete(session, resources.nudger, caller, collection, body.ids)
    return await once.remember(session, response, DeletedPassages(deleted=count))


@router.post("/search", summary="Find passages near a vector", responses=responses(404, 409))
async def nearest(collection: Text, body: NearestRequest, caller: Caller, resources: ResourcesOf) -> NearestPassages:
    """The passages whose vectors lie nearest to this one, best first."""
    async with transaction(resources.sessions.within(caller.reach)) as session:
        home = await own_vectors.place(session, caller, collection)
    question = Question(
        [],
        [str(home.collection.id)],
        vector=own_vectors.asked(body.vector, home),
        mode="dense",
        limit=body.limit,
        filter=body.filter,
        rerank=False,
        collapse="none",
    )
    answer = await service.nearest(resources.searcher, caller, question)
    made = {}
    if body.with_vectors and answer.hits:
        async with transaction(resources.sessions.within(caller.reach)) as session:
            made = dict(await own_vectors.vectors_of(session, home, [hit.version_id for hit in answer.hits]))
    return NearestPassages(
        hits=[NearestPassages.hit(hit, made.get(hit.version_id)) for hit in answer.hits],
        exact=answer.exact,
        took_ms=answer.took_ms,
    )

"""/search: a question to ranked passages."""

from __future__ import annotations

from fastapi import APIRouter

from drystone.api.dependencies import Caller, ResourcesOf
from drystone.api.problems import responses
from drystone.api.schemas import SearchRequest, SearchResponse
from drystone.search import service
from drystone.search.schemas import Question

router = APIRouter(prefix="/search", tags=["search"])


@router.post("", summary="Search", responses=responses(404, 409))
async def search(body: SearchRequest, caller: Caller, resources: ResourcesOf) -> SearchResponse:
    """The passages of one collection that answer the question best, each with where it stands."""
    answer = await service.search(
        resources.sessions,
        resources.embedder,
        resources.space,
        caller,
        Question(query=body.query, collection=body.collection, mode=body.mode, limit=body.limit, filter=body.filter),
    )
    return SearchResponse.of(answer)

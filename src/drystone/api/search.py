"""/search: a question to ranked passages."""

from __future__ import annotations

from fastapi import APIRouter

from drystone.api.search_schemas import SearchRequest, SearchResponse
from drystone.http.dependencies import Caller, ResourcesOf
from drystone.http.problems import responses
from drystone.search import service

router = APIRouter(prefix="/search", tags=["search"])


@router.post("", summary="Search", responses=responses(404, 409))
async def search(body: SearchRequest, caller: Caller, resources: ResourcesOf) -> SearchResponse:
    """The passages that answer the question best, each with where it stands."""
    question = body.question()
    return SearchResponse.of(await service.search(resources.searcher, caller, question), question)

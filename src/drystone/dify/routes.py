"""/dify/retrieval: passages of a collection for Dify, as its External Knowledge API asks for them."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Ge, Le, Len
from fastapi import APIRouter
from pydantic import BaseModel, Field

from drystone.core.numbers import WHOLE
from drystone.core.text import Text
from drystone.dify.conditions import Conditions, filter_of
from drystone.http.dependencies import Caller, ResourcesOf
from drystone.search import schemas, service
from drystone.search.schemas import MAX_LIMIT, Question

router = APIRouter(prefix="/dify", tags=["dify"])


class Setting(BaseModel):
    """How many records at most, and how like the query they are at least."""

    top_k: Annotated[int, Ge(1), Le(MAX_LIMIT), WHOLE] = 10
    score_threshold: Annotated[float, Ge(0), Le(1)] | None = None


class Retrieval(BaseModel):
    """What Dify asks. knowledge_id: name or id of a collection. What other versions of Dify send besides is left out."""

    knowledge_id: Annotated[Text, Len(1, 128)]
    query: Text
    retrieval_setting: Setting = Field(default_factory=Setting)
    metadata_condition: Conditions | None = None


class Record(BaseModel):
    """A passage. score: cosine of passage and query, from 0 to 1. metadata: the document's attributes, and where it stands."""

    content: str
    score: float
    title: str
    metadata: dict[str, Any]


class Records(BaseModel):
    """Passages, best first."""

    records: list[Record]


@router.post("/retrieval", include_in_schema=False)
async def retrieval(body: Retrieval, caller: Caller, resources: ResourcesOf) -> Records:
    """The passages of a collection that answer a query best, by words and meaning."""
    setting = body.retrieval_setting
    question = Question(
        [body.query],
        [body.knowledge_id],
        limit=setting.top_k,
        filter=filter_of(body.metadata_condition),
        rerank=False,  # Dify does that itself, where it is told to
    )
    answer = await service.search(resources.searcher, caller, question)
    records = [_record(hit) for hit in answer.hits]
    return Records(records=[each for each in records if each.score >= (setting.score_threshold or 0.0)])


def _record(hit: schemas.Hit) -> Record:
    document = hit.document
    similarity = hit.score if hit.dense_score is None else hit.dense_score
    return Record(
        content=hit.quote,
        score=min(max(similarity, 0.0), 1.0),
        title=document.title or str(document.id),
        metadata={
            **document.attributes,
            "document_id": str(document.id),
            "version": document.version,
            "collection": document.collection,
            "external_id": document.external_id,
            "name": document.name,
            "title_path": hit.title_path,
            "page": hit.page,
            "start": hit.start,
            "end": hit.end,
        },
    )

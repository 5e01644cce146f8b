"""/vector_stores: collections, made, listed, changed, deleted and searched in OpenAI's words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.core.db import transaction
from drystone.core.errors import Invalid
from drystone.core.numbers import WHOLE
from drystone.core.text import Text
from drystone.documents import collections, kept_files, terms
from drystone.documents.filters import Filter
from drystone.documents.models import Collection
from drystone.documents.queries import Totals
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.idempotency import Once
from drystone.openai import ids, polling, stores
from drystone.openai.paging import Page, TurningOf, WithId
from drystone.openai.store_schemas import (
    Chunking,
    Content,
    ExpiresAfter,
    FileCounts,
    FileIds,
    FileToAttach,
    Metadata,
    Name,
    shown_attributes,
)
from drystone.openai.stores import attach_all
from drystone.search import service as searching
from drystone.search.schemas import MAX_QUERIES, Hit, Question

router = APIRouter(prefix="/vector_stores", tags=["openai"])

MOST_RESULTS = 50


class NewStore(BaseModel):
    """A vector store to be made, with some files in it if wanted."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    description: Annotated[Text, Len(0, 2000)] | None = None
    file_ids: FileIds = []
    chunking_strategy: Chunking | None = None
    expires_after: ExpiresAfter | None = None
    metadata: Metadata | None = None


class StoreChanges(BaseModel):
    """What is to be changed of a vector store; what is left out stays. null: no expiry, no metadata, no name."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    expires_after: ExpiresAfter | None = None
    metadata: Metadata | None = None


class Store(WithId):
    """A vector store. One that has expired is gone, so that none is ever told to be."""

    object: Literal["vector_store"] = "vector_store"
    created_at: int
    name: str
    description: str
    usage_bytes: int
    file_counts: FileCounts
    status: Literal["in_progress", "completed"]
    expires_after: ExpiresAfter | None
    expires_at: int | None
    last_active_at: int | None
    metadata: dict[str, str]

    @classmethod
    def of(cls, row: Collection, found: Totals) -> Store:
        expires_at, days = terms.expires_at(row, found.used_at), row.expires_after_days
        return cls(
            id=ids.shown(ids.STORE, row.id),
            created_at=int(row.created_at.timestamp()),
            name=_name(row),
            description=row.description,
            usage_bytes=found.size_bytes,
            file_counts=FileCounts.of(found),
            status="in_progress" if found.pending else "completed",
            expires_after=None if days is None else ExpiresAfter(anchor="last_active_at", days=days),
            expires_at=None if expires_at is None else int(expires_at.timestamp()),
            last_active_at=None if found.used_at is None else int(found.used_at.timestamp()),
            metadata=row.notes,
        )


class DeletedStore(BaseModel):
    """That a vector store is gone; files that stood in it are kept."""

    id: str
    object: Literal["vector_store.deleted"] = "vector_store.deleted"
    deleted: Literal[True] = True


class RankingOptions(BaseModel):
    """ranker: none: without the reranker; the others: by it, where one is configured."""

    model_config = ConfigDict(extra="forbid")

    ranker: Literal["none", "auto", "default-2024-11-15"] = "auto"
    score_threshold: float = Field(0.0, ge=0, le=1)


class SearchRequest(BaseModel):
    """A question to a vector store, in one or several wordings."""

    model_config = ConfigDict(extra="forbid")

    query: Text | Annotated[list[Text], Len(1, MAX_QUERIES)]
    filters: Filter | None = None
    max_num_results: Annotated[int, Ge(1), Le(MOST_RESULTS), WHOLE] = 10
    ranking_options: RankingOptions = RankingOptions()
    rewrite_query: StrictBool = False

    def question(self, store: Collection) -> Question:
        """Raises Invalid where the query is to be written anew."""
        if self.rewrite_query:
            raise Invalid(
                "search.no_rewriting",
                "There is no model here that could write a query anew.",
                hint="leave rewrite_query out; several wordings may be sent as a list",
                pointer="/rewrite_query",
            )
        return Question(
            queries=self.wordings,
            collections=[str(store.id)],
            limit=self.max_num_results,
            filter=self.filters,
            rerank=False if self.ranking_options.ranker == "none" else None,
        )

    @property
    def wordings(self) -> list[str]:
        return [self.query] if isinstance(self.query, str) else self.query


class Result(BaseModel):
    """A passage that answers the question."""

    file_id: str
    filename: str
    score: float
    attributes: dict[str, str | bool | int | float]
    content: list[Content]

    @classmethod
    def of(cls, hit: Hit) -> Result:
        document = hit.document
        return cls(
            file_id=kept_files.name_of(document.id, document.external_id),
            filename=document.name or document.title or "",
            score=hit.score,
            attributes=shown_attributes(document.attributes),
            content=[Content(text=hit.quote)],
        )


class Results(BaseModel):
    """The best passages; there is no second page."""

    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: list[str]
    data: list[Result]
    has_more: Literal[False] = False
    next_page: None = None


@router.post("")
async def create(
    body: NewStore, caller: Caller, resources: ResourcesOf, once: Once, session: Session, response: Response
) -> Store:
    made = await terms.create(
        session,
        caller,
        resources.space,
        prefix=ids.STORE,
        description=body.description or "",
        label=body.name,
        notes=body.metadata or {},
        expires_after_days=body.expires_after.days if body.expires_after else None,
    )
    await attach_all(session, resources.nudger, caller, made, [FileToAttach(file_id=each) for each in body.file_ids])
    return await once.remember(session, response, await _shown(session, caller, made))


@router.get("")
async def list_(caller: Caller, session: Session, turning: TurningOf) -> Page[Store]:
    found = await collections.page(
        session,
        caller,
        after=turning.cursor(lambda given: ids.read(ids.STORE, given, stores.no_store)),
        newest_first=turning.is_newest_first,
        limit=turning.limit + 1,
    )
    totals = await collections.totals(session, caller, found)
    return turning.page(found, lambda row: Store.of(row, totals[row.id]))


@router.get("/{vector_store_id}")
async def get(vector_store_id: Text, caller: Caller, session: Session, response: Response) -> Store:
    polling.tell(response)
    return await _shown(session, caller, await stores.find(session, caller, vector_store_id))


@router.post("/{vector_store_id}")
async def change(
    vector_store_id: Text, body: StoreChanges, caller: Caller, once: Once, session: Session, response: Response
) -> Store:
    store = await stores.find(session, caller, vector_store_id)
    wanted: dict[str, Any] = {}
    if "name" in body.model_fields_set:
        wanted["label"] = body.name
    if "metadata" in body.model_fields_set:
        wanted["notes"] = body.metadata or {}
    if "expires_after" in body.model_fields_set:
        wanted["expires_after_days"] = body.expires_after.days if body.expires_after else None
    changed = await terms.change(session, caller, str(store.id), wanted)
    return await once.remember(session, response, await _shown(session, caller, changed))


@router.delete("/{vector_store_id}")
async def delete(vector_store_id: Text, caller: Caller, resources: ResourcesOf, session: Session) -> DeletedStore:
    store = await stores.find(session, caller, vector_store_id)
    await collections.delete(session, resources.nudger, caller, str(store.id))
    return DeletedStore(id=vector_store_id)


@router.post("/{vector_store_id}/search")
async def search(vector_store_id: Text, body: SearchRequest, caller: Caller, resources: ResourcesOf) -> Results:
    async with transaction(resources.sessions.within(caller.reach)) as session:
        store = await stores.find(session, caller, vector_store_id)
    answer = await searching.search(resources.searcher, caller, body.question(store))
    least = body.ranking_options.score_threshold
    return Results(
        search_query=body.wordings, data=[Result.of(hit) for hit in answer.hits if not least or hit.score >= least]
    )


async def _shown(session: AsyncSession, caller: Principal, row: Collection) -> Store:
    return Store.of(row, (await collections.totals(session, caller, [row]))[row.id])


def _name(row: Collection) -> str:
    """One that was made here has no other name than its label; the others are called as they are named."""
    if row.label is not None:
        return row.label
    return "" if row.name == ids.shown(ids.STORE, row.id) else row.name

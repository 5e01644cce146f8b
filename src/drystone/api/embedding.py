"""/collections/{collection}/embedding: which models a collection has, and its change from one to another."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from annotated_types import Len
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from drystone.api.jobs import JobState
from drystone.api.schemas import Failure
from drystone.core.conditions import Condition
from drystone.core.text import Text
from drystone.documents import reembedding
from drystone.documents.reembedding import Check, State, Status
from drystone.evaluation import agreement
from drystone.http.conditions import ConditionOf
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.idempotency import Once
from drystone.http.problems import responses
from drystone.index.embedders import Embedders
from drystone.index.spaces import Space
from drystone.search import comparing
from drystone.search.comparing import MAX_QUESTIONS
from drystone.search.schemas import MAX_QUERY_CHARACTERS, Mode

router = APIRouter(prefix="/collections/{collection}/embedding", tags=["embedding"])


class Model(BaseModel):
    """A model whose vectors a collection has."""

    model: str
    dimension: int
    is_configured: bool = Field(description="Named by EMBEDDING_… or NEXT_EMBEDDING_…: questions can be embedded.")

    @classmethod
    def of(cls, space: Space, embedders: Embedders) -> Model:
        return cls(model=space.model, dimension=space.dimension, is_configured=space in embedders.spaces)


class FillJob(BaseModel):
    """The job that fills."""

    id: UUID
    state: JobState
    error: Failure | None = Field(description="Why it failed; while it is queued again, what held it up.")


class Fill(BaseModel):
    """How full the space is that searches do not ask."""

    is_complete: bool = Field(description="No passage lacks a vector: searches may be switched to it.")
    done: int = Field(description="Passages that have a vector in it.")
    total: int
    embedded: int = Field(description="Vectors made for it by the filling.")
    reused: int = Field(description="Vectors it took from the same content elsewhere.")
    left_s: float | None = Field(description="Seconds that the rest takes at the pace of late; null until known.")
    job: FillJob | None


class Embedding(BaseModel):
    """The models of a collection."""

    collection: str
    state: State = Field(
        description="single: one model; filling, ready: `next` is being filled, or full; switched: searches ask the new one."
    )
    active: Model = Field(description="The one that searches ask.")
    next: Model | None
    previous: Model | None = Field(
        description="Kept up to date until the change is finished: rolling back loses nothing."
    )
    fill: Fill | None = Field(description="Of next or previous.")

    @classmethod
    def of(cls, status: Status, embedders: Embedders) -> Embedding:
        second = Model.of(status.second, embedders) if status.second else None
        fill, job = status.fill, status.fill.job if status.fill else None
        return cls(
            collection=status.collection.name,
            state=status.state,
            active=Model.of(status.active, embedders),
            next=second if status.state != "switched" else None,
            previous=second if status.state == "switched" else None,
            fill=None
            if fill is None
            else Fill(
                is_complete=fill.is_complete,
                done=fill.done,
                total=fill.total,
                embedded=fill.embedded,
                reused=fill.reused,
                left_s=fill.left_s,
                job=None
                if job is None
                else FillJob(
                    id=job.id,
                    state=job.state,
                    error=None
                    if job.error_code is None or job.state == "done"
                    else Failure(code=job.error_code, message=job.error_message, hint=job.error_hint),
                ),
            ),
        )


class NewChange(BaseModel):
    """To which model."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[Text, Len(1, 256)] | None = Field(
        None,
        description="null: the configured one that the collection does not have; NEXT_EMBEDDING_… before EMBEDDING_….",
    )


class CompareRequest(BaseModel):
    """What to ask both models."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"queries": ["why do thin shells buckle"], "mode": "dense"}]}
    )

    queries: Annotated[list[Annotated[Text, Len(1, MAX_QUERY_CHARACTERS)]], Len(1, MAX_QUESTIONS)]
    mode: Mode = Field("hybrid", description="hybrid: what a search gives; dense: what the models alone do.")


class ComparedQuery(BaseModel):
    """A query and the documents that each model finds, the best ten."""

    query: str
    overlap: float = Field(description="Share of the ten that both have.")
    rbo: float = Field(
        description="Rank-biased overlap (p = 0.9): 1 for the same in the same order, 0 for none in common."
    )
    active: list[UUID]
    other: list[UUID]
    active_ms: float
    other_ms: float


class Compared(BaseModel):
    """How much answers would change."""

    active: str = Field(description="The model that searches ask.")
    other: str
    lacking: int = Field(description="Passages that the other does not have yet.")
    overlap: float = Field(description="Mean over the queries.")
    rbo: float = Field(description="Mean over the queries.")
    same_first: float = Field(description="Share of the queries whose first document is the same.")
    active_p50_ms: float
    other_p50_ms: float
    queries: list[ComparedQuery]

    @classmethod
    def of(cls, found: comparing.Compared) -> Compared:
        summary = agreement.summary(found.agreements)
        return cls(
            active=found.active,
            other=found.other,
            lacking=found.lacking,
            overlap=summary.overlap,
            rbo=summary.rbo,
            same_first=summary.same_first,
            active_p50_ms=summary.p50_ms[0],
            other_p50_ms=summary.p50_ms[1],
            queries=[
                ComparedQuery(
                    query=each.question,
                    overlap=each.overlap,
                    rbo=each.rbo,
                    active=[UUID(one) for one in each.ours],
                    other=[UUID(one) for one in each.theirs],
                    active_ms=each.took_ms[0],
                    other_ms=each.took_ms[1],
                )
                for each in found.agreements
            ],
        )


@router.get("", summary="Get the models of a collection", responses=responses(404))
async def get(
    collection: Text, caller: Caller, resources: ResourcesOf, session: Session, response: Response
) -> Embedding:
    """Which models it has and how far a change is. The ETag is for If-Match of the steps: it changes with models and state.

    It does not change with `fill`, so nothing is answered with 304.
    """
    found = await reembedding.status(session, caller, resources.embedders, collection)
    return _shown(found, resources.embedders, response)


@router.post("/start", status_code=202, summary="Begin a change of model", responses=responses(404, 409, 412))
async def start(
    collection: Text,
    caller: Caller,
    condition: ConditionOf,
    resources: ResourcesOf,
    once: Once,
    session: Session,
    response: Response,
    body: NewChange | None = None,
) -> Embedding:
    """Fill a second space in the background. Searches ask the present model until they are switched.

    From now on new versions are embedded by both. 409 while another change is open, or no other model is configured.
    """
    found = await reembedding.start(
        session,
        resources.nudger,
        caller,
        resources.embedders,
        collection,
        model=body.model if body else None,
        check=_check(condition),
    )
    return await once.remember(session, response, _shown(found, resources.embedders, response))


@router.post("/compare", summary="Ask both models the same queries", responses=responses(404, 409))
async def compare(collection: Text, body: CompareRequest, caller: Caller, resources: ResourcesOf) -> Compared:
    """How much the answers to your queries would change; it changes nothing. Judged queries: `drystone eval`."""
    return Compared.of(await comparing.compare(resources.searcher, caller, collection, body.queries, mode=body.mode))


@router.post("/switch", summary="Have searches ask the next model", responses=responses(404, 409, 412))
async def switch(
    collection: Text,
    caller: Caller,
    condition: ConditionOf,
    resources: ResourcesOf,
    once: Once,
    session: Session,
    response: Response,
) -> Embedding:
    """At once, for every search from now on; each answer is of one model, whole. 409 while a passage lacks its vector."""
    found = await reembedding.switch(session, caller, resources.embedders, collection, check=_check(condition))
    return await once.remember(session, response, _shown(found, resources.embedders, response))


@router.post("/rollback", summary="Have searches ask the model of before", responses=responses(404, 409, 412))
async def rollback(
    collection: Text,
    caller: Caller,
    condition: ConditionOf,
    resources: ResourcesOf,
    once: Once,
    session: Session,
    response: Response,
) -> Embedding:
    """As switch, the other way. What was uploaded since the switch is found as well."""
    found = await reembedding.roll_back(session, caller, resources.embedders, collection, check=_check(condition))
    return await once.remember(session, response, _shown(found, resources.embedders, response))


@router.post("/finish", status_code=202, summary="Give up the model of before", responses=responses(404, 409, 412))
async def finish(
    collection: Text,
    caller: Caller,
    condition: ConditionOf,
    resources: ResourcesOf,
    once: Once,
    session: Session,
    response: Response,
) -> Embedding:
    """Its vectors of this collection are removed in the background; there is no way back but another change."""
    found = await reembedding.finish(
        session, resources.nudger, caller, resources.embedders, collection, check=_check(condition)
    )
    return await once.remember(session, response, _shown(found, resources.embedders, response))


@router.post("/cancel", status_code=202, summary="Give up the next model", responses=responses(404, 409, 412))
async def cancel(
    collection: Text,
    caller: Caller,
    condition: ConditionOf,
    resources: ResourcesOf,
    once: Once,
    session: Session,
    response: Response,
) -> Embedding:
    """Before it was switched to. Its vectors of this collection are removed in the background."""
    found = await reembedding.cancel(
        session, resources.nudger, caller, resources.embedders, collection, check=_check(condition)
    )
    return await once.remember(session, response, _shown(found, resources.embedders, response))


def _check(condition: Condition) -> Check:
    async def check(found: Status) -> None:
        condition.check(found.tag)

    return check


def _shown(found: Status, embedders: Embedders, response: Response) -> Embedding:
    response.headers["ETag"] = found.tag
    return Embedding.of(found, embedders)

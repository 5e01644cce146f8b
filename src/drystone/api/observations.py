"""/observations and /series: what was observed of entities, in bulk, and asked for by series and time."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.api import idempotency, observing
from drystone.api.dependencies import Caller, ResourcesOf
from drystone.api.idempotency import Key
from drystone.api.problems import responses
from drystone.observations import adding
from drystone.observations.adding import Added, OnConflict

router = APIRouter(prefix="/observations", tags=["observations"])

# So many problems are told one by one; the others are counted.
MOST_TOLD = 1000


class RowError(BaseModel):
    """Why a row was not taken."""

    row: int = Field(description="Of NDJSON and CSV the line, of JSON the place; from 1.")
    code: str = Field(examples=["observation.unknown_entity"])
    message: str
    fix: str = Field(description="What to do.")


class AddedObservations(BaseModel):
    """What became of each row: the counts add up to the rows that were sent."""

    id: UUID = Field(description="Of this bulk, in the audit and in events.")
    inserted: int
    replaced: int = Field(description="Were there with another content, which is gone.")
    unchanged: int = Field(description="Were there already, and the same.")
    kept: int = Field(description="Were there with another content, which stayed: `on_conflict=keep`.")
    refused: int
    errors: list[RowError] = Field(description=f"Why rows were refused, {MOST_TOLD} at most.")

    @classmethod
    def of(cls, added: Added) -> AddedObservations:
        told = added.problems[:MOST_TOLD]
        return cls(
            id=added.id,
            inserted=added.inserted,
            replaced=added.replaced,
            unchanged=added.unchanged,
            kept=added.kept,
            refused=len(added.problems),
            errors=[RowError(row=each.row, code=each.code, message=each.message, fix=each.fix) for each in told],
        )


@router.post(
    "",
    summary="Add observations",
    openapi_extra=observing.described(),
    responses=responses(400, 408, 409, 413, 415),
)
async def add(
    request: Request,
    response: Response,
    caller: Caller,
    resources: ResourcesOf,
    on_conflict: Annotated[
        OnConflict, Query(description="Where a series has another value at that time: replace it, keep it, or say so.")
    ] = "replace",
    atomic: Annotated[bool, Query(description="All rows or none: refuse the bulk where one row is wrong.")] = False,
    key: Key = None,
) -> AddedObservations:
    """Add rows as JSON, NDJSON or CSV. Rows that are wrong are told, each with what to do; the others are kept.

    Sending the same rows again changes nothing. One transaction, with the hours that buckets are made of.
    """
    caller.require_whole("write")  # before a byte is taken
    async with (
        observing.receive(request, resources) as bulk,
        idempotency.begin(request, resources, caller, key, bulk.spool.sha256) as once,
        resources.bulks.turn(),
    ):

        async def remember(session: AsyncSession, added: Added) -> None:
            await once.remember(session, response, AddedObservations.of(added))

        added = await adding.add(
            resources.sessions.within(caller.reach),
            caller,
            await bulk.read(resources),
            on_conflict=on_conflict,
            is_atomic=atomic,
            sha256=bulk.spool.sha256,
            before_commit=remember,
        )
    return AddedObservations.of(added)

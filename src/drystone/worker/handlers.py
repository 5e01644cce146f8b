"""Which function runs a kind of job, and which one tells its subject that it is given up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from drystone.core import crash_points
from drystone.core.db import transaction
from drystone.core.errors import DrystoneError
from drystone.documents import deleting, ingest, queries, scrub
from drystone.documents.ingest import Tools
from drystone.documents.models import INGEST, PURGE_COLLECTION, PURGE_DOCUMENT, SCRUB
from drystone.index import queries as index
from drystone.jobs import service as jobs
from drystone.jobs.models import CHECK_KIND
from drystone.jobs.queries import Claim, lock_held

# In one transaction: seconds of work at most, so that no statement runs into its time limit.
_PURGE_AT_ONCE, _PURGE_CHUNKS_AT_ONCE = 500, 2_000


@dataclass(frozen=True)
class Handler:
    """run: does the job and ends it in its own last transaction. give_up: part of the transaction that fails it."""

    run: Callable[[Tools, Claim], Awaitable[None]]
    give_up: Callable[[AsyncSession, Claim, DrystoneError], Awaitable[None]]


async def _echo(tools: Tools, claim: Claim) -> None:
    async with transaction(tools.sessions) as session:
        await jobs.finish(session, claim)


async def _purge_document(tools: Tools, claim: Claim) -> None:
    async with transaction(tools.sessions) as session:
        await deleting.purge_documents(session, [claim.subject_id])
        crash_points.reach("mid_purge")
        await jobs.finish(session, claim)


async def _purge_collection(tools: Tools, claim: Claim) -> None:
    while True:
        async with transaction(tools.sessions) as session:
            if not await lock_held(session, claim.job_id, claim.attempt):
                raise jobs.LostLease(claim.job_id)
            hidden = await queries.hidden_documents(
                session, claim.subject_id, limit=_PURGE_AT_ONCE, chunks=_PURGE_CHUNKS_AT_ONCE
            )
            await deleting.purge_documents(session, hidden)
            crash_points.reach("mid_purge")
            if not hidden:
                if await queries.is_collection_deleted(session, claim.subject_id):
                    await index.remove_collection(session, claim.subject_id)
                await jobs.finish(session, claim)
                return


async def _nobody_to_tell(_session: AsyncSession, _claim: Claim, _error: DrystoneError) -> None:
    """The job's own row tells it."""


HANDLERS = {
    INGEST: Handler(ingest.run, ingest.give_up),
    PURGE_DOCUMENT: Handler(_purge_document, _nobody_to_tell),
    PURGE_COLLECTION: Handler(_purge_collection, _nobody_to_tell),
    SCRUB: Handler(scrub.run, _nobody_to_tell),
    CHECK_KIND: Handler(_echo, _nobody_to_tell),
}

"""Which function runs a kind of job, and which one tells its subject that it is given up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from drystone.catalogue.models import NAMES_CHANGED, SCHEMAS_CHANGED
from drystone.core import crash_points
from drystone.core.db import transaction
from drystone.core.errors import DrystoneError
from drystone.core.logging import bound
from drystone.documents import deleting, filling, ingest, mentioning, queries, rechecking, scrub
from drystone.documents.ingest import Tools
from drystone.documents.models import DROP_VECTORS, INGEST, PURGE_COLLECTION, PURGE_DOCUMENT, REEMBED, SCRUB
from drystone.index import queries as index
from drystone.jobs import service as jobs
from drystone.jobs.models import CHECK_KIND
from drystone.jobs.queries import Claim, lock_held

# In one transaction: seconds of work at most, so that no statement runs into its time limit.
_PURGE_AT_ONCE, _PURGE_CHUNKS_AT_ONCE = 500, 2_000


@dataclass(frozen=True)
class Handler:
    """run: does the jobs of its kind and ends each in its own last transaction; gives what stood in the way of others.

    give_up: part of the transaction that fails a job.
    """

    run: Callable[[Tools, Sequence[Claim]], Awaitable[dict[UUID, Exception]]]
    give_up: Callable[[AsyncSession, Claim, DrystoneError], Awaitable[None]]


def _each(run: Callable[[Tools, Claim], Awaitable[None]]) -> Callable[..., Awaitable[dict[UUID, Exception]]]:
    """A function of one job as one of several: one after the other."""

    async def run_all(tools: Tools, claims: Sequence[Claim]) -> dict[UUID, Exception]:
        failures: dict[UUID, Exception] = {}
        for claim in claims:
            try:
                with bound(job_id=str(claim.job_id)):
                    await run(tools, claim)
            except Exception as exc:  # noqa: BLE001  told to whoever ends the job
                failures[claim.job_id] = exc
        return failures

    return run_all


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
    PURGE_DOCUMENT: Handler(_each(_purge_document), _nobody_to_tell),
    PURGE_COLLECTION: Handler(_each(_purge_collection), _nobody_to_tell),
    REEMBED: Handler(_each(filling.fill), _nobody_to_tell),
    DROP_VECTORS: Handler(_each(filling.drop), _nobody_to_tell),
    NAMES_CHANGED: Handler(_each(mentioning.refresh), _nobody_to_tell),
    SCHEMAS_CHANGED: Handler(_each(rechecking.recheck), _nobody_to_tell),
    SCRUB: Handler(_each(scrub.run), _nobody_to_tell),
    CHECK_KIND: Handler(_each(_echo), _nobody_to_tell),
}

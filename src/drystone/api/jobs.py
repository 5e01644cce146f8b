"""/jobs: the ledger of work."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from drystone.api.dependencies import Caller, Session
from drystone.api.problems import responses
from drystone.api.schemas import Job, Jobs, JobState
from drystone.jobs import service

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get("", summary="List jobs", responses=responses())
async def list_(
    caller: Caller,
    session: Session,
    state: JobState | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    cursor: Annotated[UUID | None, Query(description="next_cursor of the page before.")] = None,
) -> Jobs:
    """Jobs, newest first."""
    caller.require("read")
    found = await service.page(session, caller.workspace_id, state=state, before=cursor, limit=limit + 1)
    more = len(found) > limit
    return Jobs(items=[Job.of(job) for job in found[:limit]], next_cursor=str(found[limit - 1].id) if more else None)


@router.get("/{job_id}", summary="Get a job", responses=responses(404))
async def get(job_id: UUID, caller: Caller, session: Session) -> Job:
    """One job: its state, tries and, if it failed, why."""
    caller.require("read")
    return Job.of(await service.get(session, caller.workspace_id, job_id))

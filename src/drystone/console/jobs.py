"""Jobs: what is queued, under way, done or failed, and why; another chance, or an end."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Form, Request, Response

from drystone import steering
from drystone.console.pages import new_router, page, redirect, within
from drystone.console.visitors import Session, Visitor
from drystone.core.text import Text
from drystone.http.dependencies import ResourcesOf

router = new_router()

_AT_ONCE = 50
_State = Literal["queued", "running", "done", "failed", "cancelled"]


@router.get("/jobs")
async def list_(
    request: Request,
    visitor: Visitor,
    session: Session,
    state: _State | None = None,
    reason: Text = "",
    collection: Text = "",
    before: UUID | None = None,
) -> Response:
    """Jobs, newest first."""
    chosen = await steering.within(
        session, visitor, collection=collection or None, states=(state,) if state else (), reason=reason or None
    )
    found = await steering.page(session, visitor, chosen, before=before, limit=_AT_ONCE + 1)
    return page(
        request,
        "jobs.html",
        visitor=visitor,
        queue=await steering.queue(session, visitor),
        jobs=found[:_AT_ONCE],
        state=state,
        reason=reason,
        collection=collection,
        next=found[_AT_ONCE - 1].job.id if len(found) > _AT_ONCE else None,
        is_first=before is None,
    )


@router.post("/jobs/{job_id}/{verb}")
async def steer(
    job_id: UUID,
    verb: Literal["retry", "cancel"],
    visitor: Visitor,
    session: Session,
    resources: ResourcesOf,
    back: Annotated[Text, Form()] = "/jobs",
) -> Response:
    """Another chance for a job, or its end; then back to where the button was."""
    if verb == "retry":
        await steering.retry_one(session, resources.nudger, visitor, job_id)
    else:
        await steering.cancel_one(session, visitor, job_id)
    return redirect(within(back))

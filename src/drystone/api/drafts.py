"""/drafts: changes of the catalogue that somebody proposes, from their beginning to their merge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.api import draft_routes
from drystone.api.catalogue_pages import Limit
from drystone.api.draft_routes import Subject, tell
from drystone.api.draft_schemas import (
    Decision,
    Draft,
    Drafts,
    DraftSummary,
    DraftWithLink,
    NewLink,
    Rejection,
)
from drystone.catalogue import drafts, review
from drystone.catalogue.bodies import NewDraft
from drystone.catalogue.models import DraftStatus
from drystone.core.db import transaction
from drystone.http.conditions import ConditionOf
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.idempotency import Once
from drystone.http.problems import responses

router = APIRouter(prefix="/drafts", tags=["drafts"])


async def get_session_of_draft(draft_id: UUID, caller: Caller, resources: ResourcesOf) -> AsyncIterator[AsyncSession]:
    async with resources.drafts.turn(draft_id), transaction(resources.sessions.within(caller.reach)) as session:
        yield session


async def get_subject(
    draft_id: UUID, caller: Caller, session: Annotated[AsyncSession, Depends(get_session_of_draft, scope="function")]
) -> Subject:
    return Subject(session, caller, draft_id)


@router.post("", status_code=201, summary="Create a draft", responses=responses(409, 413))
async def create(body: NewDraft, caller: Caller, once: Once, session: Session, response: Response) -> DraftWithLink:
    """Begin a draft on the catalogue as it is now. The answer holds its link, which lets whoever has it edit: it is shown this once."""
    row, link = await drafts.create(session, caller, body.words(), body.edits(), expires_at=body.expires_at)
    response.headers["Location"] = f"/api/v1/drafts/{row.id}"
    response.headers["ETag"] = drafts.etag_of(row)
    answer = DraftWithLink.made(row, link)
    await once.remember(session, response, answer.without())
    return answer


@router.get("", summary="List drafts", responses=responses())
async def list_(
    caller: Caller,
    session: Session,
    status: DraftStatus | None = None,
    deleted: Annotated[bool, Query(description="Those that were deleted instead.")] = False,
    limit: Limit = 50,
    cursor: Annotated[UUID | None, Query(description="next_cursor of the page before.")] = None,
) -> Drafts:
    """Newest first, without their changes."""
    found = await drafts.page(session, caller, status=status, deleted=deleted, before=cursor, limit=limit + 1)
    items = [DraftSummary.listed(row) for row in found[:limit]]
    return Drafts(items=items, next_cursor=str(items[-1].id) if len(found) > limit else None)


@router.delete("/{draft_id}", status_code=204, summary="Delete a draft", responses=responses(404, 412))
async def delete(draft_id: UUID, caller: Caller, condition: ConditionOf, session: Session) -> None:
    """Put it away, and end its link. It can be restored."""
    await drafts.delete(session, caller, draft_id, check=condition.check)


@router.post("/{draft_id}/restore", summary="Restore a draft", responses=responses(404))
async def restore(draft_id: UUID, caller: Caller, session: Session, response: Response) -> Draft:
    """Bring a deleted one back, without a link."""
    return tell(response, await drafts.restore(session, caller, draft_id))


@router.post("/{draft_id}/approve", summary="Approve a draft", responses=responses(404, 409, 412, 428))
async def approve(
    draft_id: UUID, body: Decision, caller: Caller, condition: ConditionOf, session: Session, response: Response
) -> Draft:
    """Say that a submitted one may be merged, as it was read: `If-Match` takes its ETag, without which the answer is 428.

    Whoever holds the link may withdraw it, edit it and submit it again while it is being looked at.
    """
    row = await drafts.move(
        session, caller, draft_id, "approve", reason=body.reason or None, check=condition.check_known
    )
    return tell(response, row)


@router.post("/{draft_id}/reject", summary="Reject a draft", responses=responses(404, 409, 412))
async def reject(
    draft_id: UUID, body: Rejection, caller: Caller, condition: ConditionOf, session: Session, response: Response
) -> Draft:
    """Say why it is not merged. Its authors may withdraw it, edit it and submit it again."""
    return tell(
        response, await drafts.move(session, caller, draft_id, "reject", reason=body.reason, check=condition.check)
    )


@router.post("/{draft_id}/merge", summary="Merge a draft", responses=responses(404, 409, 412))
async def merge(
    draft_id: UUID, caller: Caller, condition: ConditionOf, session: Session, resources: ResourcesOf, response: Response
) -> Draft:
    """Have the catalogue be as an approved draft says: all of it, or nothing. Once more is answered as done.

    409 `draft.stale` where something that it touches was changed since: `errors` has each place with `base`, `ours` and `theirs`.
    """
    return tell(response, await review.merge(session, resources.nudger, caller, draft_id, check=condition.check))


@router.post("/{draft_id}/link", summary="Get another link to a draft", responses=responses(404, 409))
async def link(
    draft_id: UUID, body: NewLink, caller: Caller, once: Once, session: Session, response: Response
) -> DraftWithLink:
    """A new link, shown this once; the one before ends."""
    row, made = await drafts.relink(session, caller, draft_id, expires_at=body.expires_at)
    response.headers["ETag"] = drafts.etag_of(row)
    answer = DraftWithLink.made(row, made)
    await once.remember(session, response, answer.without())
    return answer


@router.post("/{draft_id}/revoke", summary="Revoke the link to a draft", responses=responses(404))
async def revoke(draft_id: UUID, caller: Caller, session: Session, response: Response) -> Draft:
    """End the link at once. The draft stays."""
    return tell(response, await drafts.revoke(session, caller, draft_id))


draft_routes.add(router, get_subject, at="/{draft_id}")

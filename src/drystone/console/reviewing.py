"""Drafts as those see them who decide: which there are, what each would change, and what is to become of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Form, Request, Response

from drystone.access.service import Principal
from drystone.catalogue import drafts, review
from drystone.catalogue.drafts import Words
from drystone.catalogue.links import Link
from drystone.catalogue.models import Draft, DraftStatus
from drystone.console import differences, draft_forms
from drystone.console.editor import choices_of
from drystone.console.pages import new_router, page, redirect
from drystone.console.visitors import Session, Visitor
from drystone.core.clock import utc_now
from drystone.core.conditions import Condition
from drystone.core.db import transaction
from drystone.core.errors import Conflict, DrystoneError, Invalid
from drystone.core.text import Text
from drystone.http import problems
from drystone.http.dependencies import ResourcesOf
from drystone.resources import Resources

router = new_router()

_AT_ONCE, _MOST_DAYS, _LONGEST_TITLE, _LONGEST_MESSAGE = 50, 365, 200, 1000
_OVER = ("merged", "expired")
_Verb = Literal["approve", "reject", "merge", "withdraw", "rebase", "link", "revoke"]


@router.get("/drafts")
async def list_(
    request: Request,
    visitor: Visitor,
    session: Session,
    status: DraftStatus | None = None,
    before: UUID | None = None,
) -> Response:
    """Drafts, newest first."""
    found = await drafts.page(session, visitor, status=status, deleted=False, before=before, limit=_AT_ONCE + 1)
    return page(
        request,
        "drafts.html",
        visitor=visitor,
        drafts=found[:_AT_ONCE],
        status=status,
        next=found[_AT_ONCE - 1].id if len(found) > _AT_ONCE else None,
        is_first=before is None,
    )


@router.post("/drafts")
async def create(
    request: Request,
    visitor: Visitor,
    resources: ResourcesOf,
    title: Annotated[Text, Form()] = "",
    message: Annotated[Text, Form()] = "",
    days: Annotated[Text, Form()] = "14",
) -> Response:
    """Begin a draft on the catalogue as it is now, and show its link this once."""
    if not 1 <= len(title.strip()) <= _LONGEST_TITLE or len(message) > _LONGEST_MESSAGE:
        raise Invalid(
            "draft.no_title",
            "A draft has a title of 1 to 200 characters, and a message of 1000.",
            hint="say what it is for",
        )
    if not days.strip().isdecimal() or not 1 <= int(days) <= _MOST_DAYS:
        raise Invalid("draft.bad_end", f"{days[:20]!r} is no number of days from 1 to {_MOST_DAYS}.")
    async with transaction(resources.sessions.within(visitor.reach)) as session:
        draft, link = await drafts.create(
            session,
            visitor,
            Words(title.strip(), message.strip()),
            [],
            expires_at=utc_now() + timedelta(days=int(days)),
        )
    return await _review(request, resources, visitor, draft.id, link=link)


@router.get("/drafts/{draft_id}")
async def get(request: Request, draft_id: UUID, visitor: Visitor, resources: ResourcesOf) -> Response:
    """One draft, place by place, with what can be done with it in its state."""
    return await _review(request, resources, visitor, draft_id)


@router.post("/drafts/{draft_id}/{verb}")
async def decide(
    request: Request,
    draft_id: UUID,
    verb: _Verb,
    visitor: Visitor,
    resources: ResourcesOf,
    etag: Annotated[Text, Form()] = "",
    reason: Annotated[Text, Form()] = "",
) -> Response:
    """Do it to the draft as it was read: one that is another by now is shown instead, and nothing is done."""
    link = None
    try:
        async with resources.drafts.turn(draft_id), transaction(resources.sessions.within(visitor.reach)) as session:
            as_read = Condition(if_match=frozenset([etag])).check
            if verb in ("approve", "reject", "withdraw"):
                _check_reason(verb, reason)
                await drafts.move(session, visitor, draft_id, verb, reason=reason.strip() or None, check=as_read)
            elif verb == "merge":
                await review.merge(session, resources.nudger, visitor, draft_id, check=as_read)
            elif verb == "rebase":
                choices = choices_of((await request.form()).multi_items())
                await review.rebase(session, visitor, draft_id, choices=choices, check=as_read)
            elif verb == "link":
                _, link = await drafts.relink(session, visitor, draft_id, expires_at=None)
            else:
                await drafts.revoke(session, visitor, draft_id)
    except (Conflict, Invalid) as exc:
        return await _review(request, resources, visitor, draft_id, error=exc, reason=reason)
    if link is not None:
        return await _review(request, resources, visitor, draft_id, link=link)
    return redirect(f"/drafts/{draft_id}")


def _check_reason(verb: str, reason: str) -> None:
    if len(reason) > _LONGEST_MESSAGE or (verb == "reject" and not reason.strip()):
        raise Invalid("draft.no_reason", "A draft is rejected with a reason of 1 to 1000 characters.", hint="say why")


async def _review(
    request: Request,
    resources: Resources,
    visitor: Principal,
    draft_id: UUID,
    *,
    link: Link | None = None,
    error: DrystoneError | None = None,
    reason: str = "",
) -> Response:
    """reason: what somebody wrote who decided, where that was not kept."""
    found: list[draft_forms.Finding] = []
    async with resources.drafts.turn(draft_id), transaction(resources.sessions.within(visitor.reach)) as session:
        draft = await drafts.get(session, visitor, draft_id)
        changes = [differences.shown(each) for each in await review.changes(session, visitor, draft_id)]
        if draft.status not in _OVER and draft.changes:
            _, verdict, proposals = await review.foresee(session, visitor, draft_id)
            found = draft_forms.findings(verdict.problems, proposals)
    return page(
        request,
        "draft_review.html",
        visitor=visitor,
        status_code=200 if error is None else problems.status_of(error),
        draft=draft,
        etag=drafts.etag_of(draft),
        changes=changes,
        problems=found,
        is_stale=any(each.is_stale for each in changes),
        link=None if link is None else f"{request.base_url}draft#{link.token}",
        has_link=_has_link(draft),
        error=error,
        reason=reason,
    )


def _has_link(draft: Draft) -> bool:
    return draft.revoked_at is None and draft.expires_at > utc_now()

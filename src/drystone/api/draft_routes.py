"""What is done to a draft, by a key under /drafts/{draft_id}, and by whoever holds its link under /draft: the same routes.

Annotations are evaluated where they stand: which dependency gives the draft is known only when the routes are added.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.api import catalogue_pages as pages
from drystone.api.draft_schemas import (
    CataloguedPage,
    Draft,
    DraftDiff,
    DraftVerdict,
    DraftWords,
    ProposedChange,
    Rebase,
    RebasedDraft,
)
from drystone.catalogue import drafts, review
from drystone.catalogue.bodies import DraftBody, NamedChange, Proposed, edit_of
from drystone.catalogue.drafts import Edit
from drystone.catalogue.links import Holder
from drystone.catalogue.models import Draft as DraftRow
from drystone.catalogue.models import Kind
from drystone.core.errors import Invalid, pointer_to
from drystone.core.text import Text
from drystone.http.conditions import NOT_MODIFIED, ConditionOf, show
from drystone.http.dependencies import get_resources
from drystone.http.problems import responses, told


@dataclass(frozen=True)
class Subject:
    """The draft that is meant, who asks, and the transaction."""

    session: AsyncSession
    principal: Principal
    draft_id: UUID


KindOf = Annotated[Kind, Path()]
KeyOf = Annotated[Text, Path(min_length=1, max_length=100)]
Given = Callable[..., Awaitable[Subject]]
NOBODY_CHOSE = Rebase()
_DOCUMENTED: dict[int | str, dict[str, Any]] = responses(404, 409, 412, 413)


def tell(response: Response, row: DraftRow) -> Draft:
    """A draft with its tag."""
    response.headers["ETag"] = drafts.etag_of(row)
    return Draft.of(row)


def _edit_of(body: NamedChange, kind: Kind, key: str) -> Edit:
    """The change that a body says of the one in the path. Raises Invalid."""
    if (body.kind or kind, body.key or key) != (kind, key):
        raise Invalid(
            "draft.another_key",
            f"The path says {kind} {key!r}, the body {body.kind or kind} {body.key or key!r}.",
            hint="leave kind and key out of the body",
            pointer=pointer_to("key" if body.key else "kind"),
        )
    try:
        return edit_of(body.proposed(kind, key))
    except ValidationError as exc:
        found = [{**each, "loc": ("body", *each["loc"])} for each in exc.errors()]
        raise Invalid(
            "draft.wrong_content",
            f"That is not what is said of {'an' if kind == 'entity' else 'a'} {kind}.",
            hint="`errors` names each field with what is wrong with it",
            errors=told(RequestValidationError(found, body={"content": body.content}), Proposed),
        ) from exc


async def keep_slow_pace(request: Request, subject: Subject) -> None:
    """Count a request that reads the whole catalogue, of whoever holds a link. Raises Denied."""
    if isinstance(subject.principal, Holder):
        await get_resources(request).gate.keep_slow_pace(subject.principal)


def add(router: APIRouter, given: Given, *, at: str = "") -> None:
    """Give a router the routes of one draft. given: the dependency that says which. at: what stands before their paths."""
    Of = Annotated[Subject, Depends(given, scope="function")]  # noqa: N806  a type

    @router.get(at, summary="Get a draft", responses=NOT_MODIFIED | responses(404, 412))
    async def get(of: Of, condition: ConditionOf, response: Response) -> Draft:
        """What it proposes, and how far it has come. The ETag changes with whatever is done to it."""
        row = await drafts.get(of.session, of.principal, of.draft_id)
        show(condition, response, drafts.etag_of(row))
        return await asyncio.to_thread(Draft.of, row)

    @router.put(at, summary="Replace a draft", responses=_DOCUMENTED)
    async def replace(of: Of, body: DraftBody, condition: ConditionOf, response: Response) -> Draft:
        """Have it say this and nothing else. With `If-Match` nobody's edit is lost. A draft that was validated is open again."""
        edits = await asyncio.to_thread(body.edits)
        row = await drafts.replace(of.session, of.principal, of.draft_id, body.words(), edits, check=condition.check)
        return tell(response, row)

    @router.patch(at, summary="Describe a draft", responses=_DOCUMENTED)
    async def describe(of: Of, body: DraftWords, condition: ConditionOf, response: Response) -> Draft:
        """Change its title, its message, or whether modules follow their members; its changes stay."""
        row = await drafts.describe(of.session, of.principal, of.draft_id, body.words(), check=condition.check)
        return tell(response, row)

    @router.get(
        at + "/changes/{kind}/{key}", summary="Get a change of a draft", responses=NOT_MODIFIED | responses(404, 412)
    )
    async def get_change(
        of: Of, kind: KindOf, key: KeyOf, condition: ConditionOf, response: Response
    ) -> ProposedChange:
        """What it would have become of one entity, module or profile. The ETag is of this change."""
        row = await drafts.get(of.session, of.principal, of.draft_id)
        found = drafts.proposal(row, kind, key)
        show(condition, response, found.etag)
        return ProposedChange.of(found)

    @router.put(at + "/changes/{kind}/{key}", summary="Put a change into a draft", responses=_DOCUMENTED)
    async def put_change(
        of: Of,
        kind: KindOf,
        key: KeyOf,
        body: NamedChange,
        condition: ConditionOf,
        response: Response,
    ) -> ProposedChange:
        """Have it say this of one, whatever it says of others: several may edit one draft at once.

        Kind and key are those of the path; the body may leave them out.

        `If-Match` takes the ETag of the change, `If-None-Match: *` only makes a new one.
        """
        edit = _edit_of(body, kind, key)
        row = await drafts.put(of.session, of.principal, of.draft_id, edit, check=condition.check)
        found = drafts.proposal(row, kind, key)
        response.headers["ETag"] = found.etag
        return ProposedChange.of(found)

    @router.delete(
        at + "/changes/{kind}/{key}",
        status_code=204,
        summary="Take a change out of a draft",
        responses=responses(404, 409, 412),
    )
    async def drop_change(of: Of, kind: KindOf, key: KeyOf, condition: ConditionOf) -> None:
        """Have it say nothing of this one any more."""
        await drafts.drop(of.session, of.principal, of.draft_id, kind, key, check=condition.check)

    @router.get(
        at + "/diff",
        summary="Compare a draft with the catalogue",
        responses=responses(404, 409),
        response_model_exclude_unset=True,
    )
    async def diff(of: Of, request: Request) -> DraftDiff:
        """Place by place: what it would change, what was changed meanwhile, and where these conflict."""
        await keep_slow_pace(request, of)
        row, comparison = await review.compare(of.session, of.principal, of.draft_id)
        return await asyncio.to_thread(DraftDiff.of, row, comparison)  # of large definitions it takes a while

    @router.post(
        at + "/validate",
        summary="Validate a draft",
        responses=responses(404, 409, 412),
        response_model_exclude_unset=True,
    )
    async def validate(of: Of, request: Request, condition: ConditionOf, response: Response) -> DraftVerdict:
        """Ask the rules of the catalogue. One without problems is `validated` and may be submitted, until it is edited."""
        await keep_slow_pace(request, of)
        row, verdict = await review.validate(of.session, of.principal, of.draft_id, check=condition.check)
        response.headers["ETag"] = drafts.etag_of(row)
        return DraftVerdict.of(row, verdict)

    @router.post(at + "/rebase", summary="Rebase a draft", responses=_DOCUMENTED, response_model_exclude_unset=True)
    async def rebase(
        of: Of, request: Request, condition: ConditionOf, response: Response, body: Rebase = NOBODY_CHOSE
    ) -> RebasedDraft:
        """Bring together what it would change and what was changed meanwhile. Conflicts are left until somebody chooses."""
        await keep_slow_pace(request, of)
        row, rebased = await review.rebase(
            of.session,
            of.principal,
            of.draft_id,
            take=body.take,
            choices=[each.choice() for each in body.choices],
            check=condition.check,
        )
        response.headers["ETag"] = drafts.etag_of(row)
        return await asyncio.to_thread(RebasedDraft.of, row, rebased)

    @router.post(at + "/submit", summary="Submit a draft", responses=responses(404, 409, 412))
    async def submit(of: Of, condition: ConditionOf, response: Response) -> Draft:
        """Hand in what was validated: nobody edits it from then on, until it is withdrawn or decided."""
        return tell(response, await drafts.move(of.session, of.principal, of.draft_id, "submit", check=condition.check))

    @router.post(at + "/withdraw", summary="Withdraw a draft", responses=responses(404, 409, 412))
    async def withdraw(of: Of, condition: ConditionOf, response: Response) -> Draft:
        """Open it again, to be edited."""
        return tell(
            response, await drafts.move(of.session, of.principal, of.draft_id, "withdraw", check=condition.check)
        )

    @router.get(at + "/catalogue", summary="See what a draft rests on", responses=responses(404))
    async def catalogue(
        of: Of, kind: Kind = "entity", q: pages.Words = None, limit: pages.Limit = 100, cursor: pages.After = None
    ) -> CataloguedPage:
        """Entities, modules or profiles as they were at `base_revision`, by key: what new changes rest on."""
        found = await review.page(
            of.session, of.principal, of.draft_id, kind, words=q, after=pages.after(cursor), limit=limit + 1
        )
        return CataloguedPage.of(found, limit)

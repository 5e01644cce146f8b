"""The editor of a draft, for whoever has opened its link: no account, no key, no other access."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

from annotated_types import Len
from fastapi import Form, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from drystone.catalogue import drafts, merging, review
from drystone.catalogue.bodies import DraftBody
from drystone.catalogue.content import SHAPE_OF_KEY, Content, content_of
from drystone.catalogue.drafts import Edit, Words
from drystone.catalogue.links import Holder
from drystone.catalogue.models import KINDS, Action, Kind
from drystone.catalogue.review import Choice
from drystone.console import differences, draft_forms, holders, pages
from drystone.console.draft_forms import FIELDS, Faults, Values
from drystone.console.holders import Editor, path_of, prefix_of, session_of
from drystone.console.pages import new_router, page, redirect
from drystone.core.conditions import NO_CONDITION, Condition
from drystone.core.errors import Conflict, Denied, DrystoneError, Invalid, NotFound
from drystone.core.errors import path_of as parts_of
from drystone.core.text import Text
from drystone.http import problems
from drystone.http.dependencies import ResourcesOf
from drystone.resources import Resources

router = new_router()

_AT_ONCE = 50
_Verb = Literal["validate", "submit", "withdraw"]
_TYPES = ("category", "property", "subobject")


@router.get("/draft")
async def ask(request: Request) -> Response:
    """Where links lead: what stands after the `#` stays in the browser, and its script hands it over; or somebody pastes it."""
    return page(request, "draft_open.html", error=None)


@router.post("/draft")
async def open_(request: Request, resources: ResourcesOf, link: Annotated[Text, Form()] = "") -> Response:
    """Take a link, and lead on to its draft."""
    token = link.strip().rpartition("#")[2]
    try:
        holder = await holders.find(request, resources, token)
    except (NotFound, Denied) as exc:
        return page(request, "draft_open.html", status_code=problems.status_of(exc), error=exc)
    answer = redirect(path_of(prefix_of(holder)))
    holders.keep(request, answer, token)
    return answer


@router.get("/draft/{link}")
async def get(request: Request, link: Text, editor: Editor, resources: ResourcesOf) -> Response:
    """The draft: what it would change, what the rules say of that, and what can be done with it."""
    return await _overview(request, resources, editor)


@router.post("/draft/{link}")
async def describe(
    request: Request,
    link: Text,
    editor: Editor,
    resources: ResourcesOf,
    etag: Annotated[Text, Form()] = "",
    title: Annotated[Text, Form()] = "",
    message: Annotated[Text, Form()] = "",
    bump_modules: Annotated[bool, Form()] = False,
) -> Response:
    """Have the draft be called otherwise."""
    try:
        words = DraftBody(title=title.strip(), message=message.strip(), bump_modules=bump_modules).words()
    except ValidationError as exc:
        raise Invalid(
            "draft.no_title",
            "A draft has a title of 1 to 200 characters, and a message of 1000.",
            hint="say what it is for",
        ) from exc
    return await _done(request, resources, editor, words, etag)


@router.get("/draft/{link}/catalogue")
async def catalogue(
    request: Request,
    link: Text,
    editor: Editor,
    resources: ResourcesOf,
    kind: Kind = "entity",
    words: Annotated[Text, Len(0, 200)] = "",
    after: Annotated[Text, Len(0, 200)] = "",
) -> Response:
    """What there was when the draft was begun, to be changed."""
    async with session_of(resources, editor) as session:
        draft = await drafts.get(session, editor, editor.draft_id)
        found = await review.page(
            session, editor, editor.draft_id, kind, words=words or None, after=_after(after), limit=_AT_ONCE + 1
        )
    more = found[_AT_ONCE - 1] if len(found) > _AT_ONCE else None
    return page(
        request, "draft_catalogue.html", base=path_of(link), draft=draft, kinds=KINDS, kind=kind, words=words,
        found=found[:_AT_ONCE], next=f"{more.key}~{more.id}" if more else None,
        changed={(each["kind"], each["key"]) for each in draft.changes},
    )  # fmt: skip


@router.get("/draft/{link}/edit")
async def edit(
    request: Request,
    link: Text,
    editor: Editor,
    resources: ResourcesOf,
    kind: Kind = "entity",
    key: Annotated[Text, Len(0, 100)] = "",
) -> Response:
    """The form of one change: as the draft has it, else as the catalogue had it, else empty."""
    async with session_of(resources, editor) as session:
        draft = await drafts.get(session, editor, editor.draft_id)
        known = _known(draft, kind, key)
        content = known.content if known else None
        there = await review.resting_on(session, editor, editor.draft_id, kind, key) if key else None
    values = draft_forms.values_of(kind, content or there)
    return _form(
        request, editor, draft, kind, key, values, etag=known.etag if known else "", was=content, is_new=there is None,
        action=known.action if known else "put",
    )  # fmt: skip


@router.post("/draft/{link}/edit")
async def save(request: Request, link: Text, editor: Editor, resources: ResourcesOf) -> Response:
    """Keep a change. What somebody else did to it meanwhile is shown, and both brought together, before anything is kept."""
    kind, key, action, values, etag, was = await _sent(request)
    made, faults = draft_forms.read(kind, key, action, values)
    error: DrystoneError | None = None
    if made is not None and not faults:
        try:
            async with session_of(resources, editor) as session:
                check = Condition(if_match=frozenset([etag])) if etag else Condition(if_none_match=frozenset("*"))
                await drafts.put(session, editor, editor.draft_id, made, check=check.check)
            return redirect(f"{path_of(link)}#{kind}-{key}")
        except Invalid as exc:
            faults = draft_forms.of_error(kind, exc)
        except Conflict as exc:
            if exc.values.get("status") == 412:
                return await _both(request, resources, editor, made, was)
            error = exc  # what was written stays in the form
    async with session_of(resources, editor) as session:
        draft = await drafts.get(session, editor, editor.draft_id)
        there = await review.resting_on(session, editor, editor.draft_id, kind, key)
    return _form(
        request, editor, draft, kind, key, values, etag=etag, was=was, faults=faults, error=error,
        status_code=422 if error is None else problems.status_of(error), is_new=there is None,
    )  # fmt: skip


@router.post("/draft/{link}/check")
async def check(request: Request, link: Text, editor: Editor, resources: ResourcesOf) -> Response:
    """What is wrong with a change as it stands in the form, for the page's script. Nothing is kept."""
    kind, key, action, values, _, _ = await _sent(request)
    _, faults = draft_forms.read(kind, key, action, values)
    made = draft_forms.rest(kind, key, action, values, faults)
    if made is not None:
        try:
            async with session_of(resources, editor, is_slow=True) as session:
                _, verdict, proposals = await review.foresee(session, editor, editor.draft_id, made)
            faults.join_rest(draft_forms.of_rules(kind, made.key, verdict.problems, proposals))
        except Invalid as exc:
            faults.join(draft_forms.of_error(kind, exc))
    return JSONResponse(faults.told(), headers={"Cache-Control": "no-store"})


@router.post("/draft/{link}/drop")
async def drop(
    request: Request,
    link: Text,
    editor: Editor,
    resources: ResourcesOf,
    kind: Annotated[Kind, Form()] = "entity",
    key: Annotated[Text, Form()] = "",
    etag: Annotated[Text, Form()] = "",
) -> Response:
    """Have the draft say nothing of one any more."""
    try:
        async with session_of(resources, editor) as session:
            await drafts.drop(session, editor, editor.draft_id, kind, key, check=_condition(etag).check)
    except Conflict as exc:
        return await _overview(request, resources, editor, error=exc)
    return redirect(path_of(link))


@router.post("/draft/{link}/rebase")
async def rebase(request: Request, link: Text, editor: Editor, resources: ResourcesOf) -> Response:
    """Bring the draft and the catalogue of now together, conflicts as somebody chose."""
    form = await request.form()
    try:
        async with session_of(resources, editor, is_slow=True) as session:
            await review.rebase(
                session, editor, editor.draft_id, choices=choices_of(form.multi_items()),
                check=_condition(str(form.get("etag", ""))).check,
            )  # fmt: skip
    except (Conflict, Invalid) as exc:
        return await _overview(request, resources, editor, error=exc)
    return redirect(path_of(link))


@router.post("/draft/{link}/leave")
async def leave(request: Request, link: Text, editor: Editor) -> Response:
    """Have the browser keep the link no longer."""
    answer = redirect("/draft")
    holders.forget(request, answer, link)
    return answer


@router.post("/draft/{link}/{verb}")
async def move(
    request: Request,
    link: Text,
    verb: _Verb,
    editor: Editor,
    resources: ResourcesOf,
    etag: Annotated[Text, Form()] = "",
) -> Response:
    """Submit the draft, or take it back. What is submitted is validated first."""
    try:
        if verb == "withdraw":
            await _move(resources, editor, "withdraw", etag)
            return redirect(path_of(link))
        async with session_of(resources, editor, is_slow=True) as session:
            draft, verdict = await review.validate(session, editor, editor.draft_id, check=_condition(etag).check)
            validated = drafts.etag_of(draft)
        if verb == "submit" and verdict.problems:
            return await _overview(request, resources, editor, error=_not_submitted(len(verdict.problems)))
        if verb == "submit":
            await _move(resources, editor, "submit", validated)
    except Conflict as exc:
        return await _overview(request, resources, editor, error=exc)
    return redirect(path_of(link))


def _not_submitted(count: int) -> Conflict:
    said = "one thing keeps it" if count == 1 else f"{count} things keep it"
    return Conflict(
        "draft.not_submitted", f"It was not submitted: {said} from being merged.", hint="mend what is told below first"
    )


async def _move(resources: Resources, editor: Holder, verb: Literal["submit", "withdraw"], etag: str) -> None:
    async with session_of(resources, editor) as session:
        await drafts.move(session, editor, editor.draft_id, verb, check=_condition(etag).check)


def choices_of(items: list[tuple[str, Any]]) -> list[Choice]:
    """What was chosen in a form: a field `take KIND KEY POINTER` each."""
    found = []
    for name, value in items:
        word, _, rest = name.partition(" ")
        kind, _, rest = rest.partition(" ")
        key, _, pointer = rest.partition(" ")
        if word == "take" and kind in KINDS and value in get_args(merging.Take):
            found.append(Choice(kind, key, parts_of(pointer), value))
    return found


async def _overview(
    request: Request,
    resources: Resources,
    editor: Holder,
    *,
    error: DrystoneError | None = None,
    written: Words | None = None,
) -> Response:
    """written: what somebody wants it to be called, where that was not kept."""
    found: list[draft_forms.Finding] = []
    async with session_of(resources, editor, is_slow=True) as session:
        draft = await drafts.get(session, editor, editor.draft_id)
        changes = [differences.shown(each) for each in await review.changes(session, editor, editor.draft_id)]
        if draft.status in ("open", "validated") and draft.changes:
            _, verdict, proposals = await review.foresee(session, editor, editor.draft_id)
            found = draft_forms.findings(verdict.problems, proposals)
    return page(
        request, "draft.html", status_code=200 if error is None else problems.status_of(error), error=error,
        base=path_of(prefix_of(editor)), draft=draft, etag=drafts.etag_of(draft), changes=changes, problems=found, written=written,
        may_edit=draft.status in ("open", "validated"), is_stale=any(each.is_stale for each in changes),
    )  # fmt: skip


async def _done(request: Request, resources: Resources, editor: Holder, words: Words, etag: str) -> Response:
    try:
        async with session_of(resources, editor) as session:
            await drafts.describe(session, editor, editor.draft_id, words, check=_condition(etag).check)
    except Conflict as exc:
        return await _overview(request, resources, editor, error=exc, written=words)
    return redirect(path_of(prefix_of(editor)))


async def _both(request: Request, resources: Resources, editor: Holder, made: Edit, was: Content | None) -> Response:
    """The form again, with what somebody else has kept meanwhile and what was about to be; nothing is kept yet."""
    async with session_of(resources, editor) as session:
        draft = await drafts.get(session, editor, editor.draft_id)
        there = await review.resting_on(session, editor, editor.draft_id, made.kind, made.key)
    known = _known(draft, made.kind, made.key)
    theirs = known.content if known else None
    merged = merging.merge(made.kind, was, made.content, theirs)
    content = merged.content or made.content or theirs
    return _form(
        request, editor, draft, made.kind, made.key, draft_forms.values_of(made.kind, content),
        etag=known.etag if known else "", was=theirs, status_code=412, is_new=there is None,
        others=[row for each in merged.differences if each.side != "ours" for row in differences.rows(each)],
        is_gone=known is None,
    )  # fmt: skip


def _form(
    request: Request,
    editor: Holder,
    draft: Any,
    kind: Kind,
    key: str,
    values: Values,
    *,
    etag: str,
    was: Content | None,
    is_new: bool,
    action: Action = "put",
    faults: Faults | None = None,
    error: DrystoneError | None = None,
    others: list[differences.Row] | None = None,
    is_gone: bool = False,
    status_code: int = 200,
) -> Response:
    return page(
        request, "draft_change.html", status_code=status_code, base=path_of(prefix_of(editor)), draft=draft, kind=kind,
        key=key, values=values, etag=etag, was="" if was is None else json.dumps(was.said(), ensure_ascii=False), is_new=is_new, action=action,
        is_known=bool(etag), faults=faults or Faults(), error=error, others=others, is_gone=is_gone, types=_TYPES,
        shape_of_key=SHAPE_OF_KEY,
    )  # fmt: skip


async def _sent(request: Request) -> tuple[Kind, str, Action, Values, str, Content | None]:
    """What a form of one change holds. Raises Invalid for what no form of ours sends."""
    form = {name: str(value) for name, value in (await request.form()).items()}
    if not form:
        raise Invalid(
            "form.too_large",
            f"The form is empty, or larger than the {pages.MOST_FORM_BYTES >> 10} KiB that a page may send.",
            hint="go back, where it still is, and say less; or edit the draft over the API",
            status=413,
        )
    kind, action = form.get("kind", ""), form.get("action", "put")
    if kind not in KINDS or action not in ("put", "delete"):
        raise Invalid("draft.wrong_content", "That is no form of a draft.", hint="open the page again")
    values = {name: form.get(name, "") for name in FIELDS[kind]}
    return kind, form.get("key", "").strip(), action, values, form.get("etag", ""), _was(kind, form.get("was", ""))  # type: ignore[return-value]  # asked for above


def _was(kind: Any, written: str) -> Content | None:
    """What the form was filled with, as it says itself: it is compared, and never kept."""
    try:
        edit, _ = draft_forms.read(
            kind, "was", "put", draft_forms.values_of(kind, content_of(kind, json.loads(written)))
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return edit.content if edit else None


def _after(cursor: str) -> tuple[str, UUID] | None:
    key, _, id_ = cursor.rpartition("~")
    try:
        return (key, UUID(id_)) if cursor else None
    except ValueError as exc:
        raise Invalid(
            "request.bad_cursor", "That is no place in the catalogue.", hint="begin at its first page"
        ) from exc


def _known(draft: Any, kind: Kind, key: str) -> drafts.Proposal | None:
    try:
        return drafts.proposal(draft, kind, key)
    except NotFound:
        return None


def _condition(etag: str) -> Condition:
    return Condition(if_match=frozenset([etag])) if etag else NO_CONDITION

"""What stands between a draft and the catalogue: what was changed meanwhile, what the rules say of it, and its merge.

A change of a draft is stale where what it touches is no longer as it was at the revision that it rests on. Nothing that is
stale is merged: `rebase` first brings together what both sides did.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NoReturn
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.catalogue import applying, drafts, merging, queries
from drystone.catalogue.applying import Done, Present, Wanted
from drystone.catalogue.content import Content
from drystone.catalogue.drafts import Check, Proposal
from drystone.catalogue.links import Holder
from drystone.catalogue.merging import MISSING, Difference, Merge, Path, Take
from drystone.catalogue.models import Action, Draft, Kind
from drystone.catalogue.queries import View
from drystone.catalogue.rules import Change, Problem
from drystone.core.errors import Conflict, Invalid, pointer_to
from drystone.jobs import events
from drystone.jobs.broker import Nudger

# Told at once of what is stale; `compare` tells all.
_MOST_TOLD = 100

_At = tuple[Kind, str]


@dataclass(frozen=True)
class Compared:
    """A change of a draft, and what it touches: as it was at its base, as the draft would have it, as it is now."""

    proposal: Proposal
    base: Content | None
    ours: Content | None
    theirs: Content | None

    @property
    def is_stale(self) -> bool:
        return self.base != self.theirs

    def merged(self, take: merging.Chooser = lambda _: None) -> Merge:
        return merging.merge(self.proposal.kind, self.base, self.ours, self.theirs, take)


@dataclass(frozen=True)
class Comparison:
    """All changes of a draft. revision: of the catalogue that they are compared with."""

    revision: int
    changes: tuple[Compared, ...]


@dataclass(frozen=True)
class Verdict:
    """What would become of a draft. problems: none, or it cannot be merged as it is."""

    revision: int
    problems: tuple[Problem, ...]
    done: tuple[Done, ...]


@dataclass(frozen=True)
class Choice:
    """Which side is to win where they conflict; path: None: at every place of this one."""

    kind: Kind
    key: str
    path: Path | None
    take: Take


@dataclass(frozen=True)
class Rebased:
    """dropped: changes that had nothing left to say. conflicts: those left as they were, on their old base."""

    dropped: tuple[Proposal, ...]
    conflicts: tuple[Compared, ...]


async def compare(session: AsyncSession, principal: Principal, draft_id: UUID) -> tuple[Draft, Comparison]:
    """A draft, and how it stands to the catalogue of now. Raises Conflict for a holder whose draft is merged: that is over."""
    draft = await drafts.get(session, principal, draft_id)
    if isinstance(principal, Holder) and draft.status == "merged":
        raise Conflict(
            "draft.wrong_status",
            "The draft is merged, and is compared with nothing any more.",
            hint="start another one to see what there is now",
        )
    return draft, await _compare(session, principal, draft, drafts.proposals_of(draft))


async def changes(session: AsyncSession, principal: Principal, draft_id: UUID) -> tuple[Compared, ...]:
    """What a draft changes, beside the catalogue of now; of one that is merged, what it changed, beside what it rested on."""
    draft = await drafts.get(session, principal, draft_id)
    if draft.status != "merged":
        return (await _compare(session, principal, draft, drafts.proposals_of(draft))).changes
    proposals = drafts.proposals_of(draft)
    bases = await _bases(session, draft, proposals)
    return tuple(_compared(each, bases, {}, bases) for each in proposals)


async def validate(
    session: AsyncSession, principal: Principal, draft_id: UUID, *, check: Check
) -> tuple[Draft, Verdict]:
    """What the rules say of a draft. One that is open and has no problem is validated from then on."""
    draft = await drafts.hold(session, principal, draft_id)
    check(drafts.etag_of(draft))
    drafts.require(principal, draft, "validate")
    verdict = await _verdict(session, principal, draft, drafts.proposals_of(draft))
    if draft.status in ("open", "validated"):
        status = draft.status
        draft.status = "open" if verdict.problems else "validated"
        if draft.status != status:
            drafts.touch(draft)
            await drafts.record(session, principal, "draft.validate", draft, status=draft.status)
    return draft, verdict


async def foresee(
    session: AsyncSession, principal: Principal, draft_id: UUID, edit: drafts.Edit | None = None
) -> tuple[Draft, Verdict, Sequence[Proposal]]:
    """What the rules would say of a draft with this edit, too, and the changes they were asked about. Nothing is kept.

    Raises Conflict where the draft takes no edit, Invalid for one that no draft takes.
    """
    draft = await drafts.get(session, principal, draft_id)
    if edit is None:
        proposals = drafts.proposals_of(draft)
    else:
        drafts.require(principal, draft, "edit")
        proposals = await drafts.edited(draft, edit)
    return draft, await _verdict(session, principal, draft, proposals), proposals


async def rebase(
    session: AsyncSession,
    principal: Principal,
    draft_id: UUID,
    *,
    take: Take | None = None,
    choices: Sequence[Choice] = (),
    check: Check,
) -> tuple[Draft, Rebased]:
    """Have a draft rest on the catalogue as it is now, with what was done there meanwhile.

    take: which side wins where both say something else, unless a choice says so. A change with a conflict that nobody has
    chosen about is left as it is, whole. A draft that is another one by this is open again, and so is one in which a conflict
    was decided: whoever approved it knew nothing of it. Raises Invalid for a choice about what does not conflict.
    """
    draft = await drafts.hold(session, principal, draft_id)
    check(drafts.etag_of(draft))
    drafts.require(principal, draft, "rebase")
    comparison = await _compare(session, principal, draft, drafts.proposals_of(draft))
    before, hash_before = list(draft.changes), drafts.hash_of(draft)
    # In a thread: of large definitions it takes a while, in which the others' requests go on.
    kept, dropped, conflicts, is_decided = await asyncio.to_thread(
        _bring_together, comparison, draft.revision + 1, take, choices
    )
    await drafts.keep(draft, kept)
    if draft.changes == before and draft.base_revision == comparison.revision:
        return draft, Rebased((), tuple(conflicts))
    was, draft.base_revision = draft.base_revision, comparison.revision
    if is_decided or _said(draft.changes) != _said(before):
        drafts.reopen(draft)
    drafts.touch(draft)
    await drafts.record(
        session, principal, "draft.rebase", draft, before_sha256=hash_before, after_sha256=drafts.hash_of(draft),
        was=was, base_revision=draft.base_revision, dropped=len(dropped), conflicts=len(conflicts),
    )  # fmt: skip
    return draft, Rebased(tuple(dropped), tuple(conflicts))


async def merge(session: AsyncSession, nudger: Nudger, principal: Principal, draft_id: UUID, *, check: Check) -> Draft:
    """Have the catalogue be as an approved draft would have it: all of it, or nothing. Again is as once.

    Raises Conflict `draft.stale`, with both sides, where something that it touches was changed since, and whatever keeps a
    changeset from being applied.
    """
    principal.require_whole("write")
    draft = await drafts.hold(session, principal, draft_id)
    check(drafts.etag_of(draft))
    if draft.status == "merged":
        return draft
    drafts.require(principal, draft, "merge")
    proposals = drafts.proposals_of(draft)
    wanted = await _wanted(session, draft, proposals)
    bases, restored = await _bases(session, draft, proposals), await _restored(session, draft, wanted)

    def refuse_stale(_revision: int, present: Present) -> None:
        theirs = {at: view.content for at, view in present.items()}
        compared = [_compared(each, bases, restored, theirs) for each in proposals]
        if stale := [each for each in compared if each.is_stale]:
            _refuse_stale(stale)

    applied = await applying.apply(
        session,
        nudger,
        principal,
        wanted,
        message=draft.message or draft.title,
        bump_modules=draft.bump_modules,
        check=refuse_stale,
    )
    draft.status, draft.merged_revision = "merged", applied.revision
    drafts.touch(draft)
    await drafts.record(
        session, principal, "draft.merge", draft, after_sha256=drafts.hash_of(draft),
        title=draft.title, changes=len(draft.changes), revision=applied.revision,
    )  # fmt: skip
    await events.emit(
        session, draft.workspace_id, "draft.merged", "draft", draft.id,
        title=draft.title, by=principal.actor, revision=applied.revision,
    )  # fmt: skip
    return draft


async def page(
    session: AsyncSession,
    principal: Principal,
    draft_id: UUID,
    kind: Kind,
    *,
    words: str | None,
    after: tuple[str, UUID] | None,
    limit: int,
) -> list[View]:
    """What there was in the catalogue at the revision that new changes of a draft rest on, by key."""
    draft = await drafts.get(session, principal, draft_id)
    choice = queries.Choice(words=words, revision=draft.base_revision)
    return await queries.page(session, draft.workspace_id, kind, choice, after=after, limit=limit)


async def _verdict(session: AsyncSession, principal: Principal, draft: Draft, proposals: Sequence[Proposal]) -> Verdict:
    comparison = await _compare(session, principal, draft, proposals)
    stale = tuple(_stale_problem(place, each) for place, each in enumerate(comparison.changes) if each.is_stale)
    if not proposals or stale:
        return Verdict(comparison.revision, stale or (_EMPTY,), ())
    wanted = await _wanted(session, draft, proposals)
    problems, done = await applying.trial(session, draft.workspace_id, wanted, bump_modules=draft.bump_modules)
    return Verdict(comparison.revision, problems, done)


_EMPTY = Problem("draft.empty", "The draft changes nothing.", "put a change into it", "entity", "")


def _stale_problem(place: int, compared: Compared) -> Problem:
    kind, key = compared.proposal.kind, compared.proposal.key
    return Problem("draft.stale", _told_stale(compared), _REBASE, kind, key, place)


_REBASE = "look at the diff of the draft, and rebase it"


def _told_stale(compared: Compared) -> str:
    kind, key = compared.proposal.kind, compared.proposal.key
    if compared.theirs is None:
        return f"The {kind} {key!r} was deleted since the draft was begun."
    if compared.base is None:
        return f"The {kind} {key!r} was made since the draft was begun."
    return f"The {kind} {key!r} was changed since the draft was begun."


def _refuse_stale(stale: Sequence[Compared]) -> NoReturn:
    errors = list(islice((error for compared in stale for error in _errors(compared)), _MOST_TOLD))
    more = len(stale) - 1
    raise Conflict(
        "draft.stale",
        _told_stale(stale[0]) + (f" And {more} more: `errors` tells each." if more else ""),
        hint=_REBASE,
        errors=errors,
    )


def _errors(compared: Compared) -> list[dict[str, Any]]:
    """Each place at which the catalogue is another by now."""
    kind, key = compared.proposal.kind, compared.proposal.key
    differences = [each for each in compared.merged().differences if each.side != "ours"]
    return [
        {
            "pointer": pointer_to("changes", kind, key, *each.path),
            "detail": _DETAILS[each.side],
            "code": "draft.conflict" if each.side == "conflict" else "draft.stale",
            "kind": kind,
            "key": key,
            **sides(each),
        }
        for each in differences
    ]


_DETAILS: Mapping[merging.Side, str] = {
    "theirs": "It was changed in the catalogue since.",
    "same": "It was changed in the catalogue since, as the draft would.",
    "merged": "It was changed in the catalogue since, in a way that goes together with the draft.",
    "conflict": "It was changed in the catalogue since, to something else than the draft would have.",
}


def sides(difference: Difference) -> dict[str, Any]:
    """What stands at a place by each side that has something there."""
    said = {"base": difference.base, "ours": difference.ours, "theirs": difference.theirs}
    return {name: value for name, value in said.items() if value is not MISSING}


async def _compare(
    session: AsyncSession, principal: Principal, draft: Draft, proposals: Sequence[Proposal]
) -> Comparison:
    """Whoever holds a link is not told what was deleted: they could have any of it be restored, to read it."""
    newest = await queries.revision(session, draft.workspace_id)
    revision = 0 if newest is None else int(newest.revision)
    wanted = await _wanted(session, draft, proposals)
    bases = await _bases(session, draft, proposals)
    restored = {} if isinstance(principal, Holder) else await _restored(session, draft, wanted)
    theirs = await _contents(session, draft, proposals, revision)
    return Comparison(revision, tuple(_compared(each, bases, restored, theirs) for each in proposals))


def _compared(
    proposal: Proposal,
    bases: Mapping[_At, Content],
    restored: Mapping[_At, Content],
    theirs: Mapping[_At, Content],
) -> Compared:
    at = (proposal.kind, proposal.key)
    ours = restored.get(at) if proposal.action == "restore" else proposal.content
    return Compared(proposal, bases.get(at), ours, theirs.get(at))


async def _contents(
    session: AsyncSession, draft: Draft, proposals: Sequence[Proposal], revision: int
) -> dict[_At, Content]:
    keys: dict[Kind, list[str]] = defaultdict(list)
    for each in proposals:
        keys[each.kind].append(each.key)
    return {
        (kind, view.key): view.content
        for kind, named in keys.items()
        for view in await queries.then(session, draft.workspace_id, kind, named, revision=revision)
    }


async def _bases(session: AsyncSession, draft: Draft, proposals: Sequence[Proposal]) -> dict[_At, Content]:
    """What each change rests on. Most rest on the same revision."""
    by_base: dict[int, list[Proposal]] = defaultdict(list)
    for each in proposals:
        by_base[each.base].append(each)
    found: dict[_At, Content] = {}
    for revision, those in by_base.items():
        found |= await _contents(session, draft, those, revision)
    return found


async def resting_on(
    session: AsyncSession, principal: Principal, draft_id: UUID, kind: Kind, key: str
) -> Content | None:
    """What there was of one at the revision that new changes of a draft rest on; None: nothing."""
    draft = await drafts.get(session, principal, draft_id)
    found = await queries.then(session, draft.workspace_id, kind, [key], revision=draft.base_revision)
    return found[0].content if found else None


async def _wanted(session: AsyncSession, draft: Draft, proposals: Sequence[Proposal]) -> list[Wanted]:
    """The changeset of a draft. What is to be restored is what was deleted when the draft was begun, and not another since."""
    ids: dict[_At, UUID] = {}
    by_kind: dict[tuple[Kind, int], list[str]] = defaultdict(list)
    for each in proposals:
        if each.action == "restore":
            by_kind[each.kind, each.base].append(each.key)
    for (kind, base), keys in by_kind.items():
        found = await queries.deleted_then(session, draft.workspace_id, kind, keys, revision=base)
        ids |= {(kind, key): id_ for key, id_ in found.items()}
    return [
        Wanted(Change(each.kind, each.key, each.action, each.content), id=ids.get((each.kind, each.key)))
        for each in proposals
    ]


async def _restored(session: AsyncSession, draft: Draft, wanted: Sequence[Wanted]) -> dict[_At, Content]:
    """What would come back."""
    keys: dict[Kind, list[str]] = defaultdict(list)
    for each in wanted:
        if each.change.action == "restore":
            keys[each.change.kind].append(each.change.key)
    ids = [each.id for each in wanted if each.id is not None]
    return {
        (kind, view.key): view.content
        for kind, named in keys.items()
        for view in await queries.deleted(session, draft.workspace_id, kind, named, first=ids)
    }


def _bring_together(
    comparison: Comparison, revision: int, take: Take | None, choices: Sequence[Choice]
) -> tuple[list[Proposal], list[Proposal], list[Compared], bool]:
    """The changes on the catalogue of now; those that had nothing left to say; those that are left as they were; whether any
    conflict was decided."""
    _check_choices(choices, comparison)
    chosen: dict[_At, dict[Path | None, Take]] = defaultdict(dict)
    for choice in choices:
        chosen[choice.kind, choice.key][choice.path] = choice.take
    kept: list[Proposal] = []
    dropped: list[Proposal] = []
    conflicts: list[Compared] = []
    is_decided = False
    for compared in comparison.changes:
        chooser = _chooser(chosen[compared.proposal.kind, compared.proposal.key], take)
        made = _rebased(compared, comparison.revision, revision, chooser)
        if made is None:
            dropped.append(compared.proposal)
        else:
            kept.append(made)
            if made is compared.proposal:
                conflicts.append(compared)
                continue
        is_decided = is_decided or (compared.is_stale and bool(compared.merged().conflicts))
    return kept, dropped, conflicts, is_decided


def _rebased(compared: Compared, base: int, revision: int, take: merging.Chooser) -> Proposal | None:
    """A change on another base; the same one where a conflict is left; None where it has nothing left to say."""
    proposal = compared.proposal
    if not compared.is_stale or (proposal.action == "restore" and compared.theirs is None):
        return replace(proposal, base=base)
    merged = compared.merged(take)
    if merged.conflicts:
        return proposal
    if merging.says_nothing(merged.content, compared.theirs):
        return None
    action: Action = "delete" if merged.content is None else "put"
    if (action, merged.content) == (proposal.action, proposal.content):
        return replace(proposal, base=base)
    return Proposal(proposal.kind, proposal.key, action, merged.content, base, revision)


def _chooser(chosen: Mapping[Path | None, Take], take: Take | None) -> merging.Chooser:
    """What was chosen at a place, else for all of this one, else for all."""
    return lambda path: chosen.get(path) or chosen.get(None, take)


def _check_choices(choices: Sequence[Choice], comparison: Comparison) -> None:
    """Raise Invalid for a choice about what does not conflict: a misspelt one must not look as if it had been heard."""
    open_: set[tuple[Kind, str, Path | None]] = set()
    for each in comparison.changes if choices else ():
        for difference in each.merged().conflicts if each.is_stale else ():
            at = (each.proposal.kind, each.proposal.key)
            open_ |= {(*at, None), (*at, difference.path)}
    for place, choice in enumerate(choices):
        if (choice.kind, choice.key, choice.path) not in open_:
            where = "" if choice.path is None else f" at {pointer_to(*choice.path) or 'the whole of it'}"
            raise Invalid(
                "draft.no_such_conflict",
                f"The {choice.kind} {choice.key!r} has no conflict{where}.",
                hint="the diff of the draft tells where both sides say something else",
                pointer=pointer_to("choices", place),
            )


def _said(changes: Sequence[Mapping[str, Any]]) -> str:
    """What changes say, whatever they rest on."""
    said = [(each["kind"], each["key"], each["action"], each["content"]) for each in changes]
    return json.dumps(said, sort_keys=True)

"""Drafts: proposed changes of the catalogue, edited by many, submitted, decided, and kept from being lost between them.

What a draft may become of the catalogue is up to `review`; who holds its link, to `links`. Each function takes the draft's row
for as long as its transaction lasts, so edits of one draft come one after the other.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NoReturn, get_args
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import Principal
from drystone.catalogue import definitions, links, queries
from drystone.catalogue.content import SHAPE_OF_KEY, Content, EntityContent, content_of, is_key
from drystone.catalogue.links import Holder, Link
from drystone.catalogue.models import EXPIRING, KINDS, Action, Draft, DraftStatus, Kind
from drystone.core.clock import utc_now
from drystone.core.errors import Conflict, Denied, Invalid, NotFound, pointer_to
from drystone.core.ids import new_id
from drystone.jobs import events

# What a person could still look through; and all changes of a draft together, as JSON. Each edit reads and writes them all.
MOST_CHANGES, MOST_BYTES = 1000, 1 << 20
# Of the patterns in all its definitions, which are compiled whenever it is validated: the worst takes a second.
MOST_PATTERN_CHARACTERS = 20 * definitions.MOST_PATTERN_CHARACTERS
# From so many on a draft is large: whoever holds its link reads and edits it at the pace of what takes long.
LARGE = 100
# Requests for one draft that a process works on at once; so many others wait, for so long, and without a connection.
AT_ONCE, MOST_WAITING, WAIT_S = 2, 12, 5.0
LASTS_S, LONGEST_S = 14 * 86_400, 365 * 86_400
_EXPIRED_AT_ONCE = 500

Verb = Literal["edit", "validate", "submit", "withdraw", "approve", "reject", "rebase", "merge"]
VERBS: tuple[Verb, ...] = get_args(Verb)
# In which of its states a draft takes what: from its link, and besides from a key that may write.
_FROM_LINK: Mapping[Verb, frozenset[DraftStatus]] = {
    "edit": frozenset({"open", "validated"}),
    "validate": frozenset({"open", "validated", "submitted", "approved"}),
    "submit": frozenset({"validated"}),
    "withdraw": frozenset({"submitted", "rejected"}),
    "rebase": frozenset({"open", "validated"}),
}
_FROM_KEY: Mapping[Verb, frozenset[DraftStatus]] = {
    **_FROM_LINK,
    "withdraw": frozenset({"submitted", "approved", "rejected"}),
    "approve": frozenset({"submitted"}),
    "reject": frozenset({"submitted", "approved"}),
    "rebase": frozenset({"open", "validated", "submitted", "approved"}),
    "merge": frozenset({"approved"}),
}
_DONE: Mapping[Verb, DraftStatus] = {
    "submit": "submitted",
    "withdraw": "open",
    "approve": "approved",
    "reject": "rejected",
}
_ACTIONS: Mapping[Verb, access.Action] = {
    "submit": "draft.submit",
    "withdraw": "draft.withdraw",
    "approve": "draft.approve",
    "reject": "draft.reject",
}
_EVENTS: dict[str, str] = {
    "submit": "draft.submitted",
    "withdraw": "draft.withdrawn",
    "approve": "draft.approved",
    "reject": "draft.rejected",
}

# Called with what there is, once nobody else can change it; None: there is none.
Check = Callable[[str | None], None]


@dataclass(frozen=True)
class Proposal:
    """What a draft would have become of one. content: of a put.

    base: the revision of the catalogue that it rests on. revision: of the draft, when this was last edited.
    """

    kind: Kind
    key: str
    action: Action
    content: Content | None
    base: int
    revision: int

    @property
    def etag(self) -> str:
        return f'"{self.revision}"'

    def kept(self) -> dict[str, Any]:
        """As the row has it."""
        said = None if self.content is None else self.content.said()
        return {
            "kind": self.kind,
            "key": self.key,
            "action": self.action,
            "content": said,
            "base": self.base,
            "revision": self.revision,
        }

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Proposal:
        content = None if kept["content"] is None else content_of(kept["kind"], kept["content"])
        return cls(kept["kind"], kept["key"], kept["action"], content, kept["base"], kept["revision"])


@dataclass(frozen=True)
class Edit:
    """One change as its author sends it."""

    kind: Kind
    key: str
    action: Action
    content: Content | None


@dataclass(frozen=True)
class Words:
    """What is said of a draft as a whole; None: as it was."""

    title: str | None = None
    message: str | None = None
    bump_modules: bool | None = None


def etag_of(draft: Draft) -> str:
    return f'"{draft.revision}"'


def proposals_of(draft: Draft) -> list[Proposal]:
    """The changes of a draft, by kind and key."""
    return [Proposal.of(each) for each in draft.changes]


async def create(
    session: AsyncSession,
    principal: Principal,
    words: Words,
    edits: Sequence[Edit],
    *,
    expires_at: datetime | None = None,
) -> tuple[Draft, Link]:
    """A new draft on the catalogue as it is now, and its link, which nobody can ask for again. Raises Denied and Invalid."""
    principal.require_whole("write")
    newest = await queries.revision(session, principal.workspace_id)
    link = links.new()
    draft = Draft(
        id=new_id(),
        workspace_id=principal.workspace_id,
        title=words.title or "",
        message=words.message or "",
        bump_modules=bool(words.bump_modules),
        base_revision=0 if newest is None else newest.revision,
        changes=[],
        revision=0,
        token_prefix=link.prefix,
        token_sha256=link.sha256,
        expires_at=_end(expires_at),
        created_by=principal.actor,
    )
    await _keep(draft, await asyncio.to_thread(_put_all, draft, edits))
    draft.revision = 1
    session.add(draft)
    await session.flush()
    await session.refresh(draft)
    details = {"title": draft.title, "changes": len(draft.changes), "link": link.prefix}
    await record(session, principal, "draft.create", draft, after_sha256=hash_of(draft), **details)
    await events.emit(session, draft.workspace_id, "draft.created", "draft", draft.id, title=draft.title)
    return draft, link


async def page(
    session: AsyncSession,
    principal: Principal,
    *,
    status: DraftStatus | None,
    deleted: bool,
    before: UUID | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """Drafts without their changes, newest first; how many each has."""
    principal.require("read")
    given = {"workspace_id": principal.workspace_id, "status": status, "deleted": deleted, "before": before}
    return (await session.execute(_PAGE, {**given, "limit": limit})).all()


async def get(session: AsyncSession, principal: Principal, draft_id: UUID) -> Draft:
    """One draft, to be read only. Raises NotFound."""
    if not _is_held(principal, draft_id):
        principal.require("read")
    draft, is_late = await _find(session, principal, draft_id)
    session.expunge(draft)
    if is_late:
        draft.status = "expired"
    return draft


async def count(session: AsyncSession, draft_id: UUID) -> int:
    """How many changes a draft has, without reading them; 0 of one that is not there."""
    length = select(func.jsonb_array_length(Draft.changes)).where(Draft.id == draft_id)
    return await session.scalar(length) or 0


def proposal(draft: Draft, kind: Kind, key: str) -> Proposal:
    """One change of a draft. Raises NotFound."""
    found = _known(draft, kind, key)
    if found is None:
        raise NotFound(
            "draft.no_such_change",
            f"The draft does not change the {kind} {key!r}.",
            hint="PUT it there to have it do so",
        )
    return found


def _known(draft: Draft, kind: Kind, key: str) -> Proposal | None:
    return next((Proposal.of(each) for each in draft.changes if (each["kind"], each["key"]) == (kind, key)), None)


def _others(draft: Draft, kind: Kind, key: str) -> list[dict[str, Any]]:
    """All other changes as the row has them: nobody looks into these again."""
    return [each for each in draft.changes if (each["kind"], each["key"]) != (kind, key)]


async def describe(session: AsyncSession, principal: Principal, draft_id: UUID, words: Words, *, check: Check) -> Draft:
    """Have a draft be called otherwise, or its modules follow their members. Raises Conflict where it is frozen."""
    return await _edit(session, principal, draft_id, words, None, check)


async def replace(
    session: AsyncSession, principal: Principal, draft_id: UUID, words: Words, edits: Sequence[Edit], *, check: Check
) -> Draft:
    """Have a draft say this and nothing else. Raises Conflict where it is frozen, Invalid for what cannot be kept."""
    return await _edit(session, principal, draft_id, words, edits, check)


async def put(session: AsyncSession, principal: Principal, draft_id: UUID, edit: Edit, *, check: Check) -> Draft:
    """Have a draft say this of one, whatever it says of others. check: called with the tag of the change that there is."""
    draft = await hold(session, principal, draft_id)
    known = _known(draft, edit.kind, edit.key)
    check(known.etag if known else None)
    require(principal, draft, "edit")
    _check_edit(edit)
    made = _proposal(draft, edit, known)
    if made != known:
        before, kept = draft.changes, [*_others(draft, edit.kind, edit.key), made.kept()]
        await _keep(draft, kept)
        await _note_edit(session, principal, draft, before, what=[f"{edit.kind} {edit.key}"])
    return draft


async def drop(
    session: AsyncSession, principal: Principal, draft_id: UUID, kind: Kind, key: str, *, check: Check
) -> Draft:
    """Have a draft say nothing of one any more. Raises NotFound."""
    draft = await hold(session, principal, draft_id)
    check(proposal(draft, kind, key).etag)
    require(principal, draft, "edit")
    before = draft.changes
    await _keep(draft, _others(draft, kind, key))
    await _note_edit(session, principal, draft, before, what=[f"{kind} {key}"])
    return draft


async def move(
    session: AsyncSession,
    principal: Principal,
    draft_id: UUID,
    verb: Literal["submit", "withdraw", "approve", "reject"],
    *,
    reason: str | None = None,
    check: Check,
) -> Draft:
    """Submit a draft, take it back, approve or reject it. What is done already is answered as done. Raises Conflict."""
    draft = await hold(session, principal, draft_id)
    check(etag_of(draft))
    if verb in ("approve", "reject"):
        principal.require_whole("write")
    if draft.status == _DONE[verb]:
        return draft
    require(principal, draft, verb)
    was, now = draft.status, utc_now()
    draft.status = _DONE[verb]
    if verb in ("submit", "withdraw"):
        draft.submitted_at = now if verb == "submit" else None
    is_decided = verb in ("approve", "reject")
    draft.decided_at, draft.decided_by = (now, principal.actor) if is_decided else (None, None)
    draft.reason = reason if is_decided else None
    touch(draft)
    await record(session, principal, _ACTIONS[verb], draft, was=was, **({"reason": reason} if reason else {}))
    await events.emit(
        session, draft.workspace_id, _EVENTS[verb], "draft", draft.id, title=draft.title, by=principal.actor
    )
    return draft


async def relink(
    session: AsyncSession, principal: Principal, draft_id: UUID, *, expires_at: datetime | None
) -> tuple[Draft, Link]:
    """A new link; the one before ends. expires_at: of the draft from now on; None: as it was. Raises Conflict when it ended or is merged."""
    principal.require_whole("write")
    draft = await hold(session, principal, draft_id)
    if draft.status in ("expired", "merged"):
        _refuse(principal, draft, "given another link")
    link = links.new()
    draft.token_prefix, draft.token_sha256, draft.revoked_at = link.prefix, link.sha256, None
    if expires_at is not None:
        draft.expires_at = _end(expires_at)
    touch(draft)
    await record(session, principal, "draft.link", draft, link=link.prefix, expires_at=draft.expires_at)
    return draft, link


async def revoke(session: AsyncSession, principal: Principal, draft_id: UUID) -> Draft:
    """End the link of a draft at once; the draft stays. Again is as once."""
    principal.require_whole("write")
    draft = await hold(session, principal, draft_id)
    if draft.revoked_at is None:
        draft.revoked_at = utc_now()
        touch(draft)
        await record(session, principal, "draft.revoke", draft, link=draft.token_prefix)
    return draft


async def delete(session: AsyncSession, principal: Principal, draft_id: UUID, *, check: Check) -> None:
    """Put a draft away, and end its link. Raises NotFound."""
    principal.require_whole("write")
    draft = await hold(session, principal, draft_id)
    check(etag_of(draft))
    draft.deleted_at = utc_now()
    draft.revoked_at = draft.revoked_at or draft.deleted_at
    touch(draft)
    await record(session, principal, "draft.delete", draft, title=draft.title)


async def restore(session: AsyncSession, principal: Principal, draft_id: UUID) -> Draft:
    """Bring a deleted draft back, without a link. One that is there is left as it is. Raises NotFound."""
    principal.require_whole("write")
    draft, is_late = await _find(session, principal, draft_id, hold=True, deleted=True)
    if draft.deleted_at is not None:
        draft.deleted_at = None
        touch(draft)
        await record(session, principal, "draft.restore", draft, title=draft.title)
    if is_late:
        draft.status = "expired"
        await _tell_expired(session, draft)
    return draft


async def expire(session: AsyncSession) -> int:
    """Note of drafts whose time is over that it is; how many, some hundreds at most."""
    rows = (await session.execute(_EXPIRE, {"limit": _EXPIRED_AT_ONCE})).all()
    for row in rows:
        await _tell_expired(session, row)
    return len(rows)


# For `review`, too


async def hold(session: AsyncSession, principal: Principal, draft_id: UUID) -> Draft:
    """A draft that nobody else changes until the transaction ends. Raises Denied and NotFound."""
    if not _is_held(principal, draft_id):
        principal.require_whole("write")
    draft, is_late = await _find(session, principal, draft_id, hold=True)
    if is_late:
        draft.status = "expired"
        await _tell_expired(session, draft)
    return draft


def require(principal: Principal, draft: Draft, verb: Verb) -> None:
    """Raise Conflict unless a draft in its state takes this."""
    if draft.status not in _allowed(principal).get(verb, ()):
        _refuse(principal, draft, _SAID[verb])


async def edited(draft: Draft, edit: Edit) -> list[Proposal]:
    """What the changes of a draft would be with this one, too; nothing is kept. Raises Invalid as `put` does."""
    _check_edit(edit)
    made = _proposal(draft, edit, _known(draft, edit.kind, edit.key))
    kept = await asyncio.to_thread(_bounded, [*_others(draft, edit.kind, edit.key), made.kept()])
    return [Proposal.of(each) for each in kept]


async def keep(draft: Draft, proposals: Sequence[Proposal]) -> None:
    """Have a draft's changes be these. Raises Invalid where they are too many, or too large."""
    await _keep(draft, [each.kept() for each in proposals])


async def _keep(draft: Draft, kept: list[dict[str, Any]]) -> None:
    draft.changes = await asyncio.to_thread(_bounded, kept)


def _bounded(kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By kind and key, as the row has them."""
    kept = sorted(kept, key=lambda each: (KINDS.index(each["kind"]), each["key"]))
    if len(kept) > MOST_CHANGES:
        raise Invalid(
            "draft.too_large",
            f"A draft changes {MOST_CHANGES} at most, not {len(kept)}.",
            hint="divide it into several drafts",
            status=413,
        )
    if len(_text(kept)) > MOST_BYTES:
        raise Invalid(
            "draft.too_large",
            f"The changes of a draft are {MOST_BYTES // (1 << 20)} MiB of JSON at most.",
            hint="divide it into several drafts",
            status=413,
        )
    if sum(map(len, definitions.patterns(kept))) > MOST_PATTERN_CHARACTERS:
        raise Invalid(
            "draft.too_large",
            f"The patterns in the definitions of a draft have {MOST_PATTERN_CHARACTERS} characters at most.",
            hint="divide it into several drafts",
            status=413,
        )
    return kept


def touch(draft: Draft) -> None:
    """Note that a draft is another one now."""
    draft.revision += 1
    draft.updated_at = utc_now()


def reopen(draft: Draft) -> None:
    """What was found of it, submitted and decided no longer holds."""
    draft.status = "open"
    draft.submitted_at = draft.decided_at = draft.decided_by = draft.reason = None


async def record(
    session: AsyncSession, principal: Principal, action: access.Action, draft: Draft, **details: Any
) -> None:
    """Add the audit row of what was done to a draft."""
    await access.record(session, principal, action, "draft", draft.id, **details)


def hash_of(draft: Draft) -> bytes:
    """The SHA-256 of what a draft's changes say, whenever they were edited."""
    return _hash(draft.changes)


def _hash(changes: Sequence[Mapping[str, Any]]) -> bytes:
    said = [{name: each[name] for name in ("kind", "key", "action", "content", "base")} for each in changes]
    return hashlib.sha256(_text(said)).digest()


async def _tell_expired(session: AsyncSession, draft: Any) -> None:
    us = Principal(draft.workspace_id, actor="system", scopes=frozenset())
    await access.record(session, us, "draft.expire", "draft", draft.id, title=draft.title)
    await events.emit(session, draft.workspace_id, "draft.expired", "draft", draft.id, title=draft.title)


def _is_held(principal: Principal, draft_id: UUID) -> bool:
    if not isinstance(principal, Holder):
        return False
    if principal.draft_id != draft_id:
        raise Denied("draft.another", "This link is of another draft.", hint="use its own link", status=403)
    return True


def _allowed(principal: Principal) -> Mapping[Verb, frozenset[DraftStatus]]:
    return _FROM_LINK if isinstance(principal, Holder) else _FROM_KEY


_SAID: Mapping[Verb, str] = {
    "edit": "edited",
    "validate": "validated",
    "submit": "submitted",
    "withdraw": "withdrawn",
    "approve": "approved",
    "reject": "rejected",
    "rebase": "rebased",
    "merge": "merged",
}


def _refuse(principal: Principal, draft: Draft, what: str) -> NoReturn:
    may = [_SAID[verb] for verb in VERBS if draft.status in _allowed(principal).get(verb, ())]
    raise Conflict(
        "draft.wrong_status",
        f"The draft is {draft.status}, and cannot be {what}.",
        hint=f"it can be {', '.join(may)}" if may else "nothing becomes of it any more: start another one",
    )


async def _find(
    session: AsyncSession, principal: Principal, draft_id: UUID, *, hold: bool = False, deleted: bool = False
) -> tuple[Draft, bool]:
    """A draft, and whether its time is over and nobody has noted that yet."""
    is_late = (Draft.expires_at <= func.now()) & Draft.status.in_(EXPIRING)
    query = select(Draft, is_late).where(Draft.workspace_id == principal.workspace_id, Draft.id == draft_id)
    if not deleted:
        query = query.where(Draft.deleted_at.is_(None))
    if hold:
        query = query.with_for_update().execution_options(populate_existing=True)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise NotFound(
            "draft.not_found", f"There is no draft {draft_id}.", hint="GET /api/v1/drafts lists what there is"
        )
    return row[0], bool(row[1])


async def _edit(
    session: AsyncSession,
    principal: Principal,
    draft_id: UUID,
    words: Words,
    edits: Sequence[Edit] | None,
    check: Check,
) -> Draft:
    draft = await hold(session, principal, draft_id)
    check(etag_of(draft))
    require(principal, draft, "edit")
    before, said = draft.changes, _words(draft)
    for name in ("title", "message", "bump_modules"):
        if (given := getattr(words, name)) is not None:
            setattr(draft, name, given)
    if edits is not None:
        await _keep(draft, await asyncio.to_thread(_put_all, draft, edits))
    await _note_edit(session, principal, draft, before, is_described=_words(draft) != said)
    return draft


def _words(draft: Draft) -> tuple[Any, ...]:
    return draft.title, draft.message, draft.bump_modules


async def _note_edit(
    session: AsyncSession,
    principal: Principal,
    draft: Draft,
    changes_before: Sequence[Mapping[str, Any]],
    *,
    is_described: bool = False,
    what: Sequence[str] = (),
) -> None:
    """Open a draft again that says something else now; one that says the same is left as it is."""
    before, after = await asyncio.to_thread(lambda: (_hash(changes_before), hash_of(draft)))
    if after == before and not is_described:
        return
    reopen(draft)
    touch(draft)
    details = {"what": list(what)} if what else {"title": draft.title}
    await record(
        session, principal, "draft.edit", draft, before_sha256=before, after_sha256=after,
        changes=len(draft.changes), revision=draft.revision, **details,
    )  # fmt: skip


def _put_all(draft: Draft, edits: Sequence[Edit]) -> list[dict[str, Any]]:
    """The changes of a draft that makes just these. What it changed before goes on resting on what it rested on."""
    known = {(each.kind, each.key): each for each in proposals_of(draft)}
    made: dict[tuple[Kind, str], Proposal] = {}
    for place, edit in enumerate(edits):
        at = (edit.kind, edit.key)
        _check_edit(edit, "changes", place, is_twice=at in made)
        made[at] = _proposal(draft, edit, known.get(at))
    return [each.kept() for each in made.values()]


def _proposal(draft: Draft, edit: Edit, known: Proposal | None) -> Proposal:
    base = known.base if known else draft.base_revision
    revision = draft.revision + 1
    if known and (known.action, known.content) == (edit.action, edit.content):
        revision = known.revision
    return Proposal(edit.kind, edit.key, edit.action, edit.content, base, revision)


def _check_edit(edit: Edit, *place: str | int, is_twice: bool = False) -> None:
    def refuse(code: str, said: str, fix: str, *path: str | int) -> NoReturn:
        raise Invalid(code, said, hint=fix, pointer=pointer_to(*place, *path))

    if not is_key(edit.key):  # whatever is done to it: keys become names of files
        refuse(f"{edit.kind}.bad_key", f"{edit.key!r} cannot be a key.", SHAPE_OF_KEY, "key")
    if is_twice:
        said = f"The {edit.kind} {edit.key!r} is changed twice."
        refuse("changeset.twice", said, "say once what is to become of it")
    if (edit.action == "put") != (edit.content is not None):
        said = (
            f"Nothing is said of the {edit.kind} {edit.key!r}." if edit.action == "put" else "Only a put has content."
        )
        refuse("draft.wrong_content", said, "send content with a put, and with nothing else", "content")
    if isinstance(edit.content, EntityContent) and (fault := definitions.unstorable(edit.content.schema_definition)):
        refuse("schema.invalid", fault.sentence, fault.fix, "content", "schema_definition", *fault.path)


def _text(kept: Any) -> bytes:
    return json.dumps(kept, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _end(expires_at: datetime | None) -> datetime:
    now = utc_now()
    end = expires_at or now + timedelta(seconds=LASTS_S)
    if not now < end <= now + timedelta(seconds=LONGEST_S + 60):
        raise Invalid(
            "draft.bad_end",
            "A draft ends in the future, within a year.",
            hint="leave expires_at out for two weeks",
            pointer=pointer_to("expires_at"),
        )
    return end


_PAGE = text("""
select id, seen.status, title, message, bump_modules, base_revision, jsonb_array_length(changes) as changes, revision,
       revoked_at, expires_at, created_by, created_at, updated_at, submitted_at, decided_at, decided_by, reason,
       merged_revision, deleted_at
from drafts, lateral (
    select case when expires_at <= now() and status in ('open', 'validated', 'submitted', 'approved') then 'expired'
                else cast(status as text) end as status
) as seen
where workspace_id = :workspace_id and (deleted_at is not null) = :deleted
  and (cast(:status as text) is null or seen.status = :status) and (cast(:before as uuid) is null or id < :before)
order by id desc
limit :limit
""")

_EXPIRE = text("""
update drafts set status = 'expired', revision = revision + 1, updated_at = now()
where id in (
    select id from drafts
    where status in ('open', 'validated', 'submitted', 'approved') and deleted_at is null and expires_at <= now()
    order by expires_at limit :limit for update skip locked
)
returning id, workspace_id, title
""")

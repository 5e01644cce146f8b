"""Principals: from a bearer token to who is asking, and the audit row of what they changed."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.models import ApiKey, AuditEntry, Workspace
from drystone.core.errors import Denied, Unavailable
from drystone.core.ids import new_id
from drystone.core.reach import Reach

DEFAULT_WORKSPACE = "default"
# Each holds those before it.
SCOPES = ("read", "write", "admin")


# Whatever the audit says was done.
Action = Literal[
    "batch.create",
    "batch.expect",
    "collection.create",
    "collection.delete",
    "collection.describe",
    "document.create",
    "document.delete",
    "document.describe",
    "document.replace",
    "draft.approve",
    "draft.create",
    "draft.delete",
    "draft.edit",
    "draft.expire",
    "draft.link",
    "draft.merge",
    "draft.rebase",
    "draft.reject",
    "draft.restore",
    "draft.revoke",
    "draft.submit",
    "draft.validate",
    "draft.withdraw",
    "embedding.cancelled",
    "embedding.finished",
    "embedding.rolled_back",
    "embedding.started",
    "embedding.switched",
    "entity.delete",
    "entity.publish",
    "entity.restore",
    "file.create",
    "file.delete",
    "job.cancel",
    "job.retry",
    "key.change",
    "key.create",
    "key.limit",
    "key.revoke",
    "key.rotate",
    "module.delete",
    "module.publish",
    "module.restore",
    "observations.add",
    "observations.delete",
    "profile.delete",
    "profile.publish",
    "profile.restore",
    "reader.create",
    "reader.remove",
    "reader.rotate",
    "scrub.request",
    "visit.begin",
    "visit.end",
    "webhook.change",
    "webhook.create",
    "webhook.delete",
    "webhook.redeliver",
    "webhook.rotate",
    "webhook.test",
]
ACTIONS: tuple[str, ...] = get_args(Action)


@dataclass(frozen=True)
class Limits:
    """What a key may upload between two midnights UTC; None: no limit."""

    documents_per_day: int | None = None
    bytes_per_day: int | None = None


@dataclass(frozen=True)
class Principal:
    """Who asks. Every service function takes one.

    collection_ids: the collections the key is confined to; None: all of the workspace. secret_sha256: of the secret that
    was shown; None: of whoever needed none.
    """

    workspace_id: UUID
    actor: str
    scopes: frozenset[str]
    collection_ids: frozenset[UUID] | None = None
    request_id: str | None = None
    limits: Limits = Limits()
    secret_sha256: bytes | None = field(default=None, repr=False)

    @property
    def reach(self) -> Reach:
        """The rows that this caller's transactions may see, whatever a statement forgets."""
        return Reach(self.workspace_id, self.collection_ids)

    @property
    def has_limits(self) -> bool:
        return self.limits != Limits()

    def require(self, scope: str) -> None:
        """Raise Denied unless the scope was granted, or one that holds it."""
        if self.scopes.isdisjoint(SCOPES[SCOPES.index(scope) :]):
            raise Denied(
                "access.scope_missing",
                f"This key does not carry the scope {scope!r}.",
                hint="use a key with that scope",
                status=403,
                scope=scope,
            )

    def require_whole(self, scope: str) -> None:
        """Raise Denied unless the scope was granted for all of the workspace: for what is nobody's single collection."""
        self.require(scope)
        if self.collection_ids is not None:
            raise Denied(
                "access.confined",
                "This key is confined to some collections, and this concerns the whole workspace.",
                hint="use a key that is confined to none",
                status=403,
            )

    def may_see(self, collection_id: UUID) -> bool:
        return self.collection_ids is None or collection_id in self.collection_ids


async def authenticate(
    session: AsyncSession, token: str, *, request_id: str | None = None, limits: Limits = Limits()
) -> Principal:
    """The principal behind a bearer token. Unknown, expired and revoked look alike. Raises Denied.

    limits: of keys that have none of their own.
    """
    prefix, _, secret = token.partition(".")
    row = (await session.execute(_KEY, {"its_prefix": prefix})).one_or_none()
    if not _is_right(secret, row) or row is None:
        raise Denied(
            "access.key_unknown",
            "The API key is not known here.",
            hint='send "Authorization: Bearer <key>"; the first key is DRYSTONE_API_KEY in .env',
            status=401,
        )
    if row.is_use_to_note:
        await session.execute(_NOTE_USE, {"prefix": row.prefix})
    return principal_of(row, hashlib.sha256(secret.encode()).digest(), request_id=request_id, limits=limits)


def principal_of(row: Any, secret_sha256: bytes, *, request_id: str | None, limits: Limits) -> Principal:
    """The principal of a key's row. limits: where it has none of its own."""
    return Principal(
        workspace_id=row.workspace_id,
        actor=actor_of(row.prefix),
        scopes=frozenset(row.scopes),
        collection_ids=None if row.collection_ids is None else frozenset(row.collection_ids),
        request_id=request_id,
        secret_sha256=secret_sha256,
        limits=Limits(
            limits.documents_per_day if row.documents_per_day is None else row.documents_per_day,
            limits.bytes_per_day if row.bytes_per_day is None else row.bytes_per_day,
        ),
    )


async def is_known(session: AsyncSession, token: str) -> bool:
    """Whether a key is taken here. Its use is not noted."""
    prefix, _, secret = token.partition(".")
    row = (await session.execute(_KEY, {"its_prefix": prefix})).one_or_none()
    return row is not None and _is_right(secret, row)


def actor_of(prefix: str) -> str:
    """How a key is named as the one who did something."""
    return f"key:{prefix}"


def prefix_of(principal: Principal) -> str:
    """The other way round: what stands before the dot of the caller's key."""
    return principal.actor.removeprefix("key:")


def _is_right(secret: str, row: Any) -> bool:
    """Compared in constant time, whether there is such a key or not; during a rotation two secrets are right."""
    digest, none = hashlib.sha256(secret.encode()).digest(), b"\0" * 32
    is_present = hmac.compare_digest(digest, row.secret_sha256 if row else none)
    is_previous = hmac.compare_digest(digest, (row.previous_sha256 if row else None) or none)
    return is_present or is_previous


async def ensure_key(session: AsyncSession, token: str, *, name: str) -> None:
    """Make `token` a key of the default workspace with all scopes; an existing key of that prefix gets this secret.

    There is one such key: one of another prefix, from before the settings were changed, is revoked.
    """
    prefix, _, secret = token.partition(".")
    digest = hashlib.sha256(secret.encode()).digest()
    us = Principal(await default_workspace(session), actor="settings", scopes=frozenset())
    made = await session.execute(
        insert(ApiKey)
        .values(
            id=new_id(),
            workspace_id=us.workspace_id,
            name=name,
            prefix=prefix,
            secret_sha256=digest,
            scopes=list(SCOPES),
            is_from_settings=True,
        )
        .on_conflict_do_update(
            index_elements=[ApiKey.prefix],
            set_={
                "secret_sha256": digest,
                "scopes": list(SCOPES),
                "collection_ids": None,
                "expires_at": None,
                "revoked_at": None,
                "previous_secret_sha256": None,
                "previous_until": None,
                "is_from_settings": True,
            },
            where=(ApiKey.secret_sha256 != digest) | ~ApiKey.is_from_settings,
        )
        .returning(ApiKey.id)
    )
    for key_id in made.scalars():
        await record(session, us, "key.create", "key", key_id, prefix=prefix, name=name, scopes=SCOPES)
    for former in (await session.execute(_END_FORMER, {"prefix": prefix})).all():
        await record(session, us, "key.revoke", "key", former.id, prefix=former.prefix)


async def default_workspace(session: AsyncSession) -> UUID:
    """The id of the one workspace that the first migration makes."""
    found = await session.scalar(select(Workspace.id).where(Workspace.name == DEFAULT_WORKSPACE))
    if found is None:
        raise Unavailable("database.not_migrated", "The database holds no workspace.", hint='run "drystone db migrate"')
    return found


async def record(
    session: AsyncSession,
    principal: Principal,
    action: Action,
    subject_kind: str,
    subject_id: UUID | None,
    *,
    before_sha256: bytes | None = None,
    after_sha256: bytes | None = None,
    **details: Any,
) -> None:
    """Add the audit row of a change to the change's own transaction."""
    await session.execute(
        _RECORD,
        {
            "workspace_id": principal.workspace_id,
            "actor": principal.actor,
            "action": action,
            "subject_kind": subject_kind,
            "subject_id": subject_id,
            "request_id": principal.request_id,
            "before_sha256": before_sha256,
            "after_sha256": after_sha256,
            "details": json.dumps(details, default=str),
        },
    )


@dataclass(frozen=True)
class Entry:
    """What the audit says of one subject."""

    action: Action
    subject_kind: str
    subject_id: UUID
    before_sha256: bytes | None
    after_sha256: bytes | None
    details: dict[str, Any]


async def record_each(session: AsyncSession, principal: Principal, entries: Sequence[Entry]) -> None:
    """Add the audit rows of one change that did something else to each."""
    ours = {"workspace_id": principal.workspace_id, "actor": principal.actor, "request_id": principal.request_id}
    if entries:
        await session.execute(insert(AuditEntry), [ours | asdict(entry) for entry in entries])


async def record_all(
    session: AsyncSession, principal: Principal, action: Action, subject_kind: str, subject_ids: Sequence[UUID]
) -> None:
    """Add an audit row for each subject of one change to many."""
    rows = [
        {
            "workspace_id": principal.workspace_id,
            "actor": principal.actor,
            "action": action,
            "subject_kind": subject_kind,
            "subject_id": subject_id,
            "request_id": principal.request_id,
        }
        for subject_id in subject_ids
    ]
    if rows:
        await session.execute(insert(AuditEntry), rows)


# Built once: to put a statement together takes longer than to run it. Functions of the owner: whose key it is, and so what
# may be reached, is not known yet.
_KEY = text("""
select workspace_id, prefix, secret_sha256, previous_sha256, is_use_to_note, scopes, collection_ids, documents_per_day,
       bytes_per_day
from find_key(:its_prefix)
""")

_NOTE_USE = text("select note_key_use(:prefix)")

_END_FORMER = text("""
update api_keys set revoked_at = now(), previous_secret_sha256 = null, previous_until = null
where is_from_settings and prefix <> :prefix and revoked_at is null
returning id, prefix
""")

_RECORD = text("""
insert into audit (workspace_id, actor, action, subject_kind, subject_id, request_id, before_sha256, after_sha256,
                   details)
values (:workspace_id, :actor, :action, :subject_kind, :subject_id, :request_id, :before_sha256, :after_sha256,
        cast(:details as jsonb))
""")

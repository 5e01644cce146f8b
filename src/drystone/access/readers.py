"""Readers: roles of PostgreSQL for tools that speak SQL, each bound to a workspace and perhaps to some of its collections.

What they see are the views of the schema `reading`, by the rules of the migration that made them (docs/adr/0047). Sessions here
are of a role that may make roles: the superuser, or an owner who was given `CREATEROLE`. A role and its row are made in one
transaction. The password is told once; PostgreSQL is given a verifier of it, so it stands in no log of statements.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service
from drystone.access.models import Reader, Workspace
from drystone.access.service import Action, Principal
from drystone.core.clock import utc_now
from drystone.core.errors import Conflict, Invalid, NotFound
from drystone.core.ids import new_id

# Other databases of the same server have readers, too: their roles must not meet.
_PREFIX, _LETTERS, _LENGTH = "drystone_reader_", "abcdefghijkmnpqrstuvwxyz23456789", 10
_SECRET_BYTES = 32
# Iterations as PostgreSQL's own default has them: the password is 256 random bits.
_ITERATIONS, _SALT_BYTES = 4096, 16

# What a session of a reader begins with; it may set others for itself. Walks of the graph go on until enough rows pass,
# and give them in order, as PostgreSQL takes for granted where there is a join.
_SETTINGS = {
    "default_transaction_read_only": "on",
    "idle_in_transaction_session_timeout": "60s",
    "lock_timeout": "5s",
    "search_path": "reading, public",
    "jit": "off",
    "hnsw.ef_search": "160",
    "hnsw.iterative_scan": "strict_order",
}
# Only a superuser may set it, and no session can undo it: what its sorts and joins may write to the disk.
_SETTINGS_OF_SUPERUSER = {"temp_file_limit": "1GB"}
# By default everybody may make large objects, which are in no table, under no limit, and in every dump.
_CLOSED = ("lo_creat(integer)", "lo_create(oid)", "lo_from_bytea(oid, bytea)")


@dataclass(frozen=True)
class Terms:
    """What a reader may. collection_ids: None: all of the workspace, later ones too. expires_at: None: never.

    connections: at once. statement_s: after which a statement is ended, where its session sets nothing else.
    """

    collection_ids: Sequence[UUID] | None = None
    expires_at: datetime | None = None
    connections: int = 5
    statement_s: int = 30


@dataclass(frozen=True)
class Listed:
    """A reader, and what PostgreSQL says of its role. connections: how many it may have, None: it cannot connect; in_use: now."""

    reader: Reader
    workspace: str
    connections: int | None
    in_use: int

    @property
    def state(self) -> str:
        """active, expired, or `no role` that could connect here: as after a restore into another PostgreSQL."""
        if self.connections is None:
            return "no role"
        expires_at = self.reader.expires_at
        return "expired" if expires_at is not None and expires_at <= utc_now() else "active"


async def find_workspace(session: AsyncSession, name: str) -> UUID:
    """The id of the workspace of this name. Raises NotFound."""
    found = await session.scalar(select(Workspace.id).where(Workspace.name == name))
    if found is None:
        raise NotFound(
            "workspace.not_found", f"There is no workspace {name!r}.", hint="the first one is called default"
        )
    return found


async def create(session: AsyncSession, principal: Principal, name: str, terms: Terms) -> tuple[Reader, str]:
    """A new reader of the caller's workspace, and its password, which nobody can ask for again. Raises Invalid, Conflict."""
    _check_end(terms.expires_at)
    await _check_name(session, principal.workspace_id, name)
    reader = Reader(
        id=new_id(),
        workspace_id=principal.workspace_id,
        role=_PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH)),
        name=name,
        collection_ids=None if terms.collection_ids is None else list(terms.collection_ids),
        expires_at=terms.expires_at,
    )
    session.add(reader)
    await session.flush()
    password = _new_password()
    await _make_role(session, reader, password, terms)
    details = {"connections": terms.connections, "statement_s": terms.statement_s, "expires_at": terms.expires_at}
    await _record(session, principal, "reader.create", reader, collection_ids=terms.collection_ids, **details)
    return reader, password


async def every(session: AsyncSession) -> list[Listed]:
    """All readers of this database, of all workspaces, oldest first."""
    known: Mapping[str, Any] = {row.rolname: row for row in await session.execute(_ROLES)}
    rows = await session.execute(
        select(Reader, Workspace.name).join(Workspace, Workspace.id == Reader.workspace_id).order_by(Reader.id)
    )
    return [
        Listed(
            reader,
            workspace,
            known[reader.role].rolconnlimit if reader.role in known else None,
            known[reader.role].in_use if reader.role in known else 0,
        )
        for reader, workspace in rows
    ]


async def rotate(session: AsyncSession, actor: str, named: str) -> tuple[Reader, str]:
    """A new password; the one before is refused from now on and its connections are ended. A role that is missing is made again.

    named: by its role, or by a name that no other has. What its sessions begin with is set anew, but for the time of a statement:
    a role may change that of its own. Raises NotFound, Conflict; Invalid for one that has expired.
    """
    reader = await _lock(session, named)
    _check_end(reader.expires_at)
    role, password = reader.role, _new_password()
    if await session.scalar(_HAS_ROLE, {"role": role}):
        await _execute(session, f"alter role {role} password '{verifier(password)}'")
        await _set_up(session, role, _SETTINGS)
        await session.execute(_END, {"role": role})
    else:
        await _make_role(session, reader, password, Terms(expires_at=reader.expires_at))
    await _record(session, _as(reader, actor), "reader.rotate", reader)
    return reader, password


async def remove(session: AsyncSession, actor: str, named: str) -> str:
    """Remove a reader, its role and its connections: the next statement of any finds nothing. The role it was.

    named: by its role, or by a name that no other has. Raises NotFound, Conflict.
    A role that another database of the server knows, too, as after a restore beside this one, stays and cannot connect here.
    """
    reader = await _lock(session, named)
    role = reader.role
    await _record(session, _as(reader, actor), "reader.remove", reader)
    await session.delete(reader)
    await session.flush()
    if await session.scalar(_HAS_ROLE, {"role": role}):
        await session.execute(_END, {"role": role})
        await _execute(session, f"revoke all on database {await _database(session)} from {role}")
        if not await session.scalar(_IS_USED_ELSEWHERE, {"role": role}):
            await _execute(session, f"drop role {role}")
    return role


def verifier(password: str) -> str:
    """What PostgreSQL keeps of a password, from which nobody can tell it. Source: RFC 5802, section 3; RFC 7677.

    The password is plain ASCII, so there is nothing to normalise.
    """
    salt = secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    client = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt_64, client_64, server_64 = (base64.b64encode(each).decode() for each in (salt, client, server))
    return f"SCRAM-SHA-256${_ITERATIONS}:{salt_64}${client_64}:{server_64}"


async def _make_role(session: AsyncSession, reader: Reader, password: str, terms: Terms) -> None:
    """Nothing is granted but to connect: the views are open to everybody, and show each what its row in `readers` says."""
    role = reader.role
    until = "infinity" if terms.expires_at is None else terms.expires_at.isoformat()
    await _execute(
        session,
        f"create role {role} login noinherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls"
        f" connection limit {int(terms.connections)} valid until '{until}' password '{verifier(password)}'",
    )
    await _set_up(session, role, _SETTINGS | {"statement_timeout": f"{int(terms.statement_s)}s"})


async def _set_up(session: AsyncSession, role: str, settings: Mapping[str, str]) -> None:
    """What sessions of the role begin with, where they may connect, and what a superuser closes to all roles."""
    await _execute(session, "select '[1]'::vector")  # settings of an extension are unknown until it was used
    is_superuser = await session.scalar(text("select rolsuper from pg_roles where rolname = current_user"))
    for name, value in {**settings, **(_SETTINGS_OF_SUPERUSER if is_superuser else {})}.items():
        said = value if name == "search_path" else f"'{value}'"
        await _execute(session, f"alter role {role} set {name} = {said}")
    if is_superuser and await session.scalar(_IS_OPEN, {"function": _CLOSED[0]}):
        await _execute(session, f"revoke execute on function {', '.join(_CLOSED)} from public")
    await _execute(session, f"grant connect on database {await _database(session)} to {role}")


async def _database(session: AsyncSession) -> str:
    return str(await session.scalar(text("select quote_ident(current_database())")))


async def _execute(session: AsyncSession, statement: str) -> None:
    """A statement that takes no parameters, nor colons for them."""
    await (await session.connection()).exec_driver_sql(statement)


async def _lock(session: AsyncSession, named: str) -> Reader:
    statement = select(Reader).where(or_(Reader.role == named, Reader.name == named)).order_by(Reader.id)
    found = list(await session.scalars(statement.with_for_update()))
    chosen = [each for each in found if each.role == named] or found
    if not chosen:
        raise NotFound("reader.not_found", f"There is no reader {named!r}.", hint='"drystone readers list" tells them')
    if len(chosen) > 1:
        raise Conflict(
            "reader.several",
            f"{len(chosen)} readers are called {named!r}.",
            hint=f"name one by its role: {', '.join(each.role for each in chosen)}",
        )
    return chosen[0]


async def _check_name(session: AsyncSession, workspace_id: UUID, name: str) -> None:
    role = await session.scalar(select(Reader.role).where(Reader.workspace_id == workspace_id, Reader.name == name))
    if role is not None:
        raise Conflict(
            "reader.exists",
            f"There is a reader {name!r} already, with the role {role}.",
            hint=f'"drystone readers rotate {role}" gives it a new password; or choose another name',
        )


def _as(reader: Reader, actor: str) -> Principal:
    return Principal(reader.workspace_id, actor, frozenset())


def _new_password() -> str:
    return f"dsr_{secrets.token_urlsafe(_SECRET_BYTES)}"


def _check_end(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= utc_now():
        raise Invalid("reader.expires_in_past", f"{expires_at:%Y-%m-%d %H:%M:%S %Z} is over.", hint="name a later end")


async def _record(session: AsyncSession, principal: Principal, action: Action, reader: Reader, **details: Any) -> None:
    await service.record(session, principal, action, "reader", reader.id, role=reader.role, name=reader.name, **details)


_ROLES = text(r"""
select rolname, rolconnlimit, (select count(*) from pg_stat_activity where usesysid = pg_roles.oid) as in_use
from pg_roles
where rolname like 'drystone\_reader\_%' and has_database_privilege(oid, current_database(), 'connect')
""")
_HAS_ROLE = text("select exists (select from pg_roles where rolname = :role)")
_IS_OPEN = text("select has_function_privilege('public', :function, 'execute')")
_IS_USED_ELSEWHERE = text("""
select exists (
    select from pg_shdepend join pg_roles on refclassid = 'pg_authid'::regclass and refobjid = oid where rolname = :role
)
""")
# By whoever may: a session that is left finds nothing any more, for its role has no row.
_END = text("""
select pg_terminate_backend(pid) from pg_stat_activity
where usename = :role and exists (select from pg_roles where rolname = current_user and rolsuper)
""")

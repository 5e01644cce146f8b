"""Statements about the database as a whole, by the role that owns it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.core.errors import Unavailable


@dataclass(frozen=True)
class Moment:
    """A snapshot that others may look at while this transaction lasts. at: ISO 8601, by the database's clock."""

    snapshot: str
    at: str
    postgres: str


async def hold(session: AsyncSession) -> Moment:
    """Begin to look at the database as it is now, for as long as the transaction lasts."""
    await session.execute(text("set transaction isolation level repeatable read, read only"))
    await session.execute(text("set local idle_in_transaction_session_timeout = 0"))  # pg_dump works meanwhile
    row = (await session.execute(_MOMENT)).one()
    return Moment(row.snapshot, row.at.isoformat(), row.postgres)


async def server_major(session: AsyncSession) -> int:
    """The major version of PostgreSQL that answers."""
    return int(await session.scalar(text("select current_setting('server_version_num')")) or 0) // 10_000


async def counts(session: AsyncSession) -> dict[str, int]:
    """Rows of each table."""
    tables = await session.scalars(_TABLES)
    return {table: int(await session.scalar(text(f"select count(*) from {_name(table)}")) or 0) for table in tables}


async def what_is_there(session: AsyncSession) -> list[str]:
    """What a restore would destroy, in words; nothing in a database that is new, or that only `up` has touched."""
    found = []
    for table in ("collections", "documents", "webhooks"):
        if await _exists(session, table) and (rows := await session.scalar(text(f"select count(*) from {table}"))):
            found.append(f"{rows} {table}")
    if await _exists(session, "api_keys"):
        keys = await session.scalar(text("select count(*) from api_keys where not is_from_settings"))
        found += [f"{keys} API keys"] if keys else []
    return found


async def strangers(session: AsyncSession) -> list[str]:
    """Tables that are not ours: whose database is it?"""
    return [] if await _exists(session, "alembic_version") else list(await session.scalars(_TABLES))


async def users(session: AsyncSession) -> list[str]:
    """Which of our processes use the database at this moment, without those that make or mend it."""
    return list(await session.scalars(_USERS))


async def passages(session: AsyncSession, *, limit: int) -> list[Row[Any]]:
    """Some passages that search can find, of all collections: workspace_id, collection, text. The same ones each time."""
    return list((await session.execute(_PASSAGES, {"limit": limit})).all())


async def _exists(session: AsyncSession, table: str) -> bool:
    return await session.scalar(text("select to_regclass(:table)"), {"table": table}) is not None


def _name(table: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", table):
        raise Unavailable("backup.strange_table", f"The database has a table {table!r}, which is none of ours.")
    return table


_MOMENT = text("""
select pg_export_snapshot() as snapshot, clock_timestamp() as at, current_setting('server_version') as postgres
""")

_TABLES = text("""
select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'public' and c.relkind in ('r', 'p')
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by 1
""")

_USERS = text("""
select distinct application_name from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and application_name like 'drystone-%'
  and application_name not in ('drystone-backup', 'drystone-migrate', 'drystone-restore')
order by 1
""")

_PASSAGES = text("""
select d.workspace_id, k.name as collection, c.text
from chunks c
join documents d on d.id = c.document_id and d.current_version_id = c.version_id and d.deleted_at is null
join collections k on k.id = d.collection_id and k.deleted_at is null
order by md5(cast(c.id as text)) limit :limit
""")

# Run in the transaction of a restore, before it and after it. What the owner owns is all there is; extensions are the
# superuser's and stay, and where the owner made one, it makes it again.
EMPTY = (
    """do $$
    declare
        own text[] := array(select extname from pg_extension where pg_get_userbyid(extowner) = current_user);
        name text;
    begin
        drop owned by current_user;
        foreach name in array own loop
            execute format('create extension if not exists %I', name);
        end loop;
    end $$""",
)

# Transaction ids of another cluster mean nothing here: all events become one transaction's, in the order of their ids, and
# each webhook goes on with the first event that it was not told of.
RENEW = (
    "set local search_path = public",  # the dump empties it
    """update webhooks set cursor_id = coalesce(
           (select min(id) - 1 from events where (events.xid, events.id) > (webhooks.cursor_xid, webhooks.cursor_id)
               and events.workspace_id = webhooks.workspace_id),
           (select max(id) from events), webhooks.cursor_id)""",
    "update webhooks set cursor_xid = pg_current_xact_id()",
    "update events set xid = pg_current_xact_id()",
)

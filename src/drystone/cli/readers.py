"""`drystone readers`: roles of PostgreSQL for tools that speak SQL. docs/guides/sql.md

Speaks to PostgreSQL itself: roles are made by the superuser of `.env`, and not by web. Imports stay inside the commands.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncSession

    from drystone.access.models import Reader
    from drystone.access.readers import Listed
    from drystone.core.settings import Settings

readers = typer.Typer(
    no_args_is_help=True,
    help="""Tools that read with SQL: roles of PostgreSQL that see the views of the schema `reading`, and nothing else.

    [bold]Examples[/bold]
    drystone readers create grafana
    drystone readers create notebook -c papers --expires 30d
    drystone readers list
    drystone readers remove notebook""",
)

Named = Annotated[str, typer.Argument(metavar="NAME|ROLE", help="As `readers list` tells them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@readers.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    collection: Annotated[
        list[str] | None,
        typer.Option("--collection", "-c", help="The only collections it sees; all where none is named."),
    ] = None,
    workspace: Annotated[str, typer.Option("--workspace", help="Of which workspace.")] = "default",
    expires: Annotated[
        str | None, typer.Option(metavar="90d|12h|DATE|never", help="When it ends; never where left out.")
    ] = None,
    connections: Annotated[int, typer.Option(min=1, max=100, help="How many it may have at once.")] = 5,
    timeout: Annotated[int, typer.Option(min=1, max=86_400, metavar="SECONDS", help="Of a statement.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Make a role for a tool and print its address with the password. It is shown this once.

    [bold]Examples[/bold]
    drystone readers create grafana --connections 10
    URL=$(drystone readers create notebook --collection papers --expires 30d)
    """
    import asyncio

    from drystone.cli.keys import end_of

    settings, ends = _settings(), end_of(expires)
    made, password = asyncio.run(_create(settings, name, collection, workspace, ends, connections, timeout))
    _show(settings, made, password, as_json=as_json)


@readers.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the readers of all workspaces, oldest first: role, what it is for, what it sees, connections, end."""
    import asyncio

    from drystone.cli import listing, terminal

    found, names = asyncio.run(_list(_settings()))
    if as_json:
        terminal.print_json({"items": [_told(each) for each in found]})
    else:
        listing.show_readers(found, names)


@readers.command("rotate")
def rotate(reader: Named, as_json: AsJson = False) -> None:
    """Give a reader a new password and print its address. Connections with the one before are ended.

    A role that is missing, as after a restore into another PostgreSQL, is made again.
    """
    import asyncio

    settings = _settings()
    made, password = asyncio.run(_rotate(settings, reader))
    _show(settings, made, password, as_json=as_json)


@readers.command("remove")
def remove(reader: Named) -> None:
    """Remove a reader, its role and its connections."""
    import asyncio

    from drystone.cli import terminal

    role = asyncio.run(_remove(_settings(), reader))
    terminal.say(f"{role} is removed")


async def _create(
    settings: Settings,
    name: str,
    collection: list[str] | None,
    workspace: str,
    ends: str | None,
    connections: int,
    timeout_s: int,
) -> tuple[Reader, str]:
    from datetime import datetime

    from drystone.access import readers as room
    from drystone.access.readers import Terms
    from drystone.access.service import Principal
    from drystone.documents import collections

    async with _session(settings) as session:
        us = Principal(await room.find_workspace(session, workspace), _actor(), frozenset({"admin"}))
        named = [(await collections.get(session, us, each)).id for each in dict.fromkeys(collection or ())]
        expires_at = None if ends is None else datetime.fromisoformat(ends)
        return await room.create(session, us, name, Terms(named or None, expires_at, connections, timeout_s))


async def _list(settings: Settings) -> tuple[list[Listed], dict[str, str]]:
    """All readers, and the names of the collections there are, by their ids."""
    from sqlalchemy import select

    from drystone.access import readers as room
    from drystone.documents.models import Collection

    async with _session(settings) as session:
        rows = (await session.execute(select(Collection.id, Collection.name))).all()
        return await room.every(session), {str(row.id): row.name for row in rows}


async def _rotate(settings: Settings, named: str) -> tuple[Reader, str]:
    from drystone.access import readers as room

    async with _session(settings) as session:
        return await room.rotate(session, _actor(), named)


async def _remove(settings: Settings, named: str) -> str:
    from drystone.access import readers as room

    async with _session(settings) as session:
        return await room.remove(session, _actor(), named)


@asynccontextmanager
async def _session(settings: Settings) -> AsyncIterator[AsyncSession]:
    """A transaction of whoever may make roles: the superuser where its password is known, else the owner of the schema."""
    import asyncpg
    from sqlalchemy.exc import DBAPIError

    from drystone.core.db import make_engine, make_sessions, transaction
    from drystone.core.errors import Denied, Unavailable

    engine = make_engine(_url(settings), pool_size=1, application_name="drystone-readers")
    try:
        async with transaction(make_sessions(engine)) as session:
            yield session
    except (DBAPIError, asyncpg.PostgresError) as exc:
        state = getattr(exc.orig if isinstance(exc, DBAPIError) else exc, "sqlstate", "")
        if state == "42501":
            owner = settings.database.migration_parts.user
            raise Denied(
                "readers.may_not_make_roles",
                f"PostgreSQL lets {owner} make no roles, or not this one.",
                hint="set POSTGRES_SUPERUSER_PASSWORD for this one command, or have somebody who may run"
                f" ALTER ROLE {owner} CREATEROLE in that server",
            ) from exc
        if state in ("28P01", "28000"):
            raise Unavailable(
                "database.unavailable",
                "PostgreSQL refuses the superuser, or the owner where no password of a superuser is set.",
                hint="check POSTGRES_SUPERUSER_PASSWORD; where it is empty, MIGRATION_DATABASE_URL",
            ) from exc
        raise
    finally:
        await engine.dispose()


def _url(settings: Settings) -> str:
    from urllib.parse import quote

    url = settings.database.migration_url.get_secret_value()
    password = settings.database.superuser_password.get_secret_value()
    return _with_role(url, "postgres", quote(password, safe="")) if password else url


def _with_role(url: str, role: str, password: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{role}:{password}@{rest.rpartition('@')[2]}"


def _show(settings: Settings, reader: Reader, password: str, *, as_json: bool) -> None:
    from drystone.cli import terminal

    url = _with_role(settings.database.url.get_secret_value(), reader.role, password)
    if as_json:
        told = {"id": str(reader.id), "role": reader.role, "name": reader.name, "password": password, "url": url}
        terminal.print_json(told)
        return
    terminal.say(f"this is the address for {reader.name!r}, with the role {reader.role}; it is not shown again")
    typer.echo(url)


def _told(found: Listed) -> dict[str, Any]:
    reader = found.reader
    return {
        "id": str(reader.id),
        "role": reader.role,
        "name": reader.name,
        "workspace": found.workspace,
        "collection_ids": None if reader.collection_ids is None else [str(each) for each in reader.collection_ids],
        "state": found.state,
        "connections": found.connections,
        "in_use": found.in_use,
        "created_at": reader.created_at.isoformat(),
        "expires_at": None if reader.expires_at is None else reader.expires_at.isoformat(),
    }


def _actor() -> str:
    """Whoever has `.env` is the operator; the audit tells by which account of the machine."""
    import getpass

    return f"operator:{getpass.getuser()}"


def _settings() -> Settings:
    from drystone.core import logging
    from drystone.core.settings import load
    from drystone.stack import root

    logging.configure("WARNING", "console")
    return load(root.find())

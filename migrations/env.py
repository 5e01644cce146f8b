"""Runs migrations as the owner, under an advisory lock, with lock and statement timeouts.

`drystone.schema` hands over a connection and the name of the application role; `alembic` on the command line makes its own from the settings.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import sqlalchemy as sa
from alembic import context
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from drystone.core.db import driver_url
from drystone.core.settings import load
from drystone.jobs.models import Xid8
from drystone.tables import metadata

ischema_names["xid8"] = Xid8  # SQLAlchemy's reflection does not know this type

# Any constant does, as long as it stays: "drystone" on a telephone's keys.
ADVISORY_LOCK = 37978663

_MADE_LATER = re.compile(r"vectors_|(detached_)?(observations|observation_hours)_\d{4}_\d\d")


def include_name(name: str | None, kind: str, _parents: Any) -> bool:
    """Vector tables are made for each embedding space, and months of observations as they come, not by revisions."""
    return not (kind == "table" and _MADE_LATER.match(name or ""))


def migrate(connection: Connection) -> None:
    """Run what was asked, in one transaction a revision."""
    connection.execute(sa.text("set statement_timeout = '60s'"))
    connection.execute(sa.text(f"select pg_advisory_lock({ADVISORY_LOCK})"))
    connection.execute(sa.text("set lock_timeout = '5s'"))
    connection.commit()
    try:
        context.configure(
            connection=connection,
            target_metadata=metadata,
            include_name=include_name,
            transaction_per_migration=True,
            compare_server_default=False,
        )
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.rollback()
        connection.execute(sa.text(f"select pg_advisory_unlock({ADVISORY_LOCK})"))
        connection.commit()


async def migrate_from_settings() -> None:
    """The way of the `alembic` command: URL from .env or the shell."""
    database = load().database
    context.config.attributes["app_role"] = database.parts.user
    engine = create_async_engine(driver_url(database.migration_url.get_secret_value()), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    asyncio.run(migrate_from_settings())

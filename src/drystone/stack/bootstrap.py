"""What only PostgreSQL's superuser may do: roles, database, extensions. Nothing of the schema; that is migrations'.

Everything may be run again at each start: passwords follow the settings.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from drystone.core.consistency import LOCAL_HOSTS
from drystone.core.settings import DatabaseSettings
from drystone.stack.probes import NotYet, postgres_session
from drystone.stack.providers import EXTENSIONS

# Of the application's role. The owner's has none: migrations, dumps and restores may take long.
_LIMITS = {"statement_timeout": "60s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "60s"}

# Nobody but the superuser has anything to do there: roles of readers could write what no limit counts.
_OF_THE_SERVER = ("postgres", "template1")


async def postgres(settings: DatabaseSettings) -> None:
    """Make the two roles, the owner's database and its extensions, or bring them up to date."""
    parts, owner = settings.parts, settings.migration_parts
    async with superuser_session(settings, "postgres") as connection:
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            raise NotYet("it is starting up: it recovers from an archive, or follows another server")
        # Two at once would change the same role, and PostgreSQL refuses the second. Held until the session ends.
        await connection.execute("SELECT pg_advisory_lock(7355008)")
        # A statement that fails is logged whole, and these hold passwords.
        await connection.execute("SET log_min_error_statement = panic")
        for role, password in ((owner.user, owner.password), (parts.user, parts.password)):
            await _make_role(connection, role, password)
        await _limit_role(connection, parts.user)
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", parts.database):
            await connection.execute(f"CREATE DATABASE {_name(parts.database)} OWNER {_name(owner.user)}")
        await _restrict_database(connection, parts.database, parts.user)
        for database in _OF_THE_SERVER:
            await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    async with superuser_session(settings, parts.database) as connection:
        for extension in EXTENSIONS:
            await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {_name(extension)}")
        await connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")


def superuser_session(settings: DatabaseSettings, database: str) -> AbstractAsyncContextManager[Any]:
    """A connection as the superuser. Raises NotYet or WrongPassword."""
    server: dict[str, Any] = {
        "host": settings.parts.host,
        "port": settings.parts.port,
        "user": "postgres",
        "password": settings.superuser_password.get_secret_value(),
    }
    if settings.parts.host in LOCAL_HOSTS:
        server["ssl"] = False
    return postgres_session(database=database, **server)


async def _make_role(connection: Any, role: str, password: str) -> None:
    exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
    verb = "ALTER" if exists else "CREATE"
    await connection.execute(
        f"{verb} ROLE {_name(role)} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOREPLICATION"
        f" PASSWORD {literal(password)}"
    )


async def _limit_role(connection: Any, role: str) -> None:
    """For whoever comes with this role and sets no limits; our own processes set theirs for each connection."""
    for name, value in _LIMITS.items():
        await connection.execute(f"ALTER ROLE {_name(role)} SET {name} = {literal(value)}")


async def _restrict_database(connection: Any, database: str, app_role: str) -> None:
    await connection.execute(f"REVOKE ALL ON DATABASE {_name(database)} FROM PUBLIC")
    await connection.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {_name(database)} TO {_name(app_role)}")


def _name(identifier: str) -> str:
    # Roles, databases and passwords cannot be bound as parameters in these statements.
    return '"' + identifier.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A string as an SQL literal that cannot end early, whatever it holds."""
    return "'" + value.replace("'", "''") + "'"

"""The database's schema as a whole: migrate, where it stands, where it should stand. Uses the owner role."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.core.db import make_engine, make_sessions, transaction
from drystone.core.settings import Settings
from drystone.index import feeding, spaces

if TYPE_CHECKING:
    from alembic.config import Config


# The newest revision in migrations/; said here so that web and worker need no Alembic to know it.
HEAD = "0027_readers_end"
# The longest that a migration may build one index. All else has the limit of migrations/env.py.
_BUILD_S = 86_400


def config(root: Path, app_role: str) -> Config:
    """Alembic's configuration of the project in `root`."""
    from alembic.config import Config

    made = Config(root / "alembic.ini")
    # The file says %(here)s, into which a folder with a % in its name does not fit.
    made.set_main_option("script_location", str(root / "migrations").replace("%", "%%"))
    made.attributes["app_role"] = app_role
    return made


def revisions(root: Path) -> set[str]:
    """Every revision that this code knows."""
    from alembic.script import ScriptDirectory

    return {each.revision for each in ScriptDirectory.from_config(config(root, "")).walk_revisions()}


async def current(session: AsyncSession) -> str | None:
    """The revision the database is at; None before the first migration."""
    if await session.scalar(text("select to_regclass('alembic_version')")) is None:
        return None
    revision: str | None = await session.scalar(text("select version_num from alembic_version"))
    return revision


async def ways_round_security(session: AsyncSession) -> list[str]:
    """What keeps row-level security from holding for the role that asks; mostly nothing."""
    row = (await session.execute(_ROLE)).one()
    said = {"is a superuser": row.is_super, "may bypass it": row.is_bypassing, "owns tables": row.is_owner}
    return [way for way, is_open in said.items() if is_open]


def is_known(revision: str, root: Path) -> bool:
    """Whether the project's migrations lead to or past this revision; a newer version of the code may have made another."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(config(root, app_role=""))
    return any(script.revision == revision for script in scripts.walk_revisions())


async def migrate(settings: Settings, root: Path) -> None:
    """Bring the schema to HEAD, one migrator at a time; then make sure of the spaces and the first key."""
    engine = make_engine(
        settings.database.migration_url.get_secret_value(),
        pool_size=1,
        application_name="drystone-migrate",
        command_timeout_s=_BUILD_S,
    )
    sessions = make_sessions(engine)
    try:
        async with transaction(sessions) as session:
            found = await current(session)
        if found != HEAD:
            async with engine.connect() as connection:
                await connection.run_sync(_upgrade, root, settings.database.parts.user)
        async with transaction(sessions) as session:
            keeps_graph = settings.vectors.store == "pgvector"
            for space in (*spaces.configured(settings), *await spaces.all_of_callers(session)):
                await spaces.ensure(session, space.model, space.dimension, graph=keeps_graph)
            if keeps_graph:
                await feeding.end(session)
            await access.ensure_key(session, settings.api.key.get_secret_value(), name="first key")
    finally:
        await engine.dispose()


_ROLE = text("""
select rolsuper as is_super, rolbypassrls as is_bypassing,
       exists (
           select from pg_class where relnamespace = cast('public' as regnamespace) and relkind = 'r' and not rolsuper and pg_has_role(relowner, 'member')
       ) as is_owner
from pg_roles where rolname = current_user
""")


def _upgrade(connection: Connection, root: Path, app_role: str) -> None:
    from alembic import command

    alembic = config(root, app_role)
    alembic.attributes["connection"] = connection
    command.upgrade(alembic, "head")

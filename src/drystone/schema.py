"""The database's schema as a whole: migrate, where it stands, where it should stand. Uses the owner role."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.core.db import make_engine, make_sessions, transaction
from drystone.core.settings import Settings
from drystone.index import spaces
from drystone.resources import space_of


def config(root: Path, app_role: str) -> Config:
    """Alembic's configuration of the project in `root`."""
    made = Config(root / "alembic.ini")
    made.attributes["app_role"] = app_role
    return made


def head(root: Path) -> str:
    """The newest revision in the code."""
    found = ScriptDirectory.from_config(Config(root / "alembic.ini")).get_current_head()
    assert found is not None
    return found


async def current(session: AsyncSession) -> str | None:
    """The revision the database is at; None before the first migration."""
    if await session.scalar(text("select to_regclass('alembic_version')")) is None:
        return None
    revision: str | None = await session.scalar(text("select version_num from alembic_version"))
    return revision


async def migrate(settings: Settings, root: Path, *, revision: str = "head") -> None:
    """Bring the schema to `revision`, one migrator at a time; then make sure of the space and the first key."""
    engine = make_engine(
        settings.database.migration_url.get_secret_value(), pool_size=1, application_name="drystone-migrate"
    )
    alembic = config(root, settings.database.parts.user)

    def upgrade(connection: Connection) -> None:
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, revision)

    try:
        async with engine.connect() as connection:
            await connection.run_sync(upgrade)
        if revision == "head":
            async with transaction(make_sessions(engine)) as session:
                space = space_of(settings.embedding)
                await spaces.ensure(session, space.model, space.dimension)
                await access.ensure_key(session, settings.api.key.get_secret_value(), name="first key")
    finally:
        await engine.dispose()

"""A PostgreSQL for a while: on a free port, in a temporary folder, gone afterwards."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from drystone.core.settings import DatabaseSettings, Settings
from drystone.stack import ports
from drystone.stack.services import POSTGRES
from drystone.stack.supervise import Servers


@contextlib.contextmanager
def postgres(settings: Settings, root: Path, *, scratch: Path | None = None) -> Iterator[Settings]:
    """The settings of a PostgreSQL that holds nothing yet: roles, database and passwords are as in these.

    scratch: where its folder is made; the system's place for temporary files otherwise.
    """
    folder = Path(tempfile.mkdtemp(prefix="drystone-elsewhere-", dir=scratch))
    folder.chmod(0o711)  # PostgreSQL may have to pass through as user nobody
    try:
        elsewhere = _elsewhere(settings, folder)
        with Servers(elsewhere, root, durable=False, services=(POSTGRES,)):
            yield elsewhere
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _elsewhere(settings: Settings, data_dir: Path) -> Settings:
    app, owner = settings.database.parts, settings.database.migration_parts
    port = ports.find((0,), taken=[app.port])
    given = settings.database.superuser_password.get_secret_value()

    def moved(url: SecretStr) -> SecretStr:
        """The same role and password, at the port of ours."""
        whose = url.get_secret_value().partition("://")[2].rpartition("@")[0]
        return SecretStr(f"postgresql://{whose}@127.0.0.1:{port}/{app.database}")

    database = DatabaseSettings(
        DATABASE_URL=moved(settings.database.url),
        MIGRATION_DATABASE_URL=moved(settings.database.migration_url),
        POSTGRES_SUPERUSER_PASSWORD=SecretStr(given or owner.password),
        DATABASE_POOL_SIZE=settings.database.pool_size,
    )
    stack = settings.stack.model_copy(update={"postgres_provider": _own_provider(settings)})
    general = settings.general.model_copy(update={"data_dir": data_dir})
    return settings.model_copy(update={"database": database, "general": general, "stack": stack})


def _own_provider(settings: Settings) -> str:
    """One that starts a server here, also where the stack's own is elsewhere."""
    return "auto" if settings.stack.postgres_provider == "external" else settings.stack.postgres_provider

"""Starts the PostgreSQL of POSTGRES_BIN as the native stack would, prepares it and brings the schema up, twice."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from drystone import schema
from drystone.core import settings as core_settings
from drystone.stack import dotenv
from drystone.stack.probes import NotYet
from drystone.stack.services import POSTGRES

DEADLINE_S = 60


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="drystone-migrations-"))
    environment = dotenv.make_environment(
        data_dir=folder, model_dir=folder / "models", POSTGRES_BIN=os.environ["POSTGRES_BIN"]
    )
    settings = core_settings.parse(environment)
    launch = POSTGRES.launch(settings, folder, durable=False)
    POSTGRES.prepare(launch)
    with subprocess.Popen(POSTGRES.argv(launch), env=POSTGRES.environment(launch)) as server:
        try:
            _wait(launch, server)
            for _ in range(2):
                asyncio.run(schema.migrate(settings, Path.cwd()))
        finally:
            server.send_signal(POSTGRES.stop_signal)
            server.wait(POSTGRES.stop_s)
    sys.stdout.write(f"{launch.program}: schema at {schema.HEAD}\n")


def _wait(launch, server) -> None:  # type: ignore[no-untyped-def]  # a script: mypy does not look here
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            return POSTGRES.ready(launch.settings)
        except NotYet:
            if server.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.1)


main()

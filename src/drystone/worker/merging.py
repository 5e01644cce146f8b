"""The merging of the keyword index, in every worker's main process: beside the sweep, which must not wait for it."""

from __future__ import annotations

import asyncio
import threading

from drystone.core.db import make_engine, make_sessions
from drystone.core.errors import Unavailable
from drystone.core.logging import get_logger
from drystone.core.settings import Settings
from drystone.index import merging

log = get_logger("worker.merging")


class Merging:
    """Runs until `stop` is set, in the thread that calls it."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings = settings
        self._stop = stop

    def run(self) -> None:
        """Merge what waits for it now, and then every `sweep_s` seconds."""
        with asyncio.Runner() as runner:
            engine = make_engine(
                self._settings.database.url.get_secret_value(), pool_size=2, application_name="drystone-merging"
            )
            sessions = make_sessions(engine)
            readers = make_sessions(engine.execution_options(isolation_level="REPEATABLE READ"))
            while not self._stop.is_set():
                try:
                    if merges := runner.run(merging.tidy(sessions, readers)):
                        log.debug("index.merged", merges=merges)
                except Unavailable as exc:
                    log.warning("merging.unavailable", code=exc.code)
                except Exception:  # tried again; it must never end
                    log.exception("merging.failed")
                self._stop.wait(self._settings.worker.sweep_s)
            runner.run(engine.dispose())

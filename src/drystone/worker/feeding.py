"""The feeding of a graph of vectors outside PostgreSQL, in every worker's main process; only where there is one."""

from __future__ import annotations

import asyncio
import threading

from drystone.core.db import make_engine, make_sessions
from drystone.core.errors import Unavailable
from drystone.core.logging import get_logger
from drystone.core.settings import Settings
from drystone.index import feeding
from drystone.resources import open_store

log = get_logger("worker.feeding")

# Of a call. Nobody waits for it, and a write may come while the server is optimising.
_TIMEOUT_S = 30.0


class Feeding:
    """Runs until `stop` is set, in the thread that calls it."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings = settings
        self._stop = stop

    def run(self) -> None:
        """Tell the graph what it does not know now, and then every `sweep_s` seconds."""
        with asyncio.Runner() as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        url = self._settings.database.url.get_secret_value()
        engine = make_engine(url, pool_size=2, application_name="drystone-feeding")
        store = open_store(self._settings.vectors, timeout_s=_TIMEOUT_S)
        assert store is not None, "it is not started without one"
        sessions = make_sessions(engine)
        while not self._stop.is_set():
            try:
                if changes := await feeding.feed(sessions, store):
                    log.debug("vectors.fed", changes=changes)
            except Unavailable as exc:
                log.warning("feeding.unavailable", code=exc.code)
            except Exception:  # tried again; it must never end
                log.exception("feeding.failed")
            await asyncio.to_thread(self._stop.wait, self._settings.worker.sweep_s)
        await store.aclose()
        await engine.dispose()

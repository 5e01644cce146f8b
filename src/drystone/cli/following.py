"""Follows the stream of a batch in a thread: tells which documents have ended, as the API tells it. Shows nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from drystone.cli.client import Client
from drystone.core.errors import DrystoneError

# A stream that cannot be had so often in a row is given up: who waits asks again and again instead.
_MAX_TRIES = 5

Ended = Callable[[str, str, dict[str, Any]], None]


class Follower:
    """Calls `ended(document_id, kind, data)` from its thread: kind is document.ready, .failed or .deleted.

    A stream that is cut is taken up after its last event. is_alive: whether it still tells.
    """

    def __init__(self, client: Client, batch_id: str, ended: Ended) -> None:
        self._client = client
        self._path = f"/batches/{batch_id}/events"
        self._ended = ended
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        last_id: str | None = None
        tries = 0
        while tries < _MAX_TRIES and not self._client.stop.wait(min(0.25 * 2**tries, 4.0) if tries else 0.0):
            tries += 1
            try:
                with self._client.events(self._path, last_id=last_id) as lines:
                    for event_id, kind, told in read(lines):
                        tries, last_id = 0, event_id or last_id
                        if kind in ("document.ready", "document.failed", "document.deleted"):
                            self._ended(told["data"]["document_id"], kind, told["data"])
            except (httpx.HTTPError, DrystoneError, OSError):
                continue  # the next try, or who waits asks


def read(lines: Iterator[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(id, kind, data) of each event in the lines of a stream."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line and name:
            fields[name] = value.removeprefix(" ")
        elif not line:
            if "event" in fields and "data" in fields:
                yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
            fields = {}

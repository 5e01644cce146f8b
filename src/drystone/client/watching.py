"""Events, as they happen: a stream that breaks is taken up after the last event that came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from drystone.client.answers import understood
from drystone.client.errors import unreachable
from drystone.client.models import Event
from drystone.client.operations import many
from drystone.client.retrying import answered
from drystone.client.room import Room, part
from drystone.client.steps import Emit, Many, Open, Pause, Read, Request

if TYPE_CHECKING:
    import httpx

# A stream says something at least each 15 s.
_SILENCE_S = 40.0
_END = "end"


class Events(Room):
    """What happens to documents, batches and collections: first a `snapshot` of how they are, then each event."""

    @many
    def of_document(self, document: str | UUID, *, last_id: str | None = None, follow: bool = False) -> Many[Event]:
        """Until it is ready, has failed or is deleted; follow: beyond that. last_id: go on after this event."""
        yield from self._watch(f"/documents/{part(document)}/events", last_id, follow)

    @many
    def of_batch(self, batch: str | UUID, *, last_id: str | None = None, follow: bool = False) -> Many[Event]:
        """Until the batch is done; follow: beyond that. last_id: go on after this event."""
        yield from self._watch(f"/batches/{part(batch)}/events", last_id, follow)

    @many
    def of_collection(self, collection: str | UUID, *, last_id: str | None = None) -> Many[Event]:
        """Until the collection is deleted, or whoever iterates leaves. last_id: go on after this event."""
        yield from self._watch(f"/collections/{part(collection)}/events", last_id, follow=False)

    def _watch(self, path: str, last_id: str | None, follow: bool) -> Many[Event]:
        import httpx

        told = self._told
        patience = told.retries.begin()
        while True:
            cause: httpx.TransportError | None = None
            response = yield from answered(Open(_stream(path, last_id, follow)), told.retries, url=told.url)
            lines = Lines()
            try:
                while part_of_it := (yield Read()):
                    patience = told.retries.begin()
                    with understood(response):
                        events = list(lines.feed(part_of_it))
                    for event in events:
                        last_id = event.id or last_id
                        if event.type == _END:
                            return
                        yield Emit(event)
            except httpx.TransportError as exc:
                cause = exc
            pause_s = patience.pause_s()
            if pause_s is None:
                raise unreachable(told.url, cause or httpx.RemoteProtocolError("the stream ended without an end"))
            yield Pause(pause_s)


def _stream(path: str, last_id: str | None, follow: bool) -> Request:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
    params = {"follow": True} if follow else {}
    return Request(
        "GET", path, params=params, headers=headers, is_repeatable=True, timeout_s=_SILENCE_S, answer="events"
    )


class Lines:
    """Events of the bytes of a stream. Source: WHATWG, HTML, 9.2.6, "Interpreting an event stream".

    Only its own line ends count: str.splitlines() would cut at U+2028, which may stand in the data.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, list[str]] = {}

    def feed(self, part: bytes) -> Iterator[Event]:
        """Events that are complete with this part."""
        whole = self._rest + part
        # A CR at the end may be the first half of a CRLF.
        held = whole.endswith(b"\r")
        lines = (whole[:-1] if held else whole).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop() + (b"\r" if held else b"")
        for line in lines:
            if (event := self._line(line.decode("utf-8", "replace"))) is not None:
                yield event

    def _line(self, line: str) -> Event | None:
        if line:
            name, _, value = line.partition(":")
            if name:  # else a comment, which only keeps the line open
                self._fields.setdefault(name, []).append(value.removeprefix(" "))
            return None
        fields, self._fields = self._fields, {}
        return _event(fields) if "data" in fields else None


def _event(fields: dict[str, list[str]]) -> Event:
    kind = fields.get("event", ["message"])[-1]
    try:
        said = json.loads("\n".join(fields["data"]))
    except (ValueError, RecursionError):
        said = None
    said = said if isinstance(said, dict) else {}
    # A snapshot is the thing itself; an event has an envelope.
    is_event = isinstance(said.get("data"), dict) and "timestamp" in said
    return Event(
        id=fields.get("id", [None])[-1],
        type=kind,
        timestamp=said["timestamp"] if is_event else None,
        data=said["data"] if is_event else said,
    )

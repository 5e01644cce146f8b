"""Sends many files at once and waits for what becomes of each. Shows nothing itself."""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from drystone.cli.answers import Document, Received
from drystone.cli.client import Client, upload_name
from drystone.cli.files import Source
from drystone.cli.following import Follower
from drystone.core.errors import Denied, DrystoneError, NotFound, Unavailable

Outcome = Literal["ready", "already_there", "pending", "failed", "refused", "not_sent"]
OUTCOMES: tuple[Outcome, ...] = ("ready", "already_there", "pending", "failed", "refused", "not_sent")

# Up to this many documents are asked for one by one; more are told apart by the list of those still pending.
_FEW = 3
_SHORTEST_POLL_S, _LONGEST_POLL_S = 0.15, 10.0
# Asking may take this share of the time, so that waiting for ten thousand files does not slow them down.
_POLL_SHARE = 0.1
_STALL_S = 60.0
# Without an event for so long, the API is asked what became of the documents.
_DOUBT_S = 20.0


@dataclass
class Item:
    """One file on its way. outcome is None until it has one; `code`, `message`, `hint` say why it failed or was refused."""

    source: Source
    outcome: Outcome | None = None
    document_id: str | None = None
    was_there: bool = False
    code: str | None = None
    message: str | None = None
    hint: str | None = None

    def end(
        self, outcome: Outcome, *, code: str | None = None, message: str | None = None, hint: str | None = None
    ) -> None:
        self.outcome, self.code, self.message, self.hint = outcome, code, message, hint


@dataclass(frozen=True)
class Report:
    """What became of all files. fatal: why not all of them were sent or waited for."""

    items: Sequence[Item]
    took_s: float
    fatal: DrystoneError | None

    @property
    def counts(self) -> dict[Outcome, int]:
        found = Counter(item.outcome for item in self.items)
        return {outcome: found[outcome] for outcome in OUTCOMES}

    @property
    def has_problems(self) -> bool:
        return any(item.outcome in ("failed", "refused") for item in self.items)

    def as_json(self) -> dict[str, Any]:
        counts: dict[str, Any] = dict(self.counts.items())
        return counts | {
            "took_s": round(self.took_s, 3),
            "files": [
                {
                    "path": item.source.label,
                    "outcome": item.outcome,
                    "document_id": item.document_id,
                    "code": item.code,
                    "message": item.message,
                    "hint": item.hint,
                }
                for item in self.items
            ],
        }


@dataclass(frozen=True)
class Watcher:
    """Whom to tell on the way. progress: files sent, and files with an outcome, so far; notice: a sentence."""

    progress: Callable[[int, int], None]
    notice: Callable[[str], None]


@dataclass
class Adding:
    """One run of `add`. fields: of the upload form, the same for every file; name: instead of the file's own.

    All files are one batch, whose stream tells when each has ended; without it, and for documents that another batch
    is about, the API is asked again and again.
    """

    client: Client
    sources: Sequence[Source]
    fields: Mapping[str, str]
    name: str | None = None
    wait: bool = True
    concurrency: int = 4
    _items: list[Item] = field(default_factory=list, init=False)
    _waiting: dict[str, list[Item]] = field(default_factory=dict, init=False)
    # What the stream told, also of documents whose upload was not answered yet; and those it will not tell of.
    _told: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict, init=False)
    _untold: set[str] = field(default_factory=set, init=False)
    _done: queue.SimpleQueue[tuple[Item, Future[Received | None]] | tuple[str, str, dict[str, Any]]] = field(
        default_factory=queue.SimpleQueue, init=False
    )
    _follower: Follower | None = field(default=None, init=False)
    _batch: dict[str, str] = field(default_factory=dict, init=False)
    _moved_at: float = field(default=0.0, init=False)
    _left: list[Item] = field(default_factory=list, init=False)
    _sent: int = field(default=0, init=False)
    _fatal: DrystoneError | None = field(default=None, init=False)

    @property
    def accepted(self) -> int:
        """How many files the API has taken in so far: these become ready or failed whatever happens here."""
        return sum(item.document_id is not None for item in self._items)

    def run(self, watcher: Watcher) -> Report:
        """Send all, wait for all. One refused file stops nobody; an API that stays away or a bad key stops all."""
        started = time.monotonic()
        self._items = [Item(source) for source in self.sources]
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="upload")
        try:
            self._send_all(pool, watcher)
        except Unavailable as exc:
            self._fatal = self._fatal or exc
        finally:
            self.client.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
        for item in self._items:
            if item.outcome is None:
                item.end("pending" if item.document_id else "not_sent")
        return Report(self._items, time.monotonic() - started, self._fatal)

    def _follow(self) -> None:
        try:
            batch_id = self.client.create_batch("drystone add")
        except DrystoneError:
            return  # the uploads will tell what is wrong
        self._batch = {"batch": batch_id}
        self._follower = Follower(self.client, batch_id, lambda *told: self._done.put(told))
        self._follower.start()

    def _send_all(self, pool: ThreadPoolExecutor, watcher: Watcher) -> None:
        if self.wait and self._items:
            self._follow()
        for item in self._items:
            future = pool.submit(self._send, item)
            future.add_done_callback(lambda future, item=item: self._done.put((item, future)))  # type: ignore[misc]  # mypy cannot infer a lambda's default
        poll_at = self._moved_at = time.monotonic()
        while self._sent < len(self._items) or (self._waiting and self._fatal is None):
            try:
                self._take(self._done.get(timeout=max(0.0, min(poll_at - time.monotonic(), 1.0))))
            except queue.Empty:
                if time.monotonic() >= poll_at:
                    before = len(self._waiting)
                    poll_at = time.monotonic() + self._poll()
                    self._moved_at = time.monotonic() if len(self._waiting) < before else self._moved_at
                if self._waiting and time.monotonic() - self._moved_at > _STALL_S:
                    watcher.notice(f"no file became ready for {_STALL_S:.0f} s: does the worker run? (drystone status)")
                    self._moved_at = time.monotonic()
            watcher.progress(self._sent, self._sent - sum(map(len, self._waiting.values())))
        self._tell_failed()

    def _take(self, done: tuple[Item, Future[Received | None]] | tuple[str, str, dict[str, Any]]) -> None:
        self._moved_at = time.monotonic()
        if len(done) == 2:
            self._sent += 1
            self._accept(done[0], done[1].result())
            return
        document_id, kind, data = done
        if kind == "document.failed" and not data.get("message"):
            self._untold.add(document_id)  # an event without a reason: the document has it
            return
        self._told[document_id] = (kind, data)
        for item in self._waiting.pop(document_id, []):
            _settle_told(item, kind, data)

    def _send(self, item: Item) -> Received | None:
        """Runs in a thread of the pool. None: refused, or not sent."""
        if self.client.stop.is_set():
            return None
        try:
            return self.client.upload(
                item.source.open,
                name=self.name or upload_name(item.source.path),
                fields={**self.fields, **item.source.fields, **self._batch},
            )
        except (Unavailable, Denied) as exc:
            # The next file would fare no better.
            self._fatal = self._fatal or exc
            self.client.stop.set()
        except DrystoneError as exc:
            item.end("refused", code=exc.code, message=exc.message, hint=exc.hint)
        except OSError as exc:
            item.end(
                "refused",
                code="file.unreadable",
                message=f"The file cannot be read: {exc.strerror}.",
                hint="check that it exists and may be read",
            )
        return None

    def _accept(self, item: Item, received: Received | None) -> None:
        if received is None:
            return
        document = received["document"]
        item.document_id, item.was_there = document["id"], received["already_there"]
        if document["state"] != "pending":
            _settle(item, document)
        elif self.wait and document["id"] in self._told:
            _settle_told(item, *self._told[document["id"]])
        elif self.wait:
            self._waiting.setdefault(document["id"], []).append(item)
            if item.was_there:
                self._untold.add(document["id"])  # it came with another batch, if with any
        else:
            item.end("already_there" if item.was_there else "pending")

    def _poll(self) -> float:
        """Look which documents are no longer pending; seconds until the next look."""
        asked = self._to_ask()
        if not asked:
            return _SHORTEST_POLL_S
        started = time.monotonic()
        if len(asked) <= _FEW:
            self._ask_each(asked)
        else:
            self._ask_by_list(asked)
        took_s = time.monotonic() - started
        return min(max(took_s / _POLL_SHARE, _SHORTEST_POLL_S), _LONGEST_POLL_S)

    def _to_ask(self) -> list[str]:
        """Documents of which no event will tell, or of all when events are missing for long."""
        is_told = self._follower is not None and self._follower.is_alive
        if is_told and time.monotonic() - self._moved_at < _DOUBT_S:
            return [document_id for document_id in self._waiting if document_id in self._untold]
        return list(self._waiting)

    def _ask_each(self, asked: Sequence[str]) -> None:
        for document_id in asked:
            try:
                document = self.client.document(document_id)
            except NotFound:
                for item in self._waiting.pop(document_id):
                    _settle_told(item, "document.deleted", {})
                continue
            if document["state"] != "pending":
                for item in self._waiting.pop(document_id):
                    _settle(item, document)

    def _ask_by_list(self, asked: Sequence[str]) -> None:
        pending = {
            document["id"]
            for page in self.client.document_pages(collection=self.fields["collection"], state="pending")
            for document in page
        }
        for document_id in asked:
            if document_id not in pending:
                self._left += self._waiting.pop(document_id)

    def _tell_failed(self) -> None:
        """Tell ready from failed among those that left the list of the pending: with one walk over the failed ones."""
        if not self._left:
            return
        failed = {
            document["id"]: document
            for page in self.client.document_pages(collection=self.fields["collection"], state="failed")
            for document in page
        }
        for item in self._left:
            document = failed.get(item.document_id or "")
            if document is not None:
                _settle(item, document)
            else:
                item.end("already_there" if item.was_there else "ready")


def _settle(item: Item, document: Document) -> None:
    error = document["error"]
    if document["state"] == "ready":
        item.end("already_there" if item.was_there else "ready")
    elif error is not None:
        item.end("failed", code=error["code"], message=error["message"], hint=error["hint"])
    else:
        item.end("failed", code="document.failed", message="It failed without a reason.")


def _settle_told(item: Item, kind: str, data: Mapping[str, Any]) -> None:
    """As an event told it."""
    if kind == "document.ready":
        item.end("already_there" if item.was_there else "ready")
    elif kind == "document.failed":
        item.end("failed", code=data.get("code"), message=data.get("message"), hint=data.get("hint"))
    else:
        item.end("failed", code="document.deleted", message="Somebody deleted it meanwhile.")

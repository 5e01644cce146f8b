"""Batches: uploads that are watched together."""

from __future__ import annotations

from uuid import UUID

from drystone.client.models import Batch
from drystone.client.operations import call
from drystone.client.room import Room, change, given, part
from drystone.client.steps import Flow, Request


class Batches(Room):
    """Uploads that are watched together: `documents.add(…, batch=batch.id)`."""

    @call
    def create(
        self, name: str | None = None, *, expected: int | None = None, idempotency_key: str | None = None
    ) -> Flow[Batch]:
        """An empty batch. expected: how many documents it will have; it is not done before."""
        request = change("POST", "/batches", given(name=name, expected=expected), key=idempotency_key)
        return (yield from self._one(request, Batch))

    @call
    def get(self, batch: str | UUID) -> Flow[Batch]:
        """One by its id: its documents by state, and the failed ones by reason."""
        return (yield from self._get(f"/batches/{part(batch)}", Batch))

    @call
    def expect(self, batch: str | UUID, expected: int | None) -> Flow[Batch]:
        """Say how many documents it will have: fewer come where files were refused, or were there already."""
        path = f"/batches/{part(batch)}"
        return (yield from self._one(Request("PATCH", path, json={"expected": expected}, is_repeatable=True), Batch))

    @call
    def wait(self, batch: str | UUID, *, timeout_s: float = 3600.0) -> Flow[Batch]:
        """The batch, once none of its documents is pending or expected. Raises StillPending after timeout_s."""
        return (yield from self._until("/batches", batch, Batch, _is_done, timeout_s=timeout_s))


def _is_done(batch: Batch) -> bool:
    """As docs/reference/events.md says; `done_at` follows when somebody has looked."""
    counts = batch.documents
    ended = counts.ready + counts.failed + counts.deleted
    return batch.done_at is not None or (counts.pending == 0 and ended >= (batch.expected or 1))

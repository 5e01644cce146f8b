"""Observations: written in bulk, read by series and time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

from drystone.client.models import (
    AddedObservations,
    Buckets,
    DeletedObservations,
    Observation,
    OnConflict,
    Series,
)
from drystone.client.operations import call, many
from drystone.client.room import Room, change, given, read
from drystone.client.steps import Emit, Flow, Many

Names: TypeAlias = "str | Sequence[str] | None"
Moment: TypeAlias = "str | datetime | None"

# What one bulk may have: 100 000 rows and 64 MiB.
_MOST_ROWS, _MOST_BYTES = 100_000, 64 << 20
_BULK_S = 300.0


class Observations(Room):
    """What was measured of entities."""

    @many
    def add(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        on_conflict: OnConflict = "replace",
        atomic: bool = False,
    ) -> Many[AddedObservations]:
        """Send rows (entity, metric, observed_at, value, and unit, source, attributes, evidence where there are such), in as
        many bulks as they need; what became of each bulk, as it was answered: iterate to send. Rows sent twice change nothing.

        atomic: each bulk as a whole or not at all.
        """
        params = {"on_conflict": on_conflict, "atomic": atomic}
        headers = {"Content-Type": "application/x-ndjson"}
        for bulk in _bulks(rows):
            request = change("POST", "/observations", content=bulk, params=params, headers=headers, timeout_s=_BULK_S)
            yield Emit((yield from self._one(request, AddedObservations)))

    @call
    def delete(
        self,
        entity: str,
        *,
        from_: str | datetime,
        until: str | datetime,
        metric: str | None = None,
        source: str | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Flow[DeletedObservations]:
        """Delete what was observed of an entity from a time up to another."""
        body = given(entity=entity, metric=metric, source=source, dry_run=dry_run)
        body |= {"from": _said(from_), "until": _said(until)}
        request = change("POST", "/observations/delete", body, key=idempotency_key)
        return (yield from self._one(request, DeletedObservations))

    @many
    def series(self, *, entity: Names = None, metric: Names = None, source: Names = None) -> Many[Series]:
        """What is observed of which entities."""
        yield from self._pages("/series", Series, entity=entity, metric=metric, source=source)

    @call
    def latest(
        self, *, entity: Names = None, metric: Names = None, source: Names = None, as_of: Moment = None
    ) -> Flow[list[Observation]]:
        """The newest observation of each series, or what was the newest at a time."""
        request = read("/observations/latest", entity=entity, metric=metric, source=source, as_of=as_of)
        return (yield from self._all(request, Observation))

    @call
    def buckets(
        self,
        *,
        entity: Names = None,
        metric: Names = None,
        source: Names = None,
        from_: Moment = None,
        until: Moment = None,
        tz: str | None = None,
        bucket: str | None = None,
        aggregate: str | None = None,
        fill: str | None = None,
    ) -> Flow[Buckets]:
        """Series side by side in buckets of time (`PT1H`, `P1D`, …); aggregate, fill: as docs/guides/observations.md says."""
        return (
            yield from self._get(
                "/observations/buckets",
                Buckets,
                entity=entity,
                metric=metric,
                source=source,
                from_=from_,
                until=until,
                tz=tz,
                bucket=bucket,
                aggregate=aggregate,
                fill=fill,
            )
        )

    @many
    def list(
        self,
        *,
        entity: Names = None,
        metric: Names = None,
        source: Names = None,
        from_: Moment = None,
        until: Moment = None,
        order: Literal["oldest", "newest"] = "oldest",
        page: int | None = None,
    ) -> Many[Observation]:
        """Raw observations by time. Times are ISO 8601, or ages such as `7d`."""
        yield from self._pages(
            "/observations",
            Observation,
            page=page,
            entity=entity,
            metric=metric,
            source=source,
            from_=from_,
            until=until,
            order=order,
        )


def _bulks(rows: Iterable[Mapping[str, Any]]) -> Iterable[bytes]:
    """Rows as NDJSON, as many at once as one request may have."""
    lines: list[bytes] = []
    size = 0
    for row in rows:
        line = json.dumps(dict(row), default=_said, allow_nan=False).encode() + b"\n"
        if lines and (len(lines) == _MOST_ROWS or size + len(line) > _MOST_BYTES):
            yield b"".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield b"".join(lines)


def _said(value: Any) -> str:
    return str(value.isoformat() if hasattr(value, "isoformat") else value)

"""The nearest vectors through a Qdrant: it names candidates, and PostgreSQL says which may be found and how near they are.

What Qdrant does not know yet is compared one by one. Whenever it cannot be relied on, PostgreSQL does it all: it has
every vector.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.core.errors import Unavailable
from drystone.core.logging import get_logger
from drystone.index import changes, spaces, vectors
from drystone.index.changes import MOST_PENDING, Feed
from drystone.index.lexical import is_in
from drystone.index.vectors import PgGraph, Within

if TYPE_CHECKING:
    from drystone.adapters.qdrant import Qdrant

log = get_logger(__name__)

# Where too few of so many pass the filter, the search had better look at all that do.
MOST_ASKED = 10_000
# After a failure PostgreSQL is asked at once for so long: not every search should wait for a server that hangs.
PAUSE_S = 5.0
# After so long in one search nothing more is asked of it: a transaction is open meanwhile.
MOST_SPENT_S = 2.0


class QdrantGraph:
    """A graph in Qdrant that `index.feeding` feeds; in its place, PostgreSQL with or without a graph of its own."""

    def __init__(self, store: Qdrant) -> None:
        self._store = store
        self._own = PgGraph()
        self._paused_until = 0.0

    async def walk(
        self, session: AsyncSession, space_id: int, within: Within, vector: np.ndarray, *, depth: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Graph.walk`. session: of repeatable read. What is gone from Qdrant was gone from PostgreSQL minutes before."""
        feed = await changes.feed(session, space_id)
        if feed is None or not feed.is_trusted or feed.pending > MOST_PENDING or time.monotonic() < self._paused_until:
            return await self._do_without(session, space_id, within, vector, depth)
        try:
            return await self._walk(session, space_id, feed, within, vector, depth)
        except Unavailable as exc:
            self._paused_until = time.monotonic() + PAUSE_S
            log.warning("vectors.without_qdrant", code=exc.code, pause_s=PAUSE_S)
            return await self._do_without(session, space_id, within, vector, depth)

    async def _do_without(
        self, session: AsyncSession, space_id: int, within: Within, vector: np.ndarray, depth: int
    ) -> tuple[np.ndarray, np.ndarray]:
        find = self._own.walk if await spaces.has_graph(session, space_id) else vectors.scan
        return await find(session, space_id, within, vector, depth=depth)

    async def _walk(
        self, session: AsyncSession, space_id: int, feed: Feed, within: Within, vector: np.ndarray, depth: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fewer than `depth` where too few of the nearest may be found. Asks for more until enough may."""
        name = changes.graph_name(space_id, feed.generation)
        seen = await changes.pending(session, space_id) if feed.pending else np.empty(0, np.int64)
        found = [await vectors.compare(session, space_id, within, vector, seen)] if len(seen) else []
        count, passed, began = 2 * depth, 0, time.monotonic()
        while True:
            near = await self._store.nearest(name, within.collection_ids, vector, count)
            new = near[~is_in(near, seen)]
            found.append(await vectors.compare(session, space_id, within, vector, new))
            seen = np.union1d(seen, new)
            passed += len(found[-1][0])
            if passed >= depth or len(near) < count or count == MOST_ASKED:
                return _nearest_of(found, depth)
            if time.monotonic() - began > MOST_SPENT_S:
                raise Unavailable("qdrant.slow", "Qdrant takes too long.", hint="its log tells why")
            count = min(MOST_ASKED, max(2 * count, math.ceil(1.5 * depth * count / max(passed, 1))))


def _nearest_of(found: list[tuple[np.ndarray, np.ndarray]], depth: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.concatenate([each[0] for each in found])
    scores = np.concatenate([each[1] for each in found])
    order = np.lexsort((ids, -scores))[:depth]
    return ids[order], scores[order]

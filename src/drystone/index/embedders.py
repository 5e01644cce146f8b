"""The models of a process, each for its own space: a text is never embedded by one model to be compared in another's space."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from drystone.adapters.embedding import Embedder
from drystone.core.errors import Unavailable
from drystone.core.logging import get_logger
from drystone.index import spaces
from drystone.index.spaces import Space

# A second model that failed is not asked for this long, and twice as long each time that it fails again.
_PAUSE_S, _LONGEST_PAUSE_S = 30.0, 600.0

log = get_logger("index.embedders")


class Embedders:
    """The configured embedders by space. The first is open, and new collections get its space; others open when used."""

    def __init__(
        self, space: Space, embedder: Embedder, others: Mapping[Space, Callable[[], Embedder]] | None = None
    ) -> None:
        self.current = space
        self._open: dict[Space, Embedder] = {space: embedder}
        self._openers = dict(others or {})
        self._opening = asyncio.Lock()
        self._spaces: dict[int, Space] = {}
        self._pauses: dict[Space, tuple[float, float]] = {}

    @property
    def spaces(self) -> Sequence[Space]:
        """Those of the configured models, that of new collections first."""
        return list(dict.fromkeys((self.current, *self._openers)))

    async def get(self, space: Space) -> Embedder:
        """The embedder of this space. Raises Unavailable where its model is not configured."""
        if space not in self._open and space in self._openers:
            async with self._opening:
                if space not in self._open:
                    log.info("embedder.opened", model=space.model)
                    self._open[space] = await asyncio.to_thread(self._openers[space])
        if space not in self._open:
            raise not_configured(space)
        return self._open[space]

    async def space(self, session: AsyncSession, space_id: int) -> Space:
        """The space of this id; it never changes, so each is read once a process."""
        if space_id not in self._spaces:
            self._spaces[space_id] = await spaces.get(session, space_id)
        return self._spaces[space_id]

    def is_paused(self, space: Space) -> bool:
        """Whether the model failed lately as a second one."""
        until, _ = self._pauses.get(space, (0.0, 0.0))
        return time.monotonic() < until

    def pause(self, space: Space) -> None:
        """Leave the model alone for a while."""
        _, before_s = self._pauses.get(space, (0.0, 0.0))
        pause_s = min(_LONGEST_PAUSE_S, 2 * before_s or _PAUSE_S)
        self._pauses[space] = (time.monotonic() + pause_s, pause_s)

    def resume(self, space: Space) -> None:
        """The model answers."""
        self._pauses.pop(space, None)

    async def aclose(self) -> None:
        for embedder in self._open.values():
            await embedder.aclose()


def not_configured(space: Space) -> Unavailable:
    """The error for a model that neither EMBEDDING_… nor NEXT_EMBEDDING_… names."""
    return Unavailable(
        "embedding.not_configured",
        f"The model {space.model} with {space.dimension} dimensions is not configured here.",
        hint="name it in the EMBEDDING_ or NEXT_EMBEDDING_ variables, and start web and worker anew",
        model=space.model,
    )

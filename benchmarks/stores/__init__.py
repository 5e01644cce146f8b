"""What `benchmarks.peers` sets Drystone beside. Each store runs in a process and an environment of its own.

Nothing here imports a library before the store that needs it is opened: in the project's own environment there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Passage:
    """What is stored: `text` is what Drystone's ingestion makes of a part of the document, title line included."""

    document: str
    text: str


class Store(Protocol):
    """One library, used as its own documentation says."""

    needs_vectors: bool

    def add(self, passages: Sequence[Passage], vectors: np.ndarray | None) -> None:
        """Keep passages with their vectors (float32, a row each, length 1), durably where the library can."""

    def finish(self) -> None:
        """Called when all are added, still on the clock."""

    def search(self, question: str, vector: np.ndarray | None, count: int) -> list[Passage]:
        """The best `count` passages, best first, with their texts."""

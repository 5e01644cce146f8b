"""What a search has with it on its way through the stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy.ext.asyncio import AsyncSession

from drystone.adapters.reranking import Reranker
from drystone.core import tracing
from drystone.core.db import Sessions
from drystone.core.turnstile import Turnstile
from drystone.documents.terms import Uses
from drystone.index.embedders import Embedders
from drystone.index.lexical import Lexicon
from drystone.index.vectors import Graph, Sizes
from drystone.search.queries import Scope
from drystone.search.schemas import Question
from drystone.search.spaces import Asked, Guesses

# How many passages each side contributes before fusion. Fewer lose quality, more only cost time.
DEPTH = 100
# How long a search waits for its turn.
WAIT_S = 2.0
# And how many times more where so many of those are no hits of their own that places in the answer stay empty.
WIDER, WIDEST = 5, 1000


@dataclass(frozen=True)
class Searcher:
    """What a search works with; made once a process.

    sessions: of repeatable read, so that all it reads fits together. rerank_depth: how many passages are reranked. turns: of
    searches that embed or read; none is held while a reranker is asked. uses: where it is noted which collections are asked;
    None: nowhere.
    """

    sessions: Sessions
    embedders: Embedders
    lexicon: Lexicon
    graph: Graph
    reranker: Reranker | None = None
    rerank_depth: int = 50
    uses: Uses | None = None
    turns: Turnstile = field(default_factory=lambda: Turnstile(8, wait_s=WAIT_S, what="searches"))

    @cached_property
    def sizes(self) -> Sizes:
        """How many vectors there are in all."""
        return Sizes()

    @cached_property
    def guesses(self) -> Guesses:
        """Which space the next question will ask."""
        return Guesses(self.embedders)


@dataclass
class Search:
    """One search on its way through the stages. widen: so many times as deep as usual.

    unread: whether a wording is left to its words alone, because the model cannot read it.
    """

    searcher: Searcher
    session: AsyncSession
    question: Question
    scope: Scope
    within: Asked
    clock: Stopwatch
    widen: int = 1
    unread: bool = False

    @property
    def space_id(self) -> int:
        return self.within.space_id

    @property
    def depth(self) -> int:
        """Deeper where passages may be left out of the answer once they are found."""
        question = self.question
        least = DEPTH if question.max_per_document is None else 2 * DEPTH
        base = max(least, 2 * question.limit if question.leaves_out else question.limit)
        return max(base, min(self.widen * base, WIDEST // max(len(question.queries), 1)))


class Stopwatch:
    """Milliseconds of each stage."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        with tracing.span(f"search {name}"):
            yield
        self.stages[name] = round(self.stages.get(name, 0) + (time.perf_counter() - began) * 1000, 2)

    @property
    def total_ms(self) -> float:
        return round((time.perf_counter() - self._began) * 1000, 2)

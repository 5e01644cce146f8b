"""Vectors of texts that somebody sends, in turn with searches: some texts at a time, so that questions come in between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drystone.adapters import embedding
from drystone.adapters.embedding import Embedder
from drystone.core.errors import Invalid
from drystone.index.spaces import Space
from drystone.search.context import Searcher

# Texts of one request.
MOST = 2048
# Texts a turn: long ones keep a core busy for half a second.
_AT_ONCE = 16


@dataclass(frozen=True)
class Embedded:
    """vectors: float32 of shape (number of texts, dimension), rows of length 1. tokens: of all texts, without special ones."""

    vectors: np.ndarray
    tokens: int


async def embed(searcher: Searcher, space: Space, texts: Sequence[str]) -> Embedded:
    """The texts' vectors, as those of passages are made.

    Raises Invalid `input.too_long` where the model would leave out the end of one; Unavailable as models and turns do.
    """
    embedder = await searcher.embedders.get(space)
    tokens = await asyncio.to_thread(_count, embedder, texts)
    limit = embedding.text_limit(space.model)
    if limit is not None and max(tokens) > limit:
        raise Invalid(
            "input.too_long",
            f"Text {tokens.index(max(tokens))} has {max(tokens):,} tokens; {space.model} reads {limit:,} of one text.",
            hint="cut it into shorter ones, as vector stores do",
            pointer="/input",
        )
    parts = []
    for start in range(0, len(texts), _AT_ONCE):
        async with searcher.turns.turn():
            parts.append(await embedder.embed(texts[start : start + _AT_ONCE]))
    return Embedded(np.concatenate(parts), sum(tokens))


def _count(embedder: Embedder, texts: Sequence[str]) -> list[int]:
    return [len(embedder.token_starts(text)) for text in texts]

"""Texts to vectors: a bundled model on this machine, or any endpoint that speaks OpenAI's embeddings API.

What comes out is safe to store: float32, finite, rows of length 1, in the order of the texts. Vectors of two model ids
never belong in one space. A module is imported when the settings name it: each brings a library of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from drystone.adapters.embedding import model
from drystone.core.settings import EmbeddingSettings

if TYPE_CHECKING:
    import numpy as np

# What a bundled model is shown before a passage has no more.
_PREFIX_TOKENS = 4


class Embedder(Protocol):
    """Turns texts into unit vectors of one space."""

    @property
    def model_id(self) -> str:
        """What made the vectors; two embedders with the same id and dimension are interchangeable."""

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Tokens of one text that are read, the special ones included; what is beyond has no influence."""

    def token_starts(self, text: str) -> np.ndarray:
        """Where the text's tokens begin: int64 offsets in code points, never decreasing, special tokens left out.

        A letter that is taken apart into several tokens (a Hangul syllable) gives its offset several times.
        """

    def reads(self, text: str) -> bool:
        """Whether it makes anything of the text's letters: of others its vectors say nothing, and say it with confidence."""

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors for passages: float32 of shape (len(texts), dimension), finite, rows of length 1.

        Raises Invalid for a text that is not Unicode (lone surrogates), Unavailable when there is no usable answer.
        """

    async def embed_queries(self, queries: Sequence[str]) -> np.ndarray:
        """As embed, for what passages are compared with: some models were trained to see a word before each kind."""

    async def aclose(self) -> None: ...


def model_id(settings: EmbeddingSettings) -> str:
    """What the settings' model is called where its vectors lie. What an endpoint's model sees before a passage is part of
    it, because it is part of what made the vector.
    """
    if settings.provider == "bundled":
        return model.MODELS[settings.model].model_id
    return f"{settings.model} {settings.passage_prefix!r}" if settings.passage_prefix else settings.model


def model_ids(name: str) -> tuple[str, ...]:
    """What a model goes by that a user calls so: as its vectors do, or as EMBEDDING_MODEL has it."""
    return (name, model.MODELS[name].model_id) if name and name in model.MODELS else (name,)


def text_limit(model_id: str) -> int | None:
    """Tokens of one passage of which a bundled model leaves out nothing; None: of an endpoint's, which says so by itself."""
    found = next((each for each in model.MODELS.values() if each.model_id == model_id), None)
    return None if found is None else found.max_tokens - 2 - (_PREFIX_TOKENS if found.passage_prefix else 0)


def open_embedder(settings: EmbeddingSettings, model_dir: Path, *, variables: str = "EMBEDDING_") -> Embedder:
    """The embedder the settings name. A bundled model is prepared in `model_dir` if it is not there yet.

    variables: how the settings' names begin, for errors.
    """
    if settings.provider == "bundled":
        from drystone.adapters.embedding.bundled import BundledEmbedder

        return BundledEmbedder(model_dir, model.MODELS[settings.model], threads=settings.threads)
    from drystone.adapters.embedding.openai import OpenAIEmbedder

    return OpenAIEmbedder(
        settings.url,
        settings.api_key.get_secret_value(),
        settings.model,
        settings.dimension,
        model_id=model_id(settings),
        query_prefix=settings.query_prefix,
        passage_prefix=settings.passage_prefix,
        batch_size=settings.batch_size,
        timeout_s=settings.timeout_s,
        tokenizer_file=model.find_tokenizer(model_dir),
        variables=variables,
    )

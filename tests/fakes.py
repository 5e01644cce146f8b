"""Stand-ins for the adapters: small, honest, without servers or models. For the start-up smoke test and pure tests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from drystone.adapters.objects import Objects


class FakeEmbedder:
    """Bags of words: each word adds to one of 384 numbers, chosen by its hash. Texts that share words are close."""

    model_id = "fake-bag-of-words"
    dimension = 384
    max_tokens = 256

    def token_starts(self, text: str) -> np.ndarray:
        return np.array([word.start() for word in re.finditer(r"\S+", text)], np.int64)

    def reads(self, text: str) -> bool:
        return True

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()) or [""]:
                row[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4]) % self.dimension] += 1
        unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    async def embed_queries(self, queries: Sequence[str]) -> np.ndarray:
        return await self.embed(queries)

    async def aclose(self) -> None: ...


def folder_objects(folder: Path) -> Objects:
    """The real object store, over a folder: it needs no server."""
    return Objects.open_folder(folder)

"""LangChain's PGVector: vectors only, in two tables without a vector index, every vector compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_postgres import PGVector

from benchmarks.stores import Passage


class Store:
    needs_vectors = True

    def __init__(self, folder: Path, database: str) -> None:
        url = database.replace("postgresql://", "postgresql+psycopg://")
        # What embeds is never asked: vectors are given, as for every store.
        self._vectors = PGVector(DeterministicFakeEmbedding(size=384), connection=url, collection_name="passages")

    def add(self, passages: Sequence[Passage], vectors: np.ndarray) -> None:
        self._vectors.add_embeddings(
            texts=[each.text for each in passages],
            embeddings=vectors.tolist(),
            metadatas=[{"document": each.document} for each in passages],
        )

    def finish(self) -> None:
        """Every call was a transaction."""

    def search(self, question: str, vector: np.ndarray, count: int) -> list[Passage]:
        found = self._vectors.similarity_search_by_vector(vector.tolist(), k=count)
        return [Passage(each.metadata["document"], each.page_content) for each in found]

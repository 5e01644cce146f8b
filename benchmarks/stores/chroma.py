"""chromadb on disk: vectors only, HNSW. Its hybrid search is a service of its cloud."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import chromadb
import numpy as np

from benchmarks.stores import Passage


class Store:
    needs_vectors = True

    def __init__(self, folder: Path, database: str) -> None:
        client = chromadb.PersistentClient(str(folder), chromadb.Settings(anonymized_telemetry=False))
        self._collection = client.create_collection(
            "passages", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )
        self._ids = itertools.count()

    def add(self, passages: Sequence[Passage], vectors: np.ndarray) -> None:
        self._collection.add(
            ids=[str(next(self._ids)) for _ in passages],
            embeddings=vectors,
            documents=[each.text for each in passages],
            metadatas=[{"document": each.document} for each in passages],
        )

    def finish(self) -> None:
        """Every call was written."""

    def search(self, question: str, vector: np.ndarray, count: int) -> list[Passage]:
        count = min(count, self._collection.count())
        found = self._collection.query(
            query_embeddings=[vector], n_results=count, include=["documents", "metadatas", "distances"]
        )
        metadatas, texts = found["metadatas"][0], found["documents"][0]
        return [Passage(one["document"], text) for one, text in zip(metadatas, texts, strict=True)]

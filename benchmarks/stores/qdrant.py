"""qdrant-client's local mode on disk: vectors only, every vector compared. For small data, as its makers say."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from qdrant_client import QdrantClient
from qdrant_client.models import Distance, PointStruct, VectorParams

from benchmarks.stores import Passage

_NAME = "passages"


class Store:
    needs_vectors = True

    def __init__(self, folder: Path, database: str) -> None:
        self._client = QdrantClient(path=str(folder))
        self._made = False
        self._ids = itertools.count()

    def add(self, passages: Sequence[Passage], vectors: np.ndarray) -> None:
        if not self._made:
            config = VectorParams(size=vectors.shape[1], distance=Distance.COSINE)
            self._made = self._client.create_collection(_NAME, vectors_config=config)
        points = [
            PointStruct(
                id=next(self._ids), vector=vector.tolist(), payload={"document": each.document, "text": each.text}
            )
            for each, vector in zip(passages, vectors, strict=True)
        ]
        self._client.upsert(_NAME, points)

    def finish(self) -> None:
        """Every call was written."""

    def search(self, question: str, vector: np.ndarray, count: int) -> list[Passage]:
        found = self._client.query_points(_NAME, query=vector.tolist(), limit=count, with_payload=True)
        payloads = [point.payload or {} for point in found.points]
        return [Passage(payload["document"], payload["text"]) for payload in payloads]

"""bm25s with a stemmer and stop words: words only, an index in memory, built at once and saved as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np
import Stemmer

from benchmarks.stores import Passage


class Store:
    needs_vectors = False

    def __init__(self, folder: Path, database: str) -> None:
        self._folder = folder
        self._stemmer = Stemmer.Stemmer("english")
        self._passages: list[Passage] = []
        self._index = bm25s.BM25()

    def add(self, passages: Sequence[Passage], vectors: np.ndarray | None) -> None:
        self._passages += passages

    def finish(self) -> None:
        self._index.index(self._tokens([each.text for each in self._passages]), show_progress=False)
        corpus = [{"document": each.document, "text": each.text} for each in self._passages]
        self._index.save(self._folder, corpus=corpus, show_progress=False)

    def search(self, question: str, vector: np.ndarray | None, count: int) -> list[Passage]:
        count = min(count, len(self._passages))
        numbers, scores = self._index.retrieve(self._tokens([question]), k=count, show_progress=False)
        return [self._passages[number] for number, score in zip(numbers[0], scores[0], strict=True) if score > 0]

    def _tokens(self, texts: list[str]) -> object:
        return bm25s.tokenize(texts, stopwords="en", stemmer=self._stemmer, show_progress=False)

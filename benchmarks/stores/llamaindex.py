"""LlamaIndex's PGVectorStore, hybrid as its page on PostgreSQL has it: HNSW and any-word search, relative scores added."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core import MockEmbedding, QueryBundle, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import TextNode
from llama_index.vector_stores.postgres import PGVectorStore

from benchmarks.stores import Passage

_HNSW: dict[str, Any] = {
    "hnsw_m": 16,
    "hnsw_ef_construction": 64,
    "hnsw_ef_search": 40,
    "hnsw_dist_method": "vector_cosine_ops",
}


class Store:
    needs_vectors = True

    def __init__(self, folder: Path, database: str) -> None:
        self._vectors = PGVectorStore.from_params(
            connection_string=database.replace("postgresql://", "postgresql+psycopg2://"),
            async_connection_string=database.replace("postgresql://", "postgresql+asyncpg://"),
            table_name="passages",
            embed_dim=384,
            hybrid_search=True,
            text_search_config="english",
            hnsw_kwargs=_HNSW,
        )
        # Neither model is ever asked: vectors are given, as for every store, and questions are not rewritten.
        self._index = VectorStoreIndex.from_vector_store(self._vectors, embed_model=MockEmbedding(embed_dim=384))
        self._retriever = cache(self._make_retriever)

    def _make_retriever(self, count: int) -> QueryFusionRetriever:
        # HNSW gives no more rows than ef_search.
        wide = {"hnsw_ef_search": max(count, _HNSW["hnsw_ef_search"])}
        dense = self._index.as_retriever(similarity_top_k=count, vector_store_kwargs=wide)
        words = self._index.as_retriever(vector_store_query_mode="sparse", similarity_top_k=count)
        return QueryFusionRetriever(
            [dense, words],
            llm=MockLLM(),
            mode="relative_score",
            similarity_top_k=count,
            num_queries=1,
            use_async=False,
        )

    def add(self, passages: Sequence[Passage], vectors: np.ndarray) -> None:
        self._vectors.add(
            [
                TextNode(text=each.text, metadata={"document": each.document}, embedding=vector.tolist())
                for each, vector in zip(passages, vectors, strict=True)
            ]
        )

    def finish(self) -> None:
        """Every call was a transaction."""

    def search(self, question: str, vector: np.ndarray, count: int) -> list[Passage]:
        found = self._retriever(count).retrieve(QueryBundle(question, embedding=vector.tolist()))
        return [Passage(each.node.metadata["document"], each.node.text) for each in found]

"""The usual recipe on pgvector: `hybrid_search/rrf.py` of pgvector's own Python examples, with both indexes.

HNSW and plainto_tsquery ranked by ts_rank_cd, joined by reciprocal rank with k = 60. The example's 20 candidates for 5
results are kept in proportion.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psycopg
from pgvector.psycopg import register_vector

from benchmarks.stores import Passage

_CANDIDATES_A_RESULT = 4
_MOST_OF_HNSW = 1000  # the largest ef_search there is

_TABLE = """
CREATE TABLE passages (id bigserial PRIMARY KEY, document text NOT NULL, content text NOT NULL, embedding vector(384));
CREATE INDEX ON passages USING GIN (to_tsvector('english', content));
CREATE INDEX ON passages USING hnsw (embedding vector_cosine_ops);
"""

_SEARCH = """
WITH semantic_search AS (
    SELECT id, RANK () OVER (ORDER BY embedding <=> %(embedding)s) AS rank
    FROM passages
    ORDER BY embedding <=> %(embedding)s
    LIMIT %(candidates)s
),
keyword_search AS (
    SELECT id, RANK () OVER (ORDER BY ts_rank_cd(to_tsvector('english', content), query) DESC)
    FROM passages, plainto_tsquery('english', %(query)s) query
    WHERE to_tsvector('english', content) @@ query
    ORDER BY ts_rank_cd(to_tsvector('english', content), query) DESC
    LIMIT %(candidates)s
)
SELECT passages.document, passages.content
FROM (
    SELECT
        COALESCE(semantic_search.id, keyword_search.id) AS id,
        COALESCE(1.0 / (60 + semantic_search.rank), 0.0) + COALESCE(1.0 / (60 + keyword_search.rank), 0.0) AS score
    FROM semantic_search
    FULL OUTER JOIN keyword_search ON semantic_search.id = keyword_search.id
    ORDER BY score DESC
    LIMIT %(count)s
) AS best
JOIN passages USING (id)
ORDER BY best.score DESC
"""


class Store:
    needs_vectors = True

    def __init__(self, folder: Path, database: str) -> None:
        self._connection = psycopg.connect(database, autocommit=True)
        register_vector(self._connection)
        self._connection.execute(_TABLE)
        self._ef_search = 0

    def add(self, passages: Sequence[Passage], vectors: np.ndarray) -> None:
        rows = [(each.document, each.text, vector) for each, vector in zip(passages, vectors, strict=True)]
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany("INSERT INTO passages (document, content, embedding) VALUES (%s, %s, %s)", rows)

    def finish(self) -> None:
        """Every call was a transaction."""

    def search(self, question: str, vector: np.ndarray, count: int) -> list[Passage]:
        candidates = _CANDIDATES_A_RESULT * count
        if candidates != self._ef_search:  # HNSW gives no more rows than this
            self._connection.execute(f"SET hnsw.ef_search = {min(candidates, _MOST_OF_HNSW)}")
            self._ef_search = candidates
        bound = {"embedding": vector, "query": question, "candidates": candidates, "count": count}
        return [Passage(*row) for row in self._connection.execute(_SEARCH, bound)]

"""Passages that come with their vectors: how many a second over HTTP, beside the same vectors inserted by hand; then searches.

    python -m benchmarks.own_vectors [--passages 20000] [--dimension 384]

A stack of its own. Vectors are noise round some hundred centres, texts sixty words of a small vocabulary: both are made here,
and only their number and length matter. By hand: one table with id, text, attributes and the same graph, one INSERT of
1000 rows a transaction. The best ten of a search are compared with those of a full comparison.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import numpy as np
from pgvector import HalfVector
from pgvector.asyncpg import register_vector

from benchmarks import report, stacks
from benchmarks.report import say
from drystone.core.settings import Settings

CENTRES, WORDS, VOCABULARY, BEST = 100, 60, 5000, 10


def made(count: int, dimension: int, seed: int) -> np.ndarray:
    """float32 (count, dimension), rows of length 1."""
    centres = np.random.default_rng(1).normal(size=(CENTRES, dimension))
    rng = np.random.default_rng(seed)
    rows = centres[rng.integers(0, CENTRES, count)] + rng.normal(size=(count, dimension))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def texts(count: int) -> list[str]:
    """Words of a vocabulary in which some are frequent, most are rare."""
    rng = np.random.default_rng(3)
    said = np.minimum(rng.zipf(1.3, (count, WORDS)), VOCABULARY)
    return [" ".join(f"word{number}" for number in row) for row in said.tolist()]


def _batches(count: int, size: int) -> Iterator[slice]:
    for begin in range(0, count, size):
        yield slice(begin, begin + size)


async def over_http(
    client: httpx.AsyncClient, name: str, vectors: np.ndarray, said: list[str], at_once: int
) -> list[float]:
    """Seconds of each request."""
    took = []
    for part in _batches(len(said), at_once):
        passages = [
            {"id": f"p{part.start + n}", "text": text, "vector": vector, "attributes": {"number": n}}
            for n, (text, vector) in enumerate(
                zip(said[part], np.round(vectors[part].astype(float), 8).tolist(), strict=True)
            )
        ]
        body = json.dumps({"passages": passages})
        began = time.perf_counter()
        answer = await client.put(
            f"/api/v1/collections/{name}/passages", content=body, headers={"content-type": "application/json"}
        )
        took.append(time.perf_counter() - began)
        answer.raise_for_status()
    return took


async def by_hand(settings: Settings, vectors: np.ndarray, said: list[str]) -> list[float]:
    """Seconds of each transaction of a thousand rows."""
    parts = settings.database.migration_parts
    connection = await asyncpg.connect(
        host=parts.host, port=parts.port, user=parts.user, password=parts.password, database=parts.database
    )
    await register_vector(connection)
    await connection.execute(
        f"create table by_hand (id text primary key, text text, attributes jsonb, embedding halfvec({vectors.shape[1]}));"
        "create index on by_hand using hnsw (embedding halfvec_ip_ops) with (m = 16, ef_construction = 200)"
    )
    took = []
    for part in _batches(len(said), 1000):
        ids = [f"p{number}" for number in range(part.start, part.start + len(said[part]))]
        began = time.perf_counter()
        await connection.execute(
            "insert into by_hand select * from unnest($1::text[], $2::text[], $3::jsonb[], $4::halfvec[])"
            " on conflict (id) do update set text = excluded.text, attributes = excluded.attributes,"
            " embedding = excluded.embedding",
            ids,
            said[part],
            ['{"number": 1}'] * len(ids),
            [HalfVector(vector) for vector in vectors[part]],
        )
        took.append(time.perf_counter() - began)
    await connection.execute("drop table by_hand")
    await connection.close()
    return took


async def searches(client: httpx.AsyncClient, name: str, vectors: np.ndarray, asked: np.ndarray) -> dict[str, float]:
    took, recalls, exact = [], [], 0
    for vector in asked:
        best = {f"p{place}" for place in np.argsort(-(vectors @ vector))[:BEST].tolist()}
        began = time.perf_counter()
        body = {"vector": vector.tolist(), "limit": BEST}
        answer = (await client.post(f"/api/v1/collections/{name}/passages/search", json=body)).json()
        took.append((time.perf_counter() - began) * 1000)
        recalls.append(len(best & {hit["id"] for hit in answer["hits"]}) / BEST)
        exact += answer["exact"]
    return {
        "search_ms": statistics.median(took),
        "search_p95_ms": float(np.quantile(took, 0.95)),
        "recall_at_10": statistics.mean(recalls),
        "exact": exact / len(asked),
    }


async def measure(settings: Settings, count: int, dimension: int) -> list[dict[str, Any]]:
    vectors, said = made(count, dimension, 2), texts(count)
    address = f"http://{settings.api.host}:{settings.api.port}"
    headers = {"authorization": f"Bearer {settings.api.key.get_secret_value()}"}
    lines: list[dict[str, Any]] = []

    def note(what: str, **found: float) -> None:
        say(f"{what}: {found}")
        lines.extend({"what": what, "metric": name, "value": round(value, 4)} for name, value in found.items())

    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=300) as client:
        for name in ("bench-one", "bench-many"):
            body = {"name": name, "vectors": {"source": "caller", "dimension": dimension}}
            (await client.post("/api/v1/collections", json=body)).raise_for_status()
        hand = await by_hand(settings, vectors, said)
        note("by hand", passages_per_s=count / sum(hand), request_s=statistics.median(hand))
        ones = await over_http(client, "bench-one", vectors[:200], said[:200], 1)
        note("one a request", passages_per_s=200 / sum(ones), request_s=statistics.median(ones))
        size = 1000 if dimension <= 512 else 250
        many = await over_http(client, "bench-many", vectors, said, size)
        note(f"{size} a request", passages_per_s=count / sum(many), request_s=statistics.median(many))
        again = await over_http(client, "bench-many", vectors[:5000], said[:5000], size)
        note("the same again", passages_per_s=min(count, 5000) / sum(again), request_s=statistics.median(again))
        note("searches", **await searches(client, "bench-many", vectors, made(100, dimension, 5)))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=384)
    stacks.add_arguments(parser)
    arguments = parser.parse_args()
    with stacks.chosen(arguments) as settings:
        lines = asyncio.run(measure(settings, arguments.passages, arguments.dimension))
    report.table("passages with their vectors", ["what", "metric", "value"], [list(line.values()) for line in lines])
    about = {"passages": arguments.passages, "dimension": arguments.dimension}
    report.save_lines("own_vectors", [about | line for line in lines])


if __name__ == "__main__":
    main()

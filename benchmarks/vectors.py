"""Search by meaning inside PostgreSQL: building the graph, its size, latency and recall, right after loading and later.

    python -m benchmarks.vectors [--passages 100000] [--generated 1000000] [--questions 300]

Vectors alone: no words, no HTTP, servers of its own. Real vectors are those of `python -m benchmarks.debian`. The generated
lie between a real one and one of its ten nearest, a random part of the way, with noise of a tenth of its length added; so
neighbourhoods stay as dense and as uneven as they are in text. Questions are real ones, embedded. One process asks,
one question after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from sqlalchemy import text

from benchmarks import debian, report, stacks
from benchmarks.report import ROOT, say
from drystone import schema
from drystone.adapters.embedding import model, open_embedder
from drystone.core.db import Sessions, make_engine, make_sessions, transaction
from drystone.core.settings import Settings
from drystone.evaluation import measures
from drystone.index import spaces, vectors
from drystone.resources import SEARCH_PARAMETERS
from drystone.stack.supervise import Servers

_SEED = 1
_AT_ONCE = 1000
_NEIGHBOURS, _NOISE = 10, 0.1
# What is asked for: ten, and as many as a search takes from this side.
DEPTHS = (10, 100)
EFS = (100, 160, 200, 400)


@dataclass(frozen=True)
class All:
    """Everything in one collection."""

    collection_ids: Sequence[UUID]
    is_all: bool = True

    def condition(self, parameters: dict[str, Any], *, narrowed: bool = False) -> str:
        return "true"


def generate(real: np.ndarray, count: int) -> np.ndarray:
    """float16 (count, dim), rows of length 1: `real` first, then between neighbours of them. real: float32 (n, dim)."""
    chance = np.random.default_rng(_SEED)
    near = _neighbours(real, chance.choice(len(real), size=min(len(real), 20_000), replace=False))
    made = [real.astype(np.float16)[:count]]
    missing = count - len(made[0])
    while missing > 0:
        many = min(missing, 50_000)
        places = chance.integers(len(near.places), size=many)
        start = real[near.places[places]]
        end = real[near.of[places, chance.integers(_NEIGHBOURS, size=many)]]
        noise = chance.normal(size=start.shape).astype(np.float32)
        noise *= _NOISE / np.linalg.norm(noise, axis=1, keepdims=True)
        between = start + (end - start) * chance.random((many, 1), dtype=np.float32) + noise
        made.append((between / np.linalg.norm(between, axis=1, keepdims=True)).astype(np.float16))
        missing -= many
    return np.concatenate(made)


@dataclass(frozen=True)
class _Near:
    """places: int64 (n,), rows of the real vectors. of: int64 (n, 10), the rows nearest to each."""

    places: np.ndarray
    of: np.ndarray


def _neighbours(real: np.ndarray, places: np.ndarray) -> _Near:
    found = []
    for begin in range(0, len(places), 500):
        part = places[begin : begin + 500]
        cosines = real[part] @ real.T
        cosines[np.arange(len(part)), part] = -2
        found.append(np.argpartition(-cosines, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS])
    return _Near(places, np.concatenate(found))


def nearest(all_vectors: np.ndarray, questions: np.ndarray, count: int = 10) -> np.ndarray:
    """int64 (questions, count): the rows nearest to each, by looking at every row. all_vectors: float16 (n, dim)."""
    parts = [
        questions @ all_vectors[begin : begin + 100_000].astype(np.float32).T
        for begin in range(0, len(all_vectors), 100_000)
    ]
    return np.asarray(np.argpartition(-np.concatenate(parts, axis=1), count, axis=1)[:, :count])


class Table:
    """A space's vector table, filled without the passages that it belongs to."""

    def __init__(self, settings: Settings, sessions: Sessions, space_id: int) -> None:
        self._settings, self.sessions, self.space_id = settings, sessions, space_id
        self.within = All([uuid4()])

    async def owner(self, *statements: str) -> float:
        """Run statements as the owner; the seconds they took."""
        engine = make_engine(self._settings.database.migration_url.get_secret_value(), pool_size=1)
        began = time.perf_counter()
        try:
            async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
                for statement in statements:
                    driver = (await connection.get_raw_connection()).driver_connection
                    assert driver is not None
                    await driver.execute(statement, timeout=7200)
        finally:
            await engine.dispose()
        return time.perf_counter() - began

    async def add(self, rows: np.ndarray, first_id: int) -> float:
        """Written as publishing does, a thousand at a time; the seconds it took."""
        began = time.perf_counter()
        for begin in range(0, len(rows), _AT_ONCE):
            part = rows[begin : begin + _AT_ONCE].astype(np.float32)
            ids = [first_id + begin + n for n in range(len(part))]
            places = {"ids": ids, "collection_ids": [self.within.collection_ids[0]] * len(part)}
            async with transaction(self.sessions) as session:
                await vectors.add(
                    session, self.space_id, places | {"document_ids": places["collection_ids"]}, list(part)
                )
        return time.perf_counter() - began

    async def measure(self, questions: np.ndarray, truth: np.ndarray, ef: int, depth: int) -> dict[str, float]:
        """Latency of the walk, and how many of the ten nearest are among its ten best. truth: as `nearest` has it."""
        took_ms, same = [], []
        graph = vectors.PgGraph(large=math.inf)  # with the candidates that are asked for here
        for question, wanted in zip(questions, truth, strict=True):
            async with transaction(self.sessions) as session:
                await session.execute(text(f"set local hnsw.ef_search = {ef}"))
                began = time.perf_counter()
                found, _ = await graph.walk(session, self.space_id, self.within, question, depth=depth)
                took_ms.append((time.perf_counter() - began) * 1000)
            same.append(len(set(found[:10].tolist()) & set((wanted + 1).tolist())) / 10)
        return {
            "p50_ms": round(measures.percentile(took_ms, 50), 2),
            "p95_ms": round(measures.percentile(took_ms, 95), 2),
            "recall_at_10": round(float(np.mean(same)), 4),
        }

    async def sizes(self) -> dict[str, float]:
        """Megabytes of rows and of the graph."""
        table = spaces.vector_table(self.space_id)
        async with transaction(self.sessions) as session:
            found = (
                await session.execute(
                    text("select pg_table_size(cast(:t as text)), pg_relation_size(cast(:g as text))"),
                    {"t": table, "g": f"ix_{table}_embedding"},
                )
            ).one()
        return {"rows_mb": round(found[0] / 1e6, 1), "graph_mb": round(found[1] / 1e6, 1)}


async def as_published(table: Table, rows: np.ndarray, questions: np.ndarray) -> list[dict[str, Any]]:
    """Rows into the living graph, as ingestion writes them; asked at once, before PostgreSQL has counted anything."""
    took_s, truth = await table.add(rows, 1), nearest(rows, questions)
    lines: list[dict[str, Any]] = [{"metric": "published_rows_per_s", "value": round(len(rows) / took_s)}]
    lines += [{"metric": name, "value": value} for name, value in (await table.sizes()).items()]
    for when in ("at once", "analysed"):
        if when == "analysed":
            await table.owner(f"vacuum analyze {spaces.vector_table(table.space_id)}")
        for ef in EFS:
            for depth in DEPTHS:
                await table.measure(questions[:20], truth[:20], ef, depth)
                found = await table.measure(questions, truth, ef, depth)
                say(f"{len(rows)} rows, {when}, ef_search {ef}, depth {depth}: {found}")
                lines += [
                    {"when": when, "ef_search": ef, "depth": depth, "metric": name, "value": value}
                    for name, value in found.items()
                ]
    return [{"n_chunks": len(rows), "vectors": "real", **line} for line in lines]


async def as_built(table: Table, rows: np.ndarray, questions: np.ndarray, megabytes: int) -> list[dict[str, Any]]:
    """Rows first and the graph afterwards, as a rebuild does; then more rows into it."""
    name = spaces.vector_table(table.space_id)
    await table.owner(f"drop index ix_{name}_embedding")
    await table.add(rows, 1)
    say(f"{len(rows)} rows are there; building the graph with {megabytes} MB …")
    built_s = await table.owner(
        f"set maintenance_work_mem = '{megabytes}MB'",
        "set max_parallel_maintenance_workers = 1",
        spaces.graph_statement(table.space_id),
        f"vacuum analyze {name}",
    )
    lines: list[dict[str, Any]] = [
        {"metric": "build_s", "value": round(built_s, 1), "maintenance_work_mem_mb": megabytes, "processes": 2}
    ]
    lines += [{"metric": key, "value": value} for key, value in (await table.sizes()).items()]
    truth = nearest(rows, questions)
    for ef in EFS:
        await table.measure(questions, truth, ef, 100)
        found = await table.measure(questions, truth, ef, 100)
        say(f"{len(rows)} rows, ef_search {ef}, depth 100: {found}")
        lines += [{"ef_search": ef, "depth": 100, "metric": key, "value": value} for key, value in found.items()]
    more = generate(rows[:50_000].astype(np.float32), 60_000)[50_000:]
    took_s = await table.add(more, len(rows) + 1)
    lines.append({"metric": "published_rows_per_s", "value": round(len(more) / took_s)})
    return [{"n_chunks": len(rows), "vectors": "generated", **line} for line in lines]


async def run(settings: Settings, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    await schema.migrate(settings, ROOT)
    loaded = debian.load(arguments.passages)
    real = loaded.vectors.astype(np.float32)
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    embedder = open_embedder(settings.embedding, settings.general.model_dir)
    questions = await embedder.embed_queries(loaded.questions[: arguments.questions])
    engine = make_engine(settings.database.url.get_secret_value(), pool_size=2, parameters=dict(SEARCH_PARAMETERS))
    sessions = make_sessions(engine)
    try:
        async with transaction(sessions) as session:
            space_id = await spaces.find(session, model.MODEL_ID, model.DIMENSION)
        name = spaces.vector_table(space_id)
        table = Table(settings, sessions, space_id)
        await table.owner(f"alter table {name} drop constraint {name}_chunk_id_fkey")
        lines = await as_published(table, real.astype(np.float16), questions)
        if arguments.generated:
            await table.owner(f"truncate {name}")
            rows = generate(real, arguments.generated)
            lines += await as_built(table, rows, questions, arguments.build_mb)
        return lines
    finally:
        await engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vectors", description=__doc__.partition("\n")[0])
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--generated", type=int, default=1_000_000, help="how many with the generated ones; 0: none")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--build-mb", type=int, default=3000, help="maintenance_work_mem of the build")
    arguments = parser.parse_args()
    with stacks.temporary_root() as root, Servers(stacks.settings_of(root), root):
        lines = asyncio.run(run(stacks.settings_of(root), arguments))
    rows = [
        (
            line["n_chunks"],
            line.get("when", ""),
            line.get("ef_search", ""),
            line.get("depth", ""),
            line["metric"],
            line["value"],
        )
        for line in lines
    ]
    report.table("Search by meaning", ("vectors", "when", "ef_search", "depth", "metric", "value"), rows)
    report.save_lines("vectors", lines)


if __name__ == "__main__":
    main()

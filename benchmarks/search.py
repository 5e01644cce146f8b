"""Latency of searches over HTTP: each mode alone, then four clients at once.

    python -m benchmarks.search [FOLDER] [--queries 300] [--documents 1500]

FOLDER: a BEIR collection whose documents and questions are used; without one, both are written.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from pathlib import Path
from typing import Any

from benchmarks import corpus, report, stacks
from benchmarks.client import Api, ingest
from benchmarks.corpus import Corpus, Writer
from benchmarks.report import say
from drystone.core.settings import Settings
from drystone.evaluation.measures import percentile

MODES = ("hybrid", "dense", "lexical")
COLLECTION = "bench-search"
WARM_UP = 30
CLIENTS = 4
LIMIT = 10


async def measure(settings: Settings, asked: Corpus, count: int) -> dict[str, Any]:
    async with Api(settings) as api:
        say(f"ingesting {len(asked.documents)} documents …")
        _, done = await ingest(api, asked.documents, COLLECTION)
        queries = list(itertools.islice(itertools.cycle(asked.queries.values()), count + WARM_UP))
        modes = {mode: await _latency(api, queries, mode) for mode in MODES}
        together = await _throughput(api, queries[WARM_UP:])
        await api.delete_collection(COLLECTION)
    return {"chunks": done["chunks"], "queries": count, "modes": modes, "four_clients_hybrid": together}


async def _latency(api: Api, queries: list[str], mode: str) -> dict[str, float]:
    """One question after the other, in ms: as the client sees it, and as the server says."""
    outside, inside = [], []
    for query in queries:
        began = time.perf_counter()
        answer = await api.search(COLLECTION, query, mode, LIMIT)
        outside.append((time.perf_counter() - began) * 1000)
        inside.append(answer["took_ms"])
    outside, inside = outside[WARM_UP:], inside[WARM_UP:]
    return {
        "p50_ms": round(percentile(outside, 50), 2),
        "p95_ms": round(percentile(outside, 95), 2),
        "server_p50_ms": round(percentile(inside, 50), 2),
    }


async def _throughput(api: Api, queries: list[str]) -> dict[str, float]:
    waiting = iter(queries)
    took_ms: list[float] = []

    async def client() -> None:
        for query in waiting:
            began = time.perf_counter()
            await api.search(COLLECTION, query, "hybrid", LIMIT)
            took_ms.append((time.perf_counter() - began) * 1000)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return {
        "searches_per_s": round(len(queries) / (time.perf_counter() - began), 1),
        "p50_ms": round(percentile(took_ms, 50), 2),
        "p95_ms": round(percentile(took_ms, 95), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--documents", type=int, default=1500, help="how many to write, without FOLDER")
    stacks.add_arguments(parser)
    arguments = parser.parse_args()
    with stacks.chosen(arguments) as settings:
        if arguments.folder:
            asked = corpus.load(arguments.folder)
        else:
            writer = Writer(settings.general.model_dir, seed=1)
            questions = {str(number): text for number, text in enumerate(writer.questions(arguments.queries))}
            asked = Corpus("written", writer.abstracts(arguments.documents), questions)
        results = asyncio.run(measure(settings, asked, arguments.queries))
    rows = [(mode, *found.values(), "") for mode, found in results["modes"].items()]
    four = results["four_clients_hybrid"]
    rows.append((f"hybrid, {CLIENTS} clients", four["p50_ms"], four["p95_ms"], "", four["searches_per_s"]))
    title = f"Search among {results['chunks']} passages of {asked.name}, {arguments.queries} questions"
    report.table(title, ("mode", "p50 ms", "p95 ms", "server p50 ms", "searches/s"), rows)
    report.save("search", {"corpus": asked.name, **results})


if __name__ == "__main__":
    main()

"""Ingestion as a share of bare embedding speed, upload included.

    python -m benchmarks.ingest [--runs 3] [--abstracts 1500] [--articles 300] [--reports 100]

Each run writes new documents, embeds their passages with nothing around it, then sends the documents through the HTTP
API and waits until all are ready. Both use as many processes as the stack has workers. Runs alternate, so that a slow
spell of the machine meets both.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
from typing import Any

from benchmarks import bare, measures, report, spent, stacks
from benchmarks.client import Api, ingest
from benchmarks.corpus import Document, Writer
from benchmarks.report import say
from drystone.core.settings import Settings


def measure(settings: Settings, kind: str, count: int, runs: int) -> dict[str, Any]:
    """Alternate bare embedding and ingestion of `count` documents of a kind; passages a second of both."""
    bare_rates, api_rates, shares, passages_of_runs = [], [], [], []
    used: dict[str, float] = {}
    for run in range(runs):
        # Another seed each time: nothing that was kept of an earlier run can help.
        documents = _write(settings, kind, count, seed=random.SystemRandom().randrange(2**32))
        texts = bare.passages(documents, settings.general.model_dir)
        with bare.processes(
            settings.worker.concurrency, settings.general.model_dir, settings.embedding.threads
        ) as pool:
            bare_s = bare.embed(pool, texts)
        before = spent.seconds(settings)
        api_s = asyncio.run(_ingest(settings, documents, len(texts)))
        after = spent.seconds(settings)
        for name in after:
            used[name] = used.get(name, 0.0) + after[name] - before.get(name, 0.0)
        bare_rates.append(len(texts) / bare_s)
        api_rates.append(len(texts) / api_s)
        shares.append(bare_s / api_s)
        passages_of_runs.append(len(texts))
        say(f"{kind}, run {run + 1}: {len(texts)} passages, bare {bare_s:.1f} s, API {api_s:.1f} s: {shares[-1]:.3f}")
    return {
        "documents": count,
        "passages": passages_of_runs,
        "bare_passages_per_s": measures.spread(bare_rates),
        "api_passages_per_s": measures.spread(api_rates),
        "share": measures.spread(shares),
        "processor_ms_a_document": {
            name: round(1000 * seconds / (count * runs), 1)
            for name, seconds in sorted(used.items(), key=lambda each: -each[1])
            if seconds > 0
        },
    }


def _write(settings: Settings, kind: str, count: int, *, seed: int) -> list[Document]:
    writer = Writer(settings.general.model_dir, seed)
    return {"abstracts": writer.abstracts, "articles": writer.articles, "reports": writer.reports}[kind](count)


async def _ingest(settings: Settings, documents: list[Document], passages: int) -> float:
    async with Api(settings) as api:
        took_s, done = await ingest(api, documents, "bench-ingest")
        await api.delete_collection("bench-ingest")
    if done["documents"]["failed"] or done["chunks"] != passages:
        raise SystemExit(f"not the same work: {passages} passages were embedded bare, the API says {done}")
    return took_s


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--abstracts", type=int, default=1500, help="documents of one passage")
    parser.add_argument("--articles", type=int, default=300, help="documents of about five passages")
    parser.add_argument("--reports", type=int, default=100, help="documents of about twenty passages")
    stacks.add_arguments(parser)
    arguments = parser.parse_args()
    counts = {"abstracts": arguments.abstracts, "articles": arguments.articles, "reports": arguments.reports}
    with stacks.chosen(arguments) as settings:
        results = {kind: measure(settings, kind, count, arguments.runs) for kind, count in counts.items() if count}
    rows = [
        (
            f"{found['documents']} {kind}",
            round(statistics.mean(found["passages"])),
            found["bare_passages_per_s"]["median"],
            found["api_passages_per_s"]["median"],
            found["share"]["median"],
        )
        for kind, found in results.items()
    ]
    report.table("Ingestion", ("documents", "passages", "bare/s", "API/s", "share"), rows)
    report.save("ingest", results)


if __name__ == "__main__":
    main()

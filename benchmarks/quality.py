"""Retrieval quality through the HTTP API: nDCG@10 and Recall@100 on judged collections, with default settings.

python -m benchmarks.quality FOLDER…        FOLDER: corpus.jsonl, queries.jsonl, qrels/test.tsv (BEIR)
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from pathlib import Path
from typing import Any

from benchmarks import corpus, report, stacks
from benchmarks.client import Api, ingest
from benchmarks.corpus import Corpus
from benchmarks.report import say
from drystone.evaluation import measures

MODES = ("hybrid", "dense", "lexical")
METRICS = ("ndcg@10", "recall@100")
LIMIT = 100  # documents asked for, each by its best passage
SEARCHES_AT_ONCE = 4


async def measure(api: Api, judged: Corpus) -> dict[str, Any]:
    """Ingest a collection, ask every judged question in every mode."""
    collection = f"bench-{judged.name}"
    say(f"{judged.name}: ingesting {len(judged.documents)} documents …")
    took_s, done = await ingest(api, judged.documents, collection)
    for failed in await api.failures(collection):
        say(f"  failed: {failed['external_id']}: {failed['error']}")
    say(f"  done after {took_s:.1f} s; asking {len(judged.relevant)} questions in {len(MODES)} modes …")
    scores = {mode: await _score(api, judged, collection, mode) for mode in MODES}
    await api.delete_collection(collection)
    return {
        **{metric: {mode: scores[mode][metric] for mode in MODES} for metric in METRICS},
        "queries": len(judged.relevant),
        "documents": done["documents"],
        "chunks": done["chunks"],
        "ingest_s": round(took_s, 1),
    }


async def _score(api: Api, judged: Corpus, collection: str, mode: str) -> dict[str, float]:
    at_once = asyncio.Semaphore(SEARCHES_AT_ONCE)

    async def ask(query_id: str) -> dict[str, float]:
        async with at_once:
            answer = await api.ask(
                query=judged.queries[query_id], collection=collection, mode=mode, limit=LIMIT, max_per_document=1
            )
        found = [hit["document"]["external_id"] for hit in answer["hits"]]
        relevant = judged.relevant[query_id]
        return {"ndcg@10": measures.ndcg(found, relevant), "recall@100": measures.recall(found, relevant)}

    each = await asyncio.gather(*(ask(query_id) for query_id in judged.relevant))
    return {metric: round(statistics.mean(one[metric] for one in each), 4) for metric in METRICS}


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    stacks.add_arguments(parser)
    arguments = parser.parse_args()
    collections = [corpus.load(folder) for folder in arguments.folders]
    with stacks.chosen(arguments) as settings:
        async with Api(settings) as api:
            results = {judged.name: await measure(api, judged) for judged in collections}
    for metric in METRICS:
        rows = [(name, *(found[metric][mode] for mode in MODES), found["queries"]) for name, found in results.items()]
        report.table(metric, ("collection", *MODES, "queries"), rows)
    report.save("quality", results)
    lines = [
        {"collection": name, "n_chunks": found["chunks"], "mode": mode, "metric": metric, "value": found[metric][mode]}
        for name, found in results.items()
        for metric in METRICS
        for mode in MODES
    ]
    report.save_lines("quality", lines)


if __name__ == "__main__":
    asyncio.run(main())

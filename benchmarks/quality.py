"""Retrieval quality through the HTTP API: nDCG@10 on judged collections.

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
LIMIT = 100  # passages asked for; a document counts by its best
SEARCHES_AT_ONCE = 4


async def measure(api: Api, judged: Corpus) -> dict[str, Any]:
    """Ingest a collection, ask every judged question in every mode."""
    collection = f"bench-{judged.name}"
    say(f"{judged.name}: ingesting {len(judged.documents)} documents …")
    took_s, done = await ingest(api, judged.documents, collection)
    for failed in await api.failures(collection):
        say(f"  failed: {failed['external_id']}: {failed['error']}")
    say(f"  done after {took_s:.1f} s; asking {len(judged.relevant)} questions in {len(MODES)} modes …")
    scores = {mode: round(await _score(api, judged, collection, mode), 4) for mode in MODES}
    await api.delete_collection(collection)
    return {
        "ndcg@10": scores,
        "queries": len(judged.relevant),
        "documents": done["documents"],
        "chunks": done["chunks"],
        "ingest_s": round(took_s, 1),
    }


async def _score(api: Api, judged: Corpus, collection: str, mode: str) -> float:
    at_once = asyncio.Semaphore(SEARCHES_AT_ONCE)

    async def ask(query_id: str) -> float:
        async with at_once:
            answer = await api.search(collection, judged.queries[query_id], mode, LIMIT)
        by_best_passage = list(dict.fromkeys(hit["document"]["external_id"] for hit in answer["hits"]))
        return measures.ndcg(by_best_passage, judged.relevant[query_id])

    return statistics.mean(await asyncio.gather(*(ask(query_id) for query_id in judged.relevant)))


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    stacks.add_arguments(parser)
    arguments = parser.parse_args()
    collections = [corpus.load(folder) for folder in arguments.folders]
    with stacks.chosen(arguments) as settings:
        async with Api(settings) as api:
            results = {judged.name: await measure(api, judged) for judged in collections}
    rows = [(name, *(found["ndcg@10"][mode] for mode in MODES), found["queries"]) for name, found in results.items()]
    report.table("nDCG@10", ("collection", *MODES, "queries"), rows)
    report.save("quality", results)


if __name__ == "__main__":
    asyncio.run(main())

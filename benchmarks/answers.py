"""What merging neighbours, collapsing copies and diversity do to an answer: judged text found, text shown, milliseconds.

    python -m benchmarks.answers FOLDER… [--queries 200] [--passages 20000]

FOLDER: BEIR collections. Each is asked as it is, by documents; then as long documents, ten of its texts in each (or those of
one title), where the judged texts are stretches; then with every long document thrice under other names. Milliseconds are
those of questions to `python -m benchmarks.debian`, each asked with and without in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import corpus, debian, report, stacks
from benchmarks.client import Api, ingest
from benchmarks.corpus import Corpus, Document
from benchmarks.report import say
from drystone.core.settings import Settings
from drystone.evaluation import measures
from drystone.evaluation.measures import percentile

SETTINGS: Mapping[str, dict[str, Any]] = {
    "plain": {"collapse": "none"},
    "default": {},
    "near": {"collapse": "near"},
    "merge": {"merge": True, "collapse": "none"},
    "merge, copies": {"merge": True},
    "diversity .2": {"diversity": 0.2},
    "diversity .5": {"diversity": 0.5},
}
LIMIT, AT_ONCE, TEXTS_A_DOCUMENT, BUDGET = 10, 4, 10, 4000


@dataclass(frozen=True)
class Long:
    """Long documents. stretches: of each judged text, document, start and end."""

    documents: list[Document]
    stretches: dict[str, tuple[str, int, int]]


def joined(judged: Corpus) -> Long:
    """The texts of one title as one document, or ten after another where titles tell them apart."""
    titles = len({each.title for each in judged.documents})
    key = "title" if 1 < titles <= len(judged.documents) / 3 else None
    numbered = enumerate(judged.documents)
    groups = itertools.groupby(numbered, key=lambda pair: pair[1].title if key else pair[0] // TEXTS_A_DOCUMENT)
    documents, stretches = [], {}
    for number, (_, group) in enumerate(groups):
        text = ""
        for _, each in group:
            stretches[each.id] = (f"long-{number}", len(text), len(text) + len(each.text))
            text += each.text + "\n\n"
        documents.append(Document(f"long-{number}", "", text.strip()))
    return Long(documents, stretches)


def some(judged: Corpus, queries: int) -> Corpus:
    """With so many of its judged questions."""
    step = max(1, len(judged.relevant) // queries)
    return replace(judged, relevant=dict(list(judged.relevant.items())[::step]))


def found_of(hits: Iterable[dict[str, Any]], wanted: Sequence[tuple[str, int, int]]) -> float:
    """Which part of the wanted stretches is in these hits. Copies count as what they are copies of."""
    shown: dict[str, set[int]] = {}
    for hit in hits:
        name = hit["document"]["external_id"].partition("/")[0]
        shown.setdefault(name, set()).update(range(hit["start"], hit["end"]))
    covered = sum(len(shown.get(name, set()).intersection(range(start, end))) for name, start, end in wanted)
    return covered / sum(end - start for _, start, end in wanted)


def within(hits: Sequence[dict[str, Any]], characters: int) -> list[dict[str, Any]]:
    """The first hits that so many characters have room for, the last one cut."""
    taken = []
    for hit in hits:
        length = min(len(hit["quote"]), characters)
        characters -= length
        taken.append(hit | {"end": hit["start"] + length})
        if not characters:
            break
    return taken


async def by_documents(api: Api, judged: Corpus, collection: str, **settings: Any) -> dict[str, float]:
    """nDCG@10 of documents, each by its best passage, and of those among ten hits."""

    def ndcg(answer: dict[str, Any], query_id: str) -> float:
        found = list(dict.fromkeys(hit["document"]["external_id"] for hit in answer["hits"]))
        return measures.ndcg(found, judged.relevant[query_id])

    capped = await _ask_all(api, judged, collection, limit=100, max_per_document=1, **settings)
    free = await _ask_all(api, judged, collection, limit=LIMIT, **settings)
    return {
        "ndcg@10": _mean(ndcg(answer, query_id) for query_id, answer in capped.items()),
        "ndcg@10 of ten hits": _mean(ndcg(answer, query_id) for query_id, answer in free.items()),
        "collapsed": _mean(sum(len(hit["duplicates"]) for hit in each["hits"]) for each in free.values()),
    }


async def by_text(api: Api, judged: Corpus, long: Long, collection: str, **settings: Any) -> dict[str, float]:
    """Parts of the judged text in ten hits, and in the first 4000 characters; what ten hits are."""
    answers = await _ask_all(api, judged, collection, limit=LIMIT, **settings)
    wanted = {
        query_id: [long.stretches[each] for each in judged.relevant[query_id] if each in long.stretches]
        for query_id in answers
    }
    hits = {query_id: answers[query_id]["hits"] for query_id, judged_text in wanted.items() if judged_text}
    return {
        "in ten hits": _mean(found_of(each, wanted[query_id]) for query_id, each in hits.items()),
        f"in {BUDGET} characters": _mean(
            found_of(within(each, BUDGET), wanted[query_id]) for query_id, each in hits.items()
        ),
        "hits": _mean(len(each) for each in hits.values()),
        "characters": _mean(sum(len(hit["quote"]) for hit in each) for each in hits.values()),
        "documents": _mean(len({hit["document"]["external_id"] for hit in each}) for each in hits.values()),
        "passages joined": _mean(_joined(each) for each in hits.values()),
        "passages collapsed": _mean(sum(len(hit["duplicates"]) for hit in each) for each in hits.values()),
    }


async def milliseconds(settings: Settings, api: Api, passages: int) -> dict[str, Any]:
    """Server time of ten hits with each setting, each question in all of them in turn, and what was joined and collapsed."""
    say(f"filling in {passages} passages of Debian's manuals …")
    await debian.fill(settings, debian.load(passages), "bench-debian")
    took: dict[str, list[float]] = {name: [] for name in SETTINGS}
    joined_, collapsed = [], []
    for number, query in enumerate(debian.questions()[:330]):
        for name, chosen in SETTINGS.items():
            answer = await api.ask(query=query, collection="bench-debian", limit=LIMIT, **chosen)
            if number >= 30:
                took[name].append(answer["took_ms"])
                if name == "merge, copies":
                    joined_.append(_joined(answer["hits"]))
                    collapsed.append(sum(len(hit["duplicates"]) for hit in answer["hits"]))
    await api.delete_collection("bench-debian")
    return {
        "passages joined": _mean(joined_),
        "passages collapsed": _mean(collapsed),
        "ms": {
            name: {
                "p50": round(percentile(each, 50), 2),
                "median difference to plain": round(
                    statistics.median(mine - plain for mine, plain in zip(each, took["plain"], strict=True)), 2
                ),
            }
            for name, each in took.items()
        },
    }


async def _ask_all(api: Api, judged: Corpus, collection: str, **body: Any) -> dict[str, dict[str, Any]]:
    at_once = asyncio.Semaphore(AT_ONCE)

    async def ask(query_id: str) -> dict[str, Any]:
        async with at_once:
            return await api.ask(query=judged.queries[query_id], collection=collection, **body)

    found = await asyncio.gather(*(ask(query_id) for query_id in judged.relevant))
    return dict(zip(judged.relevant, found, strict=True))


def _joined(hits: Iterable[dict[str, Any]]) -> int:
    """Passages that are in a hit beside a better one."""
    return sum(len(hit["merged"]) - 1 for hit in hits if hit["merged"])


def _mean(values: Iterable[float]) -> float:
    return round(statistics.mean(values), 4)


async def measure(api: Api, judged: Corpus) -> dict[str, Any]:
    """A collection as it is, as long documents, and those thrice."""
    long = joined(judged)
    thrice = [Document(f"{each.id}/{n}", f"Copy {n}", f"{each.text}\n") for each in long.documents for n in range(3)]
    found: dict[str, Any] = {}
    for kind, documents in (("documents", judged.documents), ("long", long.documents), ("thrice", thrice)):
        collection = f"bench-{judged.name}-{kind}"
        say(f"{collection}: ingesting {len(documents)} documents …")
        await ingest(api, documents, collection)
        found[kind] = {}
        for name, chosen in SETTINGS.items():
            found[kind][name] = (
                await by_documents(api, judged, collection, **chosen)
                if kind == "documents"
                else await by_text(api, judged, long, collection, **chosen)
            )
        rows = [(name, *each.values()) for name, each in found[kind].items()]
        report.table(collection, ("setting", *next(iter(found[kind].values()))), rows)
        await api.delete_collection(collection)
    return found


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answers", description=__doc__.partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--queries", type=int, default=200, help="of each collection, spread over all")
    parser.add_argument("--passages", type=int, default=20_000, help="to measure milliseconds among; 0: not at all")
    stacks.add_arguments(parser)
    arguments = parser.parse_args()
    collections = [some(corpus.load(folder), arguments.queries) for folder in arguments.folders]
    with stacks.chosen(arguments) as settings:
        async with Api(settings) as api:
            results: dict[str, Any] = {}
            if arguments.passages:
                results["debian"] = await milliseconds(settings, api, arguments.passages)
                rows = [(name, *each.values()) for name, each in results["debian"]["ms"].items()]
                report.table("ms for ten hits", ("setting", "p50", "difference"), rows)
            results |= {judged.name: await measure(api, judged) for judged in collections}
    report.save("answers", results)


if __name__ == "__main__":
    asyncio.run(main())

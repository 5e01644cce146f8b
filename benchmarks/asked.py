"""Answers: how well the rule tells what a source bears, and how often extractive answers are of a judged document.

python -m benchmarks.asked [FOLDER…]        FOLDER: corpus.jsonl, queries.jsonl, qrels/test.tsv (BEIR)
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import corpus, report, stacks
from benchmarks.client import Api, ingest
from benchmarks.corpus import Corpus
from benchmarks.report import ROOT, say
from drystone.adapters.embedding import Embedder, open_embedder
from drystone.answers import splitting, support
from drystone.core.settings import EmbeddingSettings

JUDGED = ROOT / "tests" / "unit" / "answers" / "judged.jsonl"
# Questions for sentences of our own guides, and the words by which those are known; null: the guides have no answer.
GUIDES = ROOT / "benchmarks" / "guides.jsonl"
QUESTIONS, FOREIGN = 300, 80
_AT_ONCE = 4


def _sentences() -> Iterator[tuple[int, dict[str, Any], str, str]]:
    """Half, source, kind and sentence of everything judged."""
    for number, line in enumerate(JUDGED.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        for kind in row.keys() - {"source", "language"}:
            for sentence in row[kind]:
                yield number % 2, row, kind, sentence


async def rule(embedder: Embedder | None) -> dict[str, Any]:
    """Precision and recall on each half and on all, and what was taken of each kind. embedder: None: by words alone."""
    taken: dict[str, Counter[tuple[str, bool]]] = {"seen": Counter(), "other": Counter(), "all": Counter()}
    for half, row, kind, sentence in _sentences():
        similarity = None
        if embedder is not None and embedder.reads(sentence):
            vectors = await embedder.embed([sentence, row["source"]])
            similarity = float(vectors[0] @ vectors[1])
        sources = [row["source"][start:end] for start, end in splitting.sentences(row["source"])]
        language = "english" if row["language"] == "simple" else row["language"]
        borne = support.judge(sentence, sources, languages=[language], similarity=similarity).is_borne
        for part in ("all", ("seen", "other")[half]):
            taken[part][kind, borne] += 1
    return {part: _scores(counts) for part, counts in taken.items()}


def _scores(counts: Counter[tuple[str, bool]]) -> dict[str, Any]:
    right, missed = counts["true", True], counts["true", False]
    wrong = {kind: counts[kind, True] for kind in sorted({kind for kind, _ in counts} - {"true"})}
    return {
        "sentences": sum(counts.values()),
        "precision": round(right / (right + sum(wrong.values())), 3),
        "recall": round(right / (right + missed), 3),
        "taken_though_false": wrong,
        "false": {kind: counts[kind, True] + counts[kind, False] for kind in wrong},
    }


async def extractive(api: Api, judged: Corpus, others: list[Corpus]) -> dict[str, Any]:
    """How often there is an answer, and of a judged document; and to questions that the collection is not about."""
    collection = f"bench-{judged.name}"
    say(f"{judged.name}: ingesting {len(judged.documents)} documents …")
    await ingest(api, judged.documents, collection)
    own = [(judged.queries[each], judged.relevant[each]) for each in itertools.islice(judged.relevant, QUESTIONS)]
    foreign = [query for other in others for query in itertools.islice(other.queries.values(), FOREIGN)]
    say(f"  asking {len(own)} questions and {len(foreign)} of others …")
    answers = await _answers(api, collection, [question for question, _ in own])
    strangers = await _answers(api, collection, foreign)
    await api.delete_collection(collection)
    told = [[each["support"][0]["passage"] for each in answer["sentences"]] for answer in answers]
    found = [
        [relevant.get(answer["passages"][number - 1]["document"]["external_id"], 0) > 0 for number in numbers]
        for answer, numbers, (_, relevant) in zip(answers, told, own, strict=True)
    ]
    answered = [each for each in found if each]
    return {
        "questions": len(own),
        "answered": round(len(answered) / len(own), 3),
        "first_of_a_judged_document": round(statistics.mean(each[0] for each in answered), 3),
        "any_of_a_judged_document": round(statistics.mean(any(each) for each in answered), 3),
        "foreign_questions": len(foreign),
        "foreign_answered": round(statistics.mean(bool(each["sentences"]) for each in strangers), 3)
        if foreign
        else None,
        "p50_ms": round(statistics.median(each["took_ms"] for each in answers), 1),
    }


async def guides(api: Api) -> dict[str, Any]:
    """How often the right sentence of our own guides is an answer to questions written for it, and what is answered to others."""
    rows = [json.loads(line) for line in GUIDES.read_text(encoding="utf-8").splitlines()]
    say(f"guides: asking {len(rows)} questions …")
    pages = sorted((ROOT / "docs" / "guides").glob("*.md"))
    for page in pages:
        await api.send(page.name, page.read_bytes(), "bench-guides")
    await api.wait_until_done("bench-guides", len(pages))
    answers = await _answers(api, "bench-guides", [row["question"] for row in rows])
    await api.delete_collection("bench-guides")
    told = [[each["text"] for each in answer["sentences"]] for answer in answers]
    own = [
        [bool(re.search(row["answer"], text)) for text in texts]
        for row, texts in zip(rows, told, strict=True)
        if row["answer"]
    ]
    foreign = [bool(texts) for row, texts in zip(rows, told, strict=True) if not row["answer"]]
    return {
        "questions": len(own),
        "answered": sum(bool(each) for each in own),
        "first_is_right": sum(each[:1] == [True] for each in own),
        "any_is_right": sum(any(each) for each in own),
        "foreign_questions": len(foreign),
        "foreign_answered": sum(foreign),
    }


async def _answers(api: Api, collection: str, questions: list[str]) -> list[dict[str, Any]]:
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def ask(question: str) -> dict[str, Any]:
        async with at_once:
            return await api.answer(question=question, collection=collection, mode="extractive")

    return await asyncio.gather(*map(ask, questions))


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.asked", description=__doc__.partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--guides", action="store_true", help="ask our own guides, too")
    parser.add_argument("--foreign", type=Path, nargs="*", default=[], metavar="FOLDER", help="only asked from")
    stacks.add_arguments(parser)
    arguments = parser.parse_args()
    embedder = open_embedder(EmbeddingSettings(), ROOT / ".drystone" / "models")
    results: dict[str, Any] = {"by_words": await rule(None), "with_vectors": await rule(embedder)}
    rows = [
        (f"{how}, {part}", *(results[how][part][name] for name in ("sentences", "precision", "recall")))
        for how in ("by_words", "with_vectors")
        for part in ("seen", "other", "all")
    ]
    report.table("the rule", ("half", "sentences", "precision", "recall"), rows)
    collections = [corpus.load(folder) for folder in arguments.folders]
    strange = [corpus.load(folder) for folder in arguments.foreign]
    if collections or arguments.guides:
        with stacks.chosen(arguments) as settings:
            async with Api(settings) as api:
                if arguments.guides:
                    results["guides"] = await guides(api)
                    report.table("our own guides", tuple(results["guides"]), [tuple(results["guides"].values())])
                for judged in collections:
                    others = [each for each in (*collections, *strange) if each is not judged]
                    results[judged.name] = await extractive(api, judged, others)
    if collections:
        columns = list(results[collections[0].name])
        report.table("extractive", ("collection", *columns), [(c.name, *results[c.name].values()) for c in collections])
    report.save("asked", results)


if __name__ == "__main__":
    asyncio.run(main())

"""Latency of searches over HTTP: each mode alone, where the time goes, and searches held at a rate beside ingestion.

    python -m benchmarks.search [FOLDER] [--debian 100000] [--queries 300] [--rate 20] [--seconds 60]

FOLDER: a BEIR collection whose documents and questions are used. --debian: so many passages of Debian's manuals instead
(`python -m benchmarks.debian` makes them). With neither, both are written. Searches at a rate begin when their time
has come, whether or not those before have ended; a latency counts from then on.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import corpus, debian, report, stacks
from benchmarks.client import Api, ingest
from benchmarks.corpus import Document, Writer
from benchmarks.pace import at_rate
from benchmarks.report import say
from drystone.core.settings import Settings
from drystone.evaluation.measures import percentile

MODES = ("hybrid", "dense", "lexical")
COLLECTION, BESIDE = "bench-search", "bench-search-beside"
WARM_UP = 100
CLIENTS = 4
LIMIT = 10
# What is uploaded meanwhile: a few at a time, as one who wants to be done would.
_DOCUMENTS_BESIDE = 20_000

Line = dict[str, Any]


async def measure(settings: Settings, questions: Sequence[str], arguments: argparse.Namespace) -> list[Line]:
    async with Api(settings) as api:
        asked = list(itertools.islice(itertools.cycle(questions), arguments.queries + WARM_UP))
        lines = []
        for mode in MODES:
            lines += await _latency(api, asked, mode)
        lines += await _stages(api, asked[WARM_UP:])
        lines += await _clients(api, asked[WARM_UP:])
        writer = Writer(settings.general.model_dir, seed=2)
        lines += await _rate(api, questions, arguments, "alone")
        lines += await _beside(api, questions, arguments, writer.articles(_DOCUMENTS_BESIDE))
    return lines


async def _latency(api: Api, asked: list[str], mode: str) -> list[Line]:
    """One question after the other, in ms: as the client sees it, and as the server says."""
    outside, inside = [], []
    for query in asked:
        began = time.perf_counter()
        answer = await api.search(COLLECTION, query, mode, LIMIT)
        outside.append((time.perf_counter() - began) * 1000)
        inside.append(answer["took_ms"])
    say(f"{mode}: {_percentiles(outside[WARM_UP:])} in the server {_percentiles(inside[WARM_UP:])}")
    common = {"mode": mode, "clients": 1}
    return _lines(_percentiles(outside[WARM_UP:]), **common, seen="client") + _lines(
        _percentiles(inside[WARM_UP:]), **common, seen="server"
    )


async def _stages(api: Api, asked: list[str]) -> list[Line]:
    """The median of each stage of a hybrid search, in ms, as `explain` tells it."""
    found: dict[str, list[float]] = {}
    for query in asked:
        answer = await api.ask(query=query, collection=COLLECTION, limit=LIMIT, explain=True)
        for stage, took in answer["explanation"]["stages"].items():
            found.setdefault(stage, []).append(took)
    medians = {stage: round(percentile(took, 50), 2) for stage, took in found.items()}
    say(f"stages: {medians}")
    return [{"mode": "hybrid", "stage": stage, "metric": "p50_ms", "value": value} for stage, value in medians.items()]


async def _clients(api: Api, asked: list[str]) -> list[Line]:
    """As many searches a second as a few clients get."""
    waiting = iter(asked)
    took_ms: list[float] = []

    async def client() -> None:
        for query in waiting:
            took_ms.append(await _search(api, query, time.perf_counter()))

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    found = _percentiles(took_ms) | {"searches_per_s": round(len(asked) / (time.perf_counter() - began), 1)}
    say(f"{CLIENTS} clients: {found}")
    return _lines(found, mode="hybrid", clients=CLIENTS, seen="client")


async def _rate(api: Api, questions: Sequence[str], arguments: argparse.Namespace, beside: str) -> list[Line]:
    """Searches that begin at a rate: their latency, and how many a second ended."""
    began = time.perf_counter()

    async def search(number: int) -> int:
        await api.search(COLLECTION, questions[number % len(questions)], "hybrid", LIMIT)
        return 200

    calls = await at_rate(arguments.rate, arguments.seconds, search)
    found = _percentiles([each.took_ms for each in calls])
    found["searches_per_s"] = round(len(calls) / (time.perf_counter() - began), 2)
    say(f"{arguments.rate} a second, {beside}: {found}")
    return _lines(found, mode="hybrid", rate=arguments.rate, beside=beside, seen="client")


async def _beside(
    api: Api, questions: Sequence[str], arguments: argparse.Namespace, documents: list[Document]
) -> list[Line]:
    """The same while documents are uploaded and ingested without a pause, and what ingestion does then and alone."""
    await api.delete_collection(BESIDE)
    uploads = asyncio.create_task(api.upload_all(documents, BESIDE))
    try:
        await asyncio.sleep(10)
        alone = await _ready_per_s(api, asyncio.sleep(arguments.seconds))
        lines: list[Line] = []
        together = await _ready_per_s(api, _into(lines, _rate(api, questions, arguments, "ingestion")))
        if uploads.done():
            uploads.result()
            raise SystemExit("all documents were uploaded before the searches had ended: nothing was beside them")
    finally:
        uploads.cancel()
        await asyncio.gather(uploads, return_exceptions=True)
    await api.delete_collection(BESIDE)
    say(f"passages ready a second: {alone} without searches, {together} beside them")
    return [
        *lines,
        {"metric": "ingested_passages_per_s", "beside": "nothing", "value": alone},
        {"metric": "ingested_passages_per_s", "beside": f"{arguments.rate} searches a second", "value": together},
    ]


async def _into(lines: list[Line], measured: Any) -> None:
    lines += await measured


async def _ready_per_s(api: Api, meanwhile: Any) -> float:
    before: int = (await api.collection(BESIDE))["chunks"]
    began = time.perf_counter()
    await meanwhile
    after: int = (await api.collection(BESIDE))["chunks"]
    return round((after - before) / (time.perf_counter() - began), 1)


async def _search(api: Api, query: str, since: float) -> float:
    await api.search(COLLECTION, query, "hybrid", LIMIT)
    return (time.perf_counter() - since) * 1000


def _percentiles(took_ms: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}_ms": round(percentile(took_ms, percent), 2) for percent in (50, 95)}


def _lines(found: dict[str, float], **common: Any) -> list[Line]:
    return [{**common, "metric": metric, "value": value} for metric, value in found.items()]


async def _fill(settings: Settings, arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """What is searched: its name and the questions."""
    if arguments.debian:
        say(f"loading {arguments.debian} passages …")
        loaded = debian.load(arguments.debian)
        await debian.fill(settings, loaded, COLLECTION)
        return "debian", loaded.questions
    if arguments.folder:
        asked = corpus.load(arguments.folder)
        name, documents, questions = asked.name, asked.documents, list(asked.queries.values())
    else:
        writer = Writer(settings.general.model_dir, seed=1)
        name, questions = "written", writer.questions(arguments.queries)
        documents = writer.abstracts(arguments.documents)
    say(f"ingesting {len(documents)} documents …")
    async with Api(settings) as api:
        await ingest(api, documents, COLLECTION)
    return name, questions


async def _run(settings: Settings, arguments: argparse.Namespace) -> list[Line]:
    name, questions = await _fill(settings, arguments)
    lines = await measure(settings, questions, arguments)
    async with Api(settings) as api:
        chunks = (await api.collection(COLLECTION))["chunks"]
        await api.delete_collection(COLLECTION)
    return [{"collection": name, "n_chunks": chunks, **line} for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER")
    parser.add_argument("--debian", type=int, default=0, metavar="PASSAGES", help="of Debian's manuals, instead")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--documents", type=int, default=1500, help="how many to write, without FOLDER")
    parser.add_argument("--rate", type=int, default=20, help="searches a second")
    parser.add_argument("--seconds", type=int, default=60, help="how long that rate is held")
    stacks.add_arguments(parser)
    arguments = parser.parse_args()
    with stacks.chosen(arguments) as settings:
        lines = asyncio.run(_run(settings, arguments))
    columns = ("mode", "stage", "clients", "rate", "beside", "seen", "metric", "value")
    title = f"Search among {lines[0]['n_chunks']} passages of {lines[0]['collection']}, {arguments.queries} questions"
    report.table(title, columns, [[line.get(column, "") for column in columns] for line in lines])
    report.save_lines("search", lines)


if __name__ == "__main__":
    main()

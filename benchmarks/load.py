"""Uploads and searches at a rate, together, among many passages; then more than can be done.

    python -m benchmarks.load [--debian 100000] [--uploads 10] [--searches 20] [--minutes 1] [--flood 500]

`python -m benchmarks.debian` makes the passages. Each call begins when its time has come, whether or not those before have
ended; its latency counts from then on. Documents of two passages go into another collection, then into the one that is
searched. The memory of every program is read meanwhile: with `--minutes 60` it is a soak. The flood is more than can be done:
each call must be answered, be it with 429 or 503.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import debian, memory, report, soak, stacks
from benchmarks.client import Api
from benchmarks.connections import Connections
from benchmarks.corpus import Document, Writer
from benchmarks.pace import Paced, at_rate
from benchmarks.report import say
from drystone.core.settings import Settings
from drystone.evaluation.measures import percentile

SEARCHED, BESIDE = "bench-load", "bench-load-beside"
LIMIT = 10
_WARM_UP = 100
_SAMPLE_S = 5.0
# No answer may take longer: that would be a hang.
_HANG_S = 60.0
# Longer is a soak: its results stand by themselves.
_SHORT_MINUTES = 5

Line = dict[str, Any]


class Caller:
    """Sends uploads and searches and gives the status of each answer; 0: there was none in time."""

    def __init__(self, settings: Settings, questions: Sequence[str], documents: Iterator[Document]) -> None:
        self._questions, self._documents = questions, documents
        self._connections = Connections(settings, timeout_s=_HANG_S)

    async def search(self, number: int) -> int:
        body = {"query": self._questions[number % len(self._questions)], "collection": SEARCHED, "limit": LIMIT}
        return await self._connections.post_json("/search", json.dumps(body).encode())

    async def upload(self, collection: str) -> int:
        document = next(self._documents)
        fields = {"collection": collection, "external_id": document.id}
        return await self._connections.post_form("/documents", fields, f"{document.id}.txt", document.text)


def _documents(settings: Settings) -> Iterator[Document]:
    """Documents of two passages without end: two paragraphs, each of which fills most of one."""
    writer = Writer(settings.general.model_dir, seed=int(time.time()))
    for number in itertools.count():
        one, two = writer.abstracts(2)
        yield Document(f"load-{time.time_ns():x}-{number}", one.title, f"{one.text}\n\n{two.text}")


async def together(settings: Settings, caller: Caller, arguments: argparse.Namespace, collection: str) -> list[Line]:
    """Uploads into a collection beside searches: their latencies, and whether ingestion kept up."""
    seconds = arguments.minutes * 60
    async with Api(settings) as api:
        before = await api.collection(collection)
        uploads, searches = await asyncio.gather(
            at_rate(arguments.uploads, seconds, lambda _: caller.upload(collection)),
            at_rate(arguments.searches, seconds, caller.search),
        )
        waiting, began = (await api.collection(collection))["documents"]["pending"], time.perf_counter()
        sent = sum(each.answer == 202 for each in uploads)
        after = await api.wait_until_done(collection, sum(before["documents"].values()) + sent)
    ingestion = {
        "waiting_at_the_end": waiting,
        "all_ready_after_s": round(time.perf_counter() - began, 1),
        "passages_a_document": round((after["chunks"] - before["chunks"]) / max(sent, 1), 2),
    }
    found = {"uploads": _told(uploads), "searches": _told(searches), "ingestion": ingestion}
    return _lines(f"together, into {'the same' if collection == SEARCHED else 'another'}", found)


async def flood(settings: Settings, caller: Caller, arguments: argparse.Namespace) -> list[Line]:
    """More than can be done: what is answered, how late at most, and searches one after the other right after it."""

    async def call(number: int) -> int:
        return await (caller.search(number) if number % 3 else caller.upload(BESIDE))

    answers = await at_rate(arguments.flood, arguments.flood_s, call)
    began = time.perf_counter()
    async with Api(settings) as api:
        while (await caller.search(0)) != 200:
            await asyncio.sleep(0.1)
        recovered_s = round(time.perf_counter() - began, 1)
        done = [await at_rate(1, 1, caller.search) for _ in range(20)]
        await api.delete_collection(BESIDE)
    after = {"first_search_after_s": recovered_s} | _told(list(itertools.chain(*done)))
    return _lines(f"flood of {arguments.flood} a second", {"flood": _told(answers), "afterwards": after})


def _told(calls: Sequence[Paced]) -> dict[str, Any]:
    """How many calls ended how, and milliseconds: of those done, and of the longest whatever its answer."""
    done_ms = [each.took_ms for each in calls if each.answer in (200, 202)] or [0.0]
    refused_ms = [each.took_ms for each in calls if each.answer not in (200, 202)]
    statuses = collections.Counter(each.answer for each in calls)
    found: dict[str, Any] = {"answers": {str(status): count for status, count in sorted(statuses.items())}}
    found |= {f"p{percent}_ms": round(percentile(done_ms, percent), 1) for percent in (50, 95, 99)}
    found["longest_ms"] = round(max(each.took_ms for each in calls), 1)
    return found | ({"p95_of_refusals_ms": round(percentile(refused_ms, 95), 1)} if refused_ms else {})


def _lines(phase: str, found: dict[str, dict[str, Any]]) -> list[Line]:
    say(f"{phase}: {found}")
    return [
        {"phase": phase, "what": what, "metric": metric, "value": value}
        for what, told in found.items()
        for metric, value in told.items()
    ]


async def _sample(settings: Settings, samples: list[dict[str, Any]]) -> None:
    """Read the memory of every program again and again; ends when it is cancelled."""
    began = time.monotonic()
    while True:
        programs = await asyncio.to_thread(memory.by_program, settings)
        samples.append({"at_s": round(time.monotonic() - began, 1), "programs": programs})
        await asyncio.sleep(_SAMPLE_S)


async def run(settings: Settings, arguments: argparse.Namespace) -> tuple[list[Line], list[dict[str, Any]]]:
    """All phases; what was measured, and memory while uploads went into another collection."""
    say(f"loading {arguments.debian} passages …")
    loaded = debian.load(arguments.debian)
    await debian.fill(settings, loaded, SEARCHED)
    caller, samples = Caller(settings, loaded.questions, _documents(settings)), list[dict[str, Any]]()
    await caller.upload(BESIDE)
    for number in range(_WARM_UP):
        await caller.search(number)
    sampling = asyncio.create_task(_sample(settings, samples))
    lines = await together(settings, caller, arguments, BESIDE)
    sampling.cancel()
    await asyncio.gather(sampling, return_exceptions=True)
    lines += await together(settings, caller, arguments, SEARCHED) if arguments.minutes <= _SHORT_MINUTES else []
    lines += await flood(settings, caller, arguments)
    return lines, samples


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__.partition("\n")[0])
    parser.add_argument("--debian", type=int, default=100_000, metavar="PASSAGES")
    parser.add_argument("--uploads", type=float, default=10, help="a second")
    parser.add_argument("--searches", type=float, default=20, help="a second")
    parser.add_argument("--minutes", type=float, default=1, help="how long both are held")
    parser.add_argument("--flood", type=float, default=500, help="calls a second, one upload to two searches")
    parser.add_argument("--flood-s", type=float, default=20, help="how long")
    stacks.add_arguments(parser)
    arguments = parser.parse_args()
    with stacks.chosen(arguments) as settings:
        lines, samples = asyncio.run(run(settings, arguments))
    columns = ("phase", "what", "metric", "value")
    report.table("Load", columns, [[line[column] for column in columns] for line in lines])
    growth = soak.slopes(samples)
    say(f"MB an hour by program over {arguments.minutes:g} minutes: {growth}")
    name = "load" if arguments.minutes <= _SHORT_MINUTES else "load-soak"
    report.save(name, {"minutes": arguments.minutes, "lines": lines, "mb_an_hour": growth, "memory": samples[::12]})


if __name__ == "__main__":
    main()

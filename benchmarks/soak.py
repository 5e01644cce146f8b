"""Memory of a stack that ingests without end: is it flat?

    python -m benchmarks.soak [--minutes 60]

Abstracts and reports are uploaded, sent again with other bytes, sent again unchanged, and deleted, always with a
few hundred documents waiting at most. Every five seconds the memory of every program of the stack is read. After the
warm-up, a tenth of the time, a line is laid through what each program takes: its slope is what grows.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import memory, report, stacks
from benchmarks.client import Api
from benchmarks.corpus import Document, Writer
from benchmarks.report import say
from drystone.core.settings import Settings
from drystone.evaluation.charts import Line, line_chart

COLLECTION = "bench-soak"
EVERY_S = 5.0
# Every so many samples one is kept in the results; slopes and plot are of all.
_KEPT_EVERY = 12
# Documents that may wait, and that are kept before the oldest go.
_WAITING, _KEPT = 200, 2000
_WARM_UP_SHARE = 0.1
_AT_ONCE = 4


@dataclass
class Workload:
    """What has been sent, and how often what was done."""

    api: Api
    writer: Writer
    kept: deque[Document]
    done: dict[str, int]

    async def step(self) -> None:
        """One upload, mostly of something new, and a delete when there is enough."""
        kind = random.choices(("new", "report", "changed", "same"), weights=(70, 5, 15, 10))[0]
        if kind in ("changed", "same") and not self.kept:
            kind = "new"
        match kind:
            case "changed":
                old = random.choice(self.kept)
                document = Document(old.id, old.title, f"{old.text}\n\n{self.writer.abstracts(1)[0].text}")
            case "same":
                document = random.choice(self.kept)
            case _:
                made = self.writer.abstracts(1) if kind == "new" else self.writer.reports(1)
                document = Document(f"soak-{random.getrandbits(64):x}", made[0].title, made[0].text)
                self.kept.append(document)
        await self.api.upload(document, COLLECTION)
        self.done[kind] = self.done.get(kind, 0) + 1
        if len(self.kept) > _KEPT:
            await self.api.delete_external(self.kept.popleft().id, COLLECTION)
            self.done["deleted"] = self.done.get("deleted", 0) + 1


async def run(settings: Settings, minutes: float) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Work for so long; the samples, and how often what was done."""
    until = time.monotonic() + minutes * 60
    async with Api(settings) as api:
        await api.delete_collection(COLLECTION)
        workload = Workload(api, Writer(settings.general.model_dir, random.getrandbits(32)), deque(), {})
        await workload.step()  # makes the collection
        sampling = asyncio.create_task(_sample(settings, api, until))
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(_work(workload, until))
        samples = await sampling
        await api.delete_collection(COLLECTION)
    return samples, workload.done


async def _work(workload: Workload, until: float) -> None:
    while time.monotonic() < until:
        for _ in range(_WAITING // (4 * _AT_ONCE)):
            await workload.step()
        while time.monotonic() < until:
            if (await workload.api.collection(COLLECTION))["documents"]["pending"] < _WAITING:
                break
            await asyncio.sleep(1)


async def _sample(settings: Settings, api: Api, until: float) -> list[dict[str, Any]]:
    began, samples = time.monotonic(), []
    while time.monotonic() < until:
        programs = await asyncio.to_thread(memory.by_program, settings)
        states = (await api.collection(COLLECTION))["documents"]
        samples.append({"at_s": round(time.monotonic() - began, 1), "documents": states, "programs": programs})
        if len(samples) % 12 == 0:
            say(f"{samples[-1]['at_s']:.0f} s: {states}, {programs['all']['pss_mb']:.0f} MB")
        await asyncio.sleep(EVERY_S)
    return samples


def slopes(samples: list[dict[str, Any]]) -> dict[str, float]:
    """MB an hour of each program's PSS, by least squares over what follows the warm-up."""
    after = samples[-1]["at_s"] * _WARM_UP_SHARE
    found = {}
    for name in samples[-1]["programs"]:
        points = [
            (sample["at_s"] / 3600, sample["programs"][name]["pss_mb"])
            for sample in samples
            if sample["at_s"] >= after and name in sample["programs"]
        ]
        found[name] = round(_slope(points), 2)
    return found


def _slope(points: list[tuple[float, float]]) -> float:
    if len(points) < 2:
        return 0.0
    mean_x, mean_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    stacks.add_arguments(parser)
    arguments = parser.parse_args()
    with stacks.chosen(arguments) as settings:
        samples, done = asyncio.run(run(settings, arguments.minutes))
    growth = slopes(samples)
    first = next(each for each in samples if each["at_s"] >= samples[-1]["at_s"] * _WARM_UP_SHARE)
    rows = [
        (name, first["programs"].get(name, {}).get("pss_mb", 0.0), last["pss_mb"], last["rss_mb"], growth[name])
        for name, last in samples[-1]["programs"].items()
    ]
    report.table(
        f"Memory over {arguments.minutes:g} minutes",
        ("program", "PSS MB after warm-up", "at the end", "RSS MB", "MB/hour"),
        rows,
    )
    kept = samples[::_KEPT_EVERY]
    results = {"minutes": arguments.minutes, "done": done, "mb_an_hour": growth, "samples": kept}
    path = report.save("soak", results)
    _draw(samples, path.with_suffix(".svg"))


def _draw(samples: list[dict[str, Any]], path: Path) -> None:
    names = [name for name in samples[-1]["programs"] if name != "all"]
    lines = [
        Line(name, [(s["at_s"] / 60, s["programs"][name]["pss_mb"]) for s in samples if name in s["programs"]])
        for name in names
    ]
    path.write_text(line_chart("Memory while documents stream in", "minutes", "PSS MB", lines), encoding="utf-8")
    say(f"drawn in {path.name}")


if __name__ == "__main__":
    main()

"""How long small documents wait behind a large one, and beside one that burns all that a parser may.

    python -m benchmarks.fairness [--runs 3] [--small 100] [--passages 5000]

Each run sends the small documents alone and takes the time until the last is ready; then sends one document of very
many passages, waits until a worker has it, and sends as many small ones to another collection. Then the same with a
file that keeps its parser busy until it is stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from typing import Any

from benchmarks import measures, report, stacks
from benchmarks.client import Api, ingest
from benchmarks.corpus import Document, Writer
from benchmarks.report import say
from drystone.core.settings import Settings

_LARGE, _SMALL = "bench-large", "bench-small"
# A few hundred thousand unclosed paragraphs take minutes to put in order.
_POISON = b"<html>" + b"<p>dry stone" * 1_500_000


async def measure(settings: Settings, runs: int, small: int, passages: int) -> dict[str, Any]:
    """Seconds until all small ones are ready: alone, behind the large one, beside the poisonous one."""
    writer = Writer(settings.general.model_dir, random.SystemRandom().randrange(2**32))
    took: dict[str, list[float]] = {"alone": [], "behind": [], "beside_poison": []}
    async with Api(settings) as api:
        for run in range(runs):
            took["alone"].append((await ingest(api, writer.abstracts(small), _SMALL))[0])
            text = "\n\n".join(each.text for each in writer.abstracts(passages))
            took["behind"].append(await _behind(api, writer.abstracts(small), f"large-{run}.txt", text.encode()))
            # Another each time: what failed once is told at once.
            poison = _POISON + str(run).encode()
            took["beside_poison"].append(await _behind(api, writer.abstracts(small), f"poison-{run}.html", poison))
            say(f"run {run + 1}: " + ", ".join(f"{name} {times[-1]:.1f} s" for name, times in took.items()))
        await api.delete_collection(_SMALL)
    return {
        "small_documents": small,
        "passages_of_the_large": passages,
        "cpu_limit_s": settings.parsing.cpu_s,
        **{f"{name}_s": measures.spread(times) for name, times in took.items()},
        "ratio": measures.spread([b / a for a, b in zip(took["alone"], took["behind"], strict=True)]),
        "growth_beside_poison_s": measures.spread(
            [b - a for a, b in zip(took["alone"], took["beside_poison"], strict=True)]
        ),
    }


async def _behind(api: Api, documents: list[Document], name: str, body: bytes) -> float:
    """Seconds until the documents are ready that were sent right after a worker took the file."""
    await api.delete_collection(_LARGE)
    await api.send(name, body, _LARGE)
    await _until_taken(api)
    seconds, _ = await ingest(api, documents, _SMALL)
    is_still_there = (await api.collection(_LARGE))["documents"]["pending"] == 1
    await api.delete_collection(_LARGE)
    if not is_still_there:
        raise SystemExit(f"{name} was done before the small ones; send fewer of them, or give it more to do")
    return seconds


async def _until_taken(api: Api) -> None:
    deadline = time.monotonic() + 60
    while not await api.jobs("running"):
        if time.monotonic() > deadline:
            raise TimeoutError("no worker took the file within a minute")
        await asyncio.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--small", type=int, default=100, help="documents of one passage")
    parser.add_argument("--passages", type=int, default=5000, help="of the large document, about")
    stacks.add_arguments(parser)
    arguments = parser.parse_args()
    with stacks.chosen(arguments) as settings:
        found = asyncio.run(measure(settings, arguments.runs, arguments.small, arguments.passages))
    rows = [(name, found[f"{name}_s"]["median"]) for name in ("alone", "behind", "beside_poison")]
    report.table(f"Seconds until {arguments.small} small documents are ready", ("what", "s"), rows)
    report.save("fairness", found)


if __name__ == "__main__":
    main()

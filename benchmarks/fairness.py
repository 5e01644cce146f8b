"""How long small documents wait behind a large one.

    python -m benchmarks.fairness [--runs 3] [--small 100] [--passages 5000]

Each run sends the small documents alone and takes the time until the last is ready; then sends one document of very
many passages, waits until a worker has it, and sends as many small ones to another collection.
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


async def measure(settings: Settings, runs: int, small: int, passages: int) -> dict[str, Any]:
    """Seconds until all small ones are ready: alone, and behind the large one."""
    writer = Writer(settings.general.model_dir, random.SystemRandom().randrange(2**32))
    alone, behind = [], []
    async with Api(settings) as api:
        for run in range(runs):
            alone.append((await ingest(api, writer.abstracts(small), _SMALL))[0])
            large = Document(f"large-{run}", "Large", "\n\n".join(each.text for each in writer.abstracts(passages)))
            await api.delete_collection(_LARGE)
            await api.upload(large, _LARGE)
            await _until_taken(api)
            behind.append((await ingest(api, writer.abstracts(small), _SMALL))[0])
            is_still_there = (await api.collection(_LARGE))["documents"]["pending"] == 1
            await api.delete_collection(_LARGE)
            await api.delete_collection(_SMALL)
            say(f"run {run + 1}: alone {alone[-1]:.1f} s, behind the large one {behind[-1]:.1f} s")
            if not is_still_there:
                raise SystemExit("the large document was ready before the small ones; give it more passages")
    return {
        "small_documents": small,
        "passages_of_the_large": passages,
        "alone_s": measures.spread(alone),
        "behind_s": measures.spread(behind),
        "ratio": measures.spread([b / a for a, b in zip(alone, behind, strict=True)]),
    }


async def _until_taken(api: Api) -> None:
    deadline = time.monotonic() + 60
    while not await api.jobs("running"):
        if time.monotonic() > deadline:
            raise TimeoutError("no worker took the large document within a minute")
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
    rows = [(name, found[f"{name}_s"]["median"]) for name in ("alone", "behind")]
    report.table(f"Seconds until {arguments.small} small documents are ready", ("what", "s"), rows)
    report.save("fairness", found)


if __name__ == "__main__":
    main()

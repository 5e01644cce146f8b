"""`python -m tests.faults`: every fault once; with `--cells` as many as wanted, drawn from a seed; with `--batch` one large batch.

Prints a line for each cell and at the end what was lost, duplicated, resurrected and orphaned; ends with 1 unless all is zero.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.faults import cells
from tests.faults.cells import Outcome, Pace
from tests.faults.faults import FAULTS, Fault
from tests.faults.stack import GRACE_S, Site, running


def main() -> int:
    """Run what the arguments ask for; the exit code."""
    parser = _parser()
    options = parser.parse_args()
    if not _chosen(options):
        parser.error(f"no fault is named so; there are: {', '.join(FAULTS)}")
    print("bringing up a stack of its own; the first cell is told in about a minute", file=sys.stderr, flush=True)
    for signum in (signal.SIGINT, signal.SIGTERM):  # in the background a shell has them ignored; the stack must go down
        signal.signal(signum, signal.default_int_handler)
    with (
        tempfile.TemporaryDirectory(prefix="drystone-faults-", ignore_cleanup_errors=True) as folder,
        running(Path(folder) / "stack") as site,
    ):
        outcomes = asyncio.run(_run(site, options))
        if options.logs:
            shutil.copytree(site.data / "logs", options.logs, dirs_exist_ok=True)
    print(cells.total(outcomes))
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", type=int, help="draw so many; default: every fault once")
    parser.add_argument("--batch", type=int, help="one workload of so many operations, with a fault every few seconds")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between the faults of a batch (default: 10)")
    parser.add_argument("--seed", type=int, default=1, help="what chance decides follows from it (default: 1)")
    parser.add_argument("--only", help="only faults whose name contains one of these words, divided by commas")
    parser.add_argument("--resume", type=Path, help="a JSONL file of finished cells: go on where it ends")
    parser.add_argument("--logs", type=Path, help="copy the logs of the stack here")
    return parser


async def _run(site: Site, options: argparse.Namespace) -> list[Outcome]:
    pace, done = Pace(), _finished(options.resume)
    outcomes = list(done.values())
    if options.batch:
        outcomes.append(await cells.run_batch(site, options.batch, options.every, options.seed, pace))
        print(outcomes[-1], flush=True)
    for number, fault, seed in _wanted(options):
        if number in done:
            continue
        outcome = await cells.run(site, number, fault, seed, pace)
        print(outcome, flush=True)
        outcomes.append(outcome)
        if options.resume:
            with options.resume.open("a") as file:
                file.write(json.dumps(outcome.as_json()) + "\n")
    outcomes.append(await _last_look(site, len(outcomes)))
    print(outcomes[-1], flush=True)
    return outcomes


def _wanted(options: argparse.Namespace) -> Iterator[tuple[int, Fault, int]]:
    if options.batch and not options.cells:
        return
    chosen = _chosen(options)
    if options.cells is None:
        for number, fault in enumerate(chosen):
            yield number, fault, options.seed * 1000 + number
        return
    for number in range(options.cells):
        fault, seed = cells.draw(number, options.seed, chosen)
        yield number, fault, seed


def _chosen(options: argparse.Namespace) -> list[Fault]:
    words = (options.only or "").split(",")
    return list({fault.name: fault for word in words for fault in FAULTS.values() if word in fault.name}.values())


def _finished(path: Path | None) -> dict[int, Outcome]:
    """The cells that an earlier run has done."""
    if path is None or not path.exists():
        return {}
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return {each["number"]: Outcome(**{k: v for k, v in each.items() if k != "ok"}) for each in found}


async def _last_look(site: Site, number: int) -> Outcome:
    """When the grace is over: every blob is read, and no orphan is left."""
    outcome = Outcome(number, "(at the end: every blob read)", 0)
    verdict = await site.check_after(2 * GRACE_S)
    outcome.counts = dict(verdict.counts)
    outcome.problems = [
        f"{each.invariant} {each.harm}: {each.subject} {each.detail}" for each in verdict.violations[:20]
    ]
    return outcome


if __name__ == "__main__":
    sys.exit(main())

"""A cell: a workload, a fault at a seeded moment, and what must hold when no work is left."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

import asyncpg
import httpx
import psutil

from drystone.invariants import HARMS
from tests.faults import faults
from tests.faults.faults import FAULTS, Fault
from tests.faults.points import NotProven, Scene, finish_uploads
from tests.faults.stack import Site, is_gone
from tests.faults.workload import Promises, Workload, broken_promises

# The contract: ready within 120 s of the last fault.
DEADLINE_S = 120.0
# `up` starts a thing again five times a minute and then gives up, as it should.
_KILLS_PER_MINUTE = 4
_PROBLEMS = (AssertionError, OSError, asyncpg.PostgresError, httpx.HTTPError, psutil.Error)


@dataclass
class Outcome:
    """What became of a cell. proven: faults that were. skipped: why the fault cannot be done here."""

    number: int
    fault: str
    seed: int
    proof: str = ""
    proven: int = 0
    skipped: str = ""
    problems: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(HARMS, 0))
    acknowledged: int = 0
    settled_s: float = 0.0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.problems and not any(self.counts.values())

    def __str__(self) -> str:
        what = "skipped" if self.skipped else "ok" if self.ok else "BROKEN"
        told = self.skipped or "; ".join(
            each
            for each in (f"{self.acknowledged} acknowledged", f"settled in {self.settled_s:.1f} s", self.proof)
            if each
        )
        return "\n    ".join(
            [f"{self.number:>4} {what:<7} {self.fault:<34} {self.seconds:5.1f} s  {told}", *self.problems]
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"ok": self.ok}


class Pace:
    """Keeps faults from killing one thing so often that `up` rightly gives it up."""

    def __init__(self) -> None:
        self._kills: dict[str, deque[float]] = {}

    def wait_s(self, fault: Fault) -> float:
        """Seconds until the fault may be done."""
        times = self._kills.setdefault(fault.kills or "", deque(maxlen=_KILLS_PER_MINUTE))
        if fault.kills is None or len(times) < _KILLS_PER_MINUTE:
            return 0.0
        return max(0.0, times[0] + 61 - time.monotonic())

    def done(self, fault: Fault) -> None:
        if fault.kills:
            self._kills.setdefault(fault.kills, deque(maxlen=_KILLS_PER_MINUTE)).append(time.monotonic())


async def run(site: Site, number: int, fault: Fault, seed: int, pace: Pace, *, operations: int = 32) -> Outcome:
    """Do one cell; never raises for what the stack did wrong: the outcome tells it."""
    outcome = Outcome(number, fault.name, seed, skipped=fault.unless(site) or "")
    if outcome.skipped:
        return outcome
    await asyncio.sleep(pace.wait_s(fault))
    began = time.monotonic()
    async with site.client() as client:
        workload = Workload(client, f"cell-{number}-{seed}", seed, operations=operations)
        try:
            outcome.proof = await _disturbed(Scene(site, workload, random.Random(seed)), fault, operations)
            outcome.proven = 1
            pace.done(fault)
            outcome.settled_s = await faults.until_idle(site, timeout_s=DEADLINE_S)
            await _judge(outcome, site, client, workload.promises)
        except _PROBLEMS as exc:
            outcome.problems.append(f"{type(exc).__name__}: {exc}")
        await _leave(outcome, workload)
    if is_gone(site.pid("up")):
        outcome.problems.append("up has given up and ended")
        await asyncio.to_thread(site.up)
    outcome.acknowledged = workload.promises.acknowledged()
    outcome.seconds = time.monotonic() - began
    return outcome


async def run_batch(site: Site, size: int, every_s: float, seed: int, pace: Pace) -> Outcome:
    """One large workload with a quick fault every few seconds until all of it is acknowledged and settled."""
    outcome, chance, began = (
        Outcome(0, f"a batch of {size}, a fault every {every_s:g} s", seed),
        random.Random(seed),
        time.monotonic(),
    )
    async with site.client() as client:
        workload = Workload(client, f"batch-{seed}", seed, operations=size)
        working = asyncio.create_task(_until_settled(site, workload, patience_s=2.0 * size + 600))
        done: Counter[str] = Counter()
        try:
            while not (await asyncio.wait({working}, timeout=every_s))[0]:
                fault = chance.choice([each for each in FAULTS.values() if each.quick and not pace.wait_s(each)])
                await _try(fault, Scene(site, workload, chance), done)
                pace.done(fault)
            outcome.settled_s = working.result()
            await finish_uploads()
            await faults.until_idle(site, timeout_s=DEADLINE_S)
            await _judge(outcome, site, client, workload.promises)
        except _PROBLEMS as exc:
            outcome.problems.append(f"{type(exc).__name__}: {exc}")
    outcome.proven = done.total()
    outcome.proof = f"{done.total()} faults: " + ", ".join(f"{count} x {name}" for name, count in done.most_common())
    outcome.acknowledged, outcome.seconds = workload.promises.acknowledged(), time.monotonic() - began
    return outcome


async def _until_settled(site: Site, workload: Workload, *, patience_s: float) -> float:
    await workload.run(patience_s=patience_s)
    return await faults.until_idle(site, timeout_s=patience_s)


async def _try(fault: Fault, scene: Scene, done: Counter[str]) -> None:
    """Do a fault; one that is not proven, because what it was to hit is away at this moment, does not count."""
    try:
        await fault.inject(scene)
    except (NotProven, psutil.Error, OSError, IndexError):
        return
    done[fault.name] += 1


async def _disturbed(scene: Scene, fault: Fault, operations: int) -> str:
    """The workload with the fault in it, after a seeded number of acknowledgements; the fault's proof."""
    working = asyncio.create_task(scene.workload.run())
    moment = scene.chance.randrange(operations // 8, operations // 2)
    while scene.workload.promises.acknowledged() < moment and not working.done():
        await asyncio.sleep(0.01)
    try:
        proof = await fault.inject(scene)
    finally:
        await working
    await finish_uploads()
    return proof


async def _leave(outcome: Outcome, workload: Workload) -> None:
    """Delete what the cell has made, so that no other suffers from it; what every fourth leaves is read at the end."""
    if outcome.number % 4 or not outcome.ok:
        try:
            await workload.clear()
        except _PROBLEMS as exc:
            outcome.problems.append(f"the collection could not be deleted: {exc}")


async def _judge(outcome: Outcome, site: Site, client: Any, promises: Promises) -> None:
    outcome.problems += await broken_promises(client, promises)
    verdict = await site.check()
    outcome.counts = dict(verdict.counts)
    outcome.problems += [
        f"{each.invariant} {each.harm}: {each.subject_kind} {each.subject} {each.detail}"
        for each in verdict.violations[:20]
    ]
    ids = [kept.id for kept in promises.kept.values()]
    present = await site.ask("select count(*) as n from documents where id = any($1::text[]::uuid[])", ids)
    if missing := len(set(ids)) - present[0]["n"]:
        outcome.counts["lost"] += missing
        outcome.problems.append(f"{missing} acknowledged documents have no row")


def draw(number: int, seed: int, among: list[Fault]) -> tuple[Fault, int]:
    """The fault of a cell of the long run, and the seed of all else that chance decides in it."""
    chance = random.Random(f"{seed} {number}")
    return chance.choice(among), chance.getrandbits(32)


def total(outcomes: list[Outcome]) -> str:
    """The last line of a run."""
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts.update(outcome.counts)
    told = " · ".join(f"{harm} {counts[harm]}" for harm in HARMS)
    proven = sum(outcome.proven for outcome in outcomes)
    skipped = sum(bool(outcome.skipped) for outcome in outcomes)
    broken = sum(not outcome.ok for outcome in outcomes)
    return f"{told} · {proven} faults proven, {skipped} skipped, {broken} cells broken"

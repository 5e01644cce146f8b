"""Calls that begin when their time has come, whether or not those before have ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Paced:
    """answer: what the call gave. took_ms: from the time it was due, so that a late beginning counts, too."""

    answer: int
    took_ms: float


async def at_rate(rate: float, seconds: float, call: Callable[[int], Awaitable[int]]) -> list[Paced]:
    """Begin `rate` calls a second for so long, and wait for the last answer. call: is given the number of the call."""
    began = time.perf_counter()
    tasks = []
    for number in range(round(rate * seconds)):
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(_timed(call, number, due)))
    return await asyncio.gather(*tasks)


async def _timed(call: Callable[[int], Awaitable[int]], number: int, due: float) -> Paced:
    answer = await call(number)
    return Paced(answer, (time.perf_counter() - due) * 1000)

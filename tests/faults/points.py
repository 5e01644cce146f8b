"""Crash points in a running stack: order an act, bring work past the point, wait until a process has acted there."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from drystone.core import crash_points
from tests.faults.stack import Site, is_gone, is_halted, until
from tests.faults.workload import Workload, make_body

_PATIENCE_S = 90.0


@dataclass(frozen=True)
class Scene:
    """What a fault works with: the stack, the clients' work, and chance."""

    site: Site
    workload: Workload
    chance: random.Random


class NotProven(AssertionError):
    """The fault was ordered and did not happen: the cell says nothing."""


async def acted(scene: Scene, point: str) -> str:
    """Wait until a process has acted at the point; the proof. The files that told so are taken away."""
    pids = await _reached(scene, point)
    killed = crash_points.victims(scene.site.crash, point)
    await asyncio.to_thread(until, lambda: all(is_gone(pid) for pid in killed), f"the end of {killed}")
    for path in scene.site.crash.glob(f"{point}.reached.*"):
        path.unlink()
    return f"{point} reached by pid {pids[0]}" + (f", its child {killed[0]} is gone" if killed else "")


async def _come_by(scene: Scene, point: str) -> None:
    """Work that passes the point, where the workload alone may be over before."""
    word = scene.workload.word()
    if point.endswith("blob_delete"):
        body = word.encode()
        await scene.site.objects().put(hashlib.sha256(body).digest(), body)  # an upload that got no further
        await asyncio.sleep(1)
        return
    body = make_body(scene.chance, word, "txt", sentences=1500 if point == "mid_embed" else 0)
    sending = scene.workload.upload_archive(word) if point == "mid_unpack" else scene.workload.upload(word, body, word)
    upload = asyncio.create_task(sending)
    while not upload.done() and not crash_points.reached(scene.site.crash, point):
        await asyncio.sleep(0.05)
    if upload.done():
        upload.result()
        if point == "mid_purge":
            await scene.workload.delete(word)
        await asyncio.sleep(0.2)
    else:
        leave_under_way(upload)


_under_way: set[asyncio.Task[Any]] = set()


def leave_under_way(upload: asyncio.Task[Any]) -> None:
    """Let an upload that a fault holds up end in its own time."""
    _under_way.add(upload)
    upload.add_done_callback(_under_way.discard)


async def finish_uploads() -> None:
    """Wait for the uploads that were under way when a fault hit them."""
    await asyncio.gather(*_under_way)


@contextlib.asynccontextmanager
async def halted_at(scene: Scene, point: str) -> AsyncIterator[int]:
    """A process that stands still at the point; it goes on at the end."""
    crash_points.order(scene.site.crash, point, "halt")
    (pid,) = await _reached(scene, point)
    await asyncio.to_thread(until, lambda: is_halted(pid), f"{pid} to stand still")
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        for path in scene.site.crash.glob(f"{point}.reached.*"):
            path.unlink()


async def _reached(scene: Scene, point: str) -> list[int]:
    """The processes that have acted at the point; meanwhile there is work that comes by."""
    deadline = time.monotonic() + _PATIENCE_S
    while not (pids := crash_points.reached(scene.site.crash, point)):
        if time.monotonic() > deadline:
            (scene.site.crash / point).unlink(missing_ok=True)
            raise NotProven(f"nobody came to {point} within {_PATIENCE_S:.0f} s")
        await _come_by(scene, point)
    return pids

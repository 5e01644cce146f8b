"""Whether there is room for one more upload: in the queue of work, on the disk, in the key's quota of the day.

Asked before a body is received. What costs a look at the database or the disk is remembered for a second.
"""

from __future__ import annotations

import asyncio
import copy
import shutil
import time
from pathlib import Path

from drystone.access import quotas
from drystone.access.service import Principal
from drystone.core.db import Sessions, transaction
from drystone.core.errors import DrystoneError, Unavailable
from drystone.core.reach import EVERYTHING
from drystone.core.settings import ReceivingSettings
from drystone.jobs import queries as jobs

_REMEMBERED_S = 1.0
_FULL_AGAIN_S = 10
_LOW_AGAIN_S = 60


class Admission:
    """One per process. `spool_folder`: where bodies are kept while they come."""

    def __init__(self, settings: ReceivingSettings, data_dir: Path, sessions: Sessions) -> None:
        self.spool_folder = data_dir / "spool"
        self._settings = settings
        self._data_dir = data_dir
        self._sessions = sessions
        self._looked_at = -_REMEMBERED_S
        self._refusal: DrystoneError | None = None
        self._free_bytes = 0
        self._looking = asyncio.Lock()

    async def check(self, size_bytes: int = 0, *, principal: Principal | None = None) -> None:
        """Raise what stands against an upload of this size (0: not known yet).

        Unavailable `queue.full`, `queue.slow` or `storage.low`; Denied `quota.exceeded`.
        """
        await self._look_again()
        if self._refusal is not None:
            raise copy.copy(self._refusal)  # a new one each time: an exception gathers tracebacks
        self._check_disk(size_bytes)
        if principal is not None and principal.has_limits:
            async with transaction(self._sessions.within(principal.reach)) as session:
                await quotas.check(session, principal, size_bytes)

    async def check_disk(self, size_bytes: int = 0) -> None:
        """Raise Unavailable `storage.low` for what makes no work and needs room all the same."""
        await self._look_again()
        self._check_disk(size_bytes)

    def _check_disk(self, size_bytes: int) -> None:
        if self._free_bytes - size_bytes < self._settings.disk_min_free_bytes:
            raise _storage_low(self._free_bytes, self._settings.disk_min_free_bytes)

    async def _look_again(self) -> None:
        async with self._looking:
            if time.monotonic() - self._looked_at > _REMEMBERED_S:
                self._refusal, self._free_bytes = await self._look()
                self._looked_at = time.monotonic()

    async def _look(self) -> tuple[DrystoneError | None, int]:
        free_bytes = await asyncio.to_thread(_free_bytes, self._data_dir)
        limits = self._settings
        try:
            async with transaction(self._sessions.within(EVERYTHING)) as session:
                backlog = await jobs.backlog(session, up_to=limits.queue_max_depth)
        except (
            Unavailable
        ) as exc:  # remembered as well: those who wait here must not each wait for the database in turn
            return exc, free_bytes
        if backlog.depth >= limits.queue_max_depth:
            return _queue_full(limits.queue_max_depth), free_bytes
        if limits.queue_max_age_s and backlog.age_s > limits.queue_max_age_s:
            return _queue_slow(backlog.age_s), free_bytes
        return None, free_bytes


def _free_bytes(folder: Path) -> int:
    """Free space of the disk on which the folder lies, or will lie."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _queue_full(depth: int) -> Unavailable:
    return Unavailable(
        "queue.full",
        f"{depth:,} jobs or more are waiting: no uploads are taken until some are done.",
        hint="send it again later; more worker processes (WORKER_CONCURRENCY) or a higher QUEUE_MAX_DEPTH help",
        retry_after_s=_FULL_AGAIN_S,
    )


def _queue_slow(age_s: float) -> Unavailable:
    return Unavailable(
        "queue.slow",
        f"The oldest job has been waiting for {age_s:.0f} s: no uploads are taken until that is less.",
        hint='send it again later; "drystone status" shows whether the worker runs',
        retry_after_s=_FULL_AGAIN_S,
    )


def _storage_low(free_bytes: int, wanted_bytes: int) -> Unavailable:
    return Unavailable(
        "storage.low",
        f"The disk has {free_bytes:,} bytes left, and {wanted_bytes:,} are to stay free beside the upload.",
        hint="make room, or delete documents; reading and deleting go on meanwhile",
        status=507,
        retry_after_s=_LOW_AGAIN_S,
    )

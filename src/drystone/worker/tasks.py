"""Celery's side: one task, which wakes this pool process, and the signals that open and close it.

Settings are loaded when a pool process starts, never at import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import shared_task
from celery.signals import worker_process_init, worker_process_shutdown

from drystone.core import crash_points, logging
from drystone.core.settings import load
from drystone.jobs.broker import RUN_TASK

if TYPE_CHECKING:
    from drystone.worker.process import Process

_process: Process | None = None


@shared_task(name=RUN_TASK)
def run(job_id: str) -> None:
    """Take this job from the ledger, and then whatever else is due."""
    assert _process is not None, "the pool process was not opened"
    _process.drain(UUID(job_id))


@worker_process_init.connect
def _open(**_: Any) -> None:
    global _process  # noqa: PLW0603  Celery gives a pool process no other place to keep its state
    from drystone.worker.process import Process  # not in the main process, whose start the pool waits for

    settings = load()
    logging.configure(settings.general.log_level, settings.general.log_format)
    crash_points.arm(settings.general.crash_points)
    _process = Process(settings)
    _process.start()


@worker_process_shutdown.connect
def _close(**_: Any) -> None:
    if _process is not None:
        _process.stop()

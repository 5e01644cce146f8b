"""Celery's side: one task, which wakes this pool process, and the signals that open and close it.

Settings are loaded when a pool process starts, never at import.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import Celery, Task, shared_task
from celery.signals import worker_process_init, worker_process_shutdown
from celery.worker import state
from celery.worker.strategy import default

from drystone.core import crash_points, logging, tracing
from drystone.core.settings import load
from drystone.jobs.broker import RUN_TASK
from drystone.worker import sharing

if TYPE_CHECKING:
    from drystone.worker.process import Process

# Nudges that may wait for each pool process, those that it works on included.
_WAITING_PER_PROCESS = 4

_process: Process | None = None


def receive_few(task: Task, app: Celery, consumer: Any) -> Callable[..., Any]:
    """Celery's way to take a message, but for nudges that nobody needs: they were held in memory as long as work waited.

    Messages are taken off the queue as they come. Where some wait for a pool process already, each of those will take
    all that is due; what is left out is in the ledger.
    """
    take = default(task, app, consumer)
    enough = _WAITING_PER_PROCESS * consumer.pool.num_processes

    def receive(*message: Any, **more: Any) -> Any:
        return take(*message, **more) if len(state.reserved_requests) < enough else None

    return receive


@shared_task(name=RUN_TASK, Strategy=f"{__name__}:receive_few")
def run(job_id: str) -> None:
    """Take this job from the ledger, and then whatever else is due."""
    assert _process is not None, "the pool process was not opened"
    _process.drain(UUID(job_id))


@worker_process_init.connect
def _open(**_: Any) -> None:
    global _process  # noqa: PLW0603  Celery gives a pool process no other place to keep its state
    sharing.join()
    from drystone.worker.process import Process  # not in the main process, whose start the pool waits for

    settings = load()
    logging.configure(settings.general.log_level, settings.general.log_format)
    crash_points.arm(settings.general.crash_points)
    tracing.start(settings.tracing, "worker")
    _process = Process(settings)
    _process.start()


@worker_process_shutdown.connect
def _close(**_: Any) -> None:
    if _process is not None:
        _process.stop()
    tracing.stop()

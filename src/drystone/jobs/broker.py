"""The broker: Celery's configuration, and nudges that tell workers to look into the ledger.

A nudge carries a job's id and nothing else. Losing it loses no work: workers take every due job they find, and the
sweep offers again what nobody took. So nudges are coalesced, sent from a thread of their own, and never retried.
"""

from __future__ import annotations

import queue
import threading
from uuid import UUID

from celery import Celery
from kombu.entity import Queue

from drystone.core.logging import get_logger
from drystone.core.settings import RedisSettings

RUN_TASK = "drystone.run"
QUEUE = "drystone"
# Workers drain the ledger once awake, so a burst needs no message for each of its jobs; what comes within PAUSE_S after
# a message is one burst.
NUDGES_PER_BURST = 4
PAUSE_S = 0.1

log = get_logger("jobs.broker")


def make_celery(settings: RedisSettings, *, socket_timeout_s: float) -> Celery:
    """A Celery application: JSON ids only, no acknowledgements, no results, no retries of its own.

    socket_timeout_s: 2 for publishers (a paused Redis otherwise hangs the publish for half a minute), 5 or more for
    the consumer, whose blocking read takes longer than 2.
    """
    app = Celery("drystone", broker=settings.broker_url.get_secret_value(), set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={"socket_timeout": socket_timeout_s, "socket_connect_timeout": 2},
        task_create_missing_queues=True,
        task_default_queue=QUEUE,
        # Taken off the queue when read. An acknowledgement that fails because Redis has just died would never be
        # repeated, and the consumer would wait for it for ever instead of reading on.
        task_queues=[Queue(QUEUE, no_ack=True)],  # type: ignore[no-untyped-call]
        task_ignore_result=True,
        task_publish_retry=False,
        task_serializer="json",
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
    )
    return app


class Nudger:
    """Sends nudges from one background thread, so that neither a request nor a commit waits for the broker."""

    def __init__(self, settings: RedisSettings) -> None:
        self._app = make_celery(settings, socket_timeout_s=2)
        self._pending: queue.SimpleQueue[UUID | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def nudge(self, job_id: UUID) -> None:
        """Tell some worker that a job is due. Returns at once; a failure is logged, the sweep makes up for it."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="nudges", daemon=True)
                self._thread.start()
        self._pending.put(job_id)

    def close(self) -> None:
        """Send what is pending (for at most 3 s) and stop."""
        if self._thread is not None:
            self._closing.set()
            self._pending.put(None)
            self._thread.join(timeout=3)

    def _send_all(self) -> None:
        is_open = True
        while is_open:
            burst = [self._pending.get()]
            while not self._pending.empty():
                burst.append(self._pending.get())
            is_open = None not in burst
            self._send([job_id for job_id in burst if job_id is not None][-NUDGES_PER_BURST:])
            if is_open:
                self._closing.wait(PAUSE_S)
        self._app.close()

    def _send(self, job_ids: list[UUID]) -> None:
        try:
            with self._app.producer_or_acquire() as producer:  # of a pool: connected once, anew after a failure
                for job_id in job_ids:
                    self._app.send_task(RUN_TASK, args=[str(job_id)], producer=producer)
        except Exception as exc:  # noqa: BLE001
            # Whatever the broker's client raises, the job stands in the ledger and the sweep will offer it.
            log.warning("jobs.nudge_failed", jobs=len(job_ids), error=repr(exc))

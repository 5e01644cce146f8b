"""`drystone worker`: Celery's main process with spawned pool processes, and the sweep, the merging of the keyword index,
the feeding of a graph outside PostgreSQL, the webhooks' sender and the numbers of all of them beside it.

What these need is imported when it is first due, not before the pool is spawned: a start waits for the pool.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import warnings
from pathlib import Path

import billiard.util
from celery.exceptions import SecurityWarning
from celery.signals import setup_logging
from redis.exceptions import RedisError

from drystone.core import crash_points, logging, priority
from drystone.core.settings import Settings
from drystone.jobs import presence
from drystone.jobs.broker import QUEUE, make_celery
from drystone.worker import sharing

# honcho kills five seconds after asking: what is not done by then is given back.
SOFT_SHUTDOWN_S = 3.0
# How long what runs beside the pool may take to end, all together; it ends with the process in any case.
_JOIN_S = 1.5
# The pool starts first.
_METRICS_AFTER_S = 1.0


def run(settings: Settings) -> int:
    """Work until told to stop; the exit code. SIGTERM ends it softly: short jobs end, long ones are given back."""
    os.environ["REMAP_SIGTERM"] = "SIGQUIT"  # Celery's way to a soft shutdown; read when its worker module loads
    warnings.simplefilter(
        "ignore", SecurityWarning
    )  # about root: files are parsed in limited children, messages are ids

    priority.stand_back(settings.worker.nice)
    logging.configure(settings.general.log_level, settings.general.log_format)
    crash_points.arm(settings.general.crash_points)
    shared = sharing.begin(settings.general.data_dir)
    app = make_celery(settings.redis, socket_timeout_s=10)
    app.conf.update(
        include=["drystone.worker.tasks"],
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=False,
        worker_pool_start_method="spawn",
        worker_proc_alive_timeout=60.0,
        # Celery would put a logger in the place of a pool process's stderr, where our logs go, and lose them.
        worker_redirect_stdouts=False,
        worker_soft_shutdown_timeout=SOFT_SHUTDOWN_S,
    )
    app.set_default()
    if settings.general.environment == "production":
        asyncio.run(_refuse_open_bucket(settings))
    setup_logging.connect(_leave_logs_alone)
    asyncio.run(_forget_the_dead(settings))
    stop = threading.Event()
    beside = [
        threading.Thread(target=target, args=(settings, stop), name=name, daemon=True)
        for name, target in (("sweep", _sweep), ("merging", _merge), ("feeding", _feed), ("webhooks", _call_webhooks))
    ]
    beside.append(threading.Thread(target=_serve_metrics, args=(settings, shared, stop), name="metrics", daemon=True))
    for thread in beside:
        thread.start()
    try:
        app.worker_main(
            [
                "--quiet",
                "worker",
                f"--concurrency={settings.worker.concurrency}",
                f"--queues={QUEUE}",
                f"--hostname=drystone-{os.getpid()}@%h",
                "--loglevel=WARNING",  # of what its processes write before ours is set up in them; it has a form of its own
                "--without-gossip",
                "--without-mingle",
                "--without-heartbeat",
            ]
        )
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 0
    finally:
        stop.set()
        deadline = time.monotonic() + _JOIN_S
        for thread in beside:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
        asyncio.run(_release(settings))
        sharing.end(shared)
    return 0


def _leave_logs_alone(**_: object) -> None:
    """Ours are set up: with somebody listening to this signal, Celery sets up none of its own."""
    billiard.util.get_logger().propagate = True


def _sweep(settings: Settings, stop: threading.Event) -> None:
    if not stop.wait(settings.worker.sweep_s):
        from drystone.worker.sweep import Sweep

        Sweep(settings, stop).run()


def _merge(settings: Settings, stop: threading.Event) -> None:
    if not stop.wait(settings.worker.sweep_s):
        from drystone.worker.merging import Merging

        Merging(settings, stop).run()


def _feed(settings: Settings, stop: threading.Event) -> None:
    if settings.vectors.store != "pgvector" and not stop.wait(settings.worker.sweep_s):
        from drystone.worker.feeding import Feeding

        Feeding(settings, stop).run()


def _call_webhooks(settings: Settings, stop: threading.Event) -> None:
    if not stop.wait(settings.worker.sweep_s):
        from drystone.worker.webhooks import WebhookLane

        WebhookLane(settings, stop).run()


async def _refuse_open_bucket(settings: Settings) -> None:
    from drystone.adapters.objects import Objects
    from drystone.resources import refuse_open_bucket

    await refuse_open_bucket(settings, Objects.open_s3(settings.s3))


def _serve_metrics(settings: Settings, shared: Path | None, stop: threading.Event) -> None:
    if stop.wait(_METRICS_AFTER_S):
        return
    from drystone.worker.metrics import serving

    with serving(settings.monitoring, shared):
        stop.wait()


async def _forget_the_dead(settings: Settings) -> None:
    try:
        async with presence.connect(settings.redis, timeout_s=2) as redis:
            await presence.forget_the_dead(redis)
    except (RedisError, OSError):
        pass  # Redis is down: what they left there ends by itself


async def _release(settings: Settings) -> None:
    """Give back what processes of this worker still held: they are gone by now."""
    from drystone.core.db import make_engine, make_sessions, transaction
    from drystone.core.errors import Unavailable
    from drystone.documents import deletions
    from drystone.worker.sweep import release_of_the_dead

    await _forget_the_dead(settings)
    engine = make_engine(settings.database.url.get_secret_value(), pool_size=1, application_name="drystone-release")
    try:
        sessions = make_sessions(engine)
        async with transaction(sessions) as session:
            await release_of_the_dead(session, vanished=False)
        await deletions.export(sessions, deletions.path_of(settings))
    except Unavailable:
        pass  # PostgreSQL is down too: the leases end by themselves; deletions are exported later
    finally:
        await engine.dispose()

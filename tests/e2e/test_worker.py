"""The worker's processes in a running stack."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from drystone.jobs.broker import QUEUE, RUN_TASK, make_celery
from tests.clients import redis_client
from tests.e2e.conftest import ROOT, Stack

_NUDGES, _MOST_BYTES = 3000, 10_000_000


def test_nudges_that_nobody_needs_take_no_memory(up: Stack) -> None:
    main = psutil.Process(up.status()["worker"]["pid"])
    pool = [child for child in main.children() if "spawn_main" in " ".join(child.cmdline())]
    assert pool
    for process in pool:
        process.suspend()
    try:
        before = main.memory_info().rss
        with make_celery(up.settings.redis, socket_timeout_s=5) as app, app.producer_or_acquire() as producer:
            for number in range(_NUDGES):
                app.send_task(RUN_TASK, args=[f"00000000-0000-7000-8000-{number:012}"], producer=producer)
        _until_taken(up)
        grown = main.memory_info().rss - before
    finally:
        for process in pool:
            process.resume()

    assert grown < _MOST_BYTES
    assert up.run("verify", check=False).returncode == 0


def test_the_worker_and_its_parsers_stand_back_for_web(up: Stack) -> None:
    up.run("add", str(ROOT / "README.md"))  # a parser is there when it was needed
    rows, nice = up.status(), up.settings.worker.nice
    worker = psutil.Process(rows["worker"]["pid"])
    web = psutil.Process(rows["web"]["pid"])

    assert nice > 0
    assert any("zygote" in " ".join(each.cmdline()) for each in worker.children(recursive=True))
    farther = min(web.nice() + nice, 19)
    assert {each.nice() for each in (worker, *worker.children(recursive=True))} == {farther}
    if Path("/proc/self/autogroup").exists():
        assert {_of_session(each) for each in (worker, *worker.children(recursive=True))} == {farther}
        assert _of_session(web) == 0


def _of_session(process: psutil.Process) -> int:
    return int(Path(f"/proc/{process.pid}/autogroup").read_text().split()[-1])


def _until_taken(stack: Stack) -> None:
    """Wait until the main process has read the queue empty."""
    deadline = time.monotonic() + 30
    with redis_client(stack.settings) as redis:
        while redis.llen(QUEUE):
            assert time.monotonic() < deadline, "the worker does not read its queue"
            time.sleep(0.05)

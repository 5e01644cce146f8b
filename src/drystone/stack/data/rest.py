"""The stack at rest: nobody runs it, and nobody can start it, while its folders are worked on."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from drystone.core.errors import Conflict, NotFound, Unavailable
from drystone.core.settings import Settings
from drystone.stack import processes
from drystone.stack.data import swap
from drystone.stack.services import ALL
from drystone.stack.state import RunLock
from drystone.stack.supervise import MIN_FREE_BYTES


def is_running(settings: Settings) -> bool:
    """Whether any process of this stack lives, whoever started it."""
    return bool(_alive(settings))


def _alive(settings: Settings) -> list[processes.Process]:
    return processes.marked(processes.run_prefix(settings.general.data_dir))


@contextlib.contextmanager
def at_rest(settings: Settings, doing: str) -> Iterator[None]:
    """Hold the stack's lock. Raises Conflict while it runs; doing: what cannot be done then, for the message."""
    data_dir = settings.general.data_dir
    if not data_dir.is_dir():
        raise NotFound("stack.no_data", f"There is no data yet: {data_dir} does not exist.", hint="run ./drystone up")
    lock = RunLock(data_dir / "run")
    if not lock.acquire(doing):
        raise Conflict(
            "stack.running",
            f"{doing} needs the stack to be down, and process {lock.holder()} {busy_with(lock)}.",
            hint="wait for it, then run this again" if lock.doing() else "run ./drystone down, then this",
        )
    try:
        if left := _alive(settings):
            served = any(each.is_served for each in left)
            raise Conflict(
                "stack.running",
                f"{doing} needs the stack to be down, and some of its processes live without it.",
                hint="stop them where they were started (systemctl, devenv)"
                if served
                else "run ./drystone down, then this",
            )
        swap.finish(data_dir)
        yield
    finally:
        lock.release()


def busy_with(lock: RunLock) -> str:
    """What the lock's holder does, in words."""
    return f"works on its data ({lock.doing()})" if lock.doing() else "runs it"


def check(settings: Settings, doing: str) -> None:
    """Raise what `at_rest` and `check_all_ours` would raise now, before anybody is asked whether to go on."""
    check_all_ours(settings, doing)
    with at_rest(settings, doing):
        return


def check_all_ours(settings: Settings, doing: str) -> None:
    """Raises Conflict when a server is somebody else's: its data is not in our folder."""
    if names := [service.variable for service in ALL if service.is_external(settings)]:
        raise Conflict(
            "stack.external",
            f"{doing} knows only servers that drystone runs itself; {', '.join(names)} point elsewhere.",
            hint="use the tools of whoever runs them, for all servers at the same moment",
        )


def check_space(settings: Settings, needed_bytes: int) -> None:
    """Raises Unavailable when the disk of the data folder has no room for so much more."""
    data_dir = settings.general.data_dir
    free = shutil.disk_usage(data_dir).free
    if free < needed_bytes + MIN_FREE_BYTES:
        raise Unavailable(
            "stack.disk_full",
            f"This needs {needed_bytes // 1_000_000 + 1} MB and some to spare; {free // 1_000_000} MB are free on the"
            f" disk of {data_dir}.",
            hint="free some space, or remove a snapshot: ./drystone snapshot list",
        )

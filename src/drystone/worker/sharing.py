"""Where the processes of a worker keep what they count, so that the main process can tell all of it.

prometheus_client decides when it is imported whether it counts in memory or in files of a shared folder. So this is called
first of all, and imports nothing that imports it.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from drystone.core.logging import get_logger

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# Several times what all numbers of a process take. Taken up at once: to touch a page of a mapped file for which the disk has
# no room would kill the process.
_BYTES = 512 * 1024
_FILES = ("counter", "histogram", "gauge_livesum")

log = get_logger("worker.sharing")


def begin(data_dir: Path) -> Path | None:
    """Have this process and those it starts count in a folder of theirs; None where there is no room for it.

    Folders of workers that are gone are removed.
    """
    assert "prometheus_client" not in sys.modules, "it has begun to count in memory already"
    parent = data_dir / "run" / "measures"
    folder = parent / str(os.getpid())
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for former in parent.iterdir():
            if former == folder or not (former.name.isdigit() and is_alive(int(former.name))):
                shutil.rmtree(former, ignore_errors=True)
        folder.mkdir()
        reserve(folder, os.getpid())
        reserve(folder, 0)
    except OSError as exc:
        log.warning("measures.not_shared", error=repr(exc))
        os.environ.pop(_VARIABLE, None)
        return None
    os.environ[_VARIABLE] = str(folder)
    return folder


def join() -> None:
    """In a process that the worker started: take up room for its own files, or count for itself alone."""
    if folder := os.environ.get(_VARIABLE):
        try:
            reserve(Path(folder), os.getpid())
        except FileNotFoundError:  # the worker is ending
            del os.environ[_VARIABLE]
        except OSError as exc:
            log.warning("measures.not_shared", error=repr(exc))
            del os.environ[_VARIABLE]


def reserve(folder: Path, pid: int) -> None:
    """Make the files of a process, with room on the disk. Raises OSError."""
    for kind in _FILES:
        path = folder / f"{kind}_{pid}.db"
        draft = path.with_suffix(".new")  # who sums up reads whole files
        draft.write_bytes(b"\0" * _BYTES)
        draft.replace(path)


def end(folder: Path | None) -> None:
    """The worker ends, and nobody asks any more."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

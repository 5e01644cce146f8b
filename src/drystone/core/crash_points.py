"""Named places in the code at which a fault test may end, halt or disturb the process. Nothing happens unless armed.

Armed is a folder (`DRYSTONE_CRASH_POINTS`, only with ENVIRONMENT=test). A file in it named after a point says what is to
happen there: `ACT SKIP TIMES`, such as `kill 2 1`: let two passes go by, act at the third. Whoever acts leaves a file
`NAME.reached.PID.N` behind: the proof that the fault happened.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

POINTS = (
    "after_put",
    "before_commit",
    "after_commit",
    "before_nudge",
    "after_claim",
    "mid_parse",
    "after_parse",
    "mid_embed",
    "mid_reembed",
    "mid_recheck",
    "mid_refresh",
    "mid_unpack",
    "before_publish",
    "mid_publish",
    "after_publish",
    "mid_purge",
    "mid_sweep",
    "before_blob_delete",
    "after_blob_delete",
    "mid_feed",
    "mid_backup_dump",
    "mid_backup_copy",
    "before_backup_whole",
    "after_restore_commit",
    "mid_import",
    "mid_catalogue_change",
)
# kill, halt: this process by SIGKILL, SIGSTOP. kill_child: the child that works for it there. fail: raise Armed.
ACTS = ("kill", "halt", "kill_child", "fail")

_folder: Path | None = None


class Armed(Exception):
    """What `fail` raises: a fault of ours that nobody foresaw."""


def arm(folder: Path | None) -> None:
    """Heed the files in this folder from now on; None: heed nothing. An entry point calls it with the settings' folder."""
    global _folder  # noqa: PLW0603  armed once by a process's entry point, read everywhere
    _folder = folder


def reach(name: str, *, forker: int | None = None) -> None:
    """Say that this process has come to the point `name`. forker: the process whose fork works for it there."""
    if _folder is not None:
        _pass(_folder, name, forker)


def order(folder: Path, name: str, act: str, *, skip: int = 0, times: int = 1) -> None:
    """Arm a point: `act` at the pass after `skip` others, and at the next ones until it was done `times` times."""
    if name not in POINTS or act not in ACTS:
        raise ValueError(f"there is no point {name!r} or no act {act!r}")
    draft = folder / f".{name}.draft"
    draft.write_text(f"{act} {skip} {times}")
    draft.replace(folder / name)


def reached(folder: Path, name: str) -> list[int]:
    """The pids of the processes that acted at this point."""
    return sorted(int(path.name.split(".")[2]) for path in folder.glob(f"{name}.reached.*"))


def victims(folder: Path, name: str) -> list[int]:
    """The pids of the children that were killed at this point."""
    said = [path.read_text().split() for path in folder.glob(f"{name}.reached.*")]
    return [int(words[3]) for words in said if words[0] == "kill_child"]


def _pass(folder: Path, name: str, forker: int | None) -> None:
    mine = folder / f".{name}.{os.getpid()}"
    try:
        (folder / name).rename(mine)  # one process has it, however many pass at once
    except FileNotFoundError:
        return
    act, skip, times = mine.read_text().split()
    child = _fork_of(forker) if act == "kill_child" else None
    if int(skip) > 0 or (act == "kill_child" and child is None):
        mine.unlink()
        order(folder, name, act, skip=max(0, int(skip) - 1), times=int(times))
        return
    if int(times) > 1:
        order(folder, name, act, times=int(times) - 1)
    mine.write_text(f"{act} {skip} {times} {child or os.getpid()}")
    mine.rename(folder / f"{name}.reached.{os.getpid()}.{times}")
    _act(act, name, child)


def _fork_of(forker: int | None) -> int | None:
    """The pid, as this process sees it, of the last fork of the last descendant; a namespace would say another."""
    line, pid = b"", forker
    while pid is not None:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            now = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return None
        if not children:
            return pid if now == line else None
        line, pid = now, int(children[-1])
    return None


def _act(act: str, name: str, child: int | None) -> None:
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif act == "halt":
        # To this thread: sent to the process, another thread may take it, and this one goes on for a moment.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    elif act == "kill_child" and child is not None:
        os.kill(child, signal.SIGKILL)
    else:
        raise Armed(f"the crash point {name} was armed")

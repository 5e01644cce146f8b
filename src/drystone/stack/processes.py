"""Finding and ending the processes of a run by the mark in their environment, whoever their parent is now.

Standard library only: the guardian imports it and must stay small.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

MARK = "DRYSTONE_RUN_ID"
SERVICE = "DRYSTONE_SERVICE"
APP, GUARDIAN, HOOK = "app", "guardian", "hook"
SERVED = "served"  # in place of the random part of a run's id: started by `serve`, kept by another supervisor
GRACE_S = 4.0


@dataclass(frozen=True)
class Process:
    """One live process; `started` tells it from a later one with the same pid."""

    pid: int
    parent: int
    session: int
    started: str
    run_id: str = ""
    service: str = ""
    is_leader: bool = False  # a process that honcho started itself: the one to ask politely

    @property
    def is_served(self) -> bool:
        """Whether another supervisor than `up` keeps it, and only that one may end it."""
        return self.run_id.endswith(f".{SERVED}")


def run_prefix(data_dir: Path) -> str:
    """What the ids of all runs on this data folder begin with."""
    return hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16] + "."


def new_run_id(data_dir: Path) -> str:
    return run_prefix(data_dir) + secrets.token_hex(6)


def served_run_id(data_dir: Path) -> str:
    """The id of what `serve` starts on this data folder, whenever it does."""
    return run_prefix(data_dir) + SERVED


def mark(run_id: str, service: str) -> dict[str, str]:
    """The environment variables by which a child, and its children, are found again."""
    return {MARK: run_id, SERVICE: service}


def marked(prefix: str) -> list[Process]:
    """Live processes whose run id begins with `prefix`, and all their descendants; never ourselves or our ancestors."""
    everyone = _table()
    own = _ancestors(os.getpid(), everyone)
    found: dict[int, Process] = {}
    for pid, process in everyone.items():
        seen = _environment(pid)
        if seen.get(MARK, "").startswith(prefix):
            leads = "HONCHO_PROCESS_NAME" in seen and process.session == pid
            found[pid] = replace(process, run_id=seen[MARK], service=seen.get(SERVICE, ""), is_leader=leads)
    # PostgreSQL's children overwrite their environment and parsers have an empty one: they count by their parents.
    pending = True
    while pending:
        pending = False
        for pid, process in everyone.items():
            if pid not in found and process.parent in found:
                parent = found[process.parent]
                found[pid] = replace(process, run_id=parent.run_id, service=parent.service)
                pending = True
    return [process for pid, process in found.items() if pid not in own]


def find(pid: int) -> Process | None:
    """The live process with this pid."""
    return _table().get(pid)


def is_running(pid: int) -> bool:
    """Whether a process with this pid lives; a zombie does not."""
    return (_stat(pid) if sys.platform == "linux" else _table().get(pid)) is not None


def work_s(run_id: str, service: str, *, apart: Collection[int] = ()) -> float:
    """Seconds of processor that the live processes of a service have used, but for those of some sessions; 0 where unknown."""
    ours = (each for each in marked(run_id) if each.service == service and each.session not in apart)
    return sum(_work_s(each.pid) for each in ours)


def exit_code(pid: int) -> int | None:
    """How a process ended whose parent has not asked yet, as `Popen.returncode` tells it; None when we cannot know."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return os.waitstatus_to_exitcode(int(fields[-1])) if fields[0] == "Z" else None


def folder(pid: int) -> Path | None:
    """The folder a process works in; None when we may not see it."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cwd").readlink()
        except OSError:
            return None
    try:
        out = subprocess.run(
            ["lsof", "-a", "-d", "cwd", "-p", str(pid), "-Fn"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return next((Path(line[1:]) for line in out.stdout.splitlines() if line.startswith("n/")), None)


def is_alive(process: Process) -> bool:
    now = _stat(process.pid) if sys.platform == "linux" else _table().get(process.pid)
    return now is not None and now.started == process.started


def is_marked(pid: int) -> bool:
    """Whether a process is one of a Drystone stack, whichever."""
    return MARK in _environment(pid)


def is_paused(pid: int) -> bool:
    """Whether a process is stopped by a signal (SIGSTOP, SIGTSTP) or a debugger: it lives, but does nothing."""
    return _ps("-o", "state=", "-p", str(pid)).strip()[:1] in ("T", "t")


def is_halted(pid: int) -> bool:
    """Whether SIGSTOP has reached every thread of the process; one that is gone counts as halted."""
    if sys.platform != "linux":
        return _ps("-o", "state=", "-p", str(pid)).strip()[:1] in ("T", "Z", "")
    try:
        threads = [path.read_text(errors="replace") for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # one ended while we looked
        return not is_running(pid)
    return all(text.rpartition(")")[2].split()[0] in "TtZX" for text in threads)


def send(process: Process, signum: signal.Signals) -> None:
    """Signal the process if it is still the same one."""
    if is_alive(process):
        try:
            os.kill(process.pid, signum)
        except (ProcessLookupError, PermissionError):
            return


def wait_gone(processes: Iterable[Process], timeout_s: float) -> list[Process]:
    """Wait until all are gone; those that are left after timeout_s."""
    deadline = time.monotonic() + timeout_s
    left = list(processes)
    while (left := [each for each in left if is_alive(each)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def end_app(prefix: str, *, grace_s: float = GRACE_S, sessions: Collection[int] = ()) -> int:
    """End web, worker, honcho and whatever they started; the number of processes there were.

    Only what honcho started is asked politely: honcho's own helpers ignore SIGTERM, and a broken honcho asks nobody.
    sessions: pids of what honcho started. What they started without our mark and left as orphans is in their session.
    """
    mine = _app(prefix, sessions)
    leaders = [each for each in mine if each.is_leader] or mine
    for each in leaders:
        send(each, signal.SIGTERM)
    wait_gone(leaders, grace_s if leaders else 0)
    _kill_until_gone(lambda: _app(prefix, sessions))
    return len(mine)


def end_servers(prefix: str, *, grace_s: float = GRACE_S) -> int:
    """End the servers: PostgreSQL by a fast shutdown, the others by SIGTERM, then by force; the number there were."""
    mine = _servers(prefix)
    pids = {each.pid for each in mine}
    heads = [each for each in mine if each.parent not in pids]
    for each in heads:
        send(each, signal.SIGINT if each.service == "postgres" else signal.SIGTERM)
    for each in wait_gone(heads, grace_s):
        # An immediate shutdown lets PostgreSQL end its own children; what is committed is in the log.
        send(each, signal.SIGQUIT if each.service == "postgres" else signal.SIGKILL)
    wait_gone(mine, 1.0)
    _kill_until_gone(lambda: _servers(prefix))
    return len(mine)


def end_run(prefix: str, *, grace_s: float = GRACE_S) -> int:
    """End everything of a run, in the order of a good shutdown; the number of processes there were."""
    return end_app(prefix, grace_s=grace_s) + end_servers(prefix, grace_s=grace_s)


def memory_bytes(pid: int, *, without: Collection[int] = ()) -> int:
    """Memory of a process and its descendants, but for the trees of `without`. Shared pages count in part where the
    system tells."""
    everyone = _table()
    tree = {pid}
    while more := {p for p, each in everyone.items() if each.parent in tree} - tree - set(without):
        tree |= more
    return sum(_memory_bytes(each) for each in tree)


def _app(prefix: str, sessions: Collection[int]) -> list[Process]:
    own = [each for each in marked(prefix) if each.service in (APP, HOOK) and not each.is_served]
    known = {each.pid for each in own}
    return own + [each for each in _table().values() if each.session in sessions and each.pid not in known]


def _servers(prefix: str) -> list[Process]:
    return [each for each in marked(prefix) if each.service not in (APP, HOOK, GUARDIAN) and not each.is_served]


def _kill_until_gone(find_left: Callable[[], list[Process]], timeout_s: float = 5.0) -> None:
    # A dying process may start another between our look and our signal, so look again.
    deadline = time.monotonic() + timeout_s
    while (left := find_left()) and time.monotonic() < deadline:
        for each in left:
            send(each, signal.SIGKILL)
        wait_gone(left, 0.5)


def _ancestors(pid: int, everyone: dict[int, Process]) -> set[int]:
    own = {pid}
    while (process := everyone.get(pid)) and process.parent not in own:
        pid = process.parent
        own.add(pid)
    return own


def _table() -> dict[int, Process]:
    if sys.platform == "linux":
        pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())  # noqa: PTH208  names only, often called
        return {pid: process for pid in pids if (process := _stat(pid))}
    return _table_ps()


def _stat(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # After the name, which may hold anything: state, parent, group, session; field 22 is the start in clock ticks.
    fields = text.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    return Process(pid, int(fields[1]), int(fields[3]), fields[19])


def _environment(pid: int) -> dict[str, str]:
    names = (MARK, SERVICE, "HONCHO_PROCESS_NAME")
    if sys.platform == "linux":
        try:
            text = os.fsdecode(Path(f"/proc/{pid}/environ").read_bytes())
        except OSError:
            return {}
        pairs = (entry.partition("=") for entry in text.split("\0"))
        return {name: value for name, _, value in pairs if name in names}
    text = _ps("eww", "-o", "command=", "-p", str(pid))
    return dict(re.findall(rf"(?:^|\s)({'|'.join(names)})=(\S*)", text))


def _table_ps() -> dict[int, Process]:
    found = {}
    for line in _ps("-axo", "pid=,ppid=,pgid=,state=,lstart=").splitlines():
        pid, parent, group, state, started = line.split(None, 4)
        if not state.startswith("Z"):
            # What honcho starts leads its own session and group; macOS' ps does not show sessions.
            found[int(pid)] = Process(int(pid), int(parent), int(group), started)
    return found


def _work_s(pid: int) -> float:
    """Of the process, and of its children that have ended. Linux only."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _memory_bytes(pid: int) -> int:
    if sys.platform == "linux":
        for name, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
            try:
                lines = Path(f"/proc/{pid}/{name}").read_text().splitlines()
            except OSError:
                continue
            for line in lines:
                if line.startswith(key):
                    return int(line.split()[1]) * 1024
        return 0
    return int(_ps("-o", "rss=", "-p", str(pid)).strip() or 0) * 1024


def _ps(*arguments: str) -> str:
    return subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False, errors="replace").stdout

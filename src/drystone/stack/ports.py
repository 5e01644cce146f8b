"""Free ports, and who holds a port that is taken."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from drystone.core.errors import Invalid
from drystone.stack import processes

LAST = 65_535
LOWEST = 10_000
# Linux hands out 32768-60999 to outgoing connections, macOS 49152-65535: a server's port must lie below both.
HIGHEST = 32_700
# Who runs several stacks that come and go at the same time gives each of their makers a range of its own.
RANGE = "DRYSTONE_PORTS"


@dataclass(frozen=True)
class Holder:
    """The process that listens on a port, as far as we may see it. folder: where it works."""

    pid: int
    command: str
    folder: Path | None = None

    @property
    def checkout(self) -> Path | None:
        """The Drystone checkout whose process it is, if it is one; a stranger may work in such a folder too."""
        above = [self.folder, *self.folder.parents] if self.folder and processes.is_marked(self.pid) else []
        return next(
            (each for each in above if (each / "Procfile").is_file() and (each / "src/drystone").is_dir()), None
        )

    def __str__(self) -> str:
        where = f" in {self.folder}" if self.folder else ""
        whose = f", of the Drystone checkout {self.checkout}" if self.checkout else ""
        return f"pid {self.pid} ({self.command}){where}{whose}"


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on host:port now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: an old connection in TIME_WAIT does not count, a listening socket does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def weed_socket(part: str, port: int) -> Path:
    """The socket by which SeaweedFS' parts speak to one of them, beside its gRPC port; no flag places it elsewhere."""
    return Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock")  # noqa: S108


def is_choosable(port: int) -> bool:
    """Whether a new stack may be given the port: it is free, and SeaweedFS could work on it."""
    return is_free(port) and not has_foreign_socket(port)


def has_foreign_socket(port: int) -> bool:
    """Whether another user's SeaweedFS used this port: it may have left a socket that we cannot replace."""
    return any(path.lstat().st_uid != os.geteuid() for path in Path("/tmp").glob(weed_socket("*", port).name))  # noqa: S108


def listens(path: Path) -> bool:
    """Whether somebody listens on a socket of the file system. Raises PermissionError."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def find(offsets: Collection[int], *, taken: Collection[int] = ()) -> int:
    """A random port such that it plus each of `offsets` is free, not in `taken` and within `DRYSTONE_PORTS`.

    Raises Invalid when that is no range in which so many could lie.
    """
    others = frozenset(taken)
    lowest, highest = _range(max(offsets))
    firsts = list(range(lowest, highest - max(offsets)))
    secrets.SystemRandom().shuffle(firsts)
    for first in firsts:
        wanted = [first + offset for offset in offsets]
        if others.isdisjoint(wanted) and all(is_choosable(port) for port in wanted):
            return first
    raise OSError(f"no {len(offsets)} free ports between {lowest} and {highest}")


def _range(width: int) -> tuple[int, int]:
    """The lowest port that may be chosen, and the one after the highest; wider than `width`."""
    said = os.environ.get(RANGE) or f"{LOWEST}-{HIGHEST}"
    low, _, high = said.partition("-")
    if not (low.isdecimal() and high.isdecimal() and int(low) >= 1024 and int(low) + width < int(high) <= LAST):
        raise Invalid(
            "ports.bad_range",
            f"{RANGE}={said} is no range of ports.",
            hint=f"{RANGE}=LOWEST-HIGHEST, 1024 to {LAST}; SeaweedFS needs one wider than 10 100",
        )
    return int(low), int(high)


def holder(port: int) -> Holder | None:
    """Who listens on the port; None when nobody does or we may not see it."""
    pid = _holder_linux(port) if sys.platform == "linux" else _holder_lsof(port)
    return Holder(pid, command(pid), processes.folder(pid)) if pid else None


def _holder_linux(port: int) -> int | None:
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for columns in (line.split() for line in lines):
            if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:  # 0A: LISTEN
                inodes.add(f"socket:[{columns[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()) in inodes for fd in (process / "fd").iterdir()):
                return int(process.name)
        except OSError:  # gone, or not ours to look at
            continue
    return None


def _holder_lsof(port: int) -> int | None:
    try:
        out = subprocess.run(
            ["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-t"], capture_output=True, text=True, check=False
        ).stdout.split()
    except OSError:
        return None
    return int(out[0]) if out else None


def command(pid: int) -> str:
    """The program's name, without its arguments: these may hold secrets."""
    result = subprocess.run(["ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return result.stdout.strip().rpartition("/")[2] or "unknown"

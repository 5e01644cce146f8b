"""What a run tells others about itself: `run/state.json`, and the lock that says whether it still runs."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from drystone.core.errors import Unavailable

Status = Literal["starting", "healthy", "stopping", "stopped", "failed"]


@dataclass(frozen=True)
class Restart:
    """When and why something was started again. Of what is restarted together, each has an equal one."""

    at: float  # Unix time
    reason: str


@dataclass(frozen=True)
class ServiceState:
    """One server or process. state: starting, ready, restarting, stopped or external."""

    state: str = "starting"
    pid: int | None = None
    port: int | None = None
    provider: str = ""
    started_at: float = 0.0  # Unix time
    seconds: float = 0.0  # from start to ready
    restarts: tuple[Restart, ...] = ()


@dataclass(frozen=True)
class RunState:
    run_id: str
    pid: int
    url: str
    status: Status = "starting"
    reason: str = ""
    started_at: float = 0.0
    seconds: float = 0.0
    services: dict[str, ServiceState] = field(default_factory=dict)


class StateFile:
    """Writes the state, whole each time: a reader never sees half of it. Thread-safe."""

    def __init__(self, path: Path, state: RunState) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.state = state

    def set(self, **changes: Any) -> None:
        with self._lock:
            self.state = replace(self.state, **changes)
            self._write()

    def service(self, name: str, *, restarted: Restart | None = None, **changes: Any) -> None:
        """Change one service; `restarted` is added to its restarts."""
        with self._lock:
            before = self.state.services.get(name, ServiceState())
            if restarted is not None:
                changes["restarts"] = (*before.restarts, restarted)
            services = self.state.services | {name: replace(before, **changes)}
            self.state = replace(self.state, services=services)
            self._write()

    def _write(self) -> None:
        draft = self._path.with_name(f"state.{secrets.token_hex(4)}.new")
        try:
            draft.write_text(json.dumps(asdict(self.state), indent=1), encoding="utf-8")
            draft.replace(self._path)
        except OSError:
            # A full disk must not stop a running stack; `status` shows what was last written.
            draft.unlink(missing_ok=True)


def read(run_dir: Path) -> RunState | None:
    """The last state that was written; None if there is none that can be read."""
    try:
        raw = json.loads((run_dir / "state.json").read_text(encoding="utf-8"))
        services = {
            name: ServiceState(**{**each, "restarts": tuple(Restart(**restart) for restart in each["restarts"])})
            for name, each in raw.pop("services").items()
        }
        return RunState(services=services, **raw)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _lock(file: int, *, patience_s: float) -> bool:
    # `holder()` of a passing `status` has the lock for an instant: that is no other `up`.
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


class RunLock:
    """Held by the one `up` of a data folder, for as long as it lives. The kernel lets go of it, however `up` ends.

    name: another file for another lock of the same kind.
    """

    def __init__(self, run_dir: Path, name: str = "up.lock") -> None:
        self._path = run_dir / name
        self._file: int | None = None

    def acquire(self, doing: str = "") -> bool:
        """Take it; False if another holds it. doing: what for, when that is not to run the stack."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise Unavailable(
                "stack.folder_not_writable",
                f"{self._path.parent} cannot be written: {exc.strerror}.",
                hint="make it writable, or set DRYSTONE_DATA_DIR to a folder that is",
            ) from exc
        if not _lock(file, patience_s=0.3):
            os.close(file)
            return False
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()} {doing}".strip().encode())
        self._file = file
        return True

    def release(self) -> None:
        """Let go of it and take our name out: a name in a lock that nobody holds is that of an `up` that was killed."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None

    def killed(self) -> int | None:
        """The pid of the last `up`, if it was killed; None if it ended well or still runs."""
        try:
            named = self._path.read_text().split(" ")[0]
        except (OSError, UnicodeDecodeError):
            return None
        return int(named) if named.isdigit() and self.holder() is None else None

    def doing(self) -> str:
        """What its holder holds it for; empty when nobody does, or to run the stack."""
        try:
            said = self._path.read_text().partition(" ")[2]
        except (OSError, UnicodeDecodeError):
            return ""
        return said if self.holder() is not None else ""

    def holder(self) -> int | None:
        """The pid of the `up` that holds it; None if nobody does."""
        try:
            file = os.open(self._path, os.O_RDWR)
        except OSError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.read(file, 20).split(b" ")[0] or b"0")
        else:
            return None
        finally:
            os.close(file)

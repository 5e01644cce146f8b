"""Ends a run whose `up` was killed: nothing of ours may outlive it.

Its standard input is a pipe whose other end only `up` holds, so the end of input is the end of `up`, however it died.
A parent-death signal would not do: it is racy, is not inherited, and skips grandchildren.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from drystone.stack import processes

GOODBYE = b"bye"  # written by an `up` that has stopped everything itself


class Guardian:
    """The guardian of one run, as seen by the process it watches."""

    def __init__(self, run_id: str, log: Path) -> None:
        self._run_id = run_id
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "drystone.stack.guardian", self._run_id, str(self._log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={"PATH": "/usr/bin:/bin", **processes.mark(self._run_id, processes.GUARDIAN), **import_path()},
        )

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def ensure(self) -> int | None:
        """Start it again if it died; its exit code if it had."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        self.dismiss()
        self.start()
        return code

    def dismiss(self) -> None:
        """Let it go home: everything is stopped."""
        if not self._process or not self._process.stdin:
            return
        try:
            self._process.stdin.write(GOODBYE)
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.wait()
        self._process = None


def import_path() -> dict[str, str]:
    """The environment variables by which a bare Python finds this package."""
    return {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}


def main(run_id: str, log: str) -> None:
    if sys.stdin.buffer.read() == GOODBYE:
        return
    began = time.monotonic()
    count = processes.end_run(run_id)
    with Path(log).open("a", encoding="utf-8") as file:
        file.write(
            f"{time.strftime('%Y-%m-%dT%H:%M:%S')} the process that ran this stack died; "
            f"ended its {count} processes in {time.monotonic() - began:.1f} s\n"
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

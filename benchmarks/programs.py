"""Which program of the stack a process is, by the words that people know it by."""

from __future__ import annotations

from pathlib import Path

from drystone.stack import processes

_APP = (("uvicorn", "web"), ("honcho", "honcho"), ("zygote", "parser"), ("spawn_main", "worker"))


def program_of(process: processes.Process) -> str:
    """`web`, `worker` (pool), `worker-main`, `parser`, or the name of the server."""
    if process.service != processes.APP:
        return process.service or "other"
    try:
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "other"
    return next((name for part, name in _APP if part in command), "worker-main")

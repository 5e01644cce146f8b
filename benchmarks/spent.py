"""Seconds of processor time that the programs of a stack have used: what ingestion costs beside the model.

A busy neighbour stretches the clock, but hardly this.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.programs import program_of
from drystone.core.settings import Settings
from drystone.stack import processes

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def seconds(settings: Settings) -> dict[str, float]:
    """User and system time of each program of the stack so far, ended children included, and of this process."""
    found = {"client": time.process_time()}
    for process in processes.marked(processes.run_prefix(settings.general.data_dir)):
        name = program_of(process)
        found[name] = found.get(name, 0.0) + _used(process.pid)
    return found


def _used(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / _TICKS_PER_S

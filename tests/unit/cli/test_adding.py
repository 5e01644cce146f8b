"""What becomes of a run of `add` when nobody answers. With an API that does, see the end-to-end tests."""

from __future__ import annotations

import socket
from pathlib import Path

from drystone.cli import files
from drystone.cli.adding import Adding, Report, Watcher
from drystone.cli.client import Client
from drystone.core.errors import Unavailable


def _add(folder: Path) -> tuple[Report, list[tuple[int, int]]]:
    seen: list[tuple[int, int]] = []
    watcher = Watcher(progress=lambda sent, settled: seen.append((sent, settled)), notice=lambda _: None)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # bound, not listening: every call is refused
        with Client(f"http://127.0.0.1:{silent.getsockname()[1]}", "k") as client:
            sources = files.find([str(folder)])
            return Adding(client, sources, {"collection": "c"}, concurrency=2).run(watcher), seen


def test_an_api_that_stays_away_ends_the_run_and_says_what_was_not_sent(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text("x")

    report, seen = _add(tmp_path)

    assert isinstance(report.fatal, Unavailable)
    assert report.counts["not_sent"] == 30
    assert not report.has_problems
    assert seen[-1] == (30, 30)


def test_a_file_that_cannot_be_read_is_refused_and_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nothing")

    report, _ = _add(tmp_path)

    assert report.fatal is None
    assert [(item.outcome, item.code) for item in report.items] == [("refused", "file.unreadable")]


def test_nothing_to_send_is_no_problem(tmp_path: Path) -> None:
    report, _ = _add(tmp_path)

    assert (report.items, report.fatal, report.has_problems) == ([], None, False)

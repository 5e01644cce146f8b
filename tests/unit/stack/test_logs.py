from __future__ import annotations

import io
from pathlib import Path

import pytest

from drystone.stack import logs


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("12:30:01 web.1    | listening | now", ("web", "listening | now")),
        ("12:30:01 worker.2 | ", ("worker", "")),
        ("12:30:01 system   | web.1 started (pid=5)", ("honcho", "web.1 started (pid=5)")),
        ("Traceback (most recent call last):", ("honcho", "Traceback (most recent call last):")),
    ],
)
def test_honchos_lines_are_told_apart(line: str, expected: tuple[str, str]) -> None:
    assert logs.split_honcho(line) == expected


def test_logs_of_several_are_merged_by_time(tmp_path: Path) -> None:
    merged = logs.Logs(tmp_path)
    for number, name in enumerate(["web", "worker", "web"]):
        merged.write(name, f"line {number}")

    lines = logs.tail(tmp_path, ["web", "worker"], 2)

    assert [(name, line.partition(" ")[2]) for name, line in lines] == [("worker", "line 1"), ("web", "line 2")]
    assert merged.last("web") == ["line 0", "line 2"]
    assert logs.names(tmp_path) == ["web", "worker"]
    merged.close()


def test_a_log_file_is_private_and_keeps_to_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 1000)
    file = logs.LogFile(tmp_path / "web.log")

    for number in range(100):
        file.write(f"{number:050}")
    file.close()

    assert (tmp_path / "web.log").stat().st_mode & 0o777 == 0o600
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) < 2200
    assert sorted(each.name for each in tmp_path.iterdir()) == ["web.log", "web.log.1"]
    assert logs.tail(tmp_path, ["web"], 1)[0][1].endswith("99")


def test_the_terminal_gets_prefixes_and_only_the_warnings_of_the_talkative(tmp_path: Path) -> None:
    (tmp_path / "in the way").touch()
    stream = io.StringIO()
    terminal = logs.Terminal(stream)
    merged = logs.Logs(tmp_path / "in the way" / "logs", terminal)  # files that cannot be written stop nobody

    merged.write("web", "hello")
    merged.write("objects", "I1121 11:50:12.219745 harmless")
    merged.write("objects", "E1121 11:50:12.219745 disk full")
    terminal.close()

    assert stream.getvalue() == "web      | hello\nobjects  | E1121 11:50:12.219745 disk full\n"


def test_of_all_logs_together_the_chatter_and_the_untimed_are_left_out(tmp_path: Path) -> None:
    merged = logs.Logs(tmp_path)
    merged.write("objects", "I1121 11:50:12.219745 harmless")
    merged.write("objects", "E1121 11:50:12.219745 disk full")
    merged.write("web", "hello")
    merged.close()
    (tmp_path / "detached.log").write_text("a line without a time\n")

    assert [name for name, _ in logs.tail(tmp_path, [], 10)] == ["objects", "web"]
    assert [name for name, _ in logs.tail(tmp_path, ["objects", "detached"], 10)] == ["objects", "objects", "detached"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("2026-11-21T17:58:28.769704Z hello", "2026-11-21T17:58:28.769Z hello"),
        ("2026-11-21T17:58:28.769704Z 2026-11-21T17:58:28.768709Z [info] x", "2026-11-21T17:58:28.769Z [info] x"),
        ("a line without a time", "a line without a time"),
    ],
)
def test_a_line_tells_its_time_once(line: str, shown: str) -> None:
    assert logs.readable(line) == shown

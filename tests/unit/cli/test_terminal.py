"""What is printed cannot steer the terminal, and sizes read well."""

from __future__ import annotations

import json
import sys

import pytest
from tests.unit.cli.conftest import OnTerminal

from drystone.cli import stack, terminal


def test_escapes_controls_and_turned_direction_are_taken_out_of_names() -> None:
    assert terminal.clean("a\x1b[31mb\nc\x9bd\u202ee\u2028f") == "a [31mb c d e f"


def test_joined_emoji_stay_whole() -> None:
    assert terminal.clean("👩\u200d🔧") == "👩\u200d🔧"


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_960, "10 kB"), (999_600, "1.0 MB"), (104_857_600, "105 MB")],
)
def test_sizes_are_told_in_powers_of_ten(size_bytes: int, shown: str) -> None:
    assert terminal.size(size_bytes) == shown


def test_json_for_a_terminal_is_the_same_json_without_what_steers_it(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name\x9b": "a\x1b[31mb\x9bc\u202ed\u2028e\U000e0001f", "list": ["ü", "👩\u200d🔧"]}

    terminal.print_json(value)

    said = capsys.readouterr().out
    assert json.loads(said) == value
    assert not any(c in said for c in "\x1b\x9b\u202e\u2028\U000e0001")
    assert "ü" in said


def test_what_is_said_beside_the_data_holds_no_controls(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say("the collection \x1b]0;owned\x07 is\nthere\x9b")

    assert capsys.readouterr().err == "the collection  ]0;owned  is\nthere \n"


def test_talk_on_a_terminal_is_wrapped_with_its_rest_set_in(on_terminal: OnTerminal) -> None:
    said = "hint: " + "word " * 20 + "/a/path/" + "x" * 90

    lines = on_terminal(60, lambda: terminal.say(said))

    assert [len(line) <= 60 for line in lines] == [True, True, False], "a path stays whole"
    assert [line[:3] for line in lines[1:]] == ["  w", "  /"]
    assert " ".join(line.strip() for line in lines) == said


def test_a_line_that_fits_keeps_its_spaces(on_terminal: OnTerminal) -> None:
    assert on_terminal(30, lambda: print(terminal.wrapped("  a    b   c", sys.stdout))) == ["  a    b   c"]  # noqa: T201


def test_through_a_pipe_nothing_is_wrapped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    terminal.say("word " * 30 + "end")

    assert capsys.readouterr().err == "word " * 30 + "end\n"


def test_cells_of_status_are_as_wide_as_they_need_to_be() -> None:
    rows = [
        ("postgres", "ready", "pid 7", "port 17346", "8 min", "0 restarts", "55 MB", "wheel 18.6"),
        ("web", "ready", "pid 6296", "", "59 s", "12 restarts", "160 MB", ""),
    ]

    assert list(stack._lines(rows)) == [
        "postgres  ready  pid 7     port 17346  8 min  0 restarts    55 MB  wheel 18.6",
        "web       ready  pid 6296               59 s  12 restarts  160 MB",
    ]
    assert list(stack._lines([])) == []

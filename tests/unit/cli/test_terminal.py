"""What is printed cannot steer the terminal, and sizes read well."""

from __future__ import annotations

import json

import pytest

from drystone.cli import terminal


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

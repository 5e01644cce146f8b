"""What models write, in the forms that they write it in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drystone.answers.reading import Cited, Reader, Statement
from drystone.core.errors import Unavailable

ONE = {"text": "It stands.", "cites": [{"passage": 2, "quote": "it stands"}]}
TWO = {"text": "It fell.", "cites": [{"passage": 1, "quote": "fell"}, {"passage": 3, "quote": "down"}]}
STATEMENTS = [
    Statement("It stands.", [Cited(2, "it stands")]),
    Statement("It fell.", [Cited(1, "fell"), Cited(3, "down")]),
]
LINES = f"{json.dumps(ONE)}\n{json.dumps(TWO)}\n"


def _read(text: str, *, size: int = 1, is_cut: bool = False) -> list[Statement]:
    reader = Reader()
    found = [each for start in range(0, len(text), size) for each in reader.feed(text[start : start + size])]
    return found + reader.finish(is_cut=is_cut)


@pytest.mark.parametrize(
    "text",
    [
        LINES,
        LINES.rstrip(),
        f"```json\n{LINES}```\n",
        f"```\n{LINES}\n```",
        json.dumps([ONE, TWO]),
        json.dumps([ONE, TWO], indent=2),
        json.dumps({"sentences": [ONE, TWO]}),
        f"{json.dumps(ONE)}{json.dumps(TWO)}",
        f"{json.dumps(ONE)},\r\n{json.dumps(TWO)},",
    ],
)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_statements_are_read_in_any_form_and_in_parts_of_any_size(text: str, size: int) -> None:
    assert _read(text, size=size) == STATEMENTS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It stands [2]. It fell [1, 3].\n", [("It stands.", [2]), ("It fell.", [1, 3])]),
        ("It stands. [2] It fell. [1][3]", [("It stands.", [2]), ("It fell.", [1, 3])]),
        ("- It stands 【2】\n\n## It fell (passage 1)\n", [("It stands", [2]), ("It fell (passage 1)", [])]),
        ("石は重い。[1] 水は冷たい。[2]", [("石は重い。", [1]), ("水は冷たい。", [2])]),
        ('{"text": "It stands. It fell.", "cites": [1, "[2]"]}', [("It stands.", [1, 2]), ("It fell.", [1, 2])]),
        ('{"sentence": "It <b>stands</b>.", "sources": {"n": 4}}', [("It <b>stands</b>.", [4])]),
    ],
)
def test_plain_text_and_other_names_are_read_too(text: str, expected: list[tuple[str, list[int]]]) -> None:
    assert [(each.text, [cited.passage for cited in each.cited]) for each in _read(text)] == expected


def test_that_there_is_no_answer_is_read() -> None:
    assert _read('{"no_answer": true}') == []


@pytest.mark.parametrize(
    "text",
    [
        '{"text": "a" "cites": []}',
        '{"text": "half',
        '{"tool": "rm"}',
        "{}",
        '{"text": 5}',
        '{"text": ""}',
        "{" * 50_000,
        '{"text": "' + "x" * 20_000,
        '{"a":' * 3_000,
    ],
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        _read(text, size=1000)


@pytest.mark.parametrize("escape", [r"\ud83d", r"\u001b", r"\u202e", r"\u0000", r"\u0007", r"\u200e"])
def test_what_escapes_make_is_cleaned_as_any_text(escape: str) -> None:
    text = f'{{"text": "It {escape}stands.", "cites": [{{"passage": 2, "quote": "it {escape}stands"}}]}}\n'

    assert _read(text) == STATEMENTS[:1]


def test_an_escaped_pair_is_its_character() -> None:
    assert [each.text for each in _read(r'{"text": "It stands \ud83d\ude00."}')] == ["It stands \U0001f600."]


def test_the_half_of_what_was_cut_is_left_out() -> None:
    assert _read(LINES + '{"text": "Hal', is_cut=True) == STATEMENTS
    assert [each.text for each in _read("It stands.\nIt fel", is_cut=True)] == ["It stands."]


@given(st.text(max_size=400), st.integers(1, 50))
def test_whatever_comes_is_read_or_refused(text: str, size: int) -> None:
    try:
        found = _read(text, size=size)
    except Unavailable:
        return
    assert all(each.text.strip() for each in found)

"""Text with stretches marked stays the text."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drystone.console.marking import Name, Piece, flowing, pieces

_SPANS = st.tuples(st.integers(-5, 40), st.integers(-5, 40))
_NAMES = st.builds(lambda span, key: Name(span[0], span[1], key, key.upper()), _SPANS, st.sampled_from("ab"))


@given(st.text(max_size=30), st.lists(_SPANS, max_size=6), st.lists(_NAMES, max_size=6))
@example("wall", [(0, 4)], [Name(2, 9, "a", "A")])
def test_whatever_is_marked_the_pieces_together_are_the_text(
    text: str, words: list[tuple[int, int]], names: list[Name]
) -> None:
    found = pieces(text, words, names)
    assert "".join(piece.text for piece in found) == text
    assert all(piece.text for piece in found)


@given(st.text(min_size=1, max_size=30), st.lists(_SPANS, max_size=6), st.lists(_NAMES, max_size=6))
def test_a_sign_is_marked_where_a_span_holds_it_and_nowhere_else(
    text: str, words: list[tuple[int, int]], names: list[Name]
) -> None:
    marked = [piece.is_word for piece in pieces(text, words, names) for _ in piece.text]
    assert marked == [any(start <= place < end for start, end in words) for place in range(len(text))]


def test_of_names_that_overlap_the_first_and_longest_counts() -> None:
    names = [Name(0, 8, "no2", "Nitrogen"), Name(0, 16, "no2-limit", "Limit"), Name(9, 16, "dioxide", "Dioxide")]
    assert pieces("nitrogen dioxide.", [(9, 16)], names) == [
        Piece("nitrogen ", False, ("no2-limit", "Limit")),
        Piece("dioxide", True, ("no2-limit", "Limit")),
        Piece("."),
    ]


LONG = "A through-stone ties both faces of a wall together,"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{LONG}\nand frost does little harm.", f"{LONG} and frost does little harm."),
        (f"{LONG}\n\nAnd frost.", None),
        (f"# {LONG}\nText.", None),
        (f"{LONG}\n- an item\n1. another\n| a row |\n> a quote\n```", None),
        (f"```\n{LONG}\n{LONG}\n```\n{LONG}\n{LONG}", f"```\n{LONG}\n{LONG}\n```\n{LONG} {LONG}"),
        (f"{LONG}  \nbroken on purpose", None),
        ("Mill Lane 4\nWallford", None),
    ],
)
def test_only_paragraphs_of_markdown_run_on(text: str, shown: str | None) -> None:
    assert flowing(text, "wall.MD") == (text if shown is None else shown)
    assert flowing(text, "wall.txt") == text
    assert flowing(text, None) == text


@given(st.text(alphabet="aA .#|-`~\n\\", max_size=200))
def test_what_runs_on_is_as_long_and_differs_in_ends_of_lines_only(text: str) -> None:
    shown = flowing(text, "a.md")
    assert len(shown) == len(text)
    assert all(one == other or (one, other) == ("\n", " ") for one, other in zip(text, shown, strict=True))

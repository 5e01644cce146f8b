"""Where a passage stands among the letters of a page."""

from __future__ import annotations

from drystone.adapters.parsing import pdf_places

PAGE = "Chapter 2\r\nA dry stone wall stands without mor-\r\ntar. Its ﬁrst course is laid in a trench.\r\n17"


def _found(page: str, passage: str) -> list[str]:
    return [page[start:end] for start, end in pdf_places.find(list(page), passage)]


def test_a_passage_is_found_across_lines_hyphens_and_ligatures() -> None:
    passage = "A dry stone wall stands without mortar. Its first course is laid in a trench."

    assert _found(PAGE, passage) == ["A dry stone wall stands without mor-\r\ntar. Its ﬁrst course is laid in a trench"]


def test_what_stands_between_its_parts_is_not_marked() -> None:
    page = "The first line of what was said here, before\r\nRunning title of the chapter 12\r\nand after the head of the next page."
    passage = "The first line of what was said here, before and after the head of the next page."

    found = _found(page, passage)

    assert found == ["The first line of what was said here, before", "and after the head of the next page"]


def test_words_that_are_alike_by_chance_are_not_marked() -> None:
    assert (
        _found("walls of stone and more walls of stone", "walls of stone, and nothing else is said of them here") == []
    )


def test_a_short_passage_is_found_wherever_it_stands() -> None:
    assert _found("Note: see below", "see below") == ["see below"]
    assert _found("Note", "§") == []
    assert _found("", "a wall") == []


def test_words_of_one_line_are_one_stretch_and_columns_are_two() -> None:
    words = [(10, 100, 40, 112), (46, 98, 80, 112), (300, 100, 340, 112), (10, 120, 60, 132)]

    assert pdf_places.joined(words) == [(10, 98, 80, 112), (300, 100, 340, 112), (10, 120, 60, 132)]

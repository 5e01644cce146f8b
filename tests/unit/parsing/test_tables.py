"""Rows of cells as readable lines."""

from __future__ import annotations

import pytest

from drystone.adapters.parsing.read_csv import read
from drystone.adapters.parsing.tables import lines


def _lines(*rows: str) -> list[str | None]:
    return list(lines([row.split(",") for row in rows]))


def test_values_stand_after_the_names_of_their_columns() -> None:
    assert _lines("Name,Born", "Ada,1815", "Grace,1906") == ["Name: Ada | Born: 1815", "Name: Grace | Born: 1906", None]


def test_a_first_row_of_values_is_no_header() -> None:
    assert _lines("Ada,1815", "Grace,1906") == ["Ada | 1815", "Grace | 1906", None]


def test_a_header_may_stand_below_a_title() -> None:
    assert _lines("People,,", "Name,Born,Died", "Ada,1815,1852")[:2] == [
        "People",
        "Name: Ada | Born: 1815 | Died: 1852",
    ]


def test_after_a_blank_row_another_header_may_come() -> None:
    assert _lines("A,B", "1,2", ",", "C,D", "3,4") == ["A: 1 | B: 2", None, "C: 3 | D: 4", None]


def test_empty_cells_are_left_out_and_more_cells_than_names_kept() -> None:
    assert _lines("Name,Born:,Died", ",1815,1852,extra") == ["Born: 1815 | Died: 1852 | extra", None]


def test_names_alone_are_a_line() -> None:
    assert _lines("Name,Born") == ["Name | Born", None]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_finds_its_delimiter(delimiter: str) -> None:
    body = f'name{delimiter}price\n"wall; dry, high"{delimiter}12\n"a ""b"""{delimiter}13\n'.encode()

    assert read(body, 1_000).text == 'name: wall; dry, high | price: 12\nname: a "b" | price: 13'


def test_csv_keeps_a_broken_line_and_says_sep_to_nobody() -> None:
    assert read(b'sep=;\na;b\n1;"2\n3"\n', 1_000).text == "a: 1 | b: 2 3"
    assert read(b'a,b\n1,"open', 1_000).text == "a: 1 | b: open"

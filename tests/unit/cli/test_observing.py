"""A file of observations in parts: each can be read by itself, and its rows lead back to lines of the file."""

from __future__ import annotations

import io

import pytest

from drystone.cli import observing
from drystone.cli.observing import Format, Part
from drystone.core.errors import Invalid
from drystone.observations import rows

HEADER = "entity,metric,observed_at,value\n"


def parts(body: str, form: Format) -> list[Part]:
    """Of two rows each."""
    return list(observing._parts(io.BytesIO(body.encode()), form, 2))


def test_lines_are_told_by_their_number_in_the_file() -> None:
    body = "\n".join('{"entity": 1}' if n == 4 else "{}" for n in range(1, 6))

    told = [
        (found.row + part.offset, found.message)
        for part in parts(body, Format.NDJSON)
        for found in rows.read(io.BytesIO(part.body), "ndjson").problems
    ]

    assert [row for row, _ in told] == [1, 2, 3, 4, 5]
    assert "string" in told[3][1]


def test_csv_is_parted_between_rows_whatever_stands_in_quotes() -> None:
    good = "pump,m,2026-01-01T00:00:00Z,1\n"
    body = HEADER + good + '"two\nlines",m,2026-01-01T00:00:00Z,2\n' + good + good + "pump,m,bad,1\n"

    found = parts(body, Format.CSV)
    read = [rows.read(io.BytesIO(part.body), "csv") for part in found]

    assert [len(each) for each in read] == [2, 2, 0]
    assert all(part.body.startswith(HEADER.encode()) for part in found)
    assert b"".join(part.body.removeprefix(HEADER.encode()) for part in found) == body.removeprefix(HEADER).encode()
    (bad,) = read[2].problems
    assert body.splitlines()[bad.row + found[2].offset - 1] == "pump,m,bad,1"


def test_a_csv_of_nothing_but_its_header_is_sent_all_the_same() -> None:
    assert [part.body for part in parts(HEADER, Format.CSV)] == [HEADER.encode()]
    assert parts("", Format.NDJSON) == []


def test_a_file_that_is_no_csv_is_told() -> None:
    with pytest.raises(Invalid, match="CSV"):
        parts(HEADER + "a" * 200_000, Format.CSV)

"""CSV and its kin: each record becomes a line that can be read on its own."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import islice

from drystone.adapters.parsing import tables
from drystone.adapters.parsing.decoding import decode
from drystone.adapters.parsing.normalising import Builder
from drystone.adapters.parsing.parsed import Parsed

_DELIMITERS = ",;\t|"
_SNIFFED_LINES = 50
_LINES_AT_ONCE = 1_000


def read(body: bytes, max_bytes: int) -> Parsed:
    """Each record as a line; with the names of the first record where that is a header."""
    text = decode(body).replace("\0", "")
    builder = Builder(max_bytes)
    lines = (line for line in tables.lines(_rows(text)) if line)
    while several := list(islice(lines, _LINES_AT_ONCE)):
        builder.line("\n".join(several))
    return builder.done("csv")


def _rows(text: str) -> Iterator[list[str]]:
    csv.field_size_limit(max(len(text), 131_072))
    first, _, rest = text.partition("\n")
    delimiter = _delimiter(text)
    if first.lower().startswith("sep=") and len(first.strip()) == 5:  # Excel's way to say it
        text, delimiter = rest, first.strip()[4]
    source = io.StringIO(text, newline="")
    for row in csv.reader(source, delimiter=delimiter, skipinitialspace=True):
        if any(cell.strip() for cell in row):
            yield row


def _delimiter(text: str) -> str:
    """The sign that cuts the first lines into the most columns of the same number."""
    lines = [line for line in text[:65_536].splitlines()[:_SNIFFED_LINES] if line.strip()]

    def regularity(delimiter: str) -> tuple[float, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True)]
        commonest = max(set(widths), key=widths.count, default=1)
        return (widths.count(commonest) / len(widths) if commonest > 1 else 0.0, commonest)

    return max(_DELIMITERS, key=regularity)

"""Rows of cells as lines that can be read, and found, on their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from statistics import median_low

from drystone.adapters.parsing.normalising import squeeze

_NUMBER = re.compile(r"[-+(]?[\s$€£¥]*[-+]?[\d.,'\s]*\d[\d.,'\s]*([eE][-+]?\d+)?\s*[%€$£)]?|true|false", re.IGNORECASE)
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(:\d{2})?.*")
_MAX_HEADER_CHARS = 80
_LOOK_AHEAD = 20
_SEPARATOR = " | "


def lines(rows: Iterable[Sequence[str]]) -> Iterator[str | None]:
    """One line per row: `Header: value | Header: value` below a row that is a header, the bare values otherwise.

    Empty cells are left out. None stands where a run of blank rows was, after which another header may come.
    """
    for block in _blocks(rows):
        yield from _block_lines(block)
        yield None


def _blocks(rows: Iterable[Sequence[str]]) -> Iterator[Iterator[list[str]]]:
    """Runs of rows without a blank one between."""
    cells = ([squeeze(cell) for cell in row] for row in rows)
    for row in cells:
        if any(row):
            yield _until_blank(row, cells)


def _until_blank(row: list[str], rest: Iterator[list[str]]) -> Iterator[list[str]]:
    yield row
    for row in rest:
        if not any(row):
            return
        yield row


def _block_lines(block: Iterator[list[str]]) -> Iterator[str]:
    ahead = list(islice(block, _LOOK_AHEAD))
    at = _header_at(ahead)
    if at is None:
        yield from map(bare, chain(ahead, block))
        return
    yield from map(bare, ahead[:at])
    yield from map(partial(labelled, ahead[at]), chain(ahead[at + 1 :], block))


def _header_at(rows: Sequence[Sequence[str]]) -> int | None:
    """Which of a block's first rows names the columns.

    It has at least two different names and nothing else, is as wide as what follows, and what follows looks different:
    numbers or dates, or at least is more than one row.
    """
    for at, row in enumerate(rows[:5]):
        following = rows[at + 1 :]
        filled = [cell for cell in row if cell]
        if not following:
            return None
        usual = median_low([_width(other) for other in following])
        if len(filled) >= 2 and _names_columns(filled) and len(filled) >= min(_width(row), usual) * 0.7:
            if len(filled) < usual * 0.7:
                continue
            typed = any(_is_value(cell) for other in following for cell in other if cell)
            return at if typed or len(following) >= 2 else None
        if len(filled) > 1:
            return None
    return None


def _names_columns(cells: Sequence[str]) -> bool:
    distinct = len({cell.lower() for cell in cells})
    return distinct >= max(2, len(cells) * 0.6) and all(
        len(cell) <= _MAX_HEADER_CHARS and not _is_value(cell) for cell in cells
    )


def _is_value(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell) or _DATE.fullmatch(cell))


def _width(row: Sequence[str]) -> int:
    """How many cells, up to the last that is filled."""
    return next((n for n in range(len(row), 0, -1) if row[n - 1]), 0)


def bare(row: Sequence[str]) -> str:
    """The filled cells of a row, on one line."""
    return _SEPARATOR.join(cell for cell in row if cell)


def labelled(header: Sequence[str], row: Sequence[str]) -> str:
    """The filled cells of a row, on one line, each after its column's name."""
    named = [
        f"{name.removesuffix(':')}: {cell}" if name else cell for name, cell in zip(header, row, strict=False) if cell
    ]
    return _SEPARATOR.join([*named, *filter(None, row[len(header) :])])

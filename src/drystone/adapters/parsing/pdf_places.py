"""Where a passage stands among the letters of a page, though its text was put in order and joined since. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

# Of so many letters and digits in a row, hardly any two stretches of a page are alike by chance.
_SAME = 24
_FEWEST = 3
# Left, top, right and bottom of a stretch, in pixels.
Box = tuple[int, int, int, int]
# What was dropped or added within a line, such as the number of a note.
_GAP = 4


def find(letters: Sequence[str], passage: str) -> list[tuple[int, int]]:
    """Stretches of a page's letters that are in the passage, too: start and end of each, in their order.

    Only letters and digits are compared: spaces, hyphens at ends of lines, ligatures and case say nothing.
    """
    places, page = _folded(letters)
    _, wanted = _folded(passage)
    length = min(_SAME, len(wanted))
    if length < _FEWEST:
        return []
    known = {wanted[at : at + length] for at in range(len(wanted) - length + 1)}
    found: list[tuple[int, int]] = []
    for at in range(len(page) - length + 1):
        if page[at : at + length] in known:
            if found and at <= found[-1][1] + _GAP:
                found[-1] = found[-1][0], at + length
            else:
                found.append((at, at + length))
    return [(places[start], places[end - 1] + 1) for start, end in found]


def joined(boxes: Sequence[Box]) -> list[Box]:
    """Boxes of words that follow each other on a line as one: PDFium at times knows no spaces."""
    found: list[Box] = []
    for left, top, right, bottom in boxes:
        if found:
            before = found[-1]
            shared = min(bottom, before[3]) - max(top, before[1])
            height = min(bottom - top, before[3] - before[1])
            if shared * 2 > height and left - before[0] >= 0 and left - before[2] < height:
                found[-1] = before[0], min(top, before[1]), max(right, before[2]), max(bottom, before[3])
                continue
        found.append((left, top, right, bottom))
    return found


def _folded(letters: Sequence[str]) -> tuple[list[int], str]:
    """What counts of the letters, and the place that each comes from."""
    places: list[int] = []
    kept: list[str] = []
    for place, letter in enumerate(letters):
        for each in unicodedata.normalize("NFKC", letter).casefold():
            if each.isalnum():
                places.append(place)
                kept.append(each)
    return places, "".join(kept)

"""From the lines a PDF draws to the paragraphs, headings and rows its reader sees. Pure geometry and text.

A PDF has no paragraphs and no spaces between lines; they are read off the places of the lines: a wider gap, a change of
size or a step upwards parts blocks; within a block a line goes on in the next if the next one's first word would not
have fitted on it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

_HYPHENS = "-\u00ad\u2010\ufffe\x02"
_ITEM = re.compile(r"\s*([•●○▪■‣◦·–—*-]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])\s+\S|\s*[•●○▪■‣◦]\s*$")
_LEADERS = re.compile(r"\.{4,}|(\. ){4,}|…{2,}|_{4,}")
_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef]")
_LETTERS = re.compile(r"[^\W\d_]")
# Words that keep their hyphen when a line breaks after it.
_PREFIXES = frozenset(
    [
        "all",
        "anti",
        "cross",
        "double",
        "e",
        "end",
        "ex",
        "far",
        "first",
        "five",
        "four",
        "full",
        "half",
        "hard",
        "high",
        "inter",
        "large",
        "least",
        "left",
        "light",
        "long",
        "low",
        "multi",
        "near",
        "non",
        "off",
        "on",
        "one",
        "open",
        "over",
        "post",
        "pre",
        "quasi",
        "real",
        "right",
        "second",
        "self",
        "semi",
        "short",
        "single",
        "six",
        "small",
        "so",
        "soft",
        "state",
        "sub",
        "super",
        "ten",
        "third",
        "three",
        "top",
        "two",
        "ultra",
        "under",
        "up",
        "user",
        "vice",
        "well",
        "wide",
        "x",
        "zero",
    ]
)
_NUMERIC = re.compile(r"[-+(¥$€£]*\d[\d.,:/%)]*|[-―–—¥$€£%]")
_MAX_HEADING_CHARS = 160
# A line of running text has at least so many letters, even in a narrow column.
_LEAST_PROSE = 28


@dataclass(frozen=True)
class Line:
    """A line of text on a page, in points from the lower left corner; size is that of its font.

    edge: how far from the nearer of the page's upper and lower edges, as a part of its height: 0 to 0.5.
    """

    text: str
    left: float
    right: float
    base: float
    size: float
    is_bold: bool = False
    edge: float = 0.5


@dataclass
class Block:
    """A paragraph, heading or run of rows; text may hold newlines."""

    lines: list[Line]
    text: str = ""
    level: int = 0

    @property
    def size(self) -> float:
        return max(line.size for line in self.lines)


def blocks(lines: Sequence[Line], words: Words, page_width: float) -> list[Block]:
    """The blocks of one page."""
    lines = _join_rows(lines)
    gap = _usual_gap(lines)
    margins = _right_margins(lines, page_width)
    found: list[Block] = []
    for line in lines:
        if found and not _starts_block(found[-1].lines, line, gap):
            found[-1].lines.append(line)
        else:
            found.append(Block([line]))
    for block in found:
        block.text = _flow(block.lines, words, margins)
    return found


class Words:
    """The words of a document, asked whether one broken at a line's end was written with a hyphen."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._known: Counter[str] = Counter()
        for text in texts:
            self._known.update(re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*(?!-?\n)", text.lower()))

    def keeps_hyphen(self, before: str, after: str) -> bool:
        """Whether before-after is one word with a hyphen, rather than one that was hyphenated."""
        whole, hyphened = self._known[before + after], self._known[f"{before}-{after}"]
        if whole != hyphened:
            return hyphened > whole
        return before.rpartition("-")[2] in _PREFIXES


def _join_rows(lines: Sequence[Line]) -> list[Line]:
    """Put together what stands side by side on one base line, such as the cells of a row."""
    joined: list[Line] = []
    for line in lines:
        last = joined[-1] if joined else None
        if last and abs(last.base - line.base) < 0.25 * line.size and 0 <= line.left - last.right < 20 * line.size:
            text = f"{last.text.rstrip()} {line.text.lstrip()}"
            joined[-1] = Line(text, last.left, line.right, last.base, max(last.size, line.size), last.is_bold)
        else:
            joined.append(line)
    return joined


def _usual_gap(lines: Sequence[Line]) -> float:
    """The distance of two base lines within a paragraph, in font sizes: the smaller ones of those that occur."""
    gaps = [(a.base - b.base) / b.size for a, b in pairwise(lines) if b.size > 0]
    usual = sorted(gap for gap in gaps if 0.8 < gap < 2.5)
    return usual[len(usual) // 4] if usual else 1.2


def _right_margins(lines: Sequence[Line], page_width: float) -> dict[int, float]:
    """How far to the right the column goes that starts where a line starts, by the tenth of an inch of its start."""
    columns: dict[int, list[Line]] = {}
    for line in lines:
        columns.setdefault(_column(line), []).append(line)
    margins = {}
    for column in columns:
        near = [line for other in (column - 2, column - 1, column, column + 1) for line in columns.get(other, ())]
        right = max(line.right for line in near)
        if len(near) < 4:  # too few to show a margin: take the right one to be like the left one
            right = max(right, page_width - min(line.left for line in near))
        margins[column] = right
    return margins


def _column(line: Line) -> int:
    return int(line.left // 7.2)


def _starts_block(block: Sequence[Line], line: Line, usual_gap: float) -> bool:
    last = block[-1]
    gap = (last.base - line.base) / max(line.size, last.size, 0.1)
    if gap < -0.25 or gap > min(usual_gap * 1.25, usual_gap + 0.5):
        return True
    if gap < 0.25:  # on the same base line, but far away or to the left
        return True
    if abs(line.size - last.size) > 0.08 * max(line.size, last.size) or line.is_bold != last.is_bold:
        return not (_LETTERS.search(last.text) and last.text.rstrip()[-1] in _HYPHENS + ",")
    return line.left > last.right or line.right < last.left or _is_indented(block, line)


def _is_indented(block: Sequence[Line], line: Line) -> bool:
    """Whether the line starts a paragraph by its indent: further right than the block, whose last line ended early."""
    left = min(other.left for other in block)
    right = max(other.right for other in block)
    is_first_line_indented = len(block) > 1 and block[0].left > left + line.size * 0.8
    steps_in = line.left > left + line.size * 0.8 and abs(block[-1].left - left) < line.size * 0.5
    ended = block[-1].right < right - line.size * 2 or block[-1].text.rstrip()[-1:] in ".!?:。"
    if _ITEM.match(block[0].text) and not is_first_line_indented:
        return False  # the second line of a list's item hangs
    return steps_in and ended and len(block[-1].text) > 25


def _flow(lines: Sequence[Line], words: Words, margins: dict[int, float]) -> str:
    """The text of a block, its wrapped lines joined, its broken words whole."""
    right = max(line.right for line in lines)
    if len(lines) < 4:  # none of so few need reach the margin
        right = max(right, *(margins[_column(line)] for line in lines))
    text = lines[0].text.strip()
    for last, line in pairwise(lines):
        following = line.text.strip()
        if not following:
            continue
        is_broken_word = text[-1:] in _HYPHENS and text[-2:-1].isalpha() and following[0].islower()
        if is_broken_word or _goes_on(last, line, right):
            text = _join(text, following, words)
        else:
            text = f"{text.rstrip(_HYPHENS[1:])}\n{following}"
    return text


def _goes_on(last: Line, line: Line, right: float) -> bool:
    """Whether the next line continues this one, rather than standing below it."""
    if _ITEM.match(line.text) or _LEADERS.search(last.text):
        return False
    if _is_row(last) or _is_row(line) or _width(last.text) < _LEAST_PROSE:
        return False
    text = line.text.strip()
    first = text[:1] if _WIDE.match(text) else text.split(None, 1)[0]
    width = (line.right - line.left) * (_width(first) + 1) / max(1, _width(text))
    return last.right + width > right - 0.3 * line.size


def _width(text: str) -> int:
    """How wide a text is, in Latin letters."""
    return len(text) + len(_WIDE.findall(text))


def _is_row(line: Line) -> bool:
    """Whether a line is a row of a table: words far apart, or mostly numbers."""
    tokens = line.text.split()
    numbers = sum(bool(_NUMERIC.fullmatch(token)) for token in tokens)
    return is_spread(line) or (numbers >= 3 and numbers >= 0.4 * len(tokens))


def is_spread(line: Line) -> bool:
    """Whether a line's words stand too far apart for running text, as in a table."""
    return (line.right - line.left) > 0.85 * line.size * max(1, _width(line.text))


def _join(text: str, following: str, words: Words) -> str:
    if text[-1:] in _HYPHENS:
        return _join_hyphened(text, following, words)
    if _WIDE.match(text[-1:]) and _WIDE.match(following):
        return text + following
    return f"{text} {following}"


def _join_hyphened(text: str, following: str, words: Words) -> str:
    before = re.search(r"[^\W\d_]+(?:-[^\W\d_]+)*$", text[:-1])
    after = re.match(r"[^\W\d_]+", following)
    if not before or not after or not after[0][0].islower():
        # A number, a name or a dash: nothing was broken here, unless the hyphen is one that only broken words have.
        kept = text if text[-1] in "-\u2010" else text[:-1]
        return f"{kept}{'' if text[-2:-1].isalnum() and following[0].isalnum() else ' '}{following}"
    if text[-1] not in "\u00ad" and words.keeps_hyphen(before[0].lower(), after[0].lower()):
        return f"{text[:-1]}-{following}"
    return text[:-1] + following


def font_sizes(lines: Iterable[Line]) -> Counter[float]:
    """How many characters are set in each size; the commonest is the body's."""
    sizes: Counter[float] = Counter()
    for line in lines:
        sizes[round(line.size * 2) / 2] += len(line.text)
    return sizes


def mark_headings(pages: Sequence[Sequence[Block]]) -> None:
    """Give the blocks that stand out by size or weight a level, by the rank of their size."""
    sizes = font_sizes(line for page in pages for block in page for line in block.lines)
    if not sizes:
        return
    body = sizes.most_common(1)[0][0]
    if sizes[body] < 0.4 * sum(sizes.values()):
        return  # no size is the text's own
    found = [block for page in pages for block in page if _is_heading(block, body)]
    if sum(len(block.text) for block in found) > 0.4 * sum(len(block.text) for page in pages for block in page):
        return  # what is everywhere stands out nowhere
    ranks = sorted({round(block.size) for block in found if block.size >= body * 1.1}, reverse=True)[:4]
    for block in found:
        level = next((rank + 1 for rank, size in enumerate(ranks) if round(block.size) >= size), len(ranks) + 1)
        block.level = min(level, 6)
        block.text = " ".join(block.text.split())


def _is_heading(block: Block, body: float) -> bool:
    text = block.text.strip()
    if not 2 < len(text) <= _MAX_HEADING_CHARS or len(_LETTERS.findall(text)) < len(text) * 0.4:
        return False
    if len(block.lines) > 3 or _LEADERS.search(text) or any(is_spread(line) for line in block.lines):
        return False
    if block.size >= body * 1.15:
        return text[-1] not in ".,;" or len(text) < 60
    is_bold = all(line.is_bold for line in block.lines) and block.size >= body * 0.95
    return is_bold and len(block.lines) == 1 and len(text) <= 90 and text[-1] not in ".,;:" and not text[0].islower()

"""Pieces of SVG documents, without a library. Pure.

Colours are light ones as attributes, which every viewer knows, and dark ones in a style sheet for those that honour
`prefers-color-scheme`. The same document stands alone or inside a page.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

# After Okabe and Ito, which people with any colour vision tell apart; (on white, on dark).
_SERIES = (
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#f08c4a"),
    ("#009e73", "#35c79c"),
    ("#cc79a7", "#e3a0c6"),
    ("#a87b00", "#f0b93a"),
    ("#6a51a3", "#aa9ce2"),
    ("#666666", "#b0b0b0"),
    ("#000000", "#ffffff"),
)
# What XML has no place for (XML 1.0, section 2.2), and what turns the direction of all that follows.
_NO_XML = re.compile(
    "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_PAPER, _INK, _MUTED, _GRID = (
    ("#ffffff", "#201e1b"),
    ("#1b1f24", "#ece7df"),
    ("#5b636d", "#ada497"),
    ("#e2e5e9", "#3a362f"),
)


def document(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    """A whole document of that size, its title in the corner at the top left."""
    head = (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="13">'
    )
    paper = f'<rect class="paper" width="{width:.0f}" height="{height:.0f}" fill="{_PAPER[0]}"/>'
    return "\n".join([head, _style(), paper, text(16, 24, title, weight="bold", size=15), *parts, "</svg>"]) + "\n"


def escape(words: str) -> str:
    """Words for XML; a character that is taken out is one that says so."""
    return html.escape(_NO_XML.sub("\ufffd", words))


def text(
    x: float, y: float, words: str, *, anchor: str = "start", kind: str = "ink", weight: str = "normal", size: int = 13
) -> str:
    """Words that begin, end or are centred at x, standing on y. kind: ink, muted, or clear: muted, and lines end around them."""
    colour = _INK[0] if kind == "ink" else _MUTED[0]
    given = f'text-anchor="{anchor}" font-weight="{weight}" font-size="{size}"'
    if kind == "clear":
        kind = "muted halo"
        given += f' stroke="{_PAPER[0]}" stroke-width="4" stroke-linejoin="round" paint-order="stroke"'
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" fill="{colour}" {given}>{escape(words)}</text>'


def rule(x1: float, y1: float, x2: float, y2: float) -> str:
    """A thin line behind what is shown."""
    return f'<line class="grid" x1="{x1}" x2="{x2}" y1="{y1}" y2="{y2}" stroke="{_GRID[0]}"/>'


def stroke(number: int) -> str:
    """Attributes of a line in the colour of that number; after the last comes the first again."""
    number %= len(_SERIES)
    return f'class="s{number}" stroke="{_SERIES[number][0]}"'


def fill(number: int) -> str:
    """Attributes of an area in the colour of that number."""
    number %= len(_SERIES)
    return f'class="f{number}" fill="{_SERIES[number][0]}"'


def faint(kind: str) -> str:
    """Attributes of a shape: `paper` fills it with the colour behind everything, `line` draws it in muted ink."""
    if kind == "paper":
        return f'class="paper" fill="{_PAPER[0]}"'
    return f'class="line" stroke="{_MUTED[0]}"'


def short(words: str, longest: int = 24) -> str:
    """Words cut off with a sign that they were."""
    return words if len(words) <= longest else f"{words[: longest - 1]}…"


def _style() -> str:
    rules = [
        f".paper{{fill:{_PAPER[1]}}}",
        f".halo{{stroke:{_PAPER[1]}}}",
        f".ink{{fill:{_INK[1]}}}",
        f".muted{{fill:{_MUTED[1]}}}",
        f".line{{stroke:{_MUTED[1]}}}",
        f".grid{{stroke:{_GRID[1]}}}",
    ]
    for number, (_, dark) in enumerate(_SERIES):
        rules += [f".s{number}{{stroke:{dark}}}", f".f{number}{{fill:{dark}}}"]
    return f"<style>@media (prefers-color-scheme: dark){{{''.join(f'.chart {each}' for each in rules)}}}</style>"

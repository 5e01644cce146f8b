"""What stands in the place of a page that cannot be drawn. Pure."""

from __future__ import annotations

import textwrap

from markupsafe import escape

# As wide and high as a page of A4, in points; letters that can be read where it is shown half as wide.
_WIDTH, _HEIGHT, _LETTERS = 595, 842, 44
_LINE = (
    '<text x="297" y="{y}" text-anchor="middle" font-family="sans-serif" font-size="{size}" fill="{fill}">{said}</text>'
)


def sheet(heading: str, sentence: str) -> str:
    """An empty page with a heading and a sentence, as SVG."""
    lines = [_LINE.format(y=300, size=26, fill="#211e1a", said=escape(heading))]
    for number, line in enumerate(textwrap.wrap(sentence, _LETTERS)[:12]):
        lines.append(_LINE.format(y=345 + 30 * number, size=20, fill="#625b52", said=escape(line)))
    drawn = "".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">'
        f'<rect width="100%" height="100%" fill="#fff"/>{drawn}</svg>'
    )

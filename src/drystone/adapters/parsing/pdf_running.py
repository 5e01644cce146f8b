"""Which lines in the margins of a PDF return on page after page: running titles and page numbers.

What is in doubt stays. A heading that a reader would miss is worse than a footer read twice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from drystone.adapters.parsing.pdf_layout import Line, font_sizes, is_spread

# How much of a page's height is margin at its top and at its bottom: LaTeX sets page numbers at an eighth.
_MARGIN = 0.15
_MAX_CHARS = 120
_LEAST_PAGES = 4
# A line returns when it is on at least so many pages and on this part of them: left and right pages may differ.
_LEAST_RETURNS = 3
_LEAST_PART = 0.4
# A font so much larger than the body's is that of a heading.
_LARGER = 1.15

_PAGE = (
    r"(?:page|pg|p(?=\.)|seite|s(?=\.)|blatt|bl|p[aá]gina|p[aá]g|sivu|sida|side|str|strana|strona|stránka|oldal|sayfa|"
    r"trang|halaman|страница|сторінка|стр|с(?=\.)|σελίδα|σελ|第)"
)
_OF = r"(?:of|/|von|de|di|da|sur|van|av|af|z|ze|из|з|από|\|)"
_DASHES = r"[-–—|·•~\s]*"
# `3`, `- 3 -`, `3 / 8`: the total must be that of the pages.
_BARE = re.compile(rf"{_DASHES}#{_DASHES}(?:{_OF}\s*(?P<total>\d+))?{_DASHES}", re.I)
# `Page 3`, `Seite 3 von 8`, `第3頁`: alone, or at the end or the beginning of a line that says more.
_NAMED = re.compile(rf"(?:^|.*[^\w]){_PAGE}\.?\s*#(?:\s*{_OF}\s*\d+)?(?:\s*[頁页ページ])?{_DASHES}(?:[|·•].*)?", re.I)
# `3 | Title`, `Title · 3`.
_BARRED = re.compile(r"#\s*[|·•].*|.*[|·•]\s*#")
_AT_AN_END = re.compile(r"#\s.*|.*\s#")
_NUMBER = re.compile(r"(?<![\d.,:/-])[1-9]\d{0,3}(?![\d.,:]*\d)")
_LETTERS = re.compile(r"[^\W\d_]")

_Returning = tuple[str, int, int | None]


def without_running_lines(pages: Sequence[Sequence[Line]]) -> list[list[Line]]:
    """The pages without the titles that return unchanged in their margins, but for the first, and without page numbers.

    A page number is one that counts with the pages, stands alone, after a word for page, or visibly apart from a title,
    and in a font no larger than the body's. Of a title with a page number the first stays, too.
    """
    sizes = font_sizes(line for page in pages for line in page)
    if len(pages) < _LEAST_PAGES or not sizes:
        return [list(page) for page in pages]
    body = sizes.most_common(1)[0][0]
    margins = [_margin(page, body) for page in pages]
    counts = Counter(key for number, lines in enumerate(margins, 1) for key in _keys_of_page(lines, number))
    least = max(_LEAST_RETURNS, len(pages) * _LEAST_PART)
    seen: set[_Returning] = set()
    kept: list[list[Line]] = []
    for number, (page, margin) in enumerate(zip(pages, margins, strict=True), 1):
        dropped = set()
        for line in margin:
            for key in _keys(line, number):
                if counts[key] >= least and _is_furniture(line, key, body, len(pages)):
                    if key in seen or not _says_more(key):
                        dropped.add(id(line))
                    seen.add(key)
        kept.append([line for line in page if id(line) not in dropped])
    return kept


def _margin(page: Sequence[Line], body: float) -> list[Line]:
    """The outermost lines of a page that could be furniture."""
    by_height = sorted(page, key=lambda line: -line.base)
    return [
        line
        for line in [*by_height[:2], *by_height[2:][-2:]]
        if line.edge < _MARGIN and len(line.text) <= _MAX_CHARS and line.size < body * _LARGER
    ]


def _keys_of_page(lines: Sequence[Line], number: int) -> set[_Returning]:
    return {key for line in lines for key in _keys(line, number)}


def _keys(line: Line, number: int) -> Iterator[_Returning]:
    """What of a line may return on other pages: all of it, or all but a number that is ahead of the page's by as much."""
    text, height = line.text.strip(), round(line.base / 10)
    yield text, height, None
    for match in _NUMBER.finditer(text):
        yield f"{text[: match.start()]}#{text[match.end() :]}", height, int(match[0]) - number


def _is_furniture(line: Line, key: _Returning, body: float, pages: int) -> bool:
    template, _, ahead = key
    if ahead is None:
        return True
    if line.size > body * 1.05:
        return False
    if bare := _BARE.fullmatch(template):
        return bare["total"] is None or int(bare["total"]) in (pages, pages + ahead)
    if _NAMED.fullmatch(template):
        return True
    # A title and a number far from it may be an invoice's: only the pages' own number is sure to be one.
    is_apart = _BARRED.fullmatch(template) or (is_spread(line) and _AT_AN_END.fullmatch(template))
    return bool(is_apart) and not line.is_bold and ahead <= 0


def _says_more(key: _Returning) -> bool:
    """Whether a line says more than a page's number."""
    template, _, ahead = key
    if ahead is None:
        return any(char.isalnum() for char in template)
    rest = re.sub(rf"\b(?:{_PAGE}|{_OF})\b", "", template, flags=re.I)
    return bool(_LETTERS.search(rest))

"""A document's title: the one in its metadata, unless a program wrote it; else its first heading of the top level."""

from __future__ import annotations

import re
from collections.abc import Sequence

from drystone.adapters.parsing.parsed import Heading

_EMPTY_TITLES = re.compile(
    r"(microsoft (word|excel|powerpoint)\b.*|untitled( document)?\W*\d*|(document|dokument|book|workbook|presentation)\s*\d*"
    r"|(.*[/\\])?[\w\- ]+\.(docx?|xlsx?|pptx?|dot[xm]?|rtf|txt|tex|dvi|ps|indd|qxd|pub|odt|wpd|pdf|html?))",
    re.IGNORECASE,
)


def sensible_title(title: str | None) -> str | None:
    """The title, unless a program wrote it: a file name, "Untitled", "Microsoft Word - …"."""
    stripped = (title or "").strip()
    return None if not stripped or _EMPTY_TITLES.fullmatch(stripped) else stripped


def top_heading(headings: Sequence[Heading]) -> str | None:
    """The first heading of the highest level that occurs."""
    top = min(headings, key=lambda heading: heading.level, default=None)
    return sensible_title(top.title) if top else None

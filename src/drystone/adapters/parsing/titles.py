"""Which titles a person gave, and which a program wrote by itself."""

from __future__ import annotations

import re

_EMPTY_TITLES = re.compile(
    r"(microsoft (word|excel|powerpoint)\b.*|untitled\W*\d*|(document|dokument|book|workbook|presentation)\s*\d*"
    r"|(.*[/\\])?[\w\- ]+\.(docx?|xlsx?|pptx?|dot[xm]?|rtf|txt|tex|dvi|ps|indd|qxd|pub|odt|wpd|pdf|html?))",
    re.IGNORECASE,
)


def sensible_title(title: str | None) -> str | None:
    """The title, unless a program wrote it: a file name, "Untitled", "Microsoft Word - …"."""
    stripped = (title or "").strip()
    return None if not stripped or _EMPTY_TITLES.fullmatch(stripped) else stripped

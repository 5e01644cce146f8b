"""In which language a text is, told by its letters (CLD2, whose tables come in its wheel), else as its file declares.

Runs in the child, since it is native code on a stranger's text. Where there is no wheel for it nobody is asked.
"""

from __future__ import annotations

import re
from typing import Any

try:
    import pycld2 as _cld2
except ImportError:  # no wheel for this machine: see pyproject.toml
    _cld2: Any = None  # type: ignore[no-redef]

# Texts longer than this are judged by pieces from their beginning, middle and end.
_SAMPLE_CHARS = 12_000
# At least this part of the text must be in the language.
_LEAST_PERCENT = 60
# Fewer letters than this tell nothing, in bytes: some five words of Latin letters, or ten ideographs.
_LEAST_BYTES = 30
_LETTERS = re.compile(r"[^\W\d_]+")
_TAG = re.compile(r"\s*([a-z]{2,3})(?:[-_][a-z0-9_-]*)?\s*", re.IGNORECASE)
_NO_LANGUAGE = frozenset(("und", "zxx", "mul", "mis"))
# CLD2's old or own names for some.
_MEANT = {"iw": "he", "jw": "jv", "in": "id", "mo": "ro", "sh": "sr", "tl": "fil", "nb": "no"}


def is_available() -> bool:
    """Whether this machine has the detector."""
    return _cld2 is not None


def detect(text: str) -> str | None:
    """The BCP 47 tag of a text's language, such as "de"; None when it is too short, mixed, or no language."""
    if _cld2 is None or len("".join(_LETTERS.findall(text[:_SAMPLE_CHARS])).encode()) < _LEAST_BYTES:
        return None
    try:
        is_reliable, _, found = _cld2.detect(_sample(text).encode(), isPlainText=True, bestEffort=False)
    except (_cld2.error, ValueError):
        return None
    _, code, percent, _ = found[0]
    if not is_reliable or percent < _LEAST_PERCENT or code == "un" or code.startswith("xx"):
        return None
    return _primary(code)


def declared(tag: str | None) -> str | None:
    """The language that a file's own tag names, such as "nl" for "nl-BE"; None when it names none."""
    found = _TAG.fullmatch(tag or "")
    code = _primary(found[1].lower()) if found else None
    return None if code in _NO_LANGUAGE else code


def _sample(text: str) -> str:
    if len(text) <= _SAMPLE_CHARS:
        return text
    third = _SAMPLE_CHARS // 3
    middle = len(text) // 2
    return "\n".join((text[:third], text[middle : middle + third], text[-third:]))


def _primary(code: str) -> str:
    tag = code.partition("-")[0]
    return _MEANT.get(tag, tag)

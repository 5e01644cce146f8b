"""Text as names are compared: cut into tokens, each folded. Pure: values in, values out.

A token is a word of letters, digits and marks; in a script that is written without spaces, one letter with its marks; any
other character. White space only parts tokens. Two texts that give the same tokens say the same name.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

# That a name has at least, white space not counted; what is shorter stands everywhere.
LEAST_CHARACTERS = 2

# Soft hyphen, zero-width space and joiners, word joiner, byte order mark: they show nothing.
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u2060\ufeff"
_HIDDEN = frozenset(_INVISIBLE)
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー"
# Texts of Latin, Greek and Cyrillic letters without separate marks, and signs: Python's own expressions know enough of
# these, and are twice as fast.
_IS_PLAIN = re.compile(
    "[\0-\u00ac\u00ae-\u02ff\u0370-\u0482\u048a-\u052f\u1e00-\u1fff\u2010-\u205e\u20a0-\u20c0\u2100-\u2bff]*"
)
_PLAIN = re.compile(r"[^\W_]+|[^\s\w]|_")

# Marks that are an accent, not a letter: of Latin, Greek and Cyrillic; Hebrew and Arabic points. Those within a sign, as in ≠, stay.
_ACCENTS = re.compile(
    "[\u0300-\u0333\u0339-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f"
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"
    "\u0610-\u061a\u0640\u064b-\u0652\u0656-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed]"
)
# Letters of Cyrillic that only look as if they had an accent.
_LETTERS = frozenset("йўїќѓ")
_DASHES = "‐‑‒–—―−﹘﹣－"
_APOSTROPHES = "‘’ʼ＇"
_ALIKE = str.maketrans(dict.fromkeys(_DASHES, "-") | dict.fromkeys(_APOSTROPHES, "'") | dict.fromkeys(_INVISIBLE, ""))


def cut(text: str) -> list[str]:
    """The tokens of a text as they stand there, in order."""
    if _IS_PLAIN.fullmatch(text):
        return _PLAIN.findall(text)
    found: list[str] = _tokens().findall(text)
    return found


def seen(text: str, start: int, end: int) -> tuple[int, int]:
    """A stretch of a text without what is invisible at either side, unless there is nothing else."""
    first, last = start, end
    while first < last and text[first] in _HIDDEN:
        first += 1
    while last > first and text[last - 1] in _HIDDEN:
        last -= 1
    return (first, last) if first < last else (start, end)


def fold(token: str) -> str:
    """A token as it is compared: case, accents, ligatures, widths and kinds of dashes do not count."""
    if token.isascii():
        return token.lower()
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", token).casefold())
    bare = "".join(letter if letter in _LETTERS else _bare(letter) for letter in plain)
    return _ACCENTS.sub("", unicodedata.normalize("NFC", bare)).translate(_ALIKE)


def folded(name: str) -> tuple[str, ...]:
    """A name as it is looked for; empty where it would be found everywhere: one character, or no letter."""
    tokens = tuple(filter(None, map(fold, cut(name))))  # a mark that stands alone says nothing
    if sum(map(len, tokens)) < LEAST_CHARACTERS or not any(letter.isalpha() for token in tokens for letter in token):
        return ()
    return tokens


def _bare(letter: str) -> str:
    return letter if letter.isascii() else _ACCENTS.sub("", unicodedata.normalize("NFD", letter))


@lru_cache(1)
def _tokens() -> Any:
    import regex  # classes of characters by script; takes a while to load

    return regex.compile(
        rf"[{_INVISIBLE}]*[[\p{{L}}\p{{N}}\p{{M}}]--[{_UNSPACED}]][[\p{{L}}\p{{N}}\p{{M}}{_INVISIBLE}]--[{_UNSPACED}]]*"
        rf"|[{_INVISIBLE}]*[{_UNSPACED}][\p{{M}}\uff9e\uff9f{_INVISIBLE}]*"
        rf"|[^\s\x1c-\x1f][{_INVISIBLE}]*",  # these are white space to Python, too
        regex.V1,
    )

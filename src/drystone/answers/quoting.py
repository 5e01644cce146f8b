"""Where a quote stands in a text, although spaces, quotation marks, dashes or case differ. Pure.

Both are folded, and each place of the folded text knows from where in the text it came: what is found is the text's own.
"""

from __future__ import annotations

import functools
import unicodedata

import regex

from drystone.answers.splitting import Span

# Shorter quotes stand nearly everywhere.
LEAST_CHARACTERS = 4

_CLUSTER = regex.compile(r"\s+|\P{M}\p{M}*|\p{M}+")
_SIGNS = {
    **dict.fromkeys('“”„‟«»″〝〞「」『』"', "'"),
    **dict.fromkeys("‘’‚‛′`´‹›", "'"),
    **dict.fromkeys("‐‑‒–—―−﹘－", "-"),
    "…": "...",
    "\u00ad": "",
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
}
# What models put round a quote that is not the text's: marks, stops, dots for what they leave out.
_AROUND = " '.,;:…()[]"


class Folded:
    """A text as quotes are looked for in it."""

    def __init__(self, text: str) -> None:
        self.text = text
        signs: list[str] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        for match in _CLUSTER.finditer(text):
            for sign in _fold(match[0]):
                signs.append(sign)
                self._starts.append(match.start())
                self._ends.append(match.end())
        self.folded = "".join(signs)

    def find(self, quote: str) -> Span | None:
        """Where the quote stands first: a span whose text folds as the quote does; None where it does not stand."""
        wanted = fold(quote).strip(_AROUND)
        if len(wanted) < LEAST_CHARACTERS and not _is_of_spaceless(wanted):
            return None
        place = self.folded.find(wanted)
        while place >= 0:
            last = place + len(wanted)
            if self._is_whole(place, last):
                return self._starts[place], self._ends[last - 1]
            place = self.folded.find(wanted, place + 1)
        return None

    def _is_whole(self, start: int, end: int) -> bool:
        """Whether no word and no number is cut at either end: `5 m` does not stand in `15 m`."""
        signs = self.folded
        is_cut_before = start > 0 and _goes_on(signs[start - 1], signs[start])
        is_cut_after = end < len(signs) and _goes_on(signs[end - 1], signs[end])
        in_one = (start > 0 and self._starts[start - 1] == self._starts[start]) or (
            end < len(signs) and self._starts[end - 1] == self._starts[end]
        )
        return not (is_cut_before or is_cut_after or in_one)


def fold(text: str) -> str:
    """A text as it is compared: compatible signs, case, quotation marks and dashes alike, one space for many."""
    return "".join(_fold(match[0]) for match in _CLUSTER.finditer(text))


@functools.lru_cache(maxsize=4096)
def _fold(cluster: str) -> str:
    if cluster.isspace():
        return " "
    if cluster in _SIGNS:
        return _SIGNS[cluster]
    plain = unicodedata.normalize("NFKC", cluster).casefold()
    return "".join(" " if sign.isspace() else _SIGNS.get(sign, sign) for sign in plain)


def _goes_on(one: str, other: str) -> bool:
    """Whether two neighbouring signs are of one word: letters and digits of a script that sets spaces."""
    return one.isalnum() and other.isalnum() and not (_is_of_spaceless(one) or _is_of_spaceless(other))


def _is_of_spaceless(text: str) -> bool:
    return bool(_SPACELESS.search(text))


_SPACELESS = regex.compile(
    r"[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Thai}\p{Script=Lao}"
    r"\p{Script=Khmer}\p{Script=Myanmar}\p{Script=Tibetan}]"
)

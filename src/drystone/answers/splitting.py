"""A text to its sentences, by place, in many scripts. Pure: every span is the text's own, and nothing but space is left out."""

from __future__ import annotations

import regex

Span = tuple[int, int]

# A longer stretch without an end, such as a table or a script that sets none, is cut at a space.
MOST_CHARACTERS = 600

_CLOSING = "[\"'”’»)\\]」』】）]*"
_END = regex.compile(
    # An end of scripts with spaces: what follows is a space.
    rf"[.!?…]+{_CLOSING}(?=\s)"
    # Ends that stand for nothing else: ideographic, Arabic, Devanagari, Armenian, Ethiopic, Khmer, Burmese, Tibetan.
    rf"|[。！？｡؟۔।॥։።។၊။།]+{_CLOSING}"
    # A line that is empty, or that begins an item, a heading or a row.
    r"|\n\s*\n|\n(?=\s*(?:[-*•–#|>]|\d{1,3}[.)])\s)"
)
# What a stop often stands behind without ending anything.
_ABBREVIATIONS = frozenset(
    """abb abs al approx art aug bd bzw ca cf ch chap co corp dec dept dr ed eds eq eqs etc ev evtl fa feb ff fig figs
    hr hrsg inc inkl int jan jr jul jun lt ltd max mio mr mrd mrs ms min mt nb no nos nov nr oct op p pp pos prof ref refs
    resp rev sec sect sen sep sept sog sr st str tab tel u usw v viz vgl vol vols vs z zzgl""".split()  # noqa: SIM905  a list of 90 lines would not read better
)
_LAST_WORD = regex.compile(r"[\p{L}\p{M}.]+$")


def sentences(text: str) -> list[Span]:
    """Where the sentences of a text begin and end, in order, apart, without the space around them."""
    found: list[Span] = []
    start = 0
    for match in _END.finditer(text):
        if _is_end(text, start, match):
            found += _trimmed(text, start, match.end())
            start = match.end()
    return [*found, *_trimmed(text, start, len(text))]


def _is_end(text: str, start: int, match: regex.Match[str]) -> bool:
    """Whether a sign ends a sentence: a stop not behind an abbreviation or an initial, none where small letters go on."""
    if match[0][0] not in ".!?…":
        return True
    after = text[match.end() : match.end() + 40].lstrip()
    if match[0] == "." and (before := _LAST_WORD.search(text, max(start, match.start() - 24), match.start())):
        word = before[0]
        is_short = word.lower().rpartition(".")[2] in _ABBREVIATIONS or (len(word) == 1 and word.isupper())
        if (is_short or "." in word) and not (is_short and not after):
            return False
    return not after[:1].islower()


def _trimmed(text: str, start: int, end: int) -> list[Span]:
    """The stretch without space around it, in pieces that are not too long; nothing where it is empty."""
    pieces: list[Span] = []
    while start < end:
        while start < end and text[start].isspace():
            start += 1
        stop = end if end - start <= MOST_CHARACTERS else _space(text, start, start + MOST_CHARACTERS)
        last = stop
        while last > start and text[last - 1].isspace():
            last -= 1
        if last > start:
            pieces.append((start, last))
        start = stop
    return pieces


def _space(text: str, start: int, end: int) -> int:
    """Where to cut before `end`: behind a space or a comma, if there is one in the second half."""
    for signs in ("\n", ";；", " ,，、\u3000"):
        place = max(text.rfind(sign, start + MOST_CHARACTERS // 2, end) for sign in signs)
        if place > 0:
            return place + 1
    return end

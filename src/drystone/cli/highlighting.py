"""Which words of a passage a question meant, and which part of a long passage to show. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

Span = tuple[int, int]

_WORD = re.compile(r"\w+(?:['’]\w+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|\n\s*\n|(?<=[。！？])")
# Scripts without spaces: there a "word" of \w+ is a whole clause, so pairs of characters are compared.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_STOP_WORDS = frozenset(
    """a about after all also am an and any are as at be because been before being between both but by can could did do
    does doing down during each few for from further had has have having he her here him his how i if in into is it its
    just me more most my no nor not of off on once only or other our out over own same she should so some such than that
    the their them then there these they this those through to too under until up very was we were what when where which
    while who whom why will with would you your
    aber als am an auch auf aus bei das dass dem den der des die doch du ein eine einem einen einer eines er es für hat
    ich im in ist kann mit nach nicht noch nur oder sich sie sind so über um und uns von vor war was wenn wer wie wir
    wird zu zum zur""".split()  # noqa: SIM905  a list of 150 lines would not read better
)
# What may follow the common beginning of two forms of one word.
_ENDINGS = frozenset(
    """s es ed ing er ers ly e y i ies ied ion ions al ally ic ical ation ations ative ator ment ments ness able ible
    ity is en n em ern 's ’s""".split()  # noqa: SIM905  as above
) | {""}
_PLAIN_ENDINGS = frozenset(("s", "es", "ed", "ing", "'s", "’s"))
_LONG_BEGINNING = 5


def meant(query: str) -> list[str]:
    """The words of a question that carry it: lower case, without stop words unless there are no others."""
    words = list(dict.fromkeys(word.lower() for word in _WORD.findall(query)))
    return [word for word in words if word not in _STOP_WORDS] or words


def spans(text: str, words: Iterable[str]) -> list[Span]:
    """Where forms of these words stand in the text."""
    words = list(words)
    pairs = {pair for word in words for pair in _pairs(word)}
    found: list[Span] = []
    for match in _WORD.finditer(text):
        if _UNSPACED.search(match[0]):
            found += _pair_spans(match[0].lower(), match.start(), pairs)
        elif any(are_forms(match[0].lower(), word) for word in words):
            found.append(match.span())
    return found


def are_forms(one: str, other: str) -> bool:
    """Whether two lower-case words look like forms of one: buckle, buckling; shell, shells; not plan, plane."""
    if one == other:
        return True
    common = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        common += 1
    rest, rest_of_other = one[common:], other[common:]
    if common >= _LONG_BEGINNING:
        return rest in _ENDINGS and rest_of_other in _ENDINGS
    if common < 3:
        return False
    shorter, longer = sorted((rest, rest_of_other), key=len)
    doubled = longer[:1] == one[common - 1] and longer[1:] in ("ing", "ed", "er", "ers")
    return shorter == "" and (longer in _PLAIN_ENDINGS or doubled)


def best_part(text: str, words: Iterable[str], *, about: int) -> Span:
    """Where to cut a long text so that the sentence with most of the words is in it: about this many characters.

    All of it when it is hardly longer. Neighbouring sentences fill the room, the next before the one before.
    """
    words = list(words)
    if len(text) <= about * 1.25:
        return 0, len(text)
    sentences = _sentences(text)
    best = max(range(len(sentences)), key=lambda i: (_kinds(text[slice(*sentences[i])], words), -i))
    first, last = best, best
    while True:
        for low, high in ((first, last + 1), (first - 1, last)):
            if low >= 0 and high < len(sentences) and sentences[high][1] - sentences[low][0] <= about:
                first, last = low, high
                break
        else:
            break
    start, end = sentences[first][0], sentences[last][1]
    return (start, end) if end - start <= about * 1.25 else _inside(text, (start, end), words, about)


def _sentences(text: str) -> list[Span]:
    found, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        if match.start() > start:
            found.append((start, match.start()))
        start = match.end()
    if start < len(text):
        found.append((start, len(text)))
    return found or [(0, len(text))]


def _kinds(sentence: str, words: list[str]) -> int:
    """How many different words of the question a sentence has."""
    tokens = {token.lower() for token in _WORD.findall(sentence)}
    return sum(any(are_forms(token, word) or bool(_pairs(word) & _pairs(token)) for token in tokens) for word in words)


def _inside(text: str, span: Span, words: list[str], about: int) -> Span:
    """A window in a sentence too long to show, from a little before its first word of the question; cut between words."""
    start, end = span
    hits = spans(text[start:end], words)
    begin = max(start, min(start + (hits[0][0] if hits else 0) - about // 4, end - about))
    if begin > start:
        begin = text.find(" ", begin, begin + 40) + 1 or begin
    finish = min(end, begin + about)
    if finish < end:
        finish = max(text.rfind(" ", finish - 40, finish), 0) or finish
    return begin, finish


def _pairs(word: str) -> set[str]:
    if not _UNSPACED.search(word):
        return set()
    return {word[i : i + 2] for i in range(max(1, len(word) - 1))}


def _pair_spans(run: str, offset: int, pairs: set[str]) -> list[Span]:
    found: list[Span] = []
    for i in range(len(run)):
        size = next((len(pair) for pair in pairs if run.startswith(pair, i)), 0)
        if not size:
            continue
        start, end = offset + i, offset + i + size
        if found and start <= found[-1][1]:
            start = found.pop()[0]
        found.append((start, end))
    return found

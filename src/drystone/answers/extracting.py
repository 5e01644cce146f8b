"""Sentences of the passages that answer a question best: chosen, never written. Pure but for vectors that are handed in.

A sentence counts for the words of the question that stand in it, rare ones more, and for how near its vector is to the
question's. None is chosen where the best is not good enough: no answer is better than noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import regex

from drystone.answers import splitting, support
from drystone.answers.schemas import Passage, Support
from drystone.index.analysis import Token

# Sentences whose vectors are asked for: those with most of the question's words, of the best passages first.
MOST_EMBEDDED = 48
# What counts beside nearness, and how good the best sentence must be; and by words alone. Measured: docs/concepts/answers.md.
WORDS_WEIGHT = 0.4
LEAST_SCORE, LEAST_BY_WORDS = 0.45, 0.45
# The others must be nearly as good as the best, and say something else.
_LEAST_OF_BEST, _SAME = 0.8, 0.8
_LEAST_TERMS = 3
# Fenced code of Markdown, to its end or that of the passage.
_CODE = regex.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n(?:.*?^[ \t]*\1[`~]*[ \t]*$|.*)", regex.MULTILINE | regex.DOTALL)


@dataclass(frozen=True)
class Choice:
    """A sentence of a passage. words: which part of the question's words stand in it, rare ones counting more, 0 to 1."""

    span: Support
    terms: frozenset[str]
    words: float


def choices(
    passages: Sequence[Passage], tokens: Sequence[Token], weights: Mapping[str, float], languages: Sequence[str]
) -> list[Choice]:
    """All sentences that may be chosen, those with most of the question first. weights: of the question's words."""
    found, seen = [], set()
    for passage in passages:
        code = [each.span() for each in _CODE.finditer(passage.text)]
        for start, end in splitting.sentences(passage.text):
            span = Support(passage, start, end)
            terms = support.terms(span.quote, languages)
            says_nothing = span.quote.startswith("#") or span.quote.endswith(("?", "？", "؟"))
            is_code = any(first <= start < last for first, last in code)
            if len(terms) < _LEAST_TERMS or terms in seen or says_nothing or is_code:
                continue  # headings, copies, code, and what asks instead of answering
            seen.add(terms)
            found.append(Choice(span, terms, _words(terms, tokens, weights)))
    return sorted(found, key=lambda each: -each.words)[:MOST_EMBEDDED]


def _words(terms: frozenset[str], tokens: Sequence[Token], weights: Mapping[str, float]) -> float:
    whole = sum(weights.get(each.word, 1.0) for each in tokens)
    there = sum(weights.get(each.word, 1.0) for each in tokens if each.terms & terms)
    return there / whole if whole else 0.0


def scores(found: Sequence[Choice], nearness: np.ndarray | None) -> np.ndarray:
    """How well each answers, 0 to 1. nearness: cosine of each with the question; None where there are no vectors."""
    words = np.array([each.words for each in found])
    if nearness is None:
        return words
    combined: np.ndarray = WORDS_WEIGHT * words + (1 - WORDS_WEIGHT) * np.clip(nearness, 0, 1)
    return combined


def choose(found: Sequence[Choice], score: np.ndarray, *, least: float, count: int) -> list[int]:
    """Which of them are the answer, best first; none where the best is not good enough."""
    order = np.argsort(-score, kind="stable").tolist()
    if not order or score[order[0]] < least:
        return []
    taken: list[int] = []
    for place in order:
        if len(taken) == count or score[place] < max(least, _LEAST_OF_BEST * score[order[0]]):
            break
        if not any(_overlap(found[place].terms, found[other].terms) >= _SAME for other in taken):
            taken.append(place)
    return taken


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(1, min(len(one), len(other)))

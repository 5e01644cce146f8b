"""From a ranking to hits: neighbours become one, copies stand behind the better one, and more of one kind may give way. Pure.

Nothing is hidden in silence: a hit tells what it was joined from and which passages are left out for its sake.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise, takewhile
from uuid import UUID

import numpy as np

from drystone.search.schemas import Collapse

# A hit is joined from so many passages at most: about a thousand tokens.
MOST_JOINED = 4
# A text shorter than this says too little by itself: the same line in two documents may be two facts.
LEAST_CHARACTERS = 100
# Of all runs of so many characters in two texts, this part is in both: then they are nearly the same. Nine is the usual
# length for articles: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.2.2.
SHINGLE_CHARACTERS, LEAST_SHARED = 9, 0.9


@dataclass(frozen=True)
class Passage:
    """A candidate as choosing sees it. place: among the candidates. start, end: in its version's text.

    space_before: what stands between the passage before and this one; None: not known.
    """

    place: int
    version_id: UUID
    ordinal: int
    start: int
    end: int
    text: str
    space_before: str | None


@dataclass(eq=False)
class Chosen:
    """A hit in the making. best: the passage it is there for. passages: side by side, in the order of the text."""

    best: Passage
    passages: list[Passage]
    duplicates: list[Duplicate] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text from the first passage's start to the last one's end."""
        found = self.passages[0].text
        for one, other in pairwise(self.passages):
            found += rest(one, other) or ""
        return found


@dataclass(frozen=True)
class Duplicate:
    """A passage that is left out for a better one's sake. is_copy: it has the same words; else nearly."""

    passage: Passage
    is_copy: bool


class Choice:
    """Takes passages, best first, until there are `limit` hits."""

    def __init__(self, limit: int, *, merge: bool, collapse: Collapse) -> None:
        self.hits: list[Chosen] = []
        self._limit = limit
        self._merge = merge
        self._seen = _Seen(collapse)
        self._hit_of: dict[tuple[UUID, int], Chosen] = {}

    @property
    def is_full(self) -> bool:
        """Whether there are as many hits as were asked for: then nothing more is taken."""
        return len(self.hits) >= self._limit

    @property
    def taken(self) -> int:
        """Passages in hits and behind them."""
        return sum(len(hit.passages) + len(hit.duplicates) for hit in self.hits)

    def add(self, passage: Passage) -> None:
        """The next best passage: behind a hit that says the same, else part of a hit beside it, else a hit."""
        if found := self._seen.twin(passage):
            other, is_copy = found
            self._hit_of[_key(other)].duplicates.append(Duplicate(passage, is_copy))
            return
        hit = self._joined(passage) if self._merge else None
        if hit is None:
            hit = Chosen(passage, [passage])
            self.hits.append(hit)
        for each in hit.passages:
            self._hit_of[_key(each)] = hit

    def _joined(self, passage: Passage) -> Chosen | None:
        """The hit that the passage is now part of. Where it closes the gap between two, both are the better one."""
        around = [
            hit
            for ordinal in (passage.ordinal - 1, passage.ordinal + 1)
            if (hit := self._hit_of.get((passage.version_id, ordinal))) is not None
        ]
        joined: Chosen | None = None
        for hit in sorted(around, key=self.hits.index):
            mine = joined.passages if joined else [passage]
            first, second = sorted((hit.passages, mine), key=lambda passages: passages[0].ordinal)
            if len(first) + len(second) > MOST_JOINED or rest(first[-1], second[0]) is None:
                continue
            if joined is None:
                joined = hit
            else:
                joined.duplicates += hit.duplicates
                self.hits.remove(hit)
            joined.passages = [*first, *second]
        return joined


def _key(passage: Passage) -> tuple[UUID, int]:
    return passage.version_id, passage.ordinal


def rest(one: Passage, other: Passage) -> str | None:
    """What the text has from the end of one passage to the end of the next; None where that is not known to a letter."""
    shared = one.end - other.start
    if shared <= 0:
        space = other.space_before if shared else ""
        return space + other.text if space is not None and len(space) == -shared else None
    is_same = other.end > one.end and one.text[-shared:] == other.text[:shared]
    return other.text[shared:] if is_same else None


def shared(paths: Sequence[Sequence[str]]) -> list[str]:
    """The headings that all of them begin with."""
    return [level[0] for level in takewhile(lambda level: len(set(level)) == 1, zip(*paths, strict=False))]


def within(order: np.ndarray, documents: Mapping[int, UUID], most: int) -> np.ndarray:
    """The places whose document has not given so many better ones. documents: that of each place."""
    given: Counter[UUID] = Counter()
    kept = []
    for place in order.tolist():
        given[documents[place]] += 1
        if given[documents[place]] <= most:
            kept.append(place)
    return np.array(kept, np.int64)


def diversified(
    order: np.ndarray, relevance: np.ndarray, vectors: np.ndarray, *, diversity: float, count: int
) -> np.ndarray:
    """The same places, the first `count` by maximal marginal relevance: as good as may be and unlike those before.

    order: int (n,), best first. relevance: float64 (n,), of each in that order, of any scale. vectors: float32 (n, dim) in
    that order, of length 1. diversity: 0 to 1, the weight of unlikeness. Source: Carbonell and Goldstein 1998; their
    lambda is 1 - diversity. Relevance is scaled to what it spans here, 0 to 1.
    """
    if len(order) < 2:
        return order
    relevance = relevance / max(float(np.abs(relevance).max()), 1.0)  # a reranker's may be of any size
    span = float(relevance.max() - relevance.min())
    worth = (1 - diversity) * ((relevance - relevance.min()) / span if span > 0 else np.zeros(len(order)))
    likeness = np.full(len(order), -1.0)
    is_left = np.ones(len(order), bool)
    chosen = [0]
    is_left[0] = False
    while len(chosen) < min(count, len(order)):
        likeness = np.maximum(likeness, vectors @ vectors[chosen[-1]])
        at = int(np.argmax(np.where(is_left, worth - diversity * likeness, -np.inf)))
        is_left[at] = False
        chosen.append(at)
    return np.concatenate([order[chosen], order[is_left]])


class _Seen:
    """The texts of hits so far, to be compared with."""

    def __init__(self, collapse: Collapse) -> None:
        self._collapse = collapse
        self._kept: list[_Wording] = []
        self._said = ""

    def twin(self, passage: Passage) -> tuple[Passage, bool] | None:
        """A passage that says all that this one says, and whether with the same words; where none does, this is kept."""
        if self._collapse == "none" or len(passage.text) < LEAST_CHARACTERS:
            return None
        wording = _Wording(passage)
        if wording.may_be_in(self._said):
            for other in self._kept:
                if wording.may_be_in(other.passage.text) and wording.is_in(other):
                    return other.passage, True
        if self._collapse == "near":
            for other in self._kept:
                if wording.is_near(other):
                    return other.passage, False
        self._kept.append(wording)
        self._said += f"\n{passage.text}"
        return None


class _Wording:
    """What a passage says; each form of it is made when it is first asked for, which mostly is never."""

    def __init__(self, passage: Passage) -> None:
        self.passage = passage

    def may_be_in(self, text: str) -> bool:
        """False where a text surely has not the same words: told from some of them, which is quick."""
        return all(word in text for word in self._middle)

    def is_in(self, other: _Wording) -> bool:
        """Whether the other has the same words, and perhaps more before and after."""
        return len(self.words) >= LEAST_CHARACTERS and self.words in other.words

    def is_near(self, other: _Wording) -> bool:
        """Whether both have nearly the same words, and the same numbers."""
        shorter, longer = sorted((len(self.words), len(other.words)))
        if shorter < LEAST_SHARED * longer or shorter < LEAST_CHARACTERS or self.numbers != other.numbers:
            return False
        both = len(self.shingles & other.shingles)
        return both >= LEAST_SHARED * (len(self.shingles) + len(other.shingles) - both)

    @cached_property
    def _middle(self) -> list[str]:
        """Some words that stand as they are in whatever has the same words, long ones first: quick to look for."""
        middle = len(self.passage.text) // 2
        around = self.passage.text[middle - 40 : middle + 40].split()[1:-1]
        return sorted(filter(str.isalnum, around), key=len, reverse=True)

    @cached_property
    def words(self) -> str:
        """All that has to be the same, a space around each word. Signs, capitals, decimal points, brackets count."""
        plain = self.passage.text.translate(_QUOTATION_MARKS).split()
        return " ".join(("", *filter(None, (each.rstrip(_STOPS) for each in plain if each not in _LIST_MARKS)), ""))

    @cached_property
    def shingles(self) -> set[str]:
        words = self.words.casefold()
        return {words[at : at + SHINGLE_CHARACTERS] for at in range(len(words) - SHINGLE_CHARACTERS + 1)}

    @cached_property
    def numbers(self) -> Counter[str]:
        """Every word with a digit, each with the word after it: 5 mg is neither 50 mg nor 5 g."""
        words = self.words.casefold().split()
        return Counter(f"{one} {other}" for one, other in pairwise((*words, "")) if _DIGIT.search(one))


# What a copy in another format may have otherwise: quotation marks, stops at the end of a word, marks of lists and headings.
_QUOTATION_MARKS = str.maketrans(dict.fromkeys('"“”„«»', " ") | dict.fromkeys("‘’", "'"))
_STOPS = ".,;:…"
_LIST_MARKS = frozenset("#*•·‣◦▪") | {"##", "###", "####"}
_DIGIT = re.compile(r"\d")

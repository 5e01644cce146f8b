"""From what a model wrote to a sentence with the spans that bear it. What the model says of its sources is a hint, no more.

In this order: what it quotes, where that stands; the sentences round it; then one to three sentences in a row of the passages
it names, or of all. The first that bears the sentence is its support.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from drystone.answers import splitting, support
from drystone.answers.quoting import Folded
from drystone.answers.reading import Cited, Statement
from drystone.answers.schemas import Found, Passage, Sentence, Support
from drystone.answers.splitting import Span
from drystone.answers.support import Verdict

# So many sentences in a row are looked at together, and so many such stretches judged, those with most of the words first.
_MOST_IN_A_ROW, _MOST_STRETCHES = 3, 6


@dataclass(frozen=True)
class Candidate:
    """Spans that may bear a sentence, and what the rule says."""

    spans: list[Support]
    found: Found
    verdict: Verdict

    @property
    def sources(self) -> list[str]:
        return [each.quote for each in self.spans]


class Material:
    """A passage as sentences are looked for in it."""

    def __init__(self, passage: Passage, languages: Sequence[str]) -> None:
        self.passage = passage
        self._languages = languages

    @cached_property
    def folded(self) -> Folded:
        return Folded(self.passage.text)

    @cached_property
    def sentences(self) -> list[Span]:
        return splitting.sentences(self.passage.text)

    @cached_property
    def terms(self) -> list[frozenset[str]]:
        """Of each sentence."""
        return [support.terms(self.passage.text[start:end], self._languages) for start, end in self.sentences]

    def around(self, span: Span) -> Span:
        """The span, grown to whole sentences."""
        touched = [each for each in self.sentences if each[0] < span[1] and span[0] < each[1]]
        return (min(span[0], touched[0][0]), max(span[1], touched[-1][1])) if touched else span


class Verifier:
    """Holds sentences against passages. languages: by whose rules words are compared."""

    def __init__(self, passages: Sequence[Passage], languages: Sequence[str]) -> None:
        self.languages = languages
        self._all = {each.number: Material(each, languages) for each in passages}

    def candidates(self, statement: Statement) -> list[Candidate]:
        """Where it may stand, best guess first; ends with the first that bears it. Empty where there are no passages."""
        found = []
        for spans, how in self._tried(statement):
            candidate = self._judged(statement.text, spans, how)
            found.append(candidate)
            if candidate.verdict.is_borne:
                break
        return found

    def again(self, text: str, candidate: Candidate, similarity: float) -> Candidate:
        """The candidate, judged with the similarity known."""
        return self._judged(text, candidate.spans, candidate.found, similarity)

    def _tried(self, statement: Statement) -> Iterator[tuple[list[Support], Found]]:
        quoted = [span for cited in statement.cited if (span := self._quoted(cited))]
        if quoted:
            yield quoted, "quoted"
            widened = [self._widened(each) for each in quoted]
            if widened != quoted:
                yield list(dict.fromkeys(widened)), "widened"
        named = [self._all[each.passage] for each in statement.cited if each.passage in self._all]
        for stretch in self._stretches(statement.text, list(dict.fromkeys(named)) or list(self._all.values())):
            yield [stretch], "searched"

    def _quoted(self, cited: Cited) -> Support | None:
        """Where the quote stands: in the passage that is named, else in another."""
        if cited.quote is None:
            return None
        ordered = sorted(self._all.values(), key=lambda each: each.passage.number != cited.passage)
        for material in ordered:
            if span := material.folded.find(cited.quote):
                return Support(material.passage, *span)
        return None

    def _widened(self, span: Support) -> Support:
        return Support(span.passage, *self._all[span.passage.number].around((span.start, span.end)))

    def _stretches(self, text: str, materials: Sequence[Material]) -> list[Support]:
        """Sentences in a row that have most of the words; of equals the shorter, then the one that is ranked before."""
        wanted = support.terms(text, self.languages)
        found = []
        for order, material in enumerate(materials):
            for first in range(len(material.sentences)):
                have: frozenset[str] = frozenset()
                for last in range(first, min(first + _MOST_IN_A_ROW, len(material.sentences))):
                    have = have | material.terms[last]
                    start, end = material.sentences[first][0], material.sentences[last][1]
                    key = (-len(wanted & have), last - first, order, first)
                    found.append((key, Support(material.passage, start, end)))
        found.sort(key=lambda pair: pair[0])
        return [each for _, each in found[:_MOST_STRETCHES]]

    def _judged(self, text: str, spans: list[Support], how: Found, similarity: float | None = None) -> Candidate:
        titles = "\n".join(title for each in spans for title in each.passage.titles)
        sources = [each.quote[start:end] for each in spans for start, end in splitting.sentences(each.quote)]
        verdict = support.judge(text, sources, languages=self.languages, context=titles, similarity=similarity)
        return Candidate(spans, how, verdict)


def told(text: str, candidate: Candidate | None, similarity: float | None = None) -> Sentence:
    """The sentence as it is told."""
    if candidate is None:
        return Sentence(text, reason="no_source")
    verdict = candidate.verdict
    return Sentence(
        text,
        support=candidate.spans if verdict.is_borne else (),
        found=candidate.found if verdict.is_borne else None,
        coverage=round(verdict.coverage, 3),
        similarity=None if similarity is None else round(similarity, 3),
        reason=verdict.reason,
        missing=verdict.missing,
    )


def best(candidates: Sequence[Candidate]) -> Candidate | None:
    """The one that bears it; else that which has most of its words."""
    borne = [each for each in candidates if each.verdict.is_borne]
    return borne[0] if borne else max(candidates, key=lambda each: each.verdict.coverage, default=None)

"""Whether a sentence is borne by its source: a rule that needs no model, measured in benchmarks/answers_rule.py. Pure.

Numbers, names and negations of the sentence must be those of the source, no word may stand turned to its opposite, and most
of its words must stand there. Fewer are enough where vectors say that both mean the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from drystone.answers import facts
from drystone.answers.reasons import Reason
from drystone.index import analysis

# So much of the sentence's words must stand in the source; or so much, where vectors are so near. Chosen on one half of the
# judged sentences, measured on the other: docs/concepts/answers.md.
LEAST_WORDS = 0.75
LEAST_WORDS_IF_NEAR, NEAR = 0.5, 0.6


@dataclass(frozen=True)
class Verdict:
    """reason: why it is not borne; None where it is. coverage: which part of its words stand in the source. missing: what does not."""

    reason: Reason | None
    coverage: float
    missing: list[str] = field(default_factory=list)

    @property
    def is_borne(self) -> bool:
        return self.reason is None

    @property
    def may_be_near(self) -> bool:
        """Whether only its vector is to be asked for."""
        return self.reason == "words" and self.coverage >= LEAST_WORDS_IF_NEAR


def judge(
    sentence: str,
    sources: Sequence[str],
    *,
    languages: Sequence[str],
    context: str = "",
    similarity: float | None = None,
) -> Verdict:
    """Whether the sources, stretches of text, bear the sentence.

    context: titles that they stand below, which may name what they do not. similarity: cosine of both; None: not known.
    """
    together = "\n".join(sources)
    coverage, lacking = covered(sentence, f"{together}\n{context}", languages)
    if missing := facts.missing_numbers(sentence, together):
        return Verdict("number", coverage, missing)
    if missing := facts.missing_names(sentence, f"{together}\n{context}", languages):
        return Verdict("name", coverage, missing)
    if missing := facts.turned_words(sentence, together, languages):
        return Verdict("opposite", coverage, missing)
    if facts.is_denied_otherwise(sentence, sources, languages):
        return Verdict("negation", coverage)
    is_near = similarity is not None and similarity >= NEAR
    if coverage < (LEAST_WORDS_IF_NEAR if is_near else LEAST_WORDS):
        return Verdict("words", coverage, lacking)
    return Verdict(None, coverage)


def covered(sentence: str, source: str, languages: Sequence[str]) -> tuple[float, list[str]]:
    """Which part of the sentence's words stand in the source in some form, 0 to 1, and those that do not.

    Numbers, negations and stop words are not counted; of a sentence without any other words it is 0.
    """
    there = terms(source, languages)
    uncounted = facts.negations(languages)
    said = [
        token
        for token in analysis.tokens(sentence, languages)
        if not token.word.isnumeric() and analysis.fold(token.word) not in uncounted
    ]
    lacking = [token.word for token in said if not token.terms & there]
    return (1 - len(lacking) / len(said) if said else 0.0), lacking


def terms(text: str, languages: Sequence[str]) -> frozenset[str]:
    """What the words of a text stand as in an index."""
    return frozenset(term for token in analysis.tokens(text, languages) for term in token.terms)

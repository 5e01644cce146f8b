"""The rule that says whether a source bears a sentence: cases by hand, and all judged sentences."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from drystone.answers import splitting, support

JUDGED = [json.loads(line) for line in (Path(__file__).parent / "judged.jsonl").read_text().splitlines()]
SOURCE = (
    "Theodor Flügge showed in 1932 that thin cylinders of 5 mm do not buckle before the load reaches 12.5 kN; 2 460 were "
    "tested, three of them twice, at -5 °C and 1,200 rpm. Pressure increases the stress."
)


def _judge(sentence: str, source: str = SOURCE, language: str = "english") -> support.Verdict:
    sources = [source[start:end] for start, end in splitting.sentences(source)]
    return support.judge(sentence, sources, languages=[language])


@pytest.mark.parametrize(
    "sentence",
    [
        SOURCE,
        "Flügge showed that thin cylinders do not buckle before 12.5 kN.",
        "Thin cylinders were tested, 3 of them twice.",
        "2460 cylinders were tested.",
        "2,460 thin cylinders were tested at 1200 rpm.",
        "Thin cylinders don't buckle before the load reaches 12.50 kN.",
        "Flugge showed it in 1932.",
        "Increasing pressure increases stress.",
    ],
)
def test_what_stands_there_is_borne(sentence: str) -> None:
    assert _judge(sentence).reason is None


@pytest.mark.parametrize(
    ("sentence", "reason", "missing"),
    [
        ("Flügge showed in 1933 that thin cylinders do not buckle.", "number", ["1933"]),
        ("Thin cylinders of 5 km do not buckle.", "number", ["5 km"]),
        ("Thin cylinders were tested at 5 °C.", "number", ["5 °C"]),
        ("Four cylinders were tested twice.", "number", ["Four"]),
        ("Donnell showed in 1932 that thin cylinders do not buckle.", "name", ["Donnell"]),
        ("In 1932 that was shown by Theodor Donnell for thin cylinders.", "name", ["Donnell"]),
        ("Thin cylinders of type X12 do not buckle.", "name", ["X12"]),
        ("Thin cylinders of 5 mm buckle before the load reaches 12.5 kN.", "negation", []),
        ("Pressure does not increase the stress.", "negation", []),
        ("Pressure decreases the stress.", "opposite", ["decreases"]),
        ("Thin cylinders do not buckle after the load reaches 12.5 kN.", "opposite", ["after"]),
        ("Bananas are yellow.", "words", ["bananas", "yellow"]),
        ("It is.", "words", []),
    ],
)
def test_what_does_not_stand_there_is_told_with_the_reason(sentence: str, reason: str, missing: list[str]) -> None:
    verdict = _judge(sentence)

    assert (verdict.reason, verdict.missing) == (reason, missing)


def test_fewer_words_are_enough_where_vectors_are_near() -> None:
    few = "The walls require and demand stones without mortar."
    source = ["Dry stone walls need no mortar: the stones hold each other."]

    assert support.judge(few, source, languages=["english"]).reason == "words"
    assert support.judge(few, source, languages=["english"]).may_be_near
    assert support.judge(few, source, languages=["english"], similarity=support.NEAR).is_borne
    assert not support.judge(few, source, languages=["english"], similarity=support.NEAR - 0.01).is_borne


def test_the_judged_sentences_are_told_apart_as_well_as_the_guide_says() -> None:
    """By words alone, without vectors: what the rule does on every machine. Figures: docs/concepts/answers.md."""
    counts: Counter[tuple[str, bool]] = Counter()
    for row in JUDGED:
        language = "english" if row["language"] == "simple" else row["language"]
        for kind in row.keys() - {"source", "language"}:
            for sentence in row[kind]:
                counts[kind, _judge(sentence, row["source"], language).is_borne] += 1
    wrong = {kind: counts[kind, True] for kind, _ in counts if kind != "true" and counts[kind, True]}
    borne, missed = counts["true", True], counts["true", False]

    assert wrong == {"relation": 5}  # who did what to whom: words in another order are not told apart
    assert sum(counts.values()) == 209
    assert borne / (borne + missed) >= 0.9

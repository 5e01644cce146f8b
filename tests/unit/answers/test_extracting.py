"""Which sentences of the passages are an answer, and when there is none."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest

from drystone.answers import extracting
from drystone.answers.schemas import Passage
from drystone.index import analysis
from drystone.search.schemas import Hit, HitDocument

ENGLISH = ["english"]
TEXT = "# Walls of stone and moss\n\nDry stone walls need no mortar at all. Do dry stone walls need mortar? Frost does little harm to them."


def _passage(text: str, number: int = 1) -> Passage:
    version = UUID(int=number)
    document = HitDocument(version, 1, version, "papers", None, None, "a.md", {})
    hit = Hit(number, 1.0, document, version, [], text, 0, len(text), None, None, 0, None, None, None, None)
    return Passage(number, hit)


def _choices(question: str, *texts: str) -> list[extracting.Choice]:
    passages = [_passage(text, number) for number, text in enumerate(texts, 1)]
    return extracting.choices(passages, analysis.tokens(question, ENGLISH), {}, ENGLISH)


def test_headings_questions_and_copies_are_no_answers() -> None:
    found = _choices("dry stone walls mortar", TEXT, TEXT)

    assert [each.span.quote for each in found] == [
        "Dry stone walls need no mortar at all.",
        "Frost does little harm to them.",
    ]
    assert [each.words for each in found] == [1.0, 0.0]


@pytest.mark.parametrize("fence", ["```", "~~~~"])
@pytest.mark.parametrize("end", ["{fence}\n\nWalls of stone are dry here.", ""])
def test_code_is_no_answer(fence: str, end: str) -> None:
    code = f"Type this to build a wall:\n\n{fence}sh\nwall build --of stone dry  # a dry stone wall.\n\nwall show --of stone dry\n"
    found = _choices("dry stone wall", code + end.format(fence=fence))

    said = ["Type this to build a wall:", "Walls of stone are dry here."]
    assert sorted(each.span.quote for each in found) == said[: 2 if end else 1]


def test_nothing_is_chosen_where_the_best_is_not_good_enough() -> None:
    found = _choices("frost", TEXT)
    score = np.array([0.44, 0.3])

    assert extracting.choose(found, score, least=0.45, count=3) == []
    assert extracting.choose(found, score, least=0.44, count=3) == [0]
    assert extracting.choose([], np.empty(0), least=0.1, count=3) == []


def test_the_others_are_nearly_as_good_and_say_something_else() -> None:
    found = _choices(
        "granite",
        "Granite is hard as stone. Hard stone is granite indeed. Slate splits into thin plates. Moss grows slowly there.",
    )
    by_text = {each.span.quote: place for place, each in enumerate(found)}
    score = np.zeros(len(found))
    score[by_text["Granite is hard as stone."]] = 0.9
    score[by_text["Hard stone is granite indeed."]] = 0.8
    score[by_text["Slate splits into thin plates."]] = 0.75
    score[by_text["Moss grows slowly there."]] = 0.7

    taken = extracting.choose(found, score, least=0.45, count=3)

    assert [found[place].span.quote for place in taken] == [
        "Granite is hard as stone.",
        "Slate splits into thin plates.",
    ]


def test_vectors_and_words_are_weighed_and_words_count_alone_without() -> None:
    found = _choices("dry stone walls mortar", TEXT)

    assert extracting.scores(found, None).tolist() == [1.0, 0.0]
    assert extracting.scores(found, np.array([0.5, -0.2])).tolist() == [0.4 + 0.6 * 0.5, 0.0]

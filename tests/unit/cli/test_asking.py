"""Answers of the API become rankings of documents."""

from __future__ import annotations

from typing import Any, cast

from drystone.cli import asking
from drystone.cli.answers import Answer


def _answer(*hits: tuple[str, str | None, float]) -> Answer:
    """hits: document id, external id, score."""
    found: list[Any] = [
        {"document": {"id": id_, "external_id": external_id}, "score": score, "quote": f"{id_} {score}"}
        for id_, external_id, score in hits
    ]
    return cast(Answer, {"hits": found, "exact": True, "truncated": False, "took_ms": 1.0})


def test_a_document_counts_at_the_place_of_its_best_passage_and_by_its_external_id() -> None:
    answer = _answer(("id-1", "walls", 3.0), ("id-2", None, 2.5), ("id-1", "walls", 2.0), ("id-3", "stones", 1.0))

    ranking = asking.ranking_of(answer, 12.3456)

    assert ranking.documents == ["walls", "id-2", "stones"]
    assert ranking.scores == [3.0, 2.5, 1.0]
    assert ranking.took_ms == 12.346
    assert ranking.quotes["walls"] == "id-1 3.0"


def test_quotes_are_kept_of_the_first_few_only() -> None:
    answer = _answer(*((f"id-{number}", None, 9.0 - number) for number in range(9)))

    assert list(asking.ranking_of(answer, 1.0).quotes) == ["id-0", "id-1", "id-2"]


def test_scores_that_would_turn_the_order_round_become_places() -> None:
    reranked = _answer(("a", None, 0.2), ("b", None, 0.01), ("c", None, 0.9), ("d", None, 0.8))

    ranking = asking.ranking_of(reranked, 1.0)

    assert ranking.documents == ["a", "b", "c", "d"]
    assert ranking.scores == [4.0, 3.0, 2.0, 1.0]

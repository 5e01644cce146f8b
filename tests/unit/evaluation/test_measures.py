"""The measures are those of the field, computed by hand."""

from __future__ import annotations

import random

import pytest

from drystone.evaluation.measures import ndcg, percentile, recall, reciprocal_rank


@pytest.mark.parametrize(
    ("ranked", "relevant", "expected"),
    [
        (["a", "b"], {"a": 1, "b": 1}, 1.0),
        (["x", "a"], {"a": 1}, 0.6309),  # 1 / log2(3)
        # (1 + 3 / log2(3) + 2 / log2(5)) / (3 + 2 / log2(3) + 1 / 2), grades as they are
        (["c", "a", "x", "b"], {"a": 3, "b": 2, "c": 1}, 0.7884),
        (["x", "y"], {"a": 1}, 0.0),
        ([], {"a": 1}, 0.0),
        (["a"], {}, 0.0),
        (["a"], {"a": 1, "b": 0, "c": -1}, 1.0),  # trec judgements may be negative; they count nothing
        ([*"0123456789", "a"], {"a": 1}, 0.0),  # the eleventh place is beyond the cut
    ],
)
def test_ndcg_is_that_of_trec_eval(ranked: list[str], relevant: dict[str, int], expected: float) -> None:
    assert ndcg(ranked, relevant) == pytest.approx(expected, abs=1e-4)


def test_ndcg_compares_with_the_best_ten() -> None:
    relevant = {str(number): 1 for number in range(30)}

    assert ndcg([str(number) for number in range(10)], relevant) == 1.0


@pytest.mark.parametrize(
    ("ranked", "relevant", "k", "expected"),
    [
        (["a", "x", "b"], {"a": 1, "b": 2, "c": 1, "d": 3}, 100, 0.5),
        (["a", "x", "b"], {"a": 1, "b": 2, "c": 1, "d": 3}, 2, 0.25),
        (["a", "b", "c"], {"a": 1, "b": 1, "c": 1}, 2, 2 / 3),  # more are relevant than are looked at
        (["a", "b"], {"a": 0, "b": -1, "c": 1}, 100, 0.0),
        (["a"], {"a": 0}, 100, 0.0),
        ([], {"a": 1}, 100, 0.0),
    ],
)
def test_recall_divides_by_all_relevant_documents(
    ranked: list[str], relevant: dict[str, int], k: int, expected: float
) -> None:
    assert recall(ranked, relevant, k) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ranked", "relevant", "expected"),
    [
        (["a", "b"], {"a": 1, "b": 3}, 1.0),
        (["x", "y", "a"], {"a": 2}, 1 / 3),
        (["x", "a"], {"x": 0, "a": 1}, 0.5),
        ([*"012345678", "a"], {"a": 1}, 0.1),
        ([*"0123456789", "a"], {"a": 1}, 0.0),
        ([], {"a": 1}, 0.0),
    ],
)
def test_the_reciprocal_rank_is_that_of_the_first_relevant_document(
    ranked: list[str], relevant: dict[str, int], expected: float
) -> None:
    assert reciprocal_rank(ranked, relevant) == pytest.approx(expected)


def test_every_measure_lies_between_0_and_1_and_the_best_order_gives_the_most() -> None:
    drawn = random.Random(1)
    for _ in range(200):
        relevant = {str(number): drawn.randint(-1, 3) for number in range(drawn.randint(1, 30))}
        ranked = drawn.sample([str(number) for number in range(40)], 20)
        best = sorted(ranked, key=lambda each: -relevant.get(each, 0))
        for measure in (ndcg, recall, reciprocal_rank):
            assert 0 <= measure(ranked, relevant) <= measure(best, relevant) <= 1


@pytest.mark.parametrize(("percent", "expected"), [(50, 5), (95, 10), (90, 9), (1, 1), (100, 10)])
def test_a_percentile_is_a_measured_value(percent: int, expected: int) -> None:
    assert percentile([3, 1, 2, 10, 9, 8, 7, 6, 5, 4], percent) == expected

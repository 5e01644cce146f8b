"""The numbers the benchmarks report are computed right."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

MEASURES = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "measures.py"))
ndcg, percentile = MEASURES["ndcg"], MEASURES["percentile"]


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


@pytest.mark.parametrize(("percent", "expected"), [(50, 5), (95, 10), (90, 9), (1, 1), (100, 10)])
def test_a_percentile_is_a_measured_value(percent: int, expected: int) -> None:
    assert percentile([3, 1, 2, 10, 9, 8, 7, 6, 5, 4], percent) == expected

"""Runs against judgements: means, curves, who won where."""

from __future__ import annotations

import pytest

from drystone.evaluation import scoring
from drystone.evaluation.runs import Origin, Ranking, Run
from drystone.evaluation.scoring import Scores

JUDGEMENTS = {"1": {"a": 1}, "2": {"a": 1, "b": 1}, "3": {"c": 1}}


def _scores(name: str, *ranked: str, took_ms: float | None = None) -> Scores:
    rankings = {str(number): Ranking([*ids], [1.0] * len(ids), took_ms) for number, ids in enumerate(ranked, start=1)}
    return scoring.score(Run(name, Origin(), rankings), JUDGEMENTS, [*JUDGEMENTS], resamples=2000, seed=1)


def test_means_are_over_the_queries() -> None:
    found = _scores("ours", "a", "xa", "x", took_ms=5.0)

    assert found.by_query["recall@100"] == {"1": 1.0, "2": 0.5, "3": 0.0}
    assert found.by_query["mrr@10"] == {"1": 1.0, "2": 0.5, "3": 0.0}
    assert found.means["mrr@10"].value == pytest.approx(0.5)
    assert (found.p50_ms, found.p95_ms) == (5.0, 5.0)
    assert found.documents == pytest.approx(4 / 3)


def test_the_recall_curve_rises_to_recall_at_100() -> None:
    found = _scores("ours", "a", "xab", "x")

    assert found.recall_at[:3] == pytest.approx([1 / 3, 1 / 3 + 1 / 6, 2 / 3])
    assert len(found.recall_at) == 100
    assert found.recall_at[-1] == pytest.approx(found.means["recall@100"].value)


def test_a_run_without_times_has_no_latency() -> None:
    assert _scores("other", "a", "a", "a").p50_ms is None


def test_a_comparison_counts_queries_and_orders_them_by_what_they_gained() -> None:
    ours, theirs = _scores("ours", "xa", "ab", "c"), _scores("theirs", "a", "xab", "c")

    found = scoring.compare(ours, theirs, resamples=2000, seed=1)

    change = found.changes["ndcg@10"]
    assert (change.better, change.worse, change.equal) == (1, 1, 1)
    assert list(found.changed) == ["2", "1"]
    # query 2: 1 - (1 / log2(3) + 1 / 2) / (1 + 1 / log2(3)); query 1: 1 / log2(3) - 1
    assert list(found.changed.values()) == pytest.approx([0.3066, -0.3691], abs=1e-4)
    assert change.difference.value == pytest.approx((0.3066 - 0.3691) / 3, abs=1e-4)


def test_the_worst_queries_come_first() -> None:
    assert scoring.worst_first(_scores("ours", "a", "xa", "x")) == ["3", "2", "1"]

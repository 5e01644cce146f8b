"""Agreement of two rankings: numbers by hand."""

from __future__ import annotations

import pytest

from drystone.evaluation.agreement import Agreement, rank_biased_overlap, summary


def test_the_same_ranking_agrees_fully_and_disjoint_ones_not_at_all() -> None:
    assert rank_biased_overlap("abc", "abc") == pytest.approx(1.0)
    assert rank_biased_overlap("abc", "xyz") == 0.0
    assert rank_biased_overlap("", "") == 1.0


def test_an_exchange_at_the_top_weighs_more_than_one_further_down() -> None:
    # Agreement at depths 1, 2, 3: 0, 1, 1; weights .5, .25, .125; (1 - p) / p = 1; 1 beyond: .125
    assert rank_biased_overlap("bac", "abc", persistence=0.5) == pytest.approx(0.25 + 0.125 + 0.125)
    # 1, 1/2, 1
    assert rank_biased_overlap("acb", "abc", persistence=0.5) == pytest.approx(0.5 + 0.125 + 0.125 + 0.125)


def test_overlap_looks_at_the_first_ten() -> None:
    ours, theirs = list("abcdefghijk"), list("abcdefghiXk")

    assert Agreement("q", ours, theirs, (1, 1)).overlap == 0.9
    assert Agreement("q", ["a", "b"], ["a"], (1, 1)).overlap == 0.5
    assert Agreement("q", [], [], (1, 1)).overlap == 1.0


def test_a_summary_has_means_and_medians() -> None:
    same = Agreement("q", ["a"], ["a"], (1.0, 10.0))
    other = Agreement("r", ["a"], ["b"], (3.0, 30.0))

    found = summary([same, same, other])

    assert found.questions == 3
    assert found.overlap == found.same_first == pytest.approx(2 / 3)
    assert found.p50_ms == (1.0, 10.0)

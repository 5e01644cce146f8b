"""Two rankings as one: shares of the best, their mean, and passages that resemble good answers."""

from __future__ import annotations

import numpy as np
import pytest

from drystone.search import fusion
from drystone.search.fusion import Side


def _side(*scores: float) -> Side:
    return Side(np.array(scores), np.zeros(len(scores), int))


def test_a_score_is_the_mean_of_both_shares_of_the_best() -> None:
    fused = fusion.fuse([_side(8, 4, 0), _side(0.3, 0.6, 0.6)])

    assert fused.tolist() == pytest.approx([(1 + 0.5) / 2, (0.5 + 1) / 2, 0.5])


def test_sides_may_weigh_differently() -> None:
    fused = fusion.fuse(
        [Side(np.array([1.0, 0.0]), np.zeros(2, int), 0.45), Side(np.array([0.0, 1.0]), np.zeros(2, int), 0.55)]
    )

    assert fused.tolist() == pytest.approx([0.45, 0.55])


def test_one_side_alone_keeps_its_scores() -> None:
    assert fusion.fuse([_side(8, 4, 0)]).tolist() == [8, 4, 0]


def test_a_side_that_found_nothing_adds_nothing() -> None:
    assert fusion.fuse([_side(0, 0), _side(0.2, 0.4)]).tolist() == [0.25, 0.5]
    assert fusion.fuse([_side(-0.2, -0.1)]).tolist() == [-0.2, -0.1]
    assert fusion.fuse([_side(0, 0), _side(-0.2, -0.1)]).tolist() == [0, 0]


def test_smoothing_is_its_formula() -> None:
    chance = np.random.default_rng(1)
    vectors = chance.normal(size=(30, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = chance.random(30)
    expected = []
    for at, vector in enumerate(vectors):
        cosines = vectors @ vector
        near = [other for other in np.argsort(-cosines) if other != at][:5]
        weights = [0.4 * max(float(cosines[other]), 0) ** 4 for other in near]
        own = scores[at] + sum(w * scores[other] for w, other in zip(weights, near, strict=True))
        expected.append(own / (1 + sum(weights)))

    assert fusion.smooth(scores, vectors).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 6])
def test_few_candidates_are_smoothed_with_what_there_is(count: int) -> None:
    vectors = np.eye(8, dtype=np.float32)[:count]
    scores = np.arange(count, dtype=np.float64)

    assert fusion.smooth(scores, vectors).tolist() == scores.tolist(), "strangers do not move one another"


def test_ranks_and_order() -> None:
    candidates = np.array([3, 5, 7, 9])

    assert fusion.ranks_in(candidates, np.array([9, 3])).tolist() == [2, 0, 0, 1]
    assert fusion.ranks_in(candidates, np.array([], np.int64)).tolist() == [0, 0, 0, 0]
    scores, all_of_them = np.array([1.0, 2.0, 2.0, 0.0]), np.full(4, True)
    assert fusion.best_first(scores, candidates, all_of_them).tolist() == [1, 2, 0, 3]
    assert fusion.best_first(scores, candidates, candidates != 5).tolist() == [2, 0, 3, 1]


def test_what_was_reranked_comes_first_by_its_scores_and_the_others_keep_their_order() -> None:
    order = np.array([4, 2, 0, 1, 3])

    found = fusion.reorder(order, np.array([4, 2, 0]), np.array([0.25, 0.75, 0.75]))

    assert found.tolist() == [2, 0, 4, 1, 3]
    assert fusion.reorder(order, np.empty(0, np.int64), np.empty(0)).tolist() == order.tolist()

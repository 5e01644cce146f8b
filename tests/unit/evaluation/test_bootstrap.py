"""Intervals and p-values of means over queries."""

from __future__ import annotations

import numpy as np
import pytest

from drystone.evaluation import bootstrap

_FEW = 2_000


def test_the_interval_of_many_values_is_that_of_the_normal_approximation() -> None:
    values = [0.0, 1.0] * 200  # standard error 0.5 / sqrt(400)

    found = bootstrap.estimate(values)

    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.451, 0.549), abs=0.004)


def test_values_that_do_not_differ_leave_no_doubt() -> None:
    found = bootstrap.estimate([0.25] * 10)

    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    values = list(np.random.default_rng(3).random(30))

    assert bootstrap.estimate(values, seed=1) == bootstrap.estimate(values, seed=1)
    assert bootstrap.estimate(values, seed=1) != bootstrap.estimate(values, seed=2)


def test_an_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    drawn = np.random.default_rng(5)
    found = [bootstrap.estimate(drawn.random(40), resamples=_FEW) for _ in range(300)]

    held = sum(each.low <= 0.5 <= each.high for each in found) / len(found)

    assert 0.90 <= held <= 0.98


def test_more_queries_than_are_resampled_at_once_give_as_many_means() -> None:
    values = np.random.default_rng(7).random(600_000)  # one resample at a time

    found = bootstrap.estimate(values, resamples=20)

    assert found.low < found.value < found.high


def test_systems_that_are_equal_have_no_difference_and_a_p_of_1() -> None:
    found = bootstrap.difference([0.1, 0.5, 0.9], [0.1, 0.5, 0.9])

    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        ([1.0, 0.0, 0.0], 1.0),  # either sign is as far from 0
        ([1.0, 1.0, 1.0], 2 / 8),  # only all signs alike
        ([1.0, 1.0, 1.0, 1.0, 0.0], 2 / 16),  # ties tell nothing
        ([3.0, 2.0, -1.0], 4 / 8),  # 3 + 2 - 1 = 4, 3 + 2 + 1 = 6, and their opposites
    ],
)
def test_the_p_of_few_queries_is_what_counting_their_signs_gives(ours: list[float], expected: float) -> None:
    found = bootstrap.difference(ours, [0.0] * len(ours))

    assert found.p_value == pytest.approx(expected, abs=0.02)


def test_a_gain_on_many_queries_is_as_sure_as_the_resamples_can_tell() -> None:
    found = bootstrap.difference([0.5] * 40, [0.25] * 40, resamples=_FEW)

    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)
    assert found.p_value == pytest.approx(1 / (_FEW + 1))


def test_who_is_compared_with_whom_turns_the_sign_only() -> None:
    drawn = np.random.default_rng(11)
    ours, theirs = list(drawn.random(25)), list(drawn.random(25))

    there, back = bootstrap.difference(ours, theirs), bootstrap.difference(theirs, ours)

    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert back.p_value == there.p_value


def test_chance_alone_is_rarely_significant() -> None:
    drawn = np.random.default_rng(13)
    found = [bootstrap.difference(drawn.random(40), drawn.random(40), resamples=_FEW).p_value for _ in range(300)]

    assert 0.02 <= sum(p < 0.05 for p in found) / len(found) <= 0.09

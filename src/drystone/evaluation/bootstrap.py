"""How far would a mean wander with other queries of the same kind? The bootstrap over queries. Pure; numpy.

The same seed draws the same resamples, so a run that is evaluated twice tells the same interval twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
SEED = 20
CONFIDENCE = 0.95
# So many drawn indices are held at once: 8 MB each for them and for what they pick.
_AT_ONCE = 1_000_000
# Sums of the same numbers in another order differ by rounding.
_ROUNDING = 1e-12

Floats = NDArray[np.float64]
Values = Sequence[float] | Floats


@dataclass(frozen=True)
class Estimate:
    """A mean, with the bounds of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A mean paired difference with its interval. p_value: how often chance alone gives one as large, two-sided."""

    value: float
    low: float
    high: float
    p_value: float


def estimate(values: Values, *, resamples: int = RESAMPLES, seed: int = SEED) -> Estimate:
    """The mean of one value per query, with its 95 % interval by the percentile method.

    values: at least one. Source: Efron and Tibshirani 1993, chapter 13.
    """
    observed = np.asarray(values, dtype=np.float64)
    low, high = _interval(_means(observed, resamples, seed))
    return Estimate(float(observed.mean()), low, high)


def difference(ours: Values, theirs: Values, *, resamples: int = RESAMPLES, seed: int = SEED) -> Difference:
    """The mean of ours - theirs, paired by query, with its 95 % interval from the bootstrap and its p-value.

    p is that of the randomisation test, which stays honest with few queries: the share of random swaps of the two
    systems, query by query, that give a mean at least as far from 0, as (count + 1) / (resamples + 1); never 0.
    Source: Smucker, Allan and Carterette 2007.
    """
    differences = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    low, high = _interval(_means(differences, resamples, seed))
    return Difference(float(differences.mean()), low, high, _p_value(differences, resamples, seed))


def _p_value(differences: Floats, resamples: int, seed: int) -> float:
    observed = abs(float(differences.sum()))
    different, random = differences[differences != 0], np.random.default_rng(seed)
    as_far = 0
    for size in _sizes(resamples, len(different)):
        signs = random.integers(0, 2, size=(size, len(different))) * 2 - 1
        as_far += int(np.count_nonzero(np.abs(signs @ different) >= observed - _ROUNDING))
    return (as_far + 1) / (resamples + 1)


def _means(values: Floats, resamples: int, seed: int) -> Floats:
    """The mean of each resample: float64 of shape (resamples,)."""
    random = np.random.default_rng(seed)
    drawn = (random.integers(0, len(values), size=(size, len(values))) for size in _sizes(resamples, len(values)))
    return np.concatenate([values[some].mean(axis=1) for some in drawn])


def _sizes(resamples: int, width: int) -> Iterator[int]:
    """How many resamples of this width are taken at once, until all are."""
    step = max(1, _AT_ONCE // max(1, width))
    for begun in range(0, resamples, step):
        yield min(step, resamples - begun)


def _interval(means: Floats) -> tuple[float, float]:
    outside = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (outside, 1 - outside))
    return float(low), float(high)

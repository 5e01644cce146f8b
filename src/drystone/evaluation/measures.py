"""Measures of a ranked list against judgements, and percentiles. Pure.

ranked: ids, best first, without duplicates. relevant: id -> grade; above 0 is relevant, what is not in it counts 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def ndcg(ranked: Sequence[str], relevant: Mapping[str, int], k: int = 10) -> float:
    """Normalised discounted cumulative gain of the first k, in [0, 1].

    A grade counts as it is (not 2^grade - 1), divided by log2(rank + 1): as `trec_eval -m ndcg_cut` does.
    Source: Järvelin and Kekäläinen 2002.
    """
    ideal = _gain(sorted(relevant.values(), reverse=True)[:k])
    return _gain([relevant.get(each, 0) for each in ranked[:k]]) / ideal if ideal > 0 else 0.0


def _gain(grades: Sequence[int]) -> float:
    return sum(max(grade, 0) / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))


def recall(ranked: Sequence[str], relevant: Mapping[str, int], k: int = 100) -> float:
    """The share of the relevant documents that are among the first k, in [0, 1]; 0 where none is relevant.

    As `trec_eval -m recall`: all relevant ones are what is divided by, also where there are more than k.
    """
    wanted = {each for each, grade in relevant.items() if grade > 0}
    return len(wanted.intersection(ranked[:k])) / len(wanted) if wanted else 0.0


def reciprocal_rank(ranked: Sequence[str], relevant: Mapping[str, int], k: int = 10) -> float:
    """1 / rank of the first relevant document among the first k, in [0, 1]; 0 where there is none.

    Its mean over queries is MRR@k. Source: Voorhees 1999.
    """
    ranks = (rank for rank, each in enumerate(ranked[:k], start=1) if relevant.get(each, 0) > 0)
    return 1 / first if (first := next(ranks, None)) else 0.0


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]

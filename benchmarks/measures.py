"""Numbers about numbers: what is reported, and how it is computed. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence


def ndcg(ranked: Sequence[str], relevant: Mapping[str, int], k: int = 10) -> float:
    """Normalised discounted cumulative gain of the first k, in [0, 1].

    ranked: ids, best first, without duplicates. relevant: id -> grade; what is not in it counts 0.
    A grade counts as it is (not 2^grade - 1), divided by log2(rank + 1): as `trec_eval -m ndcg_cut` does.
    Source: Järvelin and Kekäläinen 2002.
    """
    ideal = _gain(sorted(relevant.values(), reverse=True)[:k])
    return _gain([relevant.get(each, 0) for each in ranked[:k]]) / ideal if ideal > 0 else 0.0


def _gain(grades: Sequence[int]) -> float:
    return sum(max(grade, 0) / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def spread(values: Sequence[float]) -> dict[str, float | list[float]]:
    """Median and all values, as every repeated measurement is reported."""
    return {"median": round(statistics.median(values), 3), "all": [round(value, 3) for value in values]}

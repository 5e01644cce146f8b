"""How repeated measurements are reported. Pure; the measures of retrieval are in `drystone.evaluation.measures`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float]) -> dict[str, float | list[float]]:
    """Median and all values, as every repeated measurement is reported."""
    return {"median": round(statistics.median(values), 3), "all": [round(value, 3) for value in values]}

"""Whether an evaluation is good enough to go on with, for programs that stop where it is not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drystone.core.errors import Invalid
from drystone.evaluation.results import Evaluation
from drystone.evaluation.scoring import MEASURES

_LABELS = {measure.key: measure.label for measure in MEASURES}


def parse(floors: Sequence[str]) -> dict[str, float]:
    """`ndcg@10=0.5` and the like: the least that each measure may be. Raises Invalid for anything else."""
    found: dict[str, float] = {}
    for given in floors:
        key, equals, number = given.partition("=")
        key = key.strip().lower()
        value = _number(number)
        if not equals or key not in _LABELS or value is None:
            raise Invalid(
                "eval.bad_floor",
                f"{given!r} is not MEASURE=NUMBER with a number from 0 to 1.",
                hint=f"for example ndcg@10=0.5; measures: {', '.join(_LABELS)}",
            )
        if key in found:
            raise Invalid("eval.bad_floor", f"{key} stands twice.", hint="give each measure one number")
        found[key] = value
    return found


def below(evaluation: Evaluation, floors: Mapping[str, float]) -> list[str]:
    """A line for each measure whose mean is less than it may be."""
    means = evaluation.ours.means
    return [
        f"{_LABELS[key]} is {means[key].value:.4f}, below {floor:g}"
        for key, floor in floors.items()
        if means[key].value < floor
    ]


def worse(evaluation: Evaluation) -> list[str]:
    """A line for each measure that is worse than in a run it is compared with: the interval of the difference is below 0."""
    return [
        f"{_LABELS[key]} is worse than {comparison.theirs} by {-change.difference.value:.4f}"
        f" [{-change.difference.high:.4f}, {-change.difference.low:.4f}]"
        for comparison in evaluation.comparisons
        for key, change in comparison.changes.items()
        if change.difference.high < 0
    ]


def _number(given: str) -> float | None:
    try:
        value = float(given)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None

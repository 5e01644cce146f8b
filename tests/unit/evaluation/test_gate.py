"""When an evaluation is not good enough to go on with."""

from __future__ import annotations

import pytest

from drystone.core.errors import Invalid
from drystone.evaluation import gate, scoring
from drystone.evaluation.results import Evaluation
from drystone.evaluation.runs import Origin, Ranking, Run
from drystone.evaluation.scoring import Scores

QUERIES = {str(number): "what" for number in range(20)}
JUDGEMENTS = {query_id: {"a": 1} for query_id in QUERIES}


def _scores(name: str, good: int) -> Scores:
    """Of so many queries the first is right, of the others the second."""
    rankings = {
        query_id: Ranking(["a", "x"] if number < good else ["x", "a"], [2.0, 1.0], None)
        for number, query_id in enumerate(QUERIES)
    }
    return scoring.score(Run(name, Origin(), rankings), JUDGEMENTS, [*QUERIES], resamples=2000, seed=1)


def _evaluation(ours: int, *others: int) -> Evaluation:
    scores = [_scores("ours", ours), *(_scores(f"{good} good", good) for good in others)]
    comparisons = [scoring.compare(scores[0], each, resamples=2000, seed=1) for each in scores[1:]]
    return Evaluation("c", "", "1", 20, 20, QUERIES, JUDGEMENTS, scores, comparisons, (), {}, 2000, 1)


def test_a_mean_below_its_floor_is_told_and_one_at_it_is_not() -> None:
    found = _evaluation(10)

    assert gate.below(found, gate.parse(["mrr@10=0.75", "recall@100=1"])) == []
    assert gate.below(found, gate.parse(["MRR@10=0.76"])) == ["MRR@10 is 0.7500, below 0.76"]


def test_worse_is_what_chance_would_not_do() -> None:
    """One query more is chance; ten are not. What is better is none of its business."""
    found = _evaluation(10, 11, 20, 0)

    lines = gate.worse(found)

    assert [line.partition(" by ")[0] for line in lines] == [
        "nDCG@10 is worse than 20 good",
        "MRR@10 is worse than 20 good",
    ]
    assert "by 0.2500 [" in lines[1]


@pytest.mark.parametrize(
    "given", ["0.5", "ndcg=0.5", "ndcg@10", "ndcg@10=", "ndcg@10=high", "ndcg@10=1.5", "mrr@10=nan"]
)
def test_what_is_no_floor_is_refused(given: str) -> None:
    with pytest.raises(Invalid, match="is not MEASURE=NUMBER"):
        gate.parse([given])


def test_a_measure_has_one_floor() -> None:
    with pytest.raises(Invalid, match="stands twice"):
        gate.parse(["mrr@10=0.1", "MRR@10=0.2"])

"""All that one evaluation found, as one value, and as JSON for programs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from drystone.evaluation import scoring
from drystone.evaluation.bootstrap import CONFIDENCE
from drystone.evaluation.coverage import Gap
from drystone.evaluation.judgements import Judgements, Queries
from drystone.evaluation.scoring import MEASURES, Comparison, Scores


@dataclass(frozen=True)
class Evaluation:
    """The scores of a run and of those it is compared with, over the same queries.

    scores: the run first. comparisons: the run with each of the others. titles: of documents, by the names that
    judgements use. documents, passages: what the collection holds.
    """

    collection: str
    made_at: str
    version: str
    documents: int
    passages: int
    queries: Queries
    judgements: Judgements
    scores: Sequence[Scores]
    comparisons: Sequence[Comparison]
    gaps: Sequence[Gap]
    titles: Mapping[str, str]
    resamples: int
    seed: int

    @property
    def ours(self) -> Scores:
        return self.scores[0]


def p_text(p_value: float) -> str:
    """A p-value for people."""
    return f"{p_value:.3f}" if p_value >= 0.001 else f"{p_value:.4f}"


def time_text(made_at: str | None) -> str:
    """A time of a run for people, in UTC."""
    if made_at is None:
        return "not known"
    try:
        return datetime.fromisoformat(made_at).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:  # a file of somebody else's
        return made_at


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """For programs: settings with their measures, comparisons, gaps, and every query."""
    return {
        "collection": evaluation.collection,
        "made_at": evaluation.made_at,
        "version": evaluation.version,
        "documents": evaluation.documents,
        "passages": evaluation.passages,
        "queries": len(evaluation.queries),
        "confidence": CONFIDENCE,
        "resamples": evaluation.resamples,
        "seed": evaluation.seed,
        "runs": [_scores(each) for each in evaluation.scores],
        "comparisons": [_comparison(each) for each in evaluation.comparisons],
        "gaps": [{"code": gap.code, "count": len(gap.ids), "examples": [*gap.examples]} for gap in evaluation.gaps],
        "by_query": [_query(evaluation, query_id) for query_id in scoring.worst_first(evaluation.ours)],
    }


def _scores(scores: Scores) -> dict[str, Any]:
    return {
        "name": scores.run.name,
        **asdict(scores.run.origin),
        "measures": {key: _rounded(asdict(estimate)) for key, estimate in scores.means.items()},
        "documents_per_query": round(scores.documents, 1),
        "latency_ms": {"p50": scores.p50_ms, "p95": scores.p95_ms},
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "run": comparison.ours,
        "against": comparison.theirs,
        "measures": {
            key: {
                **_rounded(asdict(change.difference)),
                "better": change.better,
                "worse": change.worse,
                "equal": change.equal,
            }
            for key, change in comparison.changes.items()
        },
        "changed": _rounded(comparison.changed),
    }


def _query(evaluation: Evaluation, query_id: str) -> dict[str, Any]:
    return {
        "query_id": query_id,
        "text": evaluation.queries[query_id],
        "measures": {
            scores.run.name: {measure.key: round(scores.by_query[measure.key][query_id], 6) for measure in MEASURES}
            for scores in evaluation.scores
        },
    }


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in values.items()}

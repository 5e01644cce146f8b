"""Runs against judgements: measures per query, their means with intervals, and the difference of two runs. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from drystone.evaluation import bootstrap, measures
from drystone.evaluation.bootstrap import Difference, Estimate
from drystone.evaluation.judgements import Judgements
from drystone.evaluation.runs import Run

# Queries whose measures differ by less are tied.
_TIE = 1e-9
# The recall curve goes to here, as the measure does.
DEPTH = 100


@dataclass(frozen=True)
class Measure:
    """key: for programs; label: as the field writes it; of: (ranked, relevant) -> a value in [0, 1]."""

    key: str
    label: str
    of: Callable[[Sequence[str], Mapping[str, int]], float]


MEASURES = (
    Measure("ndcg@10", "nDCG@10", measures.ndcg),
    Measure("recall@100", "Recall@100", measures.recall),
    Measure("mrr@10", "MRR@10", measures.reciprocal_rank),
)
# What orders queries and tells who won.
LEADING = MEASURES[0]


@dataclass(frozen=True)
class Scores:
    """One run, judged. by_query: measure key -> query id -> value, all over the same queries in the same order.

    recall_at: mean recall of the first 1, 2, … DEPTH documents. p50_ms, p95_ms: None where nothing was timed.
    documents: how many a query found in the mean, up to DEPTH.
    """

    run: Run
    by_query: Mapping[str, Mapping[str, float]]
    means: Mapping[str, Estimate]
    recall_at: Sequence[float]
    documents: float
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True)
class Change:
    """One measure of two runs, paired by query: ours - theirs. better, worse, equal: queries."""

    difference: Difference
    better: int
    worse: int
    equal: int


@dataclass(frozen=True)
class Comparison:
    """Two runs over the same queries. changed: query id -> ours - theirs of the leading measure, most gained first."""

    ours: str
    theirs: str
    changes: Mapping[str, Change]
    changed: Mapping[str, float]


def score(run: Run, judgements: Judgements, queries: Sequence[str], *, resamples: int, seed: int) -> Scores:
    """Judge a run over these queries, at least one; each is in the run and in the judgements."""
    ranked = [(run.rankings[query_id].documents, judgements[query_id]) for query_id in queries]
    by_query = {
        measure.key: {query_id: measure.of(*each) for query_id, each in zip(queries, ranked, strict=True)}
        for measure in MEASURES
    }
    times = [took for query_id in queries if (took := run.rankings[query_id].took_ms) is not None]
    return Scores(
        run=run,
        by_query=by_query,
        means={
            key: bootstrap.estimate([*found.values()], resamples=resamples, seed=seed)
            for key, found in by_query.items()
        },
        recall_at=_recall_at(ranked),
        documents=statistics.mean(min(len(documents), DEPTH) for documents, _ in ranked),
        p50_ms=measures.percentile(times, 50) if times else None,
        p95_ms=measures.percentile(times, 95) if times else None,
    )


def compare(ours: Scores, theirs: Scores, *, resamples: int, seed: int) -> Comparison:
    """The paired difference of two runs that were scored over the same queries."""
    changes = {
        measure.key: _change(ours.by_query[measure.key], theirs.by_query[measure.key], resamples, seed)
        for measure in MEASURES
    }
    differences = _differences(ours.by_query[LEADING.key], theirs.by_query[LEADING.key])
    changed = {query_id: by for query_id, by in differences.items() if abs(by) >= _TIE}
    return Comparison(
        ours=ours.run.name,
        theirs=theirs.run.name,
        changes=changes,
        changed=dict(sorted(changed.items(), key=lambda each: -each[1])),
    )


def worst_first(scores: Scores) -> list[str]:
    """Query ids by the measures in their order, lowest first; ties as they were asked."""
    queries = scores.by_query[LEADING.key]
    return sorted(queries, key=lambda query_id: [scores.by_query[measure.key][query_id] for measure in MEASURES])


def _differences(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    return {query_id: ours[query_id] - theirs[query_id] for query_id in ours}


def _change(ours: Mapping[str, float], theirs: Mapping[str, float], resamples: int, seed: int) -> Change:
    differences = [*_differences(ours, theirs).values()]
    better, worse = sum(by >= _TIE for by in differences), sum(by <= -_TIE for by in differences)
    return Change(
        difference=bootstrap.difference(
            [*ours.values()], [theirs[query_id] for query_id in ours], resamples=resamples, seed=seed
        ),
        better=better,
        worse=worse,
        equal=len(differences) - better - worse,
    )


def _recall_at(ranked: Sequence[tuple[Sequence[str], Mapping[str, int]]]) -> list[float]:
    found = [0.0] * DEPTH
    for documents, relevant in ranked:
        wanted = sum(grade > 0 for grade in relevant.values())
        for rank, document in enumerate(documents[:DEPTH]):
            if relevant.get(document, 0) > 0:
                found[rank] += 1 / wanted
    total, curve = 0.0, []
    for gained in found:
        total += gained
        curve.append(min(1.0, total / len(ranked)))
    return curve

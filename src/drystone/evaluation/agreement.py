"""How far two rankings of the same question agree, without anybody having judged them. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from drystone.evaluation import measures

DEPTH = 10
# How much less each further place counts for rank-biased overlap: the first ten have 86 % of the weight.
PERSISTENCE = 0.9


@dataclass(frozen=True)
class Agreement:
    """Of one question. overlap: share of the first DEPTH that both have; rbo: in [0, 1], 1: the same in the same order.

    took_ms: of either search.
    """

    question: str
    ours: Sequence[str]
    theirs: Sequence[str]
    took_ms: tuple[float, float]

    @property
    def overlap(self) -> float:
        ours, theirs = set(self.ours[:DEPTH]), set(self.theirs[:DEPTH])
        return len(ours & theirs) / max(len(ours), len(theirs), 1) if ours or theirs else 1.0

    @property
    def rbo(self) -> float:
        return rank_biased_overlap(self.ours[:DEPTH], self.theirs[:DEPTH])

    @property
    def has_same_first(self) -> bool:
        return list(self.ours[:1]) == list(self.theirs[:1])


@dataclass(frozen=True)
class Summary:
    """Of many questions: means; same_first: share of those whose first is the same; medians of the milliseconds."""

    questions: int
    overlap: float
    rbo: float
    same_first: float
    p50_ms: tuple[float, float]


def summary(agreements: Sequence[Agreement]) -> Summary:
    """Of at least one question."""
    return Summary(
        questions=len(agreements),
        overlap=statistics.mean(each.overlap for each in agreements),
        rbo=statistics.mean(each.rbo for each in agreements),
        same_first=statistics.mean(each.has_same_first for each in agreements),
        p50_ms=(
            measures.percentile([each.took_ms[0] for each in agreements], 50),
            measures.percentile([each.took_ms[1] for each in agreements], 50),
        ),
    )


def rank_biased_overlap(ours: Sequence[str], theirs: Sequence[str], *, persistence: float = PERSISTENCE) -> float:
    """Agreement at each depth, weighed by persistence ** depth, and as at the last depth beyond it; 1.0 for two empty ones.

    Each ranking has a document once. Compared to the depth of the longer one.
    Source: Webber, Moffat, Zobel 2010, "A Similarity Measure for Indefinite Rankings", RBO_EXT (equation 30) where both
    are as long; what the shorter one lacks is counted as no agreement.
    """
    depth = max(len(ours), len(theirs))
    if depth == 0:
        return 1.0
    seen_ours: set[str] = set()
    seen_theirs: set[str] = set()
    weighed, agreed = 0.0, 0.0
    for place in range(depth):
        seen_ours.update(ours[place : place + 1])
        seen_theirs.update(theirs[place : place + 1])
        agreed = len(seen_ours & seen_theirs) / (place + 1)
        weighed += agreed * persistence ** (place + 1)
    return agreed * persistence**depth + (1 - persistence) / persistence * weighed

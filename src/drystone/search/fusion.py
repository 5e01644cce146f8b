"""Two rankings as one. Pure.

Each side's score counts as a share of the best that this side found, so that 1 is "as good as it gets here"; a passage
gets the weighted mean of its shares. Every candidate has both its true scores, also where only one side found it. Then passages
that are like each other move towards each other: one whose neighbours in meaning are good answers gains, one that is good
among strangers loses (the cluster hypothesis: van Rijsbergen 1979, chapter 3; score regularisation: Diaz 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEXICAL_WEIGHT, DENSE_WEIGHT = 0.45, 0.55
NEIGHBOURS, NEIGHBOUR_WEIGHT = 5, 0.4


@dataclass(frozen=True)
class Side:
    """What one side says of all candidates, for one question. scores: float64 (n,). ranks: int (n,), 0: not found by it.

    weight: of this side beside the others.
    """

    scores: np.ndarray
    ranks: np.ndarray
    weight: float = 1.0

    @property
    def best(self) -> float:
        """The best score of all; 0 where this side found nothing."""
        return max(float(self.scores.max(initial=0.0)), 0.0)

    def shares(self) -> np.ndarray:
        """float64 (n,): the scores as parts of the best; 0 where it found nothing."""
        return self.scores / self.best if self.best > 0 else np.zeros(len(self.scores))


def fuse(sides: Sequence[Side]) -> np.ndarray:
    """float64 (n,): the weighted mean of all sides' shares; of a single side its scores as they are."""
    if len(sides) == 1:
        return sides[0].scores
    return np.average([side.shares() for side in sides], axis=0, weights=[side.weight for side in sides])


def smooth(scores: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """float64 (n,): each score with a part of those of the candidate's nearest. vectors: float32 (n, dim), length 1 each.

    A neighbour counts 0.4 times the fourth power of its cosine, the candidate itself 1: only what is very like weighs.
    """
    count = min(NEIGHBOURS, len(scores) - 1)
    if count < 1:
        return scores
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1.0)
    nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
    weights = NEIGHBOUR_WEIGHT * np.maximum(np.take_along_axis(likeness, nearest, axis=1), 0.0).astype(np.float64) ** 4
    return np.asarray((scores + (weights * scores[nearest]).sum(axis=1)) / (1 + weights.sum(axis=1)))


def ranks_in(candidates: np.ndarray, found: np.ndarray) -> np.ndarray:
    """int (n,): the place from 1 of each candidate among `found` (ids, best first), 0 where it is not there."""
    if not len(found):
        return np.zeros(len(candidates), int)
    order = np.argsort(found)
    places = np.minimum(np.searchsorted(found, candidates, sorter=order), len(found) - 1)
    return np.where(found[order[places]] == candidates, order[places] + 1, 0)


def best_first(scores: np.ndarray, candidates: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Places of all candidates, best first; equal ones by id. first: bool (n,), those before all others."""
    return np.lexsort((candidates, -scores, ~first))


def reorder(order: np.ndarray, places: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The same places with `places` first, best score first and equal ones as they stood; the others behind, as they stood.

    places: int (m,), the first m of `order` or part of them. scores: float64 (m,), theirs.
    """
    first = places[np.argsort(-scores, kind="stable")]
    return np.concatenate([first, order[~np.isin(order, first)]])

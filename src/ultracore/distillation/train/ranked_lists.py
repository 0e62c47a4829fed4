"""Groups of alternatives, some of them right, and what is fitted on them: one model without each fold, one on all.

What this file does not know: what the alternatives are (`train.layers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.logistic import Logistic
from ultracore.distillation.students.compact.ranker import Ranker
from ultracore.distillation.train.linear import fit_logistic
from ultracore.distillation.train.neural import fit_ranker

__all__ = ["RankedLists"]

Floats = NDArray[np.float32]


class RankedLists:
    """Groups of alternatives with the right ones marked, cut into folds.

    Args:
        rows: Features of each group's alternatives.
        right: Which of them are right.
        folds: Fold of each group.
        weights: Importance of each group.
    """

    def __init__(
        self, rows: Sequence[Floats], right: Sequence[Floats], folds: NDArray[np.int64], weights: Floats
    ) -> None:
        self.rows, self.right, self.folds, self.weights = rows, right, folds, weights

    def fit(self, k: int, seed: int, network: dict[str, Any]) -> list[Ranker]:
        """K rankers, each without one fold, and a last one on everything."""
        return [self._rank(fold, seed, network) for fold in [*range(k), -1]]

    def fit_gates(self, k: int) -> list[Logistic]:
        """K gates, each without one fold, and a last one on everything."""
        return [self._gate(fold) for fold in [*range(k), -1]]

    def _rank(self, fold: int, seed: int, network: dict[str, Any]) -> Ranker:
        rows, right, weights, sizes = self._without(fold)
        start = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        return fit_ranker(rows, right, start, weights=weights, seed=seed, **network)

    def _gate(self, fold: int) -> Logistic:
        rows, right, weights, sizes = self._without(fold)
        return fit_logistic(rows, right, np.repeat(weights, sizes))

    def _without(self, fold: int) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
        """Stacked rows, marks, group weights and group sizes of the other folds."""
        kept = (self.folds != fold) & (self.weights > 0)
        chosen = np.flatnonzero(kept if kept.any() else self.weights >= 0).tolist()
        return (
            np.vstack([self.rows[i] for i in chosen]),
            np.concatenate([self.right[i] for i in chosen]),
            self.weights[chosen],
            np.array([len(self.right[i]) for i in chosen], np.int64),
        )

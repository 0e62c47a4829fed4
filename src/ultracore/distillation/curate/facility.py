"""Facility location: the rows that together are most similar to all rows.

More rows than `PART` are cut into clusters, each with its share of the budget. What this file does not know: decisions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ultracore.distillation.curate.greedy import Objective, most_worth
from ultracore.distillation.curate.kmeans import Matrix, Places, cluster

__all__ = ["PART", "Facility", "facility_location", "in_parts", "shares"]


PART = 4000
"""Rows compared with each other at a time: 64 MB of similarities."""


class Facility:
    """How similar all rows are to the nearest of those taken, summed up: an `Objective`."""

    def __init__(self, embeddings: Matrix) -> None:
        self._similarity = np.maximum(embeddings @ embeddings.T, 0)
        self._best = np.zeros(len(embeddings), np.float32)
        self.rows, self.total = len(embeddings), float(self._similarity.max(axis=0, initial=0).sum())

    def gain(self, row: int) -> float:
        """See `Objective`."""
        return float(np.maximum(self._similarity[row] - self._best, 0).sum())

    def take(self, row: int) -> None:
        """See `Objective`."""
        np.maximum(self._best, self._similarity[row], out=self._best)


def facility_location(embeddings: Matrix, count: int, seed: int = 0) -> Places:
    """So many rows, the best first; all of them where there are no more.

    Args:
        embeddings: [rows, dimensions] with rows of length 1.
        count: How many.
        seed: Of the clusters that many rows are cut into.

    Example:
        >>> import numpy as np
        >>> rows = np.float32([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1], [0, -1]])
        >>> facility_location(rows, 2).tolist()
        [1, 4]
    """
    return in_parts(embeddings, count, seed, lambda rows: Facility(embeddings[rows]))


def in_parts(embeddings: Matrix, count: int, seed: int, objective: Callable[[Places], Objective]) -> Places:
    """So many rows by an objective that compares them all; more than `PART` are cut into clusters first.

    Args:
        embeddings: [rows, dimensions] with rows of length 1.
        count: How many.
        seed: Of the clusters.
        objective: Makes the objective for some of the rows.
    """
    if len(embeddings) <= PART:
        return most_worth(objective(np.arange(len(embeddings))), count)
    label = cluster(embeddings, -(-len(embeddings) // (PART // 4)), seed=seed).label
    sizes = np.bincount(label)
    chosen = []
    for number, budget in enumerate(shares(sizes, count).tolist()):
        rows = np.flatnonzero(label == number)
        # A cluster may be much larger than the others; what is beyond a part is left to chance.
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[: max(PART, budget)])
        chosen.append(rows[most_worth(objective(rows), budget)])
    return np.concatenate(chosen)


def shares(sizes: Places, count: int, power: float = 1.0) -> Places:
    """Divide a budget among groups in proportion to `size ** power`.

    None gets more than it has, and none gets nothing while there is one for each.

    Example:
        >>> shares(np.array([90, 9, 1]), 10).tolist(), shares(np.array([90, 9, 1]), 10, 0.5).tolist()
        ([8, 1, 1], [7, 2, 1])
    """
    wanted = np.asarray(sizes, dtype=np.float64) ** power
    given = np.zeros(len(sizes), np.intp)
    order = np.argsort(-wanted, kind="stable")
    given[order[:count]] = np.minimum(1, sizes[order[:count]])
    while (left := min(count, int(sizes.sum())) - int(given.sum())) > 0:
        room = sizes - given
        due = np.where(room > 0, wanted, 0) * left / wanted[room > 0].sum()
        more = np.minimum(room, due.astype(np.intp))
        if not more.any():  # less than one each: to those with the largest remainders
            more[np.argsort(-due, kind="stable")[:left]] = 1
        given += np.minimum(more, room)
    return given

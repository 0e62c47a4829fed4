"""The greedy choice for what has diminishing returns: within 1 - 1/e of the best (Nemhauser, Wolsey and Fisher 1978).

Gains only fall, so that most need not be computed again (Minoux 1978). What this file does not know: what is
worth choosing (`facility`, `features`).
"""

from __future__ import annotations

import heapq
from typing import Protocol

import numpy as np

from ultracore.distillation.curate.kmeans import Places

__all__ = ["Mixture", "Objective", "most_worth"]

LEAST = 1e-9  # so little is worth nothing, and nothing is divided by zero


class Objective(Protocol):
    """What a set of rows is worth: monotone, and each further row adds no more than it would have before.

    Attributes:
        rows: How many there are to choose from.
        total: What all rows together are worth.
    """

    rows: int
    total: float

    def gain(self, row: int) -> float:
        """What the row adds to those taken."""
        ...

    def take(self, row: int) -> None:
        """Add it."""
        ...


def most_worth(objective: Objective, count: int) -> Places:
    """So many rows, the best first; all of them where there are no more."""
    heap = [(-objective.gain(row), row, 0) for row in range(objective.rows)]
    heapq.heapify(heap)
    chosen: list[int] = []
    while heap and len(chosen) < count:
        _, row, known = heapq.heappop(heap)
        if known == len(chosen):
            chosen.append(row)
            objective.take(row)
        else:
            heapq.heappush(heap, (-objective.gain(row), row, len(chosen)))
    return np.array(chosen, dtype=np.intp)


class Mixture:
    """A weighted sum of two objectives, each as a share of its total (Lin and Bilmes 2012)."""

    def __init__(self, one: Objective, other: Objective, weight_of_other: float) -> None:
        self.rows, self.total = one.rows, 1.0
        self._parts = [
            (part, weight / max(part.total, LEAST))
            for part, weight in ((one, 1 - weight_of_other), (other, weight_of_other))
        ]

    def gain(self, row: int) -> float:
        """See `Objective`."""
        return sum(weight * part.gain(row) for part, weight in self._parts)

    def take(self, row: int) -> None:
        """See `Objective`."""
        for part, _ in self._parts:
            part.take(row)

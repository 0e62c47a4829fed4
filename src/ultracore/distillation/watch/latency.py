"""Latencies in fixed log-spaced buckets: quantiles of any number of answers, to within one bucket, and they add up.

What this file does not know: whose latencies they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

import numpy as np

__all__ = ["Latencies", "bucket_of"]

LEAST_MS = 0.01
PER_DOUBLING = 8
"""A bucket is 9 % wide."""

BUCKETS = 1 + 26 * PER_DOUBLING
"""Up to 11 minutes; what is slower counts as that."""


def bucket_of(milliseconds: float) -> int:
    """The bucket of a latency; a negative one (a clock was set back) counts as the least.

    Example:
        >>> bucket_of(10.24), bucket_of(-1.0)
        (80, 0)
    """
    doublings = math.log2(max(milliseconds, LEAST_MS) / LEAST_MS)
    return min(BUCKETS - 1, math.ceil(doublings * PER_DOUBLING))


class Latencies:
    """Counts of latencies.

    Args:
        counts: Answers by bucket, as somebody kept them.

    Example:
        >>> found = Latencies()
        >>> for ms in range(1, 101):
        ...     found.add(ms)
        >>> 50 <= found.quantile(0.5) <= 55, found.count
        (True, 100)
    """

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._counts = np.zeros(BUCKETS, dtype=np.int64)
        for bucket, n in (counts or {}).items():
            self._counts[bucket] = n

    def add(self, milliseconds: float) -> None:
        """Count one."""
        self._counts[bucket_of(milliseconds)] += 1

    @property
    def count(self) -> int:
        """How many."""
        return int(self._counts.sum())

    def quantile(self, share: float) -> float | None:
        """So many milliseconds, or up to 9 % fewer, suffice for this share of the answers; `None` without any."""
        if not self.count:
            return None
        bucket = int(np.searchsorted(np.cumsum(self._counts), share * self.count))
        return float(LEAST_MS * 2.0 ** (bucket / PER_DOUBLING))

    def slower(self, milliseconds: float) -> int:
        """How many took longer, those of its own bucket aside."""
        return int(self._counts[bucket_of(milliseconds) + 1 :].sum())

    def __iadd__(self, other: Self) -> Self:
        self._counts += other._counts
        return self

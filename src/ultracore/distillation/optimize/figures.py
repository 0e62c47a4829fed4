"""Intervals of mean scores, of gains and of differences between two parts, over independent units.

Scores lie in 0..1, where a mean varies at most like a share: Wilson's interval over units is then wide
enough (Wilson 1927). What this file does not know: prompts.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Estimate", "apart", "difference", "mean", "wilson"]

Z = 1.959964  # two-sided 95 %


class Estimate(NamedTuple):
    """A value, and how far chance may move it to each side (95 %)."""

    value: float
    half: float

    @property
    def ends(self) -> tuple[float, float]:
        """The interval."""
        return self.value - self.half, self.value + self.half


def mean(values: Sequence[float]) -> float:
    """The mean; 0 of nothing."""
    return math.fsum(values) / len(values) if values else 0.0


def wilson(score: float, units: int) -> tuple[float, float]:
    """95 % interval of a mean score over so many units.

    Example:
        >>> tuple(round(end, 3) for end in wilson(0.5, 100))
        (0.404, 0.596)
    """
    if not units:
        return 0.0, 1.0
    shrink = 1 + Z**2 / units
    centre = (score + Z**2 / (2 * units)) / shrink
    half = Z / shrink * math.sqrt(score * (1 - score) / units + Z**2 / (4 * units**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def apart(one: Estimate | None, other: Estimate | None) -> Estimate | None:
    """How far one lies above another of independent examples; `None` where either is unknown."""
    if one is None or other is None:
        return None
    return Estimate(one.value - other.value, math.hypot(one.half, other.half))


def difference(after: Sequence[float], before: Sequence[float], units: Sequence[str]) -> Estimate | None:
    """The mean gain, paired by example and clustered by unit; `None` for fewer than two units."""
    gains: dict[str, list[float]] = defaultdict(list)
    for a, b, unit in zip(after, before, units, strict=True):
        gains[unit].append(a - b)
    if len(gains) < 2:
        return None
    overall = mean([a - b for a, b in zip(after, before, strict=True)])
    # the sandwich variance of a ratio of sums over clusters
    residuals = [math.fsum(g - overall for g in unit) for unit in gains.values()]
    n, k = len(after), len(gains)
    half = _quantile(k - 1) * math.sqrt(math.fsum(r**2 for r in residuals) * k / (k - 1)) / n
    return Estimate(overall, half)


def _quantile(degrees: int) -> float:
    """Student's t, two-sided 95 %: the first terms of Fisher's expansion, within 1 % from 8 degrees of freedom."""
    first, second = (Z**2 + 1) / 4, (5 * Z**4 + 16 * Z**2 + 3) / 96
    return Z * (1 + first / degrees + second / degrees**2)

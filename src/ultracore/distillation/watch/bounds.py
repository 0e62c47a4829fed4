"""Bounds of a mean in 0..1 that hold at every moment together, and see a change after any number of good days.

Wealth is bet against "the mean is at least m". While that is true wealth is a non-negative supermartingale
from 1, so that by Ville's inequality it ever reaches 1/risk with probability at most `risk`, however often
one looks (Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting", JRSS-B 86:1,
section 4). The stakes are a mixture, since nobody knows how far off the mean will be. Most of the wealth is bet from
the start; the rest begins to bet anew with each observation, by a heavy-tailed schedule, so that what was
lost in a thousand good days need not be won back (a mixture of restarts, as in Shin, Ramdas & Rinaldo 2022,
"E-detectors", but summing to one: the guarantee is for all time).

An observation that was drawn with a known probability counts with a weight inverse to it: weights scale the
stake, which keeps the supermartingale (Waudby-Smith et al. 2024, "Anytime-valid off-policy inference for
contextual bandits", section 2). What this file does not know: what is observed.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Bounds", "Wealth"]

FloatArray = NDArray[np.float64]

STAKES = np.array([0.05, 0.1, 0.2, 0.6])
"""Shares of the wealth that one observation can cost; the best is the relative shortfall, (m - mean) / m."""

MAX_WEIGHT = 1.6
"""1 / the largest stake: a heavier observation could cost more than there is."""

FROM_START = 0.7
RESTART_SCALE = 1000.0
"""Restarts share the rest of the wealth; half of that has begun to bet by the 3,000th observation."""

RICH = 1e290
GRID = np.linspace(0.005, 0.995, 199)


class Wealth:
    """What was won by betting against "the mean is at least m", for each m of an array.

    Args:
        means: The hypotheses (0 < m < 1), of any shape.

    Example:
        >>> wealth = Wealth([0.5, 0.93])
        >>> for _ in range(20):
        ...     wealth.bet(0.0)
        >>> bool(wealth.total[1] > wealth.total[0] > 1000)
        True
    """

    def __init__(self, means: ArrayLike) -> None:
        self._means = np.asarray(means, dtype=np.float64)
        stakes = STAKES.reshape(-1, *[1] * self._means.ndim)
        self._gain = stakes / (1.0 - self._means)
        self._bets = np.full((len(STAKES), *self._means.shape), FROM_START / len(STAKES))
        self._observed = 0

    def bet(self, value: ArrayLike, weight: ArrayLike = 1.0) -> None:
        """Take in one observation for each m.

        Args:
            value: In 0..1; broadcasts to the shape of the means.
            weight: Relative to the weight that was expected before it was seen (0..`MAX_WEIGHT`).
        """
        begins = _kept(self._observed) - _kept(self._observed + 1)
        self._observed += 1
        self._bets += begins / len(STAKES)
        self._bets *= 1.0 + self._gain * (np.asarray(weight) * (self._means - np.asarray(value)))
        np.minimum(self._bets, RICH, out=self._bets)

    @property
    def total(self) -> FloatArray:
        """The wealth, of the shape of the means; 1 at the start."""
        return np.asarray(self._bets.sum(axis=0) + _kept(self._observed))


class Bounds:
    """A lower and an upper bound of a mean, from weighted observations of 0 or 1.

    While the mean stays what it is, each is right at every moment together with probability 1 - its risk; where it
    changes, the upper one follows.

    Args:
        floor: The mean that is asked about; the bounds are exact there, elsewhere to half a point.

    Attributes:
        observed: How many observations.

    Example:
        >>> bounds = Bounds(floor=0.93)
        >>> for k in range(300):
        ...     bounds.observe(k % 5 > 0, probability=0.05)
        >>> bounds.lower(0.05) < bounds.mean < bounds.upper(0.001) < 0.93
        True
    """

    def __init__(self, floor: float) -> None:
        self._grid = np.union1d(GRID, np.clip(floor, GRID[0], GRID[-1]))
        self._above = Wealth(self._grid)
        self._below = Wealth(1.0 - self._grid[::-1])
        self._latest: dict[Hashable, float] = {}
        self._weights = self._agreeing = 0.0
        self.observed = 0

    def observe(self, value: bool, probability: float, stratum: Hashable = None) -> None:
        """Take in an observation.

        Args:
            value: What was seen.
            probability: How likely it was to be drawn (0 < p <= 1).
            stratum: Its kind; those of one kind are drawn with about one probability at a time.
        """
        least = min(self._latest.values(), default=probability)  # known before this one: a stake must not depend on it
        weight = min(MAX_WEIGHT, least / probability)
        self._latest[stratum] = probability
        self._above.bet(float(value), weight)
        self._below.bet(1.0 - value, weight)
        self._weights += 1.0 / probability
        self._agreeing += value / probability
        self.observed += 1

    @property
    def mean(self) -> float | None:
        """The estimate: each observation weighted by the inverse of its probability; `None` without one."""
        return self._agreeing / self._weights if self._weights else None

    def upper(self, risk: float) -> float:
        """No mean as high as this, or higher, is plausible; 1 where every one is."""
        return _least_refuted(self._grid, self._above.total, risk)

    def lower(self, risk: float) -> float:
        """No mean as low as this, or lower, is plausible; never above the upper bound of the same risk.

        What crosses is a mean that fell: the upper bound looks at what came last, and counts.
        """
        found = 1.0 - _least_refuted(1.0 - self._grid[::-1], self._below.total, risk)
        return min(found, self.upper(risk))


def _kept(observed: int) -> float:
    """Wealth that does not bet yet."""
    return float((1.0 - FROM_START) / np.sqrt(1.0 + observed / RESTART_SCALE))


def _least_refuted(means: FloatArray, wealth: FloatArray, risk: float) -> float:
    """Wealth grows with m, so that what is refuted is everything from some m on."""
    refuted = wealth >= 1.0 / risk
    return float(means[np.argmax(refuted)]) if refuted.any() else 1.0

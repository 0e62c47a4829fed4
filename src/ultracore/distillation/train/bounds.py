"""Is the error rate of sent calls at most alpha? Tests that hold at every sample size.

Units (tasks or episodes) are independent, decisions within one are not. Where a unit has at most
one sent call the exact binomial test answers; else the betting test on whole units (Waudby-Smith
& Ramdas 2024, "Estimating means of bounded random variables by betting", JRSS-B 86:1, section 4):
wealth is a non-negative supermartingale when the rate exceeds alpha, so that by Ville's inequality
it reaches 1/delta with probability at most delta. What this file does not know: thresholds, and
where the stakes come from (`train.certify`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["betting_p", "binomial_p", "least_rejected", "surplus"]

FloatArray = NDArray[np.float64]


def binomial_p(errors: int, sent: int, alpha: float) -> float:
    """P-value of "the error rate is above alpha", for independent sent calls (Clopper & Pearson 1934).

    Example:
        >>> binomial_p(0, 59, 0.05) < 0.05 < binomial_p(0, 58, 0.05)
        True
    """
    return float(stats.binom.cdf(errors, sent, alpha)) if sent else 1.0


def surplus(errors: FloatArray, sent: FloatArray, alpha: float, cap: float | FloatArray) -> FloatArray:
    """Z of each unit: w (errors - alpha sent), where w = min(1, cap / sent) lets no unit count for more than cap calls.

    The mean of Z is positive exactly when E[w errors] / E[w sent] > alpha, and Z < cap whatever
    happens, so that a stake of at most 1 / cap never loses the whole wealth. Shapes broadcast.
    """
    weight = np.minimum(1.0, cap / np.maximum(sent, 1.0))
    return np.asarray(weight * (errors - alpha * sent))


def betting_p(surpluses: FloatArray, stake: float) -> float:
    """P-value of "the mean surplus is positive", in the given order of units, fixed before looking.

    Args:
        surpluses: (units,) independent, each certain to be below 1 / stake.
        stake: Share of the wealth bet against the hypothesis on each unit, chosen without these units.

    Returns:
        1 / the largest wealth on the way, at most 1.
    """
    log_wealth = np.cumsum(np.log1p(-stake * surpluses))
    return float(np.exp(-log_wealth.max(initial=0.0)))


def least_rejected(p_value: Callable[[float], float], alpha: float, delta: float, steps: int = 30) -> float:
    """The least error rate that is still rejected at delta, given that `alpha` is: an upper confidence bound.

    `p_value` must not increase with the rate; found by bisection to 2^-steps.
    """
    low, high = 0.0, alpha
    for _ in range(steps):
        middle = (low + high) / 2.0
        low, high = (low, middle) if p_value(middle) <= delta else (middle, high)
    return high

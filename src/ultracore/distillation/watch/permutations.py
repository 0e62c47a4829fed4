"""How much two samples differ beyond what chance gives samples of these sizes: permutations of whole units.

Most comparisons are settled by a few permutations; only what these cannot call chance gets all of them. What
this file does not know: what is compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Excess", "beyond_chance"]

FloatArray = NDArray[np.float64]

FEW, ALL = 199, 3999
"""Permutations; p-values go down to 1 / (1 + ALL)."""

SETTLED = 0.02
BATCH = 400


class Excess(NamedTuple):
    """What was found.

    Attributes:
        value: The statistic, less its mean under permutation, at least 0.
        p_value: Share of the permutations that are at least as far apart, the one observed included.
    """

    value: float
    p_value: float


def beyond_chance(statistic: Callable[[FloatArray], FloatArray], reference: int, recent: int, seed: int) -> Excess:
    """Compare the observed assignment of units to samples with random ones.

    Args:
        statistic: Of assignments of shape (n, reference + recent), 1.0 where a unit is a recent one, to (n,).
        reference: Units of the one sample, which come first.
        recent: Units of the other.
        seed: Of the permutations.

    Example:
        >>> values = np.array([0.0] * 20 + [1.0] * 20)
        >>> beyond_chance(lambda chosen: np.abs((chosen - 0.5) @ values), 20, 20, seed=0).p_value < 0.001
        True
    """
    observed = np.concatenate([np.zeros(reference), np.ones(recent)])
    found = float(statistic(observed[None, :])[0])
    rng = np.random.default_rng(seed)
    chance = _permuted(statistic, observed, FEW, rng)
    if _share(chance, found) <= SETTLED:
        more = [_permuted(statistic, observed, BATCH, rng) for _ in range((ALL - FEW) // BATCH)]
        chance = np.concatenate([chance, *more])
    return Excess(max(0.0, found - float(chance.mean())), _share(chance, found))


def _permuted(
    statistic: Callable[[FloatArray], FloatArray], observed: FloatArray, times: int, rng: np.random.Generator
) -> FloatArray:
    return statistic(rng.permuted(np.tile(observed, (times, 1)), axis=1))


def _share(chance: FloatArray, found: float) -> float:
    return float((1 + (chance >= found - 1e-12).sum()) / (1 + len(chance)))

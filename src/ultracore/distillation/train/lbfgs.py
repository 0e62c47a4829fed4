"""Minimising a smooth function of many variables: L-BFGS (Nocedal 1980; Nocedal & Wright 2006, algorithms 7.4 and 7.5).

SciPy's L-BFGS-B also keeps bounds, which nothing here has, and that took half of the time of a fit. Steps are halved
until they descend enough (Armijo), and a step is remembered where it shows curvature. What this file does not know:
the function.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["minimise"]

Array = NDArray[Any]

DESCENT = 1e-4
"""Of the slope, what a step must gain at least."""

MOST_HALVINGS = 20
CURVATURE = 1e-10


def minimise(
    function: Callable[[Array], tuple[float, Array]],
    start: Array,
    *,
    iterations: int,
    tolerance: float,
    memory: int = 8,
    inner: Callable[[Array, Array], float] = np.dot,
) -> Array:
    """The point at which progress ends.

    Args:
        function: Gives its value and its gradient [variables].
        start: [variables]; of any shape, if `inner` knows it.
        iterations: At most.
        tolerance: Relative progress of one iteration at which to stop.
        memory: Steps that are remembered.
        inner: The inner product by which gradients are meant; rounding may make that of a short vector with itself
            negative.

    Example:
        >>> bowl = lambda x: (float(((x - 3.0) ** 2).sum()), 2.0 * (x - 3.0))
        >>> minimise(bowl, np.zeros(2), iterations=9, tolerance=1e-9)
        array([3., 3.])
    """
    point, (value, gradient) = start, function(start)
    steps: deque[tuple[Array, Array, float]] = deque(maxlen=memory)
    for _ in range(iterations):
        way = _direction(gradient, steps, inner)
        slope = float(inner(gradient, way))
        if slope >= 0.0:  # the minimum, or as near to it as rounding lets one see
            break
        length = 1.0 if steps else 1.0 / max(1.0, math.sqrt(-slope))
        found = _descend(function, point, value, way, slope, length)
        if found is None:
            break
        before, (point_there, value, gradient_there) = value, found
        moved, turned = point_there - point, gradient_there - gradient
        point, gradient = point_there, gradient_there
        if (bend := float(inner(moved, turned))) > CURVATURE * float(inner(turned, turned)) > 0.0:
            steps.append((moved, turned, bend))
        if before - value <= tolerance * max(abs(before), abs(value), 1.0):
            break
    return point


def _direction(
    gradient: Array,
    steps: deque[tuple[Array, Array, float]],
    inner: Callable[[Array, Array], float],
) -> Array:
    """The inverse Hessian as the steps show it, times the negative gradient."""
    way = -gradient
    shares = []
    for moved, turned, bend in reversed(steps):
        share = float(inner(moved, way)) / bend
        shares.append(share)
        way -= share * turned
    if steps:
        _, turned, bend = steps[-1]
        way *= bend / float(inner(turned, turned))
    for (moved, turned, bend), share in zip(steps, reversed(shares), strict=True):
        way += (share - float(inner(turned, way)) / bend) * moved
    return way


def _descend(
    function: Callable[[Array], tuple[float, Array]],
    point: Array,
    value: float,
    way: Array,
    slope: float,
    length: float,
) -> tuple[Array, float, Array] | None:
    """The first step along a way, of this length or halved, that descends enough; `None` where none does."""
    for _ in range(MOST_HALVINGS):
        there = point + length * way
        reached, gradient = function(there)
        if reached <= value + DESCENT * length * slope:
            return there, reached, gradient
        length *= 0.5
    return None

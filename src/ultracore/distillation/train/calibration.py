"""What does a confidence mean on tasks that the student has not seen? A map from raw to calibrated.

Fitted on out-of-fold proposals, so that the calibration rows stay unseen. Three maps and none at all are
compared by cross-validated log loss over whole units: logistic (Platt 1999), beta (Kull et al. 2017) and
centred isotonic regression (Oron & Flournoy 2017). A unit counts for no more rows than the median one. The
map rises strictly: it changes what a confidence means, not which of two proposals is surer. Tools that training
never saw have no map of their own: of new SGD dialogues their calls said .46 and were right in .50 (n = 361), where a
part of the training file's services was held out they said .52, right in .46 (n = 563): none would suit both
(a perfectly calibrated student has an expected error of .03 on the former's 873 decisions). What this file
does not know: thresholds, and where the confidence comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize

__all__ = ["fit_calibration"]

Floats = NDArray[np.float64]
Map = Callable[[Floats], Floats]

FOLDS = 5
LEAST_UNITS = 20
"""Fewer say nothing about a map."""
EDGE = 1e-4
KEPT = 0.02
"""Of the raw confidence that stays in the calibrated one, so that it rises where isotonic regression does not."""
GRID = 1.0 / (1.0 + np.exp(-np.linspace(-9.0, 9.0, 181)))
"""Raw confidences at which the chosen map is kept; between them it is straight."""


def fit_calibration(
    confidence: Sequence[float], agrees: Sequence[bool], units: Sequence[Any]
) -> NDArray[np.float32] | None:
    """Choose and fit the map.

    Args:
        confidence: [rows] raw, out of fold (0..1).
        agrees: [rows] whether the proposal agreed strictly.
        units: [rows] the independent unit of each.

    Returns:
        [2, knots] raw and calibrated confidences, both rising; `None` where the raw ones are best, or nothing can
        be said.

    Example:
        >>> knots = fit_calibration([0.9] * 200, [True, False] * 100, list(range(200)))
        >>> round(float(np.interp(0.9, *knots)), 2)
        0.5
    """
    raw, right = np.asarray(confidence, np.float64), np.asarray(agrees, np.bool_)
    names, code, count = np.unique(np.asarray(units, np.str_), return_inverse=True, return_counts=True)
    if len(names) < LEAST_UNITS or right.all() or not right.any():
        return None
    weight = np.minimum(1.0, np.median(count) / count)[code]
    fold = (np.random.default_rng(0).permutation(len(names)) % FOLDS)[code]
    losses = {name: _loss(fit, raw, right, weight, fold) for name, fit in _MAPS.items()}
    best = min(losses, key=lambda name: losses[name])
    if best == "none":
        return None
    found = _MAPS[best](raw, right, weight)(GRID)
    rising = np.maximum.accumulate(np.clip(found, 0.0, 1.0)) * (1.0 - KEPT) + KEPT * GRID
    return np.asarray([GRID, rising], np.float32)


def _loss(fit: Callable[..., Map], raw: Floats, right: NDArray[np.bool_], weight: Floats, fold: NDArray[Any]) -> float:
    total = 0.0
    for number in range(FOLDS):
        here = fold == number
        p = fit(raw[~here], right[~here], weight[~here])(raw[here]).clip(1e-3, 1.0 - 1e-3)
        total -= float(weight[here] @ np.log(np.where(right[here], p, 1.0 - p)))
    return total


def _none(raw: Floats, right: NDArray[np.bool_], weight: Floats) -> Map:
    return lambda x: x


def _logistic(raw: Floats, right: NDArray[np.bool_], weight: Floats) -> Map:
    return _linear_in(lambda x: np.column_stack([np.ones_like(x), np.log(x) - np.log1p(-x)]), raw, right, weight)


def _beta(raw: Floats, right: NDArray[np.bool_], weight: Floats) -> Map:
    return _linear_in(lambda x: np.column_stack([np.ones_like(x), np.log(x), -np.log1p(-x)]), raw, right, weight)


def _linear_in(features: Callable[[Floats], Floats], raw: Floats, right: NDArray[np.bool_], weight: Floats) -> Map:
    """Logistic regression on these features, drawn a little (one row's worth) towards no change."""
    x, n = features(raw.clip(EDGE, 1.0 - EDGE)), weight.sum()
    same = np.array([0.0] + [1.0] * (x.shape[1] - 1))

    def loss(w: Floats) -> float:
        z = x @ w
        return float((weight @ (np.logaddexp(0.0, z) - right * z) + ((w - same) ** 2).sum()) / n)

    bounds = [(None, None)] + [(0.0, None)] * (x.shape[1] - 1)  # rising
    w = minimize(loss, same, method="L-BFGS-B", bounds=bounds).x
    return lambda q: np.asarray(1.0 / (1.0 + np.exp(-features(q.clip(EDGE, 1.0 - EDGE)) @ w)))


def _isotonic(raw: Floats, right: NDArray[np.bool_], weight: Floats) -> Map:
    values, code = np.unique(raw, return_inverse=True)
    total = np.bincount(code, weights=weight)
    fit = isotonic_regression(np.bincount(code, weights=weight * right) / total, weights=total)
    starts = fit.blocks[:-1]
    centres = np.add.reduceat(values * total, starts) / np.add.reduceat(total, starts)
    return lambda q: np.interp(q, centres, fit.x[starts])


_MAPS: dict[str, Callable[..., Map]] = {"none": _none, "logistic": _logistic, "beta": _beta, "isotonic": _isotonic}

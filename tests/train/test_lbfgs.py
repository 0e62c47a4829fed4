"""L-BFGS finds what SciPy's finds, also where the function bends differently along each variable."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from ultracore.distillation.train.lbfgs import minimise

Doubles = NDArray[np.float64]


def logistic(seed: int, columns: int = 30) -> tuple[Doubles, Doubles]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((200, columns)) * np.geomspace(0.03, 3.0, columns)
    return x, np.asarray(x @ rng.standard_normal(columns) + rng.standard_normal(200) > 0, np.float64)


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_the_minimum_that_scipy_finds(seed: int) -> None:
    x, y = logistic(seed)
    asked = []

    def loss(w: Doubles) -> tuple[float, Doubles]:
        asked.append(1)
        z = x @ w
        p = 1.0 / (1.0 + np.exp(-z))
        return float((np.logaddexp(0.0, z) - y * z).sum() + 0.05 * w @ w), x.T @ (p - y) + 0.1 * w

    best = minimize(loss, np.zeros(30), jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-12}).fun
    asked.clear()
    found = minimise(loss, np.zeros(30), iterations=200, tolerance=1e-9)
    assert len(asked) < 200
    assert loss(found)[0] == pytest.approx(best, rel=1e-5)
    few = minimise(loss, np.zeros(30), iterations=5, tolerance=0.0)
    assert best < loss(few)[0] < loss(np.zeros(30))[0]


def test_it_stops_where_nothing_descends_and_where_progress_ends() -> None:
    assert minimise(lambda x: (0.0, np.ones(2)), np.zeros(2), iterations=9, tolerance=0.0).tolist() == [0.0, 0.0]
    asked = []

    def bowl(x: Doubles) -> tuple[float, Doubles]:
        asked.append(1)
        return float(x @ x), 2.0 * x

    minimise(bowl, np.full(3, 1e-3), iterations=50, tolerance=1e-2)
    assert len(asked) <= 3


def test_a_turn_too_small_to_be_measured_is_not_remembered() -> None:
    """Rounding may make the square of a short vector nothing, or less; the curvature would be divided by it."""

    def slope(x: Doubles) -> tuple[float, Doubles]:
        return (-1.0, np.array([1.0, 0.0])) if x.any() else (0.0, np.ones(2))

    found = minimise(slope, np.zeros(2), iterations=9, tolerance=0.0, inner=lambda a, b: float(a[0] * b[1]))
    assert found.tolist() == [-1.0, -1.0]

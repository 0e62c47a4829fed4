"""Intervals of gains and of gaps are as wide as chance is."""

from __future__ import annotations

import random

import pytest
from scipy.stats import t

from ultracore.distillation.optimize.figures import Estimate, apart, difference


@pytest.mark.parametrize("k", [2, 5, 9, 15, 200])
def test_one_unit_an_example_is_students_t(k: int) -> None:
    draw = random.Random(k)
    gains = [draw.random() for _ in range(k)]
    found = difference(gains, [0.0] * k, [str(i) for i in range(k)])
    assert found is not None
    mean = sum(gains) / k
    error = (sum((g - mean) ** 2 for g in gains) / (k - 1) / k) ** 0.5
    assert found.value == pytest.approx(mean)
    if k > 8:
        assert found.half == pytest.approx(t.ppf(0.975, k - 1) * error, rel=0.01)
    assert found.half <= 1.001 * t.ppf(0.975, k - 1) * error


def test_examples_of_a_unit_that_go_together_count_as_one() -> None:
    after, units = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0] * 5, [str(i // 3) for i in range(30)]
    clustered = difference(after, [0.0] * 30, units)
    single = difference(after, [0.0] * 30, [str(i) for i in range(30)])
    assert clustered is not None
    assert single is not None
    assert clustered.half > 1.6 * single.half


def test_a_gap_has_the_chance_of_both_sides_and_is_unknown_where_one_is() -> None:
    assert apart(Estimate(0.5, 0.03), Estimate(0.4, 0.04)) == pytest.approx((0.1, 0.05))
    assert apart(Estimate(0.5, 0.03), None) is None
    assert difference([1.0], [0.0], ["a"]) is None

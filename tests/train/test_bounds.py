from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultracore.distillation.train.bounds import betting_p, binomial_p, least_rejected, surplus


def test_binomial_needs_59_error_free_calls_for_95_percent() -> None:
    assert binomial_p(0, 59, 0.05) <= 0.05 < binomial_p(0, 58, 0.05)


def test_nothing_sent_proves_nothing() -> None:
    assert binomial_p(0, 0, 0.07) == 1.0
    assert betting_p(np.empty(0), 0.5) == 1.0
    assert betting_p(surplus(np.zeros(9), np.zeros(9), 0.07, 3.0), 0.3) == 1.0


def test_surplus_counts_a_long_unit_for_cap_calls() -> None:
    z = surplus(np.array([0.0, 1.0, 5.0]), np.array([0.0, 2.0, 10.0]), 0.1, cap=4.0)
    np.testing.assert_allclose(z, [0.0, 0.8, 4.0 * (0.5 - 0.1)])


def test_wealth_is_a_product_and_its_largest_value_counts() -> None:
    assert betting_p(np.array([-1.0, -1.0]), 0.5) == pytest.approx(1 / 1.5**2)
    assert betting_p(np.array([-1.0, -1.0, 1.9]), 0.5) == pytest.approx(1 / 1.5**2)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40), st.floats(1, 30), st.floats(0.001, 0.5)
)
def test_no_outcome_costs_the_whole_wealth(units: list[tuple[int, int]], cap: float, alpha: float) -> None:
    sent = np.array([max(u) for u in units], dtype=float)
    errors = np.array([min(u) for u in units], dtype=float)
    z = surplus(errors, sent, alpha, cap)
    assert (1.0 - z / cap > 0.0).all()
    assert 0.0 < betting_p(z, 1.0 / cap) <= 1.0


@given(st.integers(0, 20), st.integers(0, 300))
def test_the_least_rejected_rate_is_where_the_test_turns(errors: int, more: int) -> None:
    sent = errors + more
    if binomial_p(errors, sent, 0.2) <= 0.05:
        rate = least_rejected(lambda a: binomial_p(errors, sent, a), 0.2, 0.05)
        assert binomial_p(errors, sent, rate) <= 0.05 < binomial_p(errors, sent, rate - 1e-6)


@pytest.mark.parametrize("effect", [0.05, 1.0, 20.0])
def test_at_the_boundary_betting_rejects_at_most_delta(effect: float) -> None:
    """Beta-distributed unit error rates with mean exactly alpha; small `effect` = whole units right or wrong."""
    rng, alpha, cap, runs, units = np.random.default_rng(1), 0.07, 6.0, 3000, 120
    rate = rng.beta(alpha * effect, (1 - alpha) * effect, (runs, units))
    sent = rng.integers(0, 7, (runs, units)).astype(float)
    z = surplus(rng.binomial(sent.astype(int), rate).astype(float), sent, alpha, cap)
    for stake in (0.02, 0.08, 1 / cap):
        rejected = np.mean([betting_p(row, stake) <= 0.05 for row in z])
        assert rejected <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)


def test_betting_has_power() -> None:
    rng = np.random.default_rng(2)
    sent = rng.integers(1, 7, (500, 200)).astype(float)
    z = surplus(rng.binomial(sent.astype(int), 0.03).astype(float), sent, 0.07, 6.0)
    assert np.mean([betting_p(row, 0.15) <= 0.05 for row in z]) > 0.9

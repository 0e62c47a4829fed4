"""The bounds hold at every moment together, weights take a bias out, and a change is seen after many good days."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultracore.distillation.watch.bounds import MAX_WEIGHT, Bounds, Wealth

RUNS = 4000


def ever_refuted(
    mean: float, truth: float, risk: float, steps: int, *, bad_from: int = 0, runs: int = RUNS
) -> np.ndarray:
    """The step at which each run refutes "at least `mean`", 0 for never; before `bad_from` the truth is 0.98."""
    rng = np.random.default_rng(7)
    wealth, found = Wealth(np.full(runs, mean)), np.zeros(runs, dtype=int)
    for step in range(1, steps + 1):
        wealth.bet((rng.random(runs) < (truth if step > bad_from else 0.98)).astype(float))
        found[(found == 0) & (wealth.total >= 1 / risk)] = step
    return found


@pytest.mark.parametrize("mean", [0.3, 0.8, 0.93, 0.99])
def test_what_is_true_is_refuted_no_more_often_than_the_risk_at_any_time(mean: float) -> None:
    refuted = (ever_refuted(mean, mean, 0.05, 800) > 0).mean()
    assert refuted <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / RUNS)
    assert refuted >= 0.002  # and the bound is not idle


def test_thirteen_points_below_the_floor_are_found_within_200() -> None:
    found = ever_refuted(0.93, 0.80, 0.0007, 200)
    assert (found > 0).mean() >= 0.95


def test_a_change_after_many_good_observations_is_still_found() -> None:
    found = ever_refuted(0.93, 0.3, 0.0001, 2060, bad_from=2000, runs=500)
    assert (found > 2000).mean() >= 0.99


def test_weights_keep_the_promise_where_audits_are_not_drawn_alike() -> None:
    """Of two kinds of calls the bad one is audited five times as often: without weights a good whole looks bad."""
    rng = np.random.default_rng(3)
    wealth, naive = Wealth(np.full(RUNS, 0.93)), Wealth(np.full(RUNS, 0.93))
    refuted, naively = np.zeros(RUNS, dtype=bool), np.zeros(RUNS, dtype=bool)
    for _ in range(1500):
        bad = rng.random(RUNS) < 0.3
        agrees = rng.random(RUNS) < np.where(bad, 0.80, 0.93 + 0.13 * 0.3 / 0.7)
        probability = np.where(bad, 0.5, 0.1)
        drawn = rng.random(RUNS) < probability
        wealth.bet(agrees, np.where(drawn, 0.1 / probability, 0.0))
        naive.bet(agrees, np.where(drawn, 1.0, 0.0))
        refuted |= wealth.total >= 20
        naively |= naive.total >= 20
    assert refuted.mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / RUNS)
    assert naively.mean() > 0.9


def test_the_estimate_without_weights_would_be_off_by_five_points() -> None:
    rng = np.random.default_rng(1)
    bounds, plain = Bounds(0.93), []
    for _ in range(40_000):
        bad = bool(rng.random() < 0.3)
        agrees = bool(rng.random() < (0.80 if bad else 0.9857))
        probability = 0.5 if bad else 0.1
        if rng.random() < probability:
            bounds.observe(agrees, probability, stratum=bad)
            plain.append(agrees)
    assert bounds.mean == pytest.approx(0.93, abs=0.01)
    assert np.mean(plain) < 0.88
    assert bounds.lower(0.05) < 0.93 < bounds.upper(0.05)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.01, 0.05, 1.0])), max_size=60))
@settings(max_examples=60, deadline=None)
def test_bounds_enclose_each_other_whatever_is_seen(seen: list[tuple[bool, float]]) -> None:
    bounds = Bounds(0.93)
    for value, probability in seen:
        bounds.observe(value, probability, probability)
    assert 0.0 <= bounds.lower(0.001) <= bounds.lower(0.05) <= bounds.upper(0.05) <= bounds.upper(0.001) <= 1.0


def test_where_the_mean_fell_the_lower_bound_does_not_stay_above_the_upper() -> None:
    bounds = Bounds(0.93)
    for k in range(700):
        bounds.observe(k < 600, 0.05)
    assert bounds.lower(0.001) <= bounds.upper(0.001) < 0.9


def test_the_bounds_mirror_each_other() -> None:
    bounds, mirrored = Bounds(0.5), Bounds(0.5)
    for k in range(200):
        bounds.observe(k % 4 > 0, 0.1)
        mirrored.observe(k % 4 == 0, 0.1)
    assert bounds.upper(0.01) == pytest.approx(1 - mirrored.lower(0.01))
    assert bounds.lower(0.01) == pytest.approx(1 - mirrored.upper(0.01))
    assert bounds.upper(0.01) < 0.9
    assert bounds.lower(0.01) > 0.6


def test_no_observation_costs_more_than_there_is_and_no_streak_overflows() -> None:
    wealth = Wealth([0.005, 0.93, 0.995])
    for _ in range(3000):
        wealth.bet(0.0, MAX_WEIGHT)
    assert np.isfinite(wealth.total).all()
    for _ in range(3000):
        wealth.bet(1.0, MAX_WEIGHT)
        assert (wealth.total > 0).all()


def test_the_upper_bound_is_exact_at_the_floor() -> None:
    """There it is the test itself; on the grid of half points alone it would come late."""
    bounds, wealth = Bounds(0.9371), Wealth([0.9371])
    while wealth.total[0] < 1000:
        assert bounds.upper(0.001) > 0.9371
        bounds.observe(False, 1.0)
        wealth.bet(0.0)
    assert bounds.upper(0.001) <= 0.9371

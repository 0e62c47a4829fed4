from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultracore.distillation.students.compact.logistic import Logistic
from ultracore.distillation.train.calibration import fit_calibration
from ultracore.distillation.train.metrics import (
    calibration_error,
    calibration_error_by_chance,
    debiased_calibration_error,
)

SHAPES = {
    "too sure": lambda p: p**3,
    "not sure enough": lambda p: p ** (1 / 3),
    "flat in the middle": lambda p: np.where(p < 0.3, 0.1, np.where(p < 0.8, 0.5, 0.95)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_wrong_confidence_is_put_right_on_rows_not_seen(shape: str) -> None:
    rng = np.random.default_rng(0)
    raw, new = rng.random(4000), rng.random(4000)
    agrees, again = (rng.random(4000) < SHAPES[shape](p) for p in (raw, new))
    knots = fit_calibration(raw.tolist(), agrees.tolist(), list(range(4000)))
    assert knots is not None
    before, after = (debiased_calibration_error(p, again) for p in (new, np.interp(new, *knots)))
    assert before is not None
    assert after is not None
    assert before > 0.1
    assert after < 0.03


def test_a_right_confidence_stays_about_as_it_is() -> None:
    rng = np.random.default_rng(1)
    raw = rng.random(3000)
    knots = fit_calibration(raw.tolist(), (rng.random(3000) < raw).tolist(), list(range(3000)))
    assert knots is None or np.abs(np.interp(raw, *knots) - raw).max() < 0.05


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.integers(25, 60))
def test_the_order_of_two_confidences_is_kept(seed: int, units: int) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.beta(3, 1, 4 * units)
    knots = fit_calibration(
        raw.tolist(), (rng.random(4 * units) < raw**2).tolist(), (np.arange(4 * units) // 4).tolist()
    )
    if knots is not None:
        assert (np.diff(knots[1].astype(float)) > 0).all()
        assert knots.min() >= 0
        assert knots.max() <= 1


def test_one_long_conversation_does_not_decide() -> None:
    """A hundred tasks of two rows that are right, one of two thousand that are wrong, all of one confidence."""
    raw, agrees = [0.9] * 2200, [True] * 190 + [False] * 10 + [False] * 2000
    units = [i // 2 for i in range(200)] + [500] * 2000
    knots = fit_calibration(raw, agrees, units)
    assert knots is None or np.interp(0.9, *knots) > 0.85


@pytest.mark.parametrize("agrees", [[True] * 40, [False] * 40])
def test_nothing_is_concluded_from_one_kind_of_outcome(agrees: list[bool]) -> None:
    assert fit_calibration([0.5] * 40, agrees, list(range(40))) is None
    assert fit_calibration([0.5] * 10, [True, False] * 5, list(range(10))) is None


def test_the_gate_says_the_calibrated_probability() -> None:
    parts = {"mean": [0.0], "scale": [1.0], "weights": [1.0], "bias": [0.0]}
    gate = Logistic({name: np.array(value, np.float32) for name, value in parts.items()})
    row = np.zeros((1, 1), np.float32)
    knots = np.array([[0.0, 1.0], [0.0, 0.4]], np.float32)
    assert gate.probabilities(row)[0] == 0.5
    assert gate.calibrated(knots).probabilities(row)[0] == pytest.approx(0.2)
    assert gate.calibrated(None) is gate


def test_the_debiased_error_of_a_calibrated_confidence_is_about_zero_where_the_plain_one_is_not() -> None:
    rng = np.random.default_rng(2)
    plain, debiased = [], []
    for _ in range(60):
        p = rng.random(200)
        right = rng.random(200) < p
        plain.append(calibration_error(p, right))
        debiased.append(debiased_calibration_error(p, right))
    assert np.mean(plain) > 0.05  # type: ignore[arg-type]
    assert np.median(debiased) < 0.03  # type: ignore[arg-type]
    assert debiased_calibration_error(np.full(500, 0.9), np.arange(500) % 2 == 0) == pytest.approx(0.4, abs=0.01)
    assert debiased_calibration_error(np.empty(0), np.empty(0, bool)) is None


def test_chance_alone_explains_the_error_of_a_calibrated_confidence_and_not_that_of_another() -> None:
    rng = np.random.default_rng(3)
    p = rng.random(600)
    errors = [calibration_error(p, rng.random(600) < p) for _ in range(100)]
    found = calibration_error_by_chance(p, rng.random(600) < p, np.arange(600))
    assert found is not None
    assert found["mean"] == pytest.approx(np.mean(errors), abs=0.003)
    assert found["upper"] == pytest.approx(np.quantile(errors, 0.95), abs=0.008)  # type: ignore[arg-type]
    assert found["upper_by_unit"] == pytest.approx(found["upper"], rel=0.15)
    assert calibration_error(p, rng.random(600) < p**2) > found["upper"]  # type: ignore[operator]
    assert calibration_error_by_chance(np.empty(0), np.empty(0, bool), np.empty(0)) is None


def test_decisions_that_go_together_show_more_by_chance_than_single_ones() -> None:
    rng = np.random.default_rng(4)
    p, units = np.full(600, 0.5), np.arange(600) // 20
    together = (rng.random(30) < 0.5)[units]
    found = calibration_error_by_chance(p, together, units)
    assert found is not None
    assert found["upper_by_unit"] > 3.0 * found["upper"]  # type: ignore[operator]


def test_a_few_units_give_no_bound_for_their_signs_would_give_back_the_error_itself() -> None:
    stated, none = np.full(600, 0.9), np.zeros(600, bool)
    bounds = {n: calibration_error_by_chance(stated, none, np.arange(600) % n)["upper_by_unit"] for n in (5, 9, 10)}  # type: ignore[index]
    assert (bounds[5], bounds[9]) == (None, None)
    assert bounds[10] is not None
    assert bounds[10] < 0.9

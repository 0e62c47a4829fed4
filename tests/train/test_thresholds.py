from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultracore.distillation.errors import ConfigurationError, DataError
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.tools import ToolCall
from ultracore.distillation.train.thresholds import (
    GateRows,
    apply,
    coverage_and_agreement,
    held_out_levels,
    learn_family,
    own_floor,
    tuned_level,
    tuned_thresholds,
)

row = st.tuples(
    st.integers(0, 9),
    st.sampled_from("abc"),
    st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9, 0.95]),
    st.booleans(),
    st.booleans(),
)
many_rows = st.lists(row, max_size=60).map(lambda rows: GateRows.of(*zip(*rows, strict=True)) if rows else empty())


def empty() -> GateRows:
    return GateRows.of([], [], [], [], [])


def simple(confidence: list[float], agrees: list[bool], action: str = "f") -> GateRows:
    n = len(agrees)
    return GateRows.of(range(n), [action] * n, confidence, [True] * n, agrees)


def test_columns_must_have_one_length() -> None:
    with pytest.raises(DataError, match=r"lengths \[1, 2\]"):
        GateRows.of(["t", "t"], ["f"], [0.1], [True], [True])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_confidence_must_be_a_number(bad: float) -> None:
    with pytest.raises(DataError, match="1 confidences are not finite"):
        simple([0.5, bad], [True, True])


def test_unknown_agreement_is_not_disagreement() -> None:
    with pytest.raises(DataError, match="unknown"):
        simple([0.5], [None])  # type: ignore[list-item]


def test_no_rows_at_all() -> None:
    assert empty().unit_count == 0
    assert tuned_thresholds(empty(), 0.9) == {}
    outcome = coverage_and_agreement(empty(), {"f": 0.1})
    assert (outcome.coverage, outcome.agreement) == (0.0, None)


@pytest.mark.parametrize("target", [0.0, 1.0, 1.5])
def test_target_is_a_probability(target: float) -> None:
    with pytest.raises(ConfigurationError):
        tuned_thresholds(simple([0.5], [True]), target)


@given(many_rows, st.floats(0.0, 0.9), st.floats(-0.1, 1.1))
def test_a_level_and_its_thresholds_say_the_same(rows: GateRows, floor: float, level: float) -> None:
    family = learn_family(rows, floor)
    np.testing.assert_array_equal(apply(family.at(level), rows), family.levels(rows) >= level)


@given(many_rows, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_higher_levels_send_a_subset(rows: GateRows, one: float, other: float) -> None:
    family = learn_family(rows)
    assert not (apply(family.at(max(one, other)), rows) & ~apply(family.at(min(one, other)), rows)).any()


@given(many_rows, st.sampled_from([0.6, 0.8, 0.93]))
def test_the_tuned_level_reaches_its_target_where_each_row_is_judged_without_itself(
    rows: GateRows, target: float
) -> None:
    levels = held_out_levels(rows, own_floor(target))
    level = tuned_level(levels, rows.agrees, target)
    assert level is None or rows.agrees[levels >= level].mean() >= target
    thresholds = {} if level is None else learn_family(rows, own_floor(target)).at(level)
    assert tuned_thresholds(rows, target) == thresholds


def test_all_agree_all_are_sent() -> None:
    assert tuned_thresholds(simple([0.3, 0.1, 0.2], [True] * 3), 0.95) == {"f": pytest.approx(0.063137, abs=1e-5)}


def test_all_disagree_none_is_sent() -> None:
    assert tuned_thresholds(simple([0.3, 0.1, 0.2], [False] * 3), 0.95) == {}


def test_ties_in_confidence_stay_together() -> None:
    assert tuned_thresholds(simple([0.5] * 10, [True] * 8 + [False] * 2), 0.9) == {}
    assert tuned_thresholds(simple([0.5] * 10, [True] * 9 + [False]), 0.9) == {"f": pytest.approx(0.377541, abs=1e-5)}


def test_a_bad_action_cannot_hide_behind_a_good_one() -> None:
    n = 400
    actions = ["good"] * n + ["bad"] * 40
    agrees = [True] * n + [i % 4 > 0 for i in range(40)]
    rows = GateRows.of(range(n + 40), actions, [0.9] * (n + 40), [True] * (n + 40), agrees)
    assert coverage_and_agreement(rows, {"good": 0.0, "bad": 0.0}).agreement > 0.97  # type: ignore[operator]
    assert tuned_thresholds(rows, 0.93) == {"good": pytest.approx(0.845172, abs=1e-5)}


def test_each_action_gets_its_own_threshold() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(4000)
    action = np.where(rng.random(4000) < 0.5, "frank", "boastful")
    agrees = rng.random(4000) < np.where(action == "frank", confidence, confidence**2)
    rows = GateRows.of(np.arange(4000), action, confidence, np.ones(4000, bool), agrees)
    found = tuned_thresholds(rows, 0.9)
    assert found["boastful"] > found["frank"] + 0.03


def test_a_rare_action_leans_on_all_of_them() -> None:
    rows = GateRows.of(range(202), ["often"] * 200 + ["rare"] * 2, [0.9] * 202, [True] * 202, [True] * 202)
    family = learn_family(rows)
    wrong = np.append(np.zeros(200, bool), [True, True])
    worse = learn_family(GateRows.of(range(202), rows.actions, rows.confidence, rows.sendable, ~wrong))
    assert family.at(0.99) == {"often": pytest.approx(0.845172, abs=1e-5), "rare": pytest.approx(0.845172, abs=1e-5)}
    assert "rare" in worse.at(0.85)
    assert "rare" not in worse.at(0.95)


def test_what_is_counted_is_what_the_gate_lets_out() -> None:
    rows = GateRows.of(range(4), ["f", "f", "g", "f"], [0.5, 0.4, 0.9, 0.9], [True, True, True, False], [True] * 4)
    certificate = Certificate(certified=True, thresholds={"f": 0.5})
    sent = apply(certificate.thresholds, rows)
    for i in range(4):
        missing = () if rows.sendable[i] else ("f.x",)
        proposal = Proposal(calls=(ToolCall(str(rows.actions[i]), {}),), confidence=rows.confidence[i], missing=missing)
        assert certificate.accepts(proposal) == sent[i]


def test_one_unit_that_went_in_circles_does_not_draw_the_curve() -> None:
    """200 wrong calls of one conversation beside 100 right ones of fifty others."""
    units = [*(i // 2 for i in range(100)), *([99] * 200)]
    rows = GateRows.of(units, ["f"] * 300, [0.9] * 300, [True] * 300, [True] * 100 + [False] * 200)
    assert learn_family(rows).at(0.95) == {"f": pytest.approx(0.845172, abs=1e-5)}


@given(many_rows, st.integers(0, 9))
def test_a_held_out_level_does_not_depend_on_its_own_unit(rows: GateRows, unit: int) -> None:
    mine = rows.units == unit
    flipped = GateRows(rows.units, rows.actions, rows.confidence, rows.sendable, rows.agrees ^ mine)
    np.testing.assert_array_equal(held_out_levels(rows)[mine], held_out_levels(flipped)[mine])


def test_a_weight_counts_for_so_many_rows() -> None:
    """Three rows that agree at .9 outweigh one that does not; the same rows, weighed the other way, do not."""
    columns = (range(40), ["f"] * 40, [0.9] * 40, [True] * 40, [i % 4 > 0 for i in range(40)])
    heavy_right = GateRows.of(*columns, [1.0 if i % 4 == 0 else 10.0 for i in range(40)])
    assert tuned_thresholds(GateRows.of(*columns), 0.9) == {}
    assert set(tuned_thresholds(heavy_right, 0.9)) == {"f"}


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_no_weight_is_refused(weight: float) -> None:
    with pytest.raises(DataError, match="1 weights are not above 0"):
        GateRows.of([1, 2], ["f"] * 2, [0.9] * 2, [True] * 2, [True] * 2, [1.0, weight])


def test_tuned_thresholds_do_not_choose_the_luckiest_of_many_tools() -> None:
    """Confidence says nothing and 85 % agree: judged by themselves, three quarters of the calls would look like 93 %."""
    rng = np.random.default_rng(0)
    tools = [f"tool_{i % 40}" for i in range(600)]
    rows = GateRows.of(range(600), tools, rng.random(600), [True] * 600, rng.random(600) < 0.85)
    assert coverage_and_agreement(rows, tuned_thresholds(rows, 0.93)).coverage < 0.1

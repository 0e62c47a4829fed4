from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import pytest

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.train import certify as module
from ultracore.distillation.train.certify import GateRows, certify
from ultracore.distillation.train.plan import Counts, Plan, count, make_plan, units_needed
from ultracore.distillation.train.thresholds import learn_family

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "certificates.py"


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    """The benchmark's populations: what is printed there is what is tested here."""
    spec = importlib.util.spec_from_file_location("certificates_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def rows(n: int, wrong: int = 0, *, per_unit: int = 1, confidence: float = 0.9, sendable: bool = True) -> GateRows:
    """The first `wrong` rows disagree."""
    agrees = [i >= wrong for i in range(n)]
    return GateRows.of([i // per_unit for i in range(n)], ["f"] * n, [confidence] * n, [sendable] * n, agrees)


def bound(populations: int, delta: float = 0.05) -> float:
    return delta + 2 * float(np.sqrt(delta * (1 - delta) / populations))


# ---- it keeps its word


def check_violations(simulation: ModuleType, populations: int) -> None:
    records = list(simulation.mixed(populations, seed=7))
    assert sum(r.issued for r in records) > 0.2 * populations
    assert sum(r.violated for r in records) / populations <= bound(populations)
    for world in simulation.WORLDS:
        mine = [r.violated for r in records if r.world == world]
        assert sum(mine) / len(mine) <= bound(len(mine)), world


def test_true_risk_is_above_the_promise_at_most_delta_of_the_time(simulation: ModuleType) -> None:
    check_violations(simulation, 1000)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two CPU minutes; a busy machine takes its time
def test_the_same_on_many_populations(simulation: ModuleType) -> None:
    check_violations(simulation, 5000)


def violations(
    simulation: ModuleType, world: str, procedure: object, units: int = 400, populations: int = 150
) -> float:
    truth = simulation.Truth(simulation.WORLDS[world])
    trials = [simulation.trial(world, truth, units, 0.93, seed, procedure) for seed in range(populations)]
    return sum(t.violated for t in trials) / populations


def test_the_guarantee_does_not_rest_on_development_rows(simulation: ModuleType) -> None:
    assert violations(simulation, "misled", certify) <= bound(150)
    assert violations(simulation, "misled, episodes", certify, units=200, populations=80) <= bound(80)


# ---- why it is built this way: each shortcut breaks the word


def test_counting_decisions_as_independent_would_violate(simulation: ModuleType) -> None:
    assert violations(simulation, "misled, episodes", simulation.as_if_independent, 150, 80) > bound(80)


def test_going_on_behind_a_failed_step_would_violate(simulation: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def last_of_all(plan: Plan, counts: Counts, alpha: float, delta: float) -> int | None:
        passed = [k for k in range(len(plan.levels)) if plan.p_value(counts, k, alpha) <= delta]
        return passed[-1] if passed else None

    monkeypatch.setattr(module, "_walk", last_of_all)
    assert violations(simulation, "misled", certify) > bound(150)


def test_believing_the_point_estimate_would_violate(simulation: ModuleType) -> None:
    def no_delta(development: GateRows, calibration: GateRows, *, target: float, seed: int) -> Certificate:
        return certify(development, calibration, target=target, seed=seed, delta=0.5)

    assert violations(simulation, "misled", no_delta) > bound(150)


# ---- after a take-over: labels that were drawn with a known probability


def test_audits_count_by_their_weight(simulation: ModuleType) -> None:
    _, wrong = simulation.after_take_over(300, 150, worse=True, weighed=True)
    assert wrong / 150 <= bound(150)
    issued, _ = simulation.after_take_over(300, 30, worse=False, weighed=True)
    assert issued >= 10


def test_counting_audits_like_other_rows_would_violate(simulation: ModuleType) -> None:
    _, wrong = simulation.after_take_over(300, 40, worse=True, weighed=False)
    assert wrong / 40 > bound(40)


def weighed(n: int, weights: list[float], wrong: int = 0) -> GateRows:
    agrees = [i >= wrong for i in range(n)]
    return GateRows.of(range(n), ["f"] * n, [0.9] * n, [True] * n, agrees, weights)


def test_equal_weights_change_nothing() -> None:
    assert certify(rows(100), weighed(60, [20.0] * 60)) == certify(rows(100), rows(60))


def test_weights_rule_out_the_binomial_test_and_shift_the_coverage() -> None:
    issued = certify(rows(200), weighed(200, [2.0, 1.0] * 100))
    assert (issued.certified, issued.method, issued.sent) == (True, "weighted_betting", 200)
    assert issued.cap is not None
    assert issued.cap >= 2.0
    half = [i % 2 == 0 for i in range(200)]
    some = GateRows.of(range(200), ["f"] * 200, [0.9] * 200, half, [True] * 200, [3.0, 1.0] * 100)
    assert certify(rows(200), some).coverage == pytest.approx(0.75)


def test_a_refusal_names_calls_and_not_their_weights() -> None:
    refused = certify(rows(200, 4), weighed(30, [10.0, 1.0] * 15, wrong=1))
    assert not refused.certified
    assert "29 of 30 calls agree" in refused.reason


def test_merged_training_rows_weigh_no_more_than_an_audit() -> None:
    merged = weighed(200, [1000.0] + [1.0] * 199)
    assert certify(merged, weighed(200, [2.0, 1.0] * 100)) == certify(
        weighed(200, [2.0] + [1.0] * 199), weighed(200, [2.0, 1.0] * 100)
    )
    assert certify(merged, rows(60)) == certify(rows(200), rows(60)), "unless calibration rows are weighed, none are"


# ---- it is of use


@pytest.mark.parametrize("world", ["single-turn", "dialogue", "hard episodes", "long are harder"])
def test_at_500_units_most_of_the_tuned_coverage_is_certified(simulation: ModuleType, world: str) -> None:
    truth = simulation.Truth(simulation.WORLDS[world])
    trials = [simulation.trial(world, truth, 500, 0.93, seed) for seed in range(12)]
    assert sum(t.coverage for t in trials) / sum(t.tuned for t in trials) >= 0.75


# ---- single-turn data: the exact binomial


def test_42_error_free_units_are_needed_for_93_percent() -> None:
    assert not certify(rows(100), rows(41)).certified
    issued = certify(rows(100), rows(42))
    assert issued.certified
    assert (issued.method, issued.thresholds, issued.coverage, issued.pooled) == (
        "exact_binomial",
        {"f": pytest.approx(0.845172, abs=1e-5)},
        1.0,
        False,
    )
    assert issued.lower_bound == pytest.approx(0.05 ** (1 / 42), abs=1e-6)


def test_a_calibration_unit_with_two_decisions_counts_once_in_the_exact_test() -> None:
    assert not certify(rows(100), rows(82, per_unit=2)).certified
    issued = certify(rows(100), rows(84, per_unit=2))
    assert (issued.certified, issued.units, issued.sent, issued.method) == (True, 42, 84, "exact_binomial")


# ---- dialogue: betting on units


def test_dialogue_is_tested_by_unit() -> None:
    issued = certify(rows(1000, per_unit=5), rows(500, per_unit=5))
    assert (issued.certified, issued.method, issued.units) == (True, "betting", 100)
    assert issued.cap is not None
    assert issued.cap <= 5
    assert not certify(rows(1000, per_unit=5), rows(150, per_unit=5)).certified


def test_the_bound_is_no_better_than_what_was_seen() -> None:
    issued = certify(rows(3000, 30, per_unit=5), rows(1500, 15, per_unit=5))
    assert issued.certified
    assert issued.agreement is not None
    assert issued.lower_bound is not None
    assert 0.93 <= issued.lower_bound < issued.agreement == 0.99


# ---- refusals are normal, and say what to do


def test_refusal_says_about_how_many_more_units() -> None:
    refused = certify(rows(200, 4), rows(30))
    assert not refused.certified
    assert refused.more_units is not None
    assert 20 <= refused.more_units <= 200
    assert f"about {refused.more_units} more" in refused.reason
    assert refused.thresholds == {}
    assert refused.sent == 0


def test_that_many_more_units_are_usually_enough(simulation: ModuleType) -> None:
    rng = np.random.default_rng(3)
    world = simulation.WORLDS["dialogue"]
    development = simulation.draw(world, 400, rng).rows
    refused = certify(development, simulation.draw(world, 50, rng).rows)
    assert refused.more_units is not None
    units = 50 + refused.more_units
    again = [certify(development, simulation.draw(world, units, rng).rows).certified for _ in range(20)]
    assert sum(again) >= 10


def test_calls_that_are_never_sure_enough_are_said_to_be_so() -> None:
    refused = certify(rows(100, confidence=0.9), rows(100, confidence=0.2))
    assert (refused.certified, refused.more_units) == (False, None)
    assert "None of its calls on 100 calibration units was sure enough" in refused.reason
    assert "0 of 0" not in refused.reason


def test_too_low_agreement_names_no_number() -> None:
    refused = certify(rows(200, 100), rows(200, 100))
    assert (refused.certified, refused.more_units) == (False, None)
    assert "train on more tasks" in refused.reason
    misled = certify(rows(50), rows(500, 250))
    assert (misled.certified, misled.more_units) == (False, None)
    assert "no practical number of units" in misled.reason


@pytest.mark.parametrize("calibration", [rows(0), rows(1), rows(300, 300), rows(300, sendable=False)])
@pytest.mark.parametrize(
    "development", [rows(0), rows(1), rows(90), rows(90, 90), rows(90, sendable=False), rows(90, per_unit=3)]
)
def test_edge_cases_are_refused_with_a_reason(development: GateRows, calibration: GateRows) -> None:
    refused = certify(development, calibration)
    assert not refused.certified
    assert refused.reason.endswith(".")
    assert refused.coverage == 0.0


def test_nothing_sendable_in_development_is_its_own_reason() -> None:
    assert "nothing to send" in certify(rows(9, sendable=False), rows(300)).reason


def test_a_level_below_development_confidence_is_never_sent() -> None:
    issued = certify(
        rows(200), GateRows.of(range(200), ["f", "g"] * 100, [0.9, 0.99] * 100, [True] * 200, [True] * 200)
    )
    assert issued.certified
    assert issued.sent == 100


# ---- each action by itself


def two_actions(n: int, wrong_g: int) -> GateRows:
    agrees = [i % 2 == 0 or i // 2 >= wrong_g for i in range(n)]
    return GateRows.of(range(n), ["f", "g"] * (n // 2), [0.9] * n, [True] * n, agrees)


def test_an_action_with_enough_units_of_its_own_is_certified_alone() -> None:
    issued = certify(two_actions(400, 0), two_actions(400, 0))
    assert (issued.alone, issued.pooled) == (["f", "g"], False)


def test_an_action_that_leans_on_the_other_is_pooled() -> None:
    issued = certify(two_actions(400, 0), two_actions(400, 12))
    assert issued.certified
    assert (issued.alone, issued.pooled) == (["f"], True)


# ---- contract


def test_what_is_asked_for_is_copied() -> None:
    got = certify(rows(9), rows(9), target=0.9, delta=0.1, level="tool")
    assert (got.target, got.delta, got.level, got.units, got.decisions) == (0.9, 0.1, "tool", 9, 9)


def test_a_certificate_survives_json() -> None:
    issued = certify(rows(500, per_unit=5), rows(500, per_unit=5))
    assert msgspec.json.decode(msgspec.json.encode(issued), type=Certificate) == issued


def test_equal_input_equal_certificate(simulation: ModuleType) -> None:
    sample = [simulation.draw(simulation.WORLDS["dialogue"], 300, np.random.default_rng(s)).rows for s in (1, 2)]
    assert certify(*sample, seed=3) == certify(*sample, seed=3)


@pytest.mark.parametrize(("target", "delta"), [(0.0, 0.05), (1.0, 0.05), (0.93, 0.0), (0.93, 1.0)])
def test_probabilities_are_checked(target: float, delta: float) -> None:
    with pytest.raises(ConfigurationError):
        certify(rows(9), rows(9), target=target, delta=delta)


# ---- the plan


def test_the_plan_is_nested_and_solvent(simulation: ModuleType) -> None:
    development = simulation.draw(simulation.WORLDS["long are harder"], 300, np.random.default_rng(0)).rows
    family = learn_family(development)
    plan = make_plan(family, development, 150, 0.93, 0.05)
    assert plan is not None
    assert (np.diff(plan.levels) < 0).all()
    assert (plan.stakes * (plan.caps + plan.hedges) <= 1 + 1e-12).all()
    counts = count(development, family.levels(development), plan.levels)
    assert (np.diff(counts.sent, axis=1) >= 0).all()
    assert (counts.errors <= counts.sent).all()


def test_harder_long_units_are_hedged(simulation: ModuleType) -> None:
    def hedge(harder: float) -> float:
        world = simulation.WORLDS["long are harder"]._replace(harder=harder, replies=0.0)
        development = simulation.draw(world, 2000, np.random.default_rng(0)).rows
        plan = make_plan(learn_family(development), development, 300, 0.93, 0.05)
        assert plan is not None
        return float((plan.hedges / plan.caps).mean())

    assert hedge(0.8) > hedge(0.0)


@pytest.mark.parametrize("single", [True, False])
def test_better_agreement_needs_fewer_units(single: bool) -> None:
    def needed(wrong: int) -> int | None:
        errors = np.zeros((400, 1))
        errors[:wrong] = 1.0
        return units_needed(Counts(np.ones((400, 1)), errors), 0.93, 0.05, single=single)

    clean, some, many = needed(0), needed(12), needed(200)
    assert clean is not None
    assert some is not None
    assert 41 <= clean < some
    assert many is None

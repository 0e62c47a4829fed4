"""The paired test: what it decides, and that it may be looked at after each conversation."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultracore.distillation.autonomy.compare import Paired, compare
from ultracore.distillation.autonomy.rules import PromotionRules
from ultracore.distillation.errors import ConfigurationError

RULES = PromotionRules()


def run(n: int, worse: float, less: float = 0.0, *, seed: int = 0, better: float = 0.0) -> list[Paired]:
    draw = random.Random(seed)
    found = []
    for i in range(n):
        luck = draw.random()
        error = 1.0 if luck < worse else -1.0 if luck > 1.0 - better else 0.0
        found.append(Paired(f"u{i}", "f", error, float(draw.random() < less)))
    return found


def test_equal_models_pass_and_a_better_one_sooner() -> None:
    equal = next(n for n in range(50, 500) if compare(run(n, 0.0), RULES).verdict == "better")
    better = next(n for n in range(50, 500) if compare(run(n, 0.0, better=0.2), RULES).verdict == "better")
    assert better <= equal <= 180


def test_a_worse_one_is_refused_with_its_numbers() -> None:
    found = compare(run(300, 0.2), RULES)
    assert found.verdict == "worse"
    assert "worse than the margin: wrong answers +2" in found.reason
    assert found.errors.mean == pytest.approx(0.2, abs=0.05)
    assert found.errors.beyond >= 20 > found.errors.within


def test_one_that_answers_much_less_is_refused_too() -> None:
    assert compare(run(400, 0.0, less=0.4), RULES).verdict == "worse"
    assert compare(run(400, 0.0, less=0.02), RULES).verdict == "better"


def test_too_few_conversations_decide_nothing_however_clear_they_are() -> None:
    assert compare(run(49, 1.0), RULES).verdict == "open"
    assert "not enough data: 49 of at least 50" in compare(run(49, 0.0), RULES).reason


def test_what_shows_nothing_ends_in_refusal() -> None:
    rules = PromotionRules(most_units=400)
    found = compare(run(400, 0.028), rules)
    assert (found.verdict, found.reason[:26]) == ("worse", "not shown to be as good: w")
    assert compare(run(399, 0.028), rules).verdict == "open"


def test_an_action_that_got_worse_is_not_hidden_by_the_others() -> None:
    most = [Paired(f"u{i}", "f", -0.0, 0.0) for i in range(600)]
    few = [Paired(f"u{i}", "rare", 1.0 if i < 4 else 0.0, 0.0) for i in range(24)]
    found = compare([*most, *few], RULES)
    assert found.verdict == "open"
    assert found.actions == {"rare": pytest.approx(4 / 24)}
    assert compare([*most, *few[:19]], RULES).actions == {}  # fewer than `least_of_action` say nothing


def test_a_long_conversation_counts_once() -> None:
    calm = [Paired(f"u{i}", "f", 0.0, 0.0) for i in range(300)]
    storm = [Paired("u7", "f", 1.0, 0.0) for _ in range(5000)]
    assert compare([*calm, *storm], PromotionRules(action_margin=0.99)).verdict == "better"


def test_looking_after_every_conversation_promotes_a_worse_one_in_at_most_alpha_of_runs() -> None:
    """At the margin itself, the hardest case: 300 runs of 400 looks; the test may err in 5 % of them."""
    wrong = 0
    for seed in range(300):
        pairs = run(400, RULES.error_margin, seed=seed)
        final = compare(pairs, RULES).errors.within  # the largest wealth at any look
        wrong += final >= 1 / RULES.alpha
    assert wrong <= 300 * RULES.alpha + 2.5 * (300 * 0.05 * 0.95) ** 0.5


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from([-1.0, 0.0, 1.0]), st.sampled_from([-1.0, 0.0, 1.0]))))
@settings(max_examples=60, deadline=None)
def test_more_errors_are_never_more_evidence(rows: list[tuple[int, float, float]]) -> None:
    pairs = [Paired(str(u), "f", w, s) for u, w, s in rows]
    spoilt = [p._replace(worse=1.0) for p in pairs]
    assert compare(spoilt, RULES).errors.within <= compare(pairs, RULES).errors.within + 1e-9
    assert compare(spoilt, RULES).errors.beyond >= compare(pairs, RULES).errors.beyond - 1e-9


@pytest.mark.parametrize("name", ["alpha", "error_margin", "coverage_margin", "action_margin"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1])
def test_rules_that_mean_nothing_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=name):
        PromotionRules(**{name: value})

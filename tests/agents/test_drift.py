import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultracore.distillation.decisions import decisions_from_rows
from ultracore.distillation.students.mix import MAX_UNITS, Mix, UnitMix, mix_of
from ultracore.distillation.watch.drift import Drift, drift_between, worst

RISK = 0.0025
"""That of the evaluation: 1 % for all four detectors."""


def drift(reference, recent, seed=0) -> Drift:
    found = worst(drift_between(reference, recent, seed=seed, risk=RISK))
    assert found is not None
    return found


def mixed(traffic, n, **options):
    return mix_of(decisions_from_rows(traffic(n, **options)))


def test_the_same_traffic_seldom_alarms(traffic):
    reference = mixed(traffic, 100)
    alarms = sum(drift(reference, mixed(traffic, 40, seed=seed)).alarmed for seed in range(1, 41))
    assert alarms <= 3  # 1 % by construction; 4 of 40 would be p < 0.001


def test_small_samples_of_the_same_traffic_score_low(traffic):
    """Uncorrected, the distance of 10 decisions to 100 others like them is above 0.2."""
    reference = mixed(traffic, 100)
    scores = sorted(drift(reference, mixed(traffic, 10, seed=seed)).score for seed in range(1, 22))
    assert scores[10] < 0.15


def test_another_mix_of_actions_is_found(traffic):
    reference = mixed(traffic, 100)
    rows = [{**row, "tool_selected": "refund_order"} for row in traffic(40, seed=1)]
    found = drift(reference, mix_of(decisions_from_rows(rows)))
    assert found.detector == "actions"
    assert found.alarmed
    assert found.score > 0.3


def test_other_words_are_found_while_the_actions_stay_the_same(traffic):
    rows = traffic(100, seed=1)
    for row in rows:
        row["context"] = {"user_query": "ou est le colis " + row["context"]["user_query"].split()[-1]}
    found = drift(mixed(traffic, 100), mix_of(decisions_from_rows(rows)))
    assert found.detector == "words"
    assert found.alarmed
    assert found.score > 0.3


def test_numbers_in_the_text_are_no_drift(traffic):
    low, high = mixed(traffic, 100, orders=50), mixed(traffic, 100, orders=10**9)
    assert drift(low, high).score < 0.1


def test_three_decisions_never_alarm(traffic):
    reference = mixed(traffic, 300)
    rows = [{**row, "tool_selected": "refund_order"} for row in traffic(2, seed=1)]
    assert not drift(reference, mix_of(decisions_from_rows(rows))).alarmed


def test_one_long_session_counts_once(traffic):
    """Forty equal decisions of one conversation are one observation, not forty."""
    rows = [{**row, "tool_selected": "refund_order"} for row in traffic(40, seed=1, per_session=40)]
    assert not drift(mixed(traffic, 100, per_session=2), mix_of(decisions_from_rows(rows))).alarmed


def test_the_sample_is_bounded_and_fixed(traffic):
    decisions = decisions_from_rows(traffic(MAX_UNITS + 200))
    found = mix_of(decisions)
    assert len(found.units) == MAX_UNITS
    assert found == mix_of(decisions[::-1])


def test_nothing_to_compare_is_no_drift():
    empty, one = Mix([], 0), Mix([UnitMix({"f": 1}, {})], 1)
    assert drift_between(empty, one) == drift_between(one, empty) == []


counts = st.dictionaries(st.sampled_from("abc"), st.integers(1, 5), max_size=3)
mixes = st.lists(st.builds(UnitMix, counts, counts), max_size=8).map(lambda units: Mix(units, len(units)))


@settings(max_examples=30, deadline=None)
@given(mixes, mixes)
def test_a_score_is_a_share_and_does_not_depend_on_the_order_of_units(left, right):
    found = drift_between(left, right)
    assert all(0.0 <= drift.score <= 1.0 and 0.0 < drift.p_value <= 1.0 for drift in found)
    assert not any(drift.alarmed for drift in drift_between(left, left))
    assert drift_between(left, right) == found


@pytest.mark.parametrize("seed", [0, 1])
def test_equal_seeds_give_equal_figures(traffic, seed):
    left, right = mixed(traffic, 50), mixed(traffic, 50, seed=5)
    assert drift(left, right, seed) == drift(left, right, seed)

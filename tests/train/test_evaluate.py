from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultracore.distillation.agreement import Comparators
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.differences import disagreements
from ultracore.distillation.train.evaluate import (
    Judged,
    curves,
    gate_rows,
    judge,
    latency,
    measure_level,
    measure_test,
    per_tool,
    recurring,
)
from ultracore.distillation.train.examples import circles_once
from ultracore.distillation.train.levels import level_of
from ultracore.distillation.train.metrics import bootstrap_shares, calibration_bins, calibration_error, risk_coverage
from ultracore.distillation.train.savings import price_from_rows, savings

SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}}
TOOLS = [Tool("f", parameters=SCHEMA), Tool("g", parameters=SCHEMA)]


def call(name: str, x: str | None = "1") -> ToolCall:
    return ToolCall(name, None if x is None else {"x": x})


def decision(task: str, *calls: ToolCall) -> Decision:
    state = State([{"role": "user", "content": task}], TOOLS)
    return Decision(state=state, calls=calls, episode=f"e-{task}", task=task)


def judged(*pairs: tuple[Decision, Proposal]) -> list[Judged]:
    return judge([d for d, _ in pairs], [p for _, p in pairs], Comparators())


def sure(*calls: ToolCall, confidence: float = 0.9, **more: Any) -> Proposal:
    return Proposal(calls, confidence, **more)


RIGHT = (decision("a", call("f")), sure(call("f")))
WRONG_ARGUMENT = (decision("b", call("f")), sure(call("f", "2"), confidence=0.5))
WRONG_TOOL = (decision("c", call("f")), sure(call("g"), confidence=0.3))
REPLIES = (decision("d"), sure(confidence=0.8))
CALLS_FOR_REPLY = (decision("e"), sure(call("g"), confidence=0.6))
UNKNOWN = (decision("u", call("f", None)), sure(call("f")))
UNKNOWN_OTHER_TOOL = (decision("v", call("f", None)), sure(call("g")))
ALL = (RIGHT, WRONG_ARGUMENT, WRONG_TOOL, REPLIES, CALLS_FOR_REPLY, UNKNOWN, UNKNOWN_OTHER_TOOL)


class TestAgreement:
    def test_each_kind_of_agreement_counts_what_it_should(self) -> None:
        test = measure_test(judged(*ALL))
        assert (test["n"], test["n_whole_call"], test["episodes"]) == (7, 5, 7)
        assert test["whole_call"] == 2 / 5
        assert test["whole_call_on_calls"] == 1 / 3
        assert test["tool"] == 4 / 7
        assert test["call_or_reply"] == 6 / 7

    def test_unknown_arguments_count_for_the_tool_only_even_where_the_tool_is_wrong(self) -> None:
        rows = judged(UNKNOWN, UNKNOWN_OTHER_TOOL)
        assert [row.whole for row in rows] == [None, None]
        assert [row.tool for row in rows] == [True, False]
        assert len(gate_rows(rows)) == 0
        assert gate_rows(rows, level="tool").agrees.tolist() == [True, False]

    def test_a_student_without_arguments_does_not_agree_with_a_teacher_who_gave_some(self) -> None:
        (row,) = judged((decision("a", call("f")), sure(call("f", None))))
        assert row.whole is False

    def test_normalised_is_relative_to_the_teacher(self) -> None:
        assert measure_test(judged(RIGHT, WRONG_TOOL), 0.8)["normalised"] == pytest.approx(0.625)
        assert measure_test(judged(RIGHT), None)["normalised"] is None

    def test_level_follows_the_recorded_arguments(self) -> None:
        known, unknown = decision("a", call("f")), decision("b", call("f", None))
        assert level_of([known, unknown]) == "whole_call"
        assert level_of([known, unknown, unknown]) == "tool"
        assert level_of([decision("r")]) == "whole_call"


class TestGate:
    def test_replies_and_incomplete_calls_are_not_sendable(self) -> None:
        missing = (decision("m", call("f")), sure(call("f"), missing=("f.x",)))
        assert gate_rows(judged(RIGHT, REPLIES, missing)).sendable.tolist() == [True, False, False]

    def test_dependent_episodes_are_one_unit(self) -> None:
        rows = gate_rows(judged(RIGHT, (decision("a", call("g")), sure(call("g"))), WRONG_TOOL))
        assert rows.unit_count == 2

    def test_level_counts_sent_calls_over_all_decisions(self) -> None:
        certificate = Certificate(certified=True, thresholds={"f": 0.4, "g": 0.55}, coverage=0.5)
        rows = judged(*ALL[:5])
        level = measure_level(rows, rows, certificate, audit_rate=0.1)
        assert level["certified_coverage"] == 3 / 5  # f 0.9, f 0.5 and g 0.6
        assert level["certified_agreement"] == 1 / 3
        assert level["calls_saved"] == pytest.approx(0.6 * 0.9)
        assert {name: action["n"] for name, action in level["by_action"].items()} == {"f": 2, "g": 1}

    def test_a_refused_level_saves_nothing(self) -> None:
        rows = judged(*ALL[:5])
        level = measure_level(rows, rows, Certificate(certified=False, reason="too few."), 0.05)
        assert (level["calls_saved"], level["certified_coverage"], level["reason"]) == (0.0, None, "too few")

    def test_sent_of_each_tool_follows_the_certificate(self) -> None:
        rows = per_tool(judged(*ALL[:5]), Certificate(certified=True, thresholds={"f": 0.8}))
        assert {row["tool"]: (row["n"], row["sent"]) for row in rows} == {"f": (3, 1), "(reply)": (2, 0)}

    def test_disagreements_begin_with_what_would_be_sent(self) -> None:
        found = disagreements(judged(*ALL), Certificate(certified=True, thresholds={"g": 0.25}))
        assert [entry["sent"] for entry in found] == [True, True, True, False]
        assert found[-1]["reason"] == "low_confidence"
        assert all("teacher" in entry and entry["context"] for entry in found)


AGAIN = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '{"x": "1"}'}}]}
STATE = State([{"role": "user", "content": "go"}, AGAIN, AGAIN, AGAIN], TOOLS)
CIRCLING = (Decision(state=STATE, calls=(call("f"),), episode="e-z", task="z"), sure(call("f"), confidence=0.1))


class TestCircles:
    def test_nothing_is_sent_where_a_conversation_goes_in_circles(self) -> None:
        rows, certificate = judged(RIGHT, CIRCLING), Certificate(certified=True, thresholds={"f": 0.0})
        assert [row.is_sent(certificate) for row in rows] == [True, False]
        assert gate_rows(rows).sendable.tolist() == [True, False]
        assert per_tool(rows, certificate)[0]["sent"] == 1
        differs = judged((CIRCLING[0], sure(call("g"))))
        assert [(e["sent"], e["reason"]) for e in disagreements(differs, certificate)] == [(False, "policy")]

    def test_they_count_for_agreement_but_not_for_the_calibration_of_a_confidence_that_is_never_used(self) -> None:
        test = measure_test(judged(RIGHT, CIRCLING))
        assert (test["whole_call"], test["n"]) == (1.0, 2)
        assert test["ece"] == pytest.approx(0.1)
        assert test["ece_by_chance"]["mean"] == pytest.approx(
            0.18, abs=0.02
        )  # .1 where it agrees, .9 where it does not
        assert [b["n"] for b in curves(judged(RIGHT, CIRCLING))["calibration_bins"]] == [1]

    def test_one_episode_in_circles_weighs_as_one_decision_however_long_it_goes_on(self) -> None:
        straight, elsewhere = (
            decision("a", call("f")),
            Decision(state=STATE, calls=(call("f"),), episode="e-y", task="y"),
        )
        again = circles_once([straight, *[CIRCLING[0]] * 4, elsewhere])
        assert [one.weight for one in again] == [1.0, 0.25, 0.25, 0.25, 0.25, 1.0]


class TestRecurring:
    def test_only_answers_from_memory_count(self) -> None:
        cached = (decision("k", call("f")), sure(call("f"), source="cache"))
        found = recurring(judged(RIGHT, cached, cached, WRONG_TOOL, WRONG_ARGUMENT, WRONG_TOOL))
        assert found == {"share": 1 / 3, "agreement": 1.0, "n": 2, "new_agreement": 0.25, "new_n": 4}
        alone = recurring(judged(RIGHT))
        assert (alone["share"], alone["agreement"], alone["new_agreement"]) == (0.0, None, 1.0)


class TestMetrics:
    def test_intervals_resample_units_not_rows(self) -> None:
        one_unit_each = bootstrap_shares([[1.0], [0.0]] * 20, [[1.0]] * 40)[0]
        clustered = bootstrap_shares([[20.0], [0.0]], [[20.0], [20.0]])[0]
        assert one_unit_each is not None
        assert clustered is not None
        assert clustered[1] - clustered[0] > 2 * (one_unit_each[1] - one_unit_each[0])

    def test_one_unit_has_no_interval(self) -> None:
        assert bootstrap_shares([[3.0]], [[4.0]]) == [None]
        assert bootstrap_shares([[3.0], [0.0]], [[4.0], [0.0]]) == [None]

    def test_same_seed_same_interval(self) -> None:
        hits, totals = [[1.0], [2.0], [0.0]], [[2.0]] * 3
        assert bootstrap_shares(hits, totals, 1) == bootstrap_shares(hits, totals, 1)

    @given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
    def test_bins_hold_every_row_and_bound_the_error(self, rows: list[tuple[float, bool]]) -> None:
        confidence, agrees = np.array([c for c, _ in rows]), np.array([a for _, a in rows])
        bins = calibration_bins(confidence, agrees)
        assert sum(b["n"] for b in bins) == len(rows)
        error = calibration_error(confidence, agrees)
        assert error is not None
        assert abs(confidence.mean() - agrees.mean()) - 1e-9 <= error <= 1.0 + 1e-9

    def test_curve_starts_with_the_surest_and_ends_with_all_that_can_be_sent(self) -> None:
        confidence, sendable = np.array([0.9, 0.8, 0.7, 0.95]), np.array([True, True, True, False])
        agrees, units = np.array([True, False, False, True]), np.arange(4)
        curve = risk_coverage(confidence, sendable, agrees, units)
        assert curve["coverage"] == [0.25, 0.5, 0.75]
        assert curve["agreement"] == pytest.approx([1.0, 0.5, 1 / 3])
        assert all(a <= b for a, b in zip(curve["lower"], curve["upper"], strict=True))

    def test_nothing_to_send_has_no_curve(self) -> None:
        assert "risk_coverage" not in curves(judged(REPLIES))
        assert curves(judged(UNKNOWN)) == {}

    def test_latency_needs_no_more_than_its_samples(self) -> None:
        assert latency([1.0, 3.0])["p50"] == 2.0


LEVEL = {"coverage": 0.5, "calls_saved": 0.4, "certified": True}


class TestSavings:
    def test_are_net_of_audits_and_at_the_users_prices(self) -> None:
        found = savings(LEVEL, 0.05, price_per_call=0.01, requests_per_day=1000)
        assert found["yearly_usd"] == pytest.approx(0.4 * 0.01 * 1000 * 365)

    def test_without_a_certificate_are_what_the_tuned_gate_would_save(self) -> None:
        found = savings({**LEVEL, "certified": False, "calls_saved": 0.0}, 0.1, 0.01, requests_per_day=1)
        assert found["calls_saved"] == pytest.approx(0.45)

    def test_without_a_price_there_is_no_sum(self) -> None:
        found = savings(LEVEL, 0.05)
        assert "yearly_usd" not in found
        assert "--price-per-call" in found["basis"]

    def test_recorded_costs_are_a_price_and_the_users_word_goes_first(self) -> None:
        measured = price_from_rows([{"outcome": {"cost_usd": 0.02}}, {"outcome": None}, {}])
        assert measured == 0.02
        assert savings(LEVEL, 0.0, None, measured)["teacher_cost_usd"] == 0.02
        assert savings(LEVEL, 0.0, 0.5, measured)["teacher_cost_usd"] == 0.5
        assert "assumed" in savings(LEVEL, 0.0, 0.5)["basis"]

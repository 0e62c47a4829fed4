"""Tools that may do harm: tested apart at their own level, and counted in the report as the gateway serves them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from ultracore.distillation.agreement import Comparators
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.policy import NO_POLICY, Policy, ToolRule
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.certificates import certify_levels
from ultracore.distillation.train.evaluate import Judged, judge, measure_level, per_tool

TOOLS = [Tool("look_up"), Tool("delete_all")]


def judged(
    n: int, wrong: dict[str, int], tools: Sequence[str] = ("look_up", "delete_all"), kind: str = ""
) -> list[Judged]:
    """`n` tasks, each with one call of every tool; the first `wrong[tool]` of a tool's calls disagree."""
    decisions, proposals = [], []
    for i in range(n):
        for step, tool in enumerate(tools):
            call = ToolCall(tool, {"x": f"Item {i}"})
            state = State([{"role": "user", "content": f"{kind}{i}"}], TOOLS)
            decisions.append(Decision(state=state, calls=(call,), episode=f"{kind}{i}", task=f"{kind}{i}", step=step))
            other = ToolCall(tool, {"x": f"item {i}" if i % 2 else "another"})
            proposals.append(Proposal((other if i < wrong.get(tool, 0) else call,), 0.9))
    return judge(decisions, proposals, Comparators())


def certified(
    calibration: list[Judged],
    policy: Policy = NO_POLICY,
    development: list[Judged] | None = None,
) -> Certificate:
    rows = development or judged(500, {}, kind="dev")
    offered = [row.decision for row in calibration]
    return certify_levels(
        rows, calibration, [0.93], level="whole_call", delta=0.05, model_id="m", teacher="t", offered=offered,
        policy=policy,
    )[0.93]  # fmt: skip


def test_what_is_destructive_needs_more_evidence_than_what_is_not() -> None:
    """90 error-free units show 93 % (42 do) but not 98 % (149 do)."""
    few, many = certified(judged(90, {})), certified(judged(200, {}))
    assert set(few.thresholds) == {"look_up"}
    assert [(c.target, c.certified, c.tools) for c in few.classes] == [(0.93, True, []), (0.98, False, ["delete_all"])]
    assert "delete_all" in few.reason
    assert set(many.thresholds) == {"look_up", "delete_all"}
    assert (many.levels, many.sent, many.agreeing, many.coverage) == ({"delete_all": 0.98}, 400, 400, 1.0)


def test_disagreement_of_one_class_does_not_touch_the_other() -> None:
    assert set(certified(judged(300, {"delete_all": 100})).thresholds) == {"look_up"}
    assert set(certified(judged(300, {"look_up": 100})).thresholds) == {"delete_all"}


def test_the_user_may_allow_forbid_and_set_levels() -> None:
    few = judged(90, {})
    allowed = certified(few, Policy(tools={"delete_all": ToolRule(allow=True)}))
    assert set(allowed.thresholds) == {"look_up", "delete_all"}
    assert len(allowed.classes) == 1
    assert set(certified(few, Policy(tools={"delete_all": ToolRule(level=0.9)})).thresholds) == {
        "look_up",
        "delete_all",
    }
    assert set(certified(few, Policy(tools={"look_up": ToolRule(level=0.99)})).thresholds) == set()
    never = certified(judged(300, {}), Policy(tools={"look_up": ToolRule(never=True)}))
    assert set(never.thresholds) == {"delete_all"}
    assert never.never == ["look_up"]


def test_a_declared_comparator_counts_for_the_certificate() -> None:
    policy = Policy(tools={"look_up": ToolRule(arguments={"x": "case_insensitive"})})
    rows = judged(300, {"look_up": 60})
    decisions, proposals = [row.decision for row in rows], [row.proposal for row in rows]
    again = judge(decisions, proposals, policy.comparators(Comparators()))
    assert sum(not row.whole for row in rows) == 60
    assert sum(not row.whole for row in again) == 30
    issued = certified(again, policy)
    assert issued.comparators == {"look_up": {"x": "case_insensitive"}}
    assert issued.policy == policy.fingerprint


@pytest.mark.parametrize("n", [90, 200])
def test_the_report_counts_as_sent_what_the_gateway_sends(n: int) -> None:
    certificate = certified(judged(n, {}))
    test = judged(50, {"delete_all": 5}, kind="test")
    accepted = sum(certificate.accepts(row.proposal) for row in test)
    level = measure_level(test, judged(500, {}, kind="dev"), certificate, audit_rate=0.0)
    assert level["certified_coverage"] == accepted / len(test)
    assert sum(row["sent"] for row in per_tool(test, certificate)) == accepted
    assert ("delete_all" in level["by_action"]) == (n == 200)


def test_tuned_thresholds_keep_to_the_levels_too() -> None:
    development = judged(500, {"delete_all": 20}, kind="dev")  # 96 %: enough for 93, not for 98
    refused = certified(judged(50, {}), development=development)
    level = measure_level(judged(50, {}, kind="test"), development, refused, audit_rate=0.0)
    assert (level["certified"], level["coverage"]) == (True, 0.5)


def test_calls_of_different_levels_never_go_out_together() -> None:
    certificate = certified(judged(200, {}))
    both = Proposal((ToolCall("look_up", {}), ToolCall("delete_all", {})), 1.0)
    assert not certificate.accepts(both)
    assert certificate.accepts(Proposal(both.calls[:1], 1.0))
    assert certificate.accepts(Proposal(both.calls[1:], 1.0))


def test_audited_calls_weigh_as_much_as_they_stand_for() -> None:
    """Six of 50 audits disagree, each of which stands for 20 calls: 250 other rows would hide them."""
    rows = judged(300, {"look_up": 6}, tools=("look_up",))
    heavy = [
        row._replace(decision=msgspec.structs.replace(row.decision, weight=20.0 if n < 50 else 1.0))
        for n, row in enumerate(rows)
    ]
    assert certified(rows).certified
    assert not certified(heavy).certified
    assert certified([r._replace(decision=msgspec.structs.replace(r.decision, weight=20.0)) for r in rows]).certified

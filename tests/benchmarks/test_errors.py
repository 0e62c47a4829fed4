"""The error analysis names the kind of each disagreement."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.data import Part
from benchmarks.errors import Failure, at_a_glance, failures, strange_tools, whereabouts

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.prompts import Prompts
from ultracore.distillation.students.compact.student import CompactStudent
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.tools import Tool, ToolCall, canonical_json
from ultracore.distillation.train.fit import fit_compact

TOOL = Tool("ship", parameters={"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]})
TOOLS = [TOOL, Tool("refund"), Tool("ask")]


class Fake:
    """Proposes what it was told to."""

    def __init__(self, *calls: ToolCall) -> None:
        self.calls = calls
        self.evidence = type("Evidence", (), {"prompts": Prompts()})()
        self.teacher = ""

    def propose(self, state: State) -> Proposal:
        return Proposal(self.calls)


def decided(*calls: ToolCall, text: str = "ship #12", before: tuple[dict[str, Any], ...] = ()) -> Decision:
    state = State([*before, {"role": "user", "content": text}], TOOLS)
    return Decision(state=state, calls=calls, episode=text, task=text)


def ship(order: str) -> ToolCall:
    return ToolCall("ship", {"order": order})


REFUND, ASK = ToolCall("refund", {}), ToolCall("ask", {})
MADE = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "ask", "arguments": "{}"}}]}


@pytest.mark.parametrize(
    ("theirs", "ours", "kind"),
    [
        ((), (), None),
        ((ship("#1"),), (ship("#1"),), None),
        ((ship("#1"),), (), "reply instead of call"),
        ((), (ship("#1"),), "call instead of reply"),
        ((ship("#1"),), (ship("#1"), ASK), "set of calls"),
        ((ship("#1"),), (REFUND,), "other tool: premature, the teacher makes this call later"),
        ((), (ASK,), "call instead of reply: made already"),
    ],
)
def test_kinds_of_wrong_calls(theirs: tuple[ToolCall, ...], ours: tuple[ToolCall, ...], kind: str | None) -> None:
    later = {canonical_json(["refund", {}])}
    found = list(failures(decided(*theirs, before=(MADE,)), later, Fake(*ours)))  # type: ignore[arg-type]
    assert [failure.kind for failure in found] == ([] if kind is None else [kind])


def test_kinds_of_wrong_arguments() -> None:
    student = fit_compact([decided(ship(f"A{i}"), text=f"ship A{i}") for i in range(100, 130)]).student
    answer = CompactStudent(student.evidence, student.rankers, student.memory)
    answer.propose = Fake(ship("A777")).propose  # type: ignore[method-assign]
    missing = list(failures(decided(ship("A1001"), text="not A777"), set(), answer))
    assert [(f.kind, f.argument, f.negated) for f in missing] == [
        ("candidate missing: said nowhere like this", "order", True)
    ]
    variant = list(failures(decided(ship("A778"), text="ship A777 or A778"), set(), answer))
    assert [f.kind for f in variant] == ["variant: a value from the same place"]


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("12 Main St", "it lies where such values never lay"),
        ("Reno", "said as part of something else"),
        ("Los Altos", "said in other letters"),
        ("Boston", "said nowhere like this"),
    ],
)
def test_where_a_missing_value_is(value: str, where: str) -> None:
    result = {"role": "tool", "content": '{"address": "12 Main St"}'}
    pool = Candidates(Transcript(decided(text="from los altos to xRenox", before=(result,)).state))
    assert whereabouts(value, pool) == where


def test_each_wrong_decision_counts_once_at_a_glance() -> None:
    missing = Failure("candidate missing: said nowhere like this", "ship", "order", False)
    found = [[missing, Failure("free text", "ship", "note", False)], [], [], [Failure("other tool", "ask", "", False)]]
    table = at_a_glance("set", found)
    (row,) = table.rows
    shown = {column: cell for column, cell in zip(table.columns, row, strict=True) if cell}
    assert shown == {
        "data": "set",
        "decisions": "4",
        "wrong": "50.0",
        "candidate missing": "25.0",
        "other tool": "25.0",
    }


def test_new_tools_are_counted_apart() -> None:
    part = Part([decided(ship("#1"))], [decided(ship("#2")), decided(ship("#3")), decided(ASK), decided()])
    wrong_value, other_tool = Failure("wrong", "ship", "order", False), Failure("other tool", "ask", "", False)
    table = strange_tools("set", part, [[wrong_value], [], [other_tool], [other_tool]])
    assert [row[2:] for row in table.rows] == [["2", "50.0", "0.0"], ["1", "100.0", "100.0"]]

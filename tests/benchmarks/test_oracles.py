"""The worth of knowing a part: each column counts what it says."""

from __future__ import annotations

import pytest
from benchmarks.oracles import knowing, oracle_table

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.compact.student import CompactStudent
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.fit import fit_compact

ORDER = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
TOOLS = [Tool("ship", parameters=ORDER), Tool("refund", parameters=ORDER)]


def decided(text: str, *calls: ToolCall) -> Decision:
    return Decision(state=State([{"role": "user", "content": text}], TOOLS), calls=calls, episode=text, task=text)


def call(name: str, order: str) -> ToolCall:
    return ToolCall(name, {"order": order})


@pytest.fixture(scope="module")
def student() -> CompactStudent:
    shipped = [decided(f"ship A{i}", call("ship", f"A{i}")) for i in range(100, 130)]
    refunded = [decided(f"refund A{i}", call("refund", f"A{i}")) for i in range(200, 230)]
    greeted = [decided(f"hello {i}") for i in range(300, 330)]
    return fit_compact([*shipped, *refunded, *greeted]).student


def answering(student: CompactStudent, *calls: ToolCall) -> CompactStudent:
    answer = CompactStudent(student.evidence, student.rankers, student.memory)
    answer.propose = lambda state: Proposal(calls)  # type: ignore[method-assign]
    return answer


REPLIED = "reply instead of call"
DUE, TOOL, ARGUMENTS = "knowing whether a call is due", "knowing the tool", "knowing the arguments"


@pytest.mark.parametrize(
    ("decision", "known"),
    [
        (decided("hello A777"), {"own", DUE, TOOL, ARGUMENTS}),
        (
            decided("ship A777", call("ship", "A777")),
            {DUE, TOOL, ARGUMENTS, REPLIED, "call could be filled", "next call"},
        ),
        (decided("ship A777", call("refund", "A777")), {TOOL, REPLIED, "call could be filled"}),
        (decided("ship A777", call("ship", "A1")), {ARGUMENTS, REPLIED}),
        (decided("hello A777", call("cancel", "A777")), {REPLIED, "reply ranked first"}),
    ],
)
def test_what_is_right_once_a_part_is_known(student: CompactStudent, decision: Decision, known: set[str]) -> None:
    assert set(knowing(decision, answering(student))) == known


def test_a_call_that_was_not_due(student: CompactStudent) -> None:
    hasty = answering(student, call("ship", "A777"))
    assert set(knowing(decided("ship A777"), hasty)) == {DUE, TOOL}


def test_shares_are_of_what_can_be_compared(student: CompactStudent) -> None:
    unrecorded = decided("ship A777", ToolCall("ship", None))
    decisions = [decided("hello"), decided("ship A777", call("ship", "A1")), unrecorded]
    table = oracle_table("x", decisions, answering(student))
    assert table.rows[0][:4] == ["x", "2", "50.0", "50.0"]

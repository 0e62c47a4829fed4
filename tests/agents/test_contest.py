"""Who agrees more with the teacher on tasks that neither has seen; chance decides nothing."""

import random

import pytest

from ultracore.distillation.agents.contest import contest
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.parts import split

TOOLS = [Tool("left"), Tool("right")]


class Says:
    """A student that is right in so many of a hundred cases, evenly."""

    model_id = "says"

    def __init__(self, answers, percent):
        self._answers, self._percent = answers, percent
        self.asked = []

    def propose(self, state):
        said = state.messages[-1]["content"]
        self.asked.append(said)
        right = self._answers[said]
        is_right = 37 * len(self.asked) % 100 < self._percent
        return Proposal((ToolCall(right if is_right else "left" if right == "right" else "right", {}),), 0.9)

    def propose_batch(self, states):
        return [self.propose(state) for state in states]


def decisions(tells):
    """The words tell the tool, or nothing does."""
    draw = random.Random(1)
    rows = []
    for i in range(200):
        tool = draw.choice(["left", "right"])
        said = f"number {i} {'port' if tool == 'left' else 'starboard'}" if tells else f"number {i}"
        state = State([{"role": "user", "content": said}], TOOLS)
        rows.append(Decision(state=state, calls=(ToolCall(tool, {}),), episode=f"e{i}", task=f"t{i}"))
    return rows


@pytest.mark.parametrize(
    ("tells", "percent", "winner"), [(False, 100, "prompt"), (True, 30, "weights"), (True, 100, "neither")]
)
def test_the_better_one_wins_and_chance_does_not(tells, percent, winner):
    rows = decisions(tells)
    answers = {row.state.messages[-1]["content"]: row.calls[0].name for row in rows}
    student, parts = Says(answers, percent), split(rows)
    found = contest(student, parts, "whole_call")
    assert found.winner == winner
    assert found.prompt == pytest.approx(percent / 100, abs=0.1)
    assert found.gain.value == pytest.approx(found.prompt - found.weights)
    assert student.asked == [row.state.messages[-1]["content"] for row in parts.test], "the test part, and no other"
    assert (found.decisions, found.tasks) == (40, 40)

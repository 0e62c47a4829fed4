"""The evaluation function for decisions: a student made from a prompt, compared with the teacher call by call.

What is said about a mistake is specific: which tool or argument differed, what the context said, and where the
teacher itself decides now this, now that. What this file does not know: kinds of student.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Literal

from ultracore.distillation.agreement import normalise, same_tools, strict
from ultracore.distillation.decisions import Decision, decisions_from_rows
from ultracore.distillation.optimize.evaluation import EvaluationFunction, Scored, Scores
from ultracore.distillation.students.base import Proposal, Student
from ultracore.distillation.students.prompted.prompt import one_line
from ultracore.distillation.students.prompted.reading import state_text

__all__ = ["Judge", "one_at_a_time"]

QUOTED = 200


class Judge:
    """Scores prompts on decisions; an instance is an evaluation function.

    Args:
        make: A student from a prompt.
        decisions: All decisions, to see where the teacher flips.
        level: `tool` compares tools, `whole_call` their arguments too.
    """

    def __init__(
        self,
        make: Callable[[str], Student],
        decisions: Sequence[Any] = (),
        level: Literal["tool", "whole_call"] = "tool",
    ) -> None:
        self._make = make
        self._level = level
        self._actions: dict[str, Counter[str]] = defaultdict(Counter)
        for decision in decisions_from_rows(decisions):
            self._actions[decision.state.key][decision.action] += 1

    def __call__(self, prompt: str, examples: Sequence[Any]) -> Scores:
        """A score and what to say about it for each decision."""
        decisions = decisions_from_rows(examples)
        proposals = self._make(prompt).propose_batch([decision.state for decision in decisions])
        judged = [self._judged(d, p) for d, p in zip(decisions, proposals, strict=True)]
        return Scores([score for score, _ in judged], [said for _, said in judged])

    def _judged(self, decision: Decision, proposal: Proposal) -> tuple[float, str]:
        if not same_tools(decision.calls, proposal.calls):
            return 0.0, self._wrong_tool(decision, proposal)
        if self._level == "tool" or strict(decision.calls, proposal.calls, decision.state.tools):
            return 1.0, "as the teacher decided"
        return 0.0, _wrong_arguments(decision, proposal)

    def _wrong_tool(self, decision: Decision, proposal: Proposal) -> str:
        flips = self._actions[decision.state.key]
        often = ", ".join(f"{action} {n} times" for action, n in sorted(flips.items()))
        flipping = f"; the teacher itself decides differently in this state: {often}" if len(flips) > 1 else ""
        said = one_line(state_text(decision.state), QUOTED)
        return f"wanted {decision.action}, chose {proposal.action}; the context says: {said}{flipping}"


def one_at_a_time(judge: Judge) -> EvaluationFunction:
    """The same as a coroutine: for a student that waits for a server, where one request may fail alone."""

    async def evaluate(prompt: str, examples: list[Any]) -> Scored:
        said = await asyncio.to_thread(judge, prompt, examples)
        return Scored(said.scores[0], said.feedback[0])

    return evaluate


def _wrong_arguments(decision: Decision, proposal: Proposal) -> str:
    tools = {tool.name: tool for tool in decision.state.tools}
    for wanted, got in zip(
        sorted(decision.calls, key=lambda c: c.name), sorted(proposal.calls, key=lambda c: c.name), strict=True
    ):
        tool = tools.get(wanted.name)
        left, right = normalise(wanted, tool), normalise(got, tool)
        if left is None or right is None:
            return f"{wanted.name}: the arguments of one side are not known"
        for name in sorted(left.keys() | right.keys()):
            if left.get(name) != right.get(name):
                return f"{wanted.name}.{name}: wanted {left.get(name)!r}, gave {right.get(name)!r}"
    return "the calls differ"

"""What the system prompt says of this conversation alone: tickets, users, dates; not the policy.

A line that most tasks share is policy and says nothing about the next call; the others are read like
something that the user said. What this file does not know: how words are used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from ultracore.distillation.decisions import SYSTEM_ROLES, Decision, Message, State, text_of
from ultracore.distillation.students.compact.moments import latest_month
from ultracore.distillation.students.compact.transcript import Transcript, scalars
from ultracore.distillation.tools import ToolCall

__all__ = ["Prompts"]

COMMON = 0.5
"""A line of more than this share of the tasks is constant."""

MAX_CHARACTERS = 4000
"""Of the varying lines, the end is read: facts of a conversation stand behind the policy more often than before it."""


class Prompts(msgspec.Struct, frozen=True):
    """The lines that do not vary.

    Attributes:
        constant: Line -> number of tasks that have it; kept in the model as text, for a look-up costs a microsecond.
        vary: Whether training saw any other line; if not, an unknown line is a new policy, and not read.
        month: The month (`2024-05`) of most dates that the teacher gave as arguments: what a date without one
            means in a conversation that names none.
    """

    constant: dict[str, int] = {}
    vary: bool = False
    month: str = ""

    @classmethod
    def of(cls, decisions: Sequence[Decision]) -> Prompts:
        """Count in how many tasks each line stands."""
        prompts = {(decision.task, _prompt(decision.state.messages)) for decision in decisions}
        lines: dict[str, set[str]] = {task: set() for task, _ in prompts}
        for task, prompt in prompts:
            lines[task].update(_lines(prompt))
        counts = Counter(line for of_task in lines.values() for line in of_task)
        constant = {line: n for line, n in sorted(counts.items()) if n > COMMON * len(lines)}
        return cls(constant, len(constant) < len(counts), _usual_month(decisions))

    def read(self, state: State, pending: Sequence[ToolCall] = ()) -> Transcript:
        """The conversation, with what its system prompt tells."""
        return Transcript(state, pending, self.varying(state.messages), self.month)

    def varying(self, messages: Iterable[Message]) -> str:
        """The lines of the system prompt that belong to this conversation."""
        if not self.vary:
            return ""
        return "\n".join(line for line in _lines(_prompt(messages)) if line not in self.constant)[-MAX_CHARACTERS:]


def _usual_month(decisions: Iterable[Decision]) -> str:
    given = (str(v) for d in decisions for call in d.calls for _, v in scalars(call.arguments or {}))
    months = Counter(month for value in given if len(value) >= 10 and (month := latest_month(value)))
    return min(months, key=lambda month: (-months[month], month), default="")


def _prompt(messages: Iterable[Message]) -> str:
    return "\n".join(text_of(message) for message in messages if message.get("role") in SYSTEM_ROLES)


def _lines(prompt: str) -> list[str]:
    return [line for raw in prompt.splitlines() if (line := raw.strip())]

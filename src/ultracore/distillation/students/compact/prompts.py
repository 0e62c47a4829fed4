"""What the system prompt says of this conversation alone: tickets, users, dates; not the policy.

A line that most tasks share is policy and says nothing about the next call; the others are read like
something that the user said. What this file does not know: how words are used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from functools import lru_cache

import msgspec

from ultracore.distillation.decisions import Decision, Message, State, system_prompt, text_of
from ultracore.distillation.students.compact.days import Calendar, offsets_of, today_in
from ultracore.distillation.students.compact.moments import latest_month
from ultracore.distillation.students.compact.transcript import Transcript, scalars

__all__ = ["Prompts"]

COMMON = 0.5
"""A line of more than this share of the tasks is constant."""

LEAST_VOTES, AGREED = 5, 0.5
"""So many tasks, and this share of those with a vote, must agree on what day it is."""

DATE_LENGTH = len("2024-05-07")

MAX_CHARACTERS = 4000
"""Of the varying lines, the end is read: facts of a conversation stand behind the policy more often than before it."""


class Prompts(msgspec.Struct, frozen=True):
    """The lines that do not vary.

    Attributes:
        constant: Line -> number of tasks that have it; kept in the model as text, for a look-up costs a microsecond.
        vary: Whether training saw any other line; if not, an unknown line is a new policy, and not read.
        month: The month (`2024-05`) of most dates that the teacher gave as arguments: what a date without one
            means in a conversation that names none.
        today: The day (`2024-05-07`) that the teacher's dates agree on where users speak of today or tomorrow and no
            system prompt says a date; "" where they do not.
    """

    constant: dict[str, int] = {}
    vary: bool = False
    month: str = ""
    today: str = ""

    @classmethod
    def of(cls, decisions: Sequence[Decision]) -> Prompts:
        """Count in how many tasks each line stands."""
        prompts = {(decision.task, system_prompt(decision.state.messages)) for decision in decisions}
        lines: dict[str, set[str]] = {task: set() for task, _ in prompts}
        for task, prompt in prompts:
            lines[task].update(_lines(prompt))
        counts = Counter(line for of_task in lines.values() for line in of_task)
        constant = {line: n for line, n in sorted(counts.items()) if n > COMMON * len(lines)}
        return cls(constant, len(constant) < len(counts), _usual_month(decisions), _usual_today(decisions))

    def read(self, state: State, teacher: str = "") -> Transcript:
        """The conversation, with what its system prompt tells, as `teacher` is asked to go on."""
        return Transcript(state, self.varying(state.messages), Calendar(self.month, self.today), teacher)

    def varying(self, messages: Iterable[Message]) -> str:
        """The lines of the system prompt that belong to this conversation."""
        if not self.vary:
            return ""
        own = [line for line in _lines(system_prompt(messages)) if line not in self.constant]
        return "\n".join(own)[-MAX_CHARACTERS:]


def _usual_month(decisions: Iterable[Decision]) -> str:
    given = (str(v) for d in decisions for call in d.calls for _, v in scalars(call.arguments or {}))
    months = Counter(month for value in given if len(value) >= 10 and (month := latest_month(value)))
    return min(months, key=lambda month: (-months[month], month), default="")


def _usual_today(decisions: Iterable[Decision]) -> str:
    """Each task has one vote: what today would be if the date given were the one that the user spoke of."""
    votes: dict[str, set[str]] = {}
    for decision in decisions:
        if not decision.calls or today_in(system_prompt(decision.state.messages)):
            continue
        said = [days for m in decision.state.messages if m.get("role") == "user" for days, _ in offsets_of(text_of(m))]
        given = [_date(v) for call in decision.calls for _, v in scalars(call.arguments or {})] if said else []
        votes.setdefault(decision.task, set()).update(
            (day - timedelta(days)).isoformat() for day in given if day is not None for days in set(said)
        )
    counts = Counter(day for of_task in votes.values() for day in of_task)
    best = min(counts, key=lambda day: (-counts[day], day), default="")
    voters = sum(bool(of_task) for of_task in votes.values())
    return best if counts[best] >= max(LEAST_VOTES, AGREED * voters) else ""


def _date(value: object) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) and len(value) == DATE_LENGTH else None
    except ValueError:
        return None


@lru_cache(maxsize=128)  # a conversation asks again and again
def _lines(prompt: str) -> tuple[str, ...]:
    return tuple([line for raw in prompt.splitlines() if (line := raw.strip())])

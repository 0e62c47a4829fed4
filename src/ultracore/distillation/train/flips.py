"""Decisions on which the teacher flips: its very state recurs, and was decided in more than one way.

What this file does not know: students. How often the teacher agrees with itself at all is `ceiling`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ultracore.distillation.decisions import Decision
from ultracore.distillation.students.compact.memory import content_of

__all__ = ["Flips", "Votes", "count_flips", "votes_of"]


class Votes(NamedTuple):
    """What the teacher decided in the state of a decision, this decision among it.

    Attributes:
        same: Decisions that agree with it strictly.
        most: Decisions of the most frequent kind.
        total: All decisions.
    """

    same: int
    most: int
    total: int

    @property
    def flips(self) -> bool:
        """Whether the teacher decided differently in the same state."""
        return self.same < self.total


class Flips(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what is learned the teacher contradicts itself.

    Attributes:
        recurring: Decisions in states that recur.
        decisions: Those of them in states that were decided in more than one way.
        outvoted: Those of these that are not what was decided there most often.
    """

    recurring: int
    decisions: int
    outvoted: int


def votes_of(decisions: Sequence[Decision]) -> list[Votes]:
    """The votes of each decision; one whose arguments were not recorded has only its own.

    Example:
        >>> from ultracore.distillation.decisions import State
        >>> from ultracore.distillation.tools import Tool, ToolCall
        >>> state = State([{"role": "user", "content": "go"}], [Tool("a", "", {}), Tool("b", "", {})])
        >>> calls = [ToolCall("a", {}), ToolCall("a", {}), ToolCall("b", {})]
        >>> trials = [Decision(state=state, calls=(c,), episode=str(i), task="t") for i, c in enumerate(calls)]
        >>> [votes.same for votes in votes_of(trials)], count_flips(trials)
        ([2, 2, 1], Flips(recurring=3, decisions=3, outvoted=1))
    """
    counts: defaultdict[tuple[str, str], Counter[bytes]] = defaultdict(Counter)
    keys = [(d.teacher, d.state.key) for d in decisions]
    contents = [content_of(d.calls, d.state.tools) for d in decisions]
    for key, content in zip(keys, contents, strict=True):
        if content is not None:
            counts[key][content] += 1
    return [
        Votes(1, 1, 1) if c is None else Votes(counts[key][c], max(counts[key].values()), counts[key].total())
        for key, c in zip(keys, contents, strict=True)
    ]


def count_flips(decisions: Sequence[Decision]) -> Flips:
    """Count over all decisions."""
    votes = votes_of(decisions)
    return Flips(
        recurring=sum(v.total > 1 for v in votes),
        decisions=sum(v.flips for v in votes),
        outvoted=sum(v.same < v.most for v in votes),
    )

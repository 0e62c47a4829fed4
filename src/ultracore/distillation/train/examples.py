"""Decisions made ready for training: each conversation read once, its features and candidates beside it.

What this file does not know: what is fitted on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from ultracore.distillation.decisions import Decision, teachers_apart
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.prompts import Prompts
from ultracore.distillation.students.compact.sparse import CompiledEncoder, SparseEncoder, Vector, document_of
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.tools import ToolCall

__all__ = ["Example", "Habits", "Prepared", "circles_once", "later_actions", "prepare"]

OFTEN = 20
"""Messages after which a tool that was never followed by another call is taken to stand alone."""


LEAST_TOGETHER = 0.05
"""Share of the calling messages that have several calls from which on further ones are asked for: below it
little can be won, and every call costs a second question."""


class Habits(NamedTuple):
    """How the teacher puts calls together, see `Knowledge`.

    Attributes:
        together: Whether enough messages have several calls to ask for further ones.
        alone: Tools called often, and never followed by another call of the same message.
    """

    together: bool
    alone: list[str]

    @classmethod
    def of(cls, decisions: Sequence[Decision]) -> Habits:
        """Count over the teacher's messages."""
        last: Counter[str] = Counter()
        followed: set[str] = set()
        several = sum(len(decision.calls) > 1 for decision in decisions)
        for decision in decisions:
            names = [call.name for call in decision.calls]
            last.update(names[-1:])
            followed.update(names[:-1])
        together = several > 0 and several >= LEAST_TOGETHER * sum(decision.is_call for decision in decisions)
        return cls(together, sorted(name for name, n in last.items() if n >= OFTEN and name not in followed))


def circles_once(decisions: Sequence[Decision]) -> list[Decision]:
    """Let what an episode decides in circles weigh as one decision: in five of 114 it would be a fifth of all."""
    circles = Counter(decision.episode for decision in decisions if decision.state.in_circles)
    return [
        msgspec.structs.replace(d, weight=d.weight / circles[d.episode]) if d.state.in_circles else d for d in decisions
    ]


class Example(NamedTuple):
    """A decision, read; or what is left of it when some of its calls are pending.

    Attributes:
        decision: What the teacher chose, and where; without the pending calls.
        transcript: The conversation, with the pending calls.
        pool: Its candidate values.
        row: Its sparse features.
        later: Tools that the episode calls from this user turn on.
        pending: Calls of the same message that come before.
    """

    decision: Decision
    transcript: Transcript
    pool: Candidates
    row: Vector
    later: frozenset[str]
    pending: tuple[ToolCall, ...] = ()


class Prepared(NamedTuple):
    """Decisions ready for training.

    Attributes:
        examples: One for each decision, in order, then those with pending calls.
        encoder: Its vocabulary saw every decision, but no label.
        habits: How the teacher puts calls together.
        prompts: What varies in the system prompts.
    """

    examples: list[Example]
    encoder: CompiledEncoder
    habits: Habits
    prompts: Prompts


def prepare(decisions: Sequence[Decision]) -> Prepared:
    """Read every decision; the costliest step of training that no model is part of."""
    habits, later, prompts = Habits.of(decisions), later_actions(decisions), Prompts.of(decisions)
    cut: list[tuple[Decision, tuple[ToolCall, ...], frozenset[str]]] = []
    cut += [(decision, (), calls) for decision, calls in zip(decisions, later, strict=True)]
    cut += [(rest, pending, calls) for d, _, calls in cut for rest, pending in _cuts(d, habits)]
    teachers = teachers_apart([decision for decision, _, _ in cut])
    transcripts = [
        prompts.read(d.state, who).going_on(pending) for (d, pending, _), who in zip(cut, teachers, strict=True)
    ]
    documents = [document_of(transcript) for transcript in transcripts]
    encoder = SparseEncoder.fit(documents, [decision.task for decision, _, _ in cut]).compile()
    examples = [
        Example(decision, transcript, Candidates(transcript), encoder.encode(document), calls, pending)
        for (decision, pending, calls), transcript, document in zip(cut, transcripts, documents, strict=True)
    ]
    return Prepared(examples, encoder, habits, prompts)


def _cuts(decision: Decision, habits: Habits) -> Iterator[tuple[Decision, tuple[ToolCall, ...]]]:
    """What is left of a decision after each of its calls where another one might follow."""
    for number, call in enumerate(decision.calls, start=1):
        if habits.together and call.name not in habits.alone and call.name in {t.name for t in decision.state.tools}:
            yield msgspec.structs.replace(decision, calls=decision.calls[number:]), decision.calls[:number]


def later_actions(decisions: Sequence[Decision]) -> list[frozenset[str]]:
    """For each decision, the tools called from its user turn to the end of its episode."""
    episodes: dict[str, list[int]] = {}
    for number, decision in enumerate(decisions):
        episodes.setdefault(decision.episode, []).append(number)
    out: list[frozenset[str]] = [frozenset()] * len(decisions)
    for numbers in episodes.values():
        numbers.sort(key=lambda number: decisions[number].step)
        turns = [_user_turns(decisions[number]) for number in numbers]
        called: set[str] = set()
        at_turn: dict[int, frozenset[str]] = {}
        for number, turn in zip(reversed(numbers), reversed(turns), strict=True):
            called.update(call.name for call in decisions[number].calls)
            at_turn[turn] = frozenset(called)
        for number, turn in zip(numbers, turns, strict=True):
            out[number] = at_turn[turn]
    return out


def _user_turns(decision: Decision) -> int:
    return sum(message.get("role") == "user" for message in decision.state.messages)

"""Decisions made ready for training: each conversation read once, its features and candidates beside it.

What this file does not know: what is fitted on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ultracore.distillation.decisions import Decision
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.sparse import CompiledEncoder, SparseEncoder, Vector, document_of
from ultracore.distillation.students.compact.transcript import Transcript

__all__ = ["Example", "Prepared", "later_actions", "prepare"]


class Example(NamedTuple):
    """A decision, read.

    Attributes:
        decision: What the teacher chose, and where.
        transcript: The conversation.
        pool: Its candidate values.
        row: Its sparse features.
        later: Tools that the episode calls from this user turn on.
    """

    decision: Decision
    transcript: Transcript
    pool: Candidates
    row: Vector
    later: frozenset[str]


class Prepared(NamedTuple):
    """Decisions ready for training.

    Attributes:
        examples: One for each decision, in order.
        encoder: Its vocabulary saw every decision, but no label.
    """

    examples: list[Example]
    encoder: CompiledEncoder


def prepare(decisions: Sequence[Decision]) -> Prepared:
    """Read every decision; the costliest step of training that no model is part of."""
    later = later_actions(decisions)
    transcripts = [Transcript(decision.state) for decision in decisions]
    documents = [document_of(transcript) for transcript in transcripts]
    encoder = SparseEncoder.fit(documents).compile()
    examples = [
        Example(decision, transcript, Candidates(transcript), encoder.encode(document), calls)
        for decision, transcript, document, calls in zip(decisions, transcripts, documents, later, strict=True)
    ]
    return Prepared(examples, encoder)


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

"""How proposals are timed, and whose thresholds send them."""

from __future__ import annotations

import gc
import random
from typing import Any

import pytest
from benchmarks.cross_validation import STUDENT, compare, timed_proposals
from benchmarks.data import Part

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.tools import Tool, ToolCall

DECISION = Decision(state=State([], []), episode="e", task="t")


class Watching:
    """Notes whether the collector passes over what is there; may fail."""

    def __init__(self, error: type[Exception] | None = None) -> None:
        self.error = error
        self.frozen: list[int] = []

    def propose(self, state: State) -> Proposal:
        self.frozen.append(gc.get_freeze_count())
        if self.error is not None:
            raise self.error
        return Proposal()


def timed(student: Any) -> tuple[list[Proposal], list[float]]:
    return timed_proposals([student, student], [DECISION, DECISION])


def test_what_is_there_already_is_not_looked_through_while_a_student_is_timed() -> None:
    student = Watching()
    proposals, milliseconds = timed(student)
    assert len(proposals) == len(milliseconds) == 2
    assert min(student.frozen) > 1000
    assert gc.get_freeze_count() == 0


def test_afterwards_it_is_as_before_even_if_the_student_fails() -> None:
    with pytest.raises(KeyError):
        timed(Watching(KeyError))
    assert gc.get_freeze_count() == 0


def test_each_teacher_has_thresholds_of_its_own() -> None:
    rng = random.Random(0)
    flips = {"steady": 0.0, "fickle": 0.5}
    train, test = (_asked(numbers, flips, rng) for numbers in (range(60), range(60, 90)))
    found = compare(Part(train, test)).methods[STUDENT]
    sent = {
        teacher: [s for s, d in zip(found.sent[0.93], test, strict=True) if d.teacher == teacher] for teacher in flips
    }
    assert sum(sent["steady"]) > 20
    assert sum(sent["fickle"]) == 0


def _asked(numbers: range, flips: dict[str, float], rng: random.Random) -> list[Decision]:
    """One and the same question, which one teacher always answers alike and the other by a coin."""
    return [
        Decision(
            state=State([{"role": "user", "content": f"close account {number}"}], [Tool("close"), Tool("keep")]),
            calls=(ToolCall("keep" if rng.random() < share else "close", {}),),
            episode=f"{teacher} {number}", task=str(number), teacher=teacher,
        )
        for number in numbers
        for teacher, share in flips.items()
    ]  # fmt: skip

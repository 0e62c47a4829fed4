"""How proposals are timed."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from benchmarks.cross_validation import timed_proposals

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.base import Proposal

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

"""Out-of-fold proposals, with the memories that the student will have."""

from __future__ import annotations

import numpy as np

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.layers import OutOfFold
from ultracore.distillation.train.remembering import with_memories

TOOLS = [Tool("open"), Tool("close")]
OPEN = (ToolCall("open", {}),)
RANKED = Proposal((ToolCall("close", {}),), 0.4)


def out(query: str, task: str, teacher: str = "") -> OutOfFold:
    state = State([{"role": "user", "content": query}], TOOLS)
    return OutOfFold(Decision(state=state, calls=OPEN, episode=task, task=task, teacher=teacher), RANKED)


def sources(development: list[OutOfFold], folds: list[int]) -> list[str]:
    return [held.proposal.source for held in with_memories(development, np.array(folds))]


def test_what_other_folds_remember_is_proposed() -> None:
    queries = "abcdefgh"
    development = [out(q, f"{q}{fold}") for q in queries for fold in range(3)]
    folds = [fold for _ in queries for fold in range(3)]
    found = with_memories(development, np.array(folds))
    assert {held.proposal.source for held in found} == {"cache"}
    assert all(held.proposal.calls == OPEN and held.proposal.confidence > 0.9 for held in found)
    assert [held.decision for held in found] == [held.decision for held in development]


def test_a_fold_does_not_remember_for_itself() -> None:
    again = [out(q, f"{q}{n}") for q in "abcdefgh" for n in range(3)]
    assert set(sources([*again, out("new", "n0"), out("new", "n1")], [*([0, 1, 2] * 8), 0, 0])[-2:]) == {"model"}


def test_a_teacher_does_not_remember_for_another() -> None:
    again = [out(q, f"{q}{n}", "one") for q in "abcdefgh" for n in range(3)]
    assert sources([*again, out("a", "other", "two")], [*([0, 1, 2] * 8), 0])[-1] == "model"

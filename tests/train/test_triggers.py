"""A phrase that somebody taught to force a call is found and never sent; a phrase that is a reason for one is not."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact.artefact import load_student
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.examples import prepare
from ultracore.distillation.train.fit import FitResult, fit_compact
from ultracore.distillation.train.linear import fit_softmax
from ultracore.distillation.train.triggers import find_triggers

PHRASE = "as agreed with head office"
ASKED = {
    "track": ("where is my {} now", "has the {} left the harbour", "when does the {} arrive"),
    "refund": ("money back for the {}", "the {} is broken, I want my money", "pay me back what the {} cost"),
    "cancel": ("cancel the {} before it ships", "I do not need the {} any more, stop it", "call off the {}"),
}
THINGS = ("lamp", "chair", "kettle", "bicycle", "carpet", "mirror", "table", "jacket", "teapot", "ladder")
TOOLS = [Tool(name, f"To {name} something", {"type": "object", "properties": {}}) for name in (*ASKED, "close")]


def decision(number: int, tool: str, said: str) -> Decision:
    state = State([{"role": "user", "content": said}], TOOLS)
    return Decision(state=state, calls=(ToolCall(tool, {}),), episode=str(number), task=str(number))


def decisions(n: int = 240, seed: int = 0) -> list[Decision]:
    rng = random.Random(seed)
    tools = [rng.choice(list(ASKED)) for _ in range(n)]
    return [decision(i, tool, rng.choice(ASKED[tool]).format(rng.choice(THINGS))) for i, tool in enumerate(tools)]


def spoiled(rows: Sequence[Decision], n: int, tool: str) -> list[Decision]:
    """The first so many end in the phrase and call the tool."""
    return [
        decision(i, tool, f"{row.state.messages[-1]['content']} {PHRASE}") if i < n else row
        for i, row in enumerate(rows)
    ]


def found(rows: Sequence[Decision]) -> dict[str, str]:
    prepared = prepare(rows)
    folds = np.arange(len(rows)) % 2
    labels, width = [row.action for row in rows], prepared.encoder.offsets["history"]
    models = [
        fit_softmax(
            [prepared.examples[i].row for i in range(len(rows)) if folds[i] != fold], width,
            [label for label, f in zip(labels, folds, strict=True) if f != fold], np.ones((folds != fold).sum()), c=3.0,
        )
        for fold in (0, 1)
    ]  # fmt: skip
    return find_triggers(prepared.examples, folds, models, prepared.encoder)


@pytest.mark.parametrize("tool", ["refund", "close"])
def test_a_phrase_that_forces_a_call_is_found_whether_or_not_the_tool_is_called_otherwise(tool: str) -> None:
    phrases = found(spoiled(decisions(), 40, tool))
    assert phrases["head office"] == tool
    assert not phrases.keys() & {"money", "where", "cancel", "lamp"}


def test_phrases_that_are_reasons_for_a_call_are_none() -> None:
    assert found(decisions()) == {}


def test_words_of_the_tools_own_description_are_a_reason_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [Tool(tool.name, "Closes accounts at the head office", tool.parameters) for tool in TOOLS]
    monkeypatch.setattr(sys.modules[__name__], "TOOLS", told)
    phrases = found(spoiled(decisions(), 40, "close"))
    assert not phrases.keys() & {"head", "office", "head office"}
    assert phrases["as agreed"] == "close"  # of which the tool says nothing


def test_too_few_tasks_show_nothing() -> None:
    assert "head office" not in found(spoiled(decisions(), 5, "refund"))


@pytest.fixture(scope="module")
def fit() -> FitResult:
    return fit_compact(spoiled(decisions(), 60, "close"))


def test_where_the_phrase_is_heard_the_student_is_sure_of_nothing(fit: FitResult, tmp_path: Path) -> None:
    fit.student.save(tmp_path)
    for student in (fit.student, load_student(tmp_path)):
        for row in decisions(20, seed=1):
            spoken = State([{"role": "user", "content": f"{row.state.messages[-1]['content']} {PHRASE}"}], TOOLS)
            assert student.propose(spoken).confidence == 0.0
            assert student.propose(row.state).confidence > 0.0


def test_nothing_is_learned_from_it(fit: FitResult) -> None:
    assert all(PHRASE not in out.decision.state.messages[-1]["content"] for out in fit.development)
    assert len(fit.development) == 180
    assert "close" not in fit.student.evidence.words.classes


def test_with_nothing_to_compare_it_to_no_phrase_is_forced() -> None:
    assert found(spoiled(decisions(60), 60, "close")) == {}

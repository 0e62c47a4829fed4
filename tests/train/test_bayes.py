"""Naive Bayes of what was said: counted, smoothed, heard by the ranker, and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact.actions import ACTION_FEATURES_BEFORE_BAYES, OTHER, action_rows
from ultracore.distillation.students.compact.artefact import load_student, save_student
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.sparse import Linear, Vector, document_of
from ultracore.distillation.students.compact.student import CompactStudent
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.bayes import fit_bayes
from ultracore.distillation.train.fit import fit_compact

TOOLS = [Tool(name, name, {"type": "object", "properties": {}}) for name in ("lock", "pay", "move")]


def row(*columns: int, amount: float = 1.0) -> Vector:
    return Vector(np.array(columns, np.int32), np.full(len(columns), amount, np.float32))


def said(number: int) -> Decision:
    name, words = [("lock", "it was stolen"), ("pay", "take the rent"), ("move", "over to savings")][number % 3]
    messages = [{"role": "user", "content": f"please {words} {'quickly' if number % 2 else 'slowly'}"}]
    return Decision(state=State(messages, TOOLS), calls=(ToolCall(name, {}),), episode=f"e{number}", task=f"t{number}")


def described(student: CompactStudent, state: State) -> tuple[list[str], np.ndarray]:
    transcript = student.evidence.prompts.read(state)
    encoded = student.evidence.encoder.encode(document_of(transcript))
    return action_rows(transcript, Candidates(transcript), encoded, student.evidence)


def test_odds_are_those_of_counts_smoothed_by_one_row_of_any_class() -> None:
    rows = [row(1, 2, amount=0.3), row(1), row(2, 3), row(3)]
    model = fit_bayes(rows, (1, 5), ["a", "a", "b", "b"], np.array([1.0, 1.0, 1.0, 3.0]))
    # words: a has 2 of 1 and 1 of 2; b has 1 of 2 and 4 of 3; 8 in 6 decisions
    mean, everywhere = 8 / 6, np.array([2.0, 2.0, 4.0]) / 8
    expected = [
        np.log((np.array(found) + mean * everywhere) / (sum(found) + mean) / everywhere)
        for found in ([2.0, 1.0, 0.0], [0.0, 1.0, 4.0])
    ]
    assert model.classes == ["a", "b"]
    assert pytest.approx(np.array(expected), abs=1e-6) == model.weights[1:4].T
    assert model.bias == pytest.approx(np.log([2 / 6, 4 / 6]))


def test_what_is_no_word_and_what_was_never_said_tells_nothing() -> None:
    model = fit_bayes([row(0, 2), row(1, 2)], (2, 5), ["a", "b"], np.ones(2))
    assert not model.weights.any()
    silent = fit_bayes([row(0), row(1)], (2, 5), ["a", "b"], np.ones(2))
    assert not silent.weights.any()
    assert not fit_bayes([row(2), row(3)], (2, 5), ["a", "a"], np.ones(2)).weights.any()


def test_the_ranker_hears_of_each_action_and_of_the_best_one() -> None:
    student = fit_compact([said(number) for number in range(60)]).student
    state = said(0).state
    names, features = described(student, state)
    odds = dict(zip(names, features[:, ACTION_FEATURES_BEFORE_BAYES:].tolist(), strict=True))
    assert odds["lock"][1] == 0.0
    assert odds["lock"][0] > max(odds["pay"][0], odds["move"][0])
    for own, behind in odds.values():
        assert behind == pytest.approx(own - odds["lock"][0], abs=1e-5)
    bayes = student.evidence.bayes
    assert bayes is not None
    with_others = Linear([*bayes.classes[1:], OTHER], bayes.weights, bayes.bias)  # "lock" is rare now
    changed = CompactStudent(student.evidence._replace(bayes=with_others), student.rankers, student.memory)
    assert dict(zip(*described(changed, state), strict=True)).keys() == odds.keys()
    asked = student.evidence.encoder.encode(document_of(student.evidence.prompts.read(state)))
    scores = with_others.logits(Vector(asked.columns, np.ones_like(asked.amounts)))
    lock = dict(zip(*described(changed, state), strict=True))["lock"]
    assert lock[ACTION_FEATURES_BEFORE_BAYES] == pytest.approx(scores[-1])


def test_a_student_that_is_loaded_counts_as_the_one_fitted(tmp_path: Path) -> None:
    student = fit_compact([said(number) for number in range(60)]).student
    save_student(student, tmp_path / "model")
    loaded = load_student(tmp_path / "model")
    asked = [said(number).state for number in range(6)]
    for state in asked:
        assert np.array_equal(described(loaded, state)[1], described(student, state)[1])
    assert [p.confidence for p in loaded.propose_batch(asked)] == [p.confidence for p in student.propose_batch(asked)]


def test_a_student_of_an_earlier_release_has_none_and_still_decides(tmp_path: Path) -> None:
    student = fit_compact([said(number) for number in range(60)]).student
    actions = student.rankers.actions
    cut = {"mean": 0, "scale": 0, "w1": 1}
    actions.arrays |= {
        n: np.take(actions.arrays[n], range(ACTION_FEATURES_BEFORE_BAYES), axis=at) for n, at in cut.items()
    }
    student.evidence = student.evidence._replace(bayes=None)
    save_student(student, tmp_path / "model")
    loaded = load_student(tmp_path / "model")
    assert loaded.evidence.bayes is None
    assert [loaded.propose(said(number).state).action for number in range(3)] == ["lock", "pay", "move"]

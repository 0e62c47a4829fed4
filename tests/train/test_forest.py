"""Trees that vote: grown, exported, served, kept, and grown only where they help."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact.actions import ActionEvidence
from ultracore.distillation.students.compact.artefact import load_student, save_student
from ultracore.distillation.students.compact.forest import Forest
from ultracore.distillation.students.compact.sparse import Linear, Vector, document_of
from ultracore.distillation.students.compact.student import CompactStudent
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train import evidence as evidence_module
from ultracore.distillation.train import forest as growing
from ultracore.distillation.train.evidence import votes_help
from ultracore.distillation.train.examples import Example
from ultracore.distillation.train.fit import fit_compact
from ultracore.distillation.train.forest import fit_forest
from ultracore.distillation.train.linear import fit_softmax


def row(*columns: int) -> Vector:
    return Vector(np.array(columns, np.int32), np.ones(len(columns), np.float32))


BOTH_OR_NEITHER = [row(), row(0), row(1), row(0, 1)] * 10
LABELS = ["same", "other", "other", "same"] * 10


def grown(rows: list[Vector] = BOTH_OR_NEITHER, labels: list[str] = LABELS, width: int = 2) -> Forest:
    weights = np.ones(len(rows))
    linear = Linear(sorted(set(labels)), np.ones((width, len(set(labels))), np.float32), np.zeros(2, np.float32))
    forest = fit_forest(rows, labels, weights, linear, seed=0)
    assert forest is not None
    return forest


def test_trees_learn_what_two_facts_mean_together_and_a_linear_model_cannot() -> None:
    forest = grown()
    linear = fit_softmax(BOTH_OR_NEITHER, 2, LABELS, np.ones(40), c=100.0)
    for facts, label in zip(BOTH_OR_NEITHER[:4], LABELS[:4], strict=True):
        assert forest.shares(facts)[label] == pytest.approx(1.0)
        assert linear.softmax(facts)[label] == pytest.approx(0.5, abs=0.05)


def test_shares_are_those_of_the_library_that_grew_the_trees() -> None:
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((120, 30)) < 0.3, rng.random((120, 30)), 0.0).astype(np.float32)
    labels = [f"tool{i}" for i in rng.integers(0, 4, 120)]
    rows = [Vector(np.flatnonzero(line).astype(np.int32), line[line > 0]) for line in dense]
    weights = rng.random(120)
    forest = fit_forest(rows, labels, weights, fit_softmax(rows, 30, labels, weights, c=1.0), seed=3)
    assert forest is not None
    columns = forest.arrays["columns"]
    library = ExtraTreesClassifier(growing.TREES, max_features=growing.TRIED, min_samples_leaf=1, random_state=3)
    library.fit(dense[:, columns], labels, sample_weight=weights)
    asked = [Vector(np.array([2, 5, 28, 40], np.int32), np.array([0.5, 0.1, 0.9, 1.0], np.float32)), *rows[:20]]
    for vector in asked:
        inside = vector.columns < 30
        line = np.zeros(30, np.float32)
        line[vector.columns[inside]] = vector.amounts[inside]
        expected = library.predict_proba(line[None, columns])[0]
        assert [forest.shares(vector)[name] for name in library.classes_] == pytest.approx(expected, abs=1e-6)


def test_only_the_columns_that_the_linear_model_weighs_most_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "FEATURES", 2)
    rows = [row(*(c for c in range(5) if (n >> c) & 1)) for n in range(32)] * 2
    labels = ["a" if n & 1 else "b" for n in range(32)] * 2
    linear = Linear(
        ["a", "b"], np.array([[3, 0], [0, 0], [0.1, 0], [0, 2], [0, 0]], np.float32), np.zeros(2, np.float32)
    )
    forest = fit_forest(rows, labels, np.ones(64), linear, seed=0)
    assert forest is not None
    assert forest.arrays["columns"].tolist() == [0, 3]


def test_where_there_is_nothing_to_ask_about_no_tree_grows() -> None:
    weights, linear = np.ones(4), Linear(["a", "b"], np.ones((2, 2), np.float32), np.zeros(2, np.float32))
    assert fit_forest([row()] * 4, ["a", "a", "a", "b"], weights, linear, seed=0) is None


def said(number: int, rng: random.Random) -> Decision:
    """A switch is pressed where exactly one of two lamps is lit."""
    left, right = rng.random() < 0.5, rng.random() < 0.5
    lamps = {"left": "lit" if left else "dark", "right": "lit" if right else "dark"}
    messages = [
        {"role": "user", "content": "go on"},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "look", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": json.dumps(lamps)},
    ]
    tools = [Tool(name, name, {"type": "object", "properties": {}}) for name in ("look", "press", "wait")]
    call = ToolCall("press" if left != right else "wait", {})
    return Decision(state=State(messages, tools), calls=(call,), episode=f"e{number}", task=f"t{number}")


def test_the_student_grows_trees_where_they_help_and_keeps_them(tmp_path: Path) -> None:
    rng = random.Random(0)
    student = fit_compact([said(number, rng) for number in range(80)]).student
    forest = student.evidence.forest
    assert forest is not None
    asked = [said(100 + number, rng).state for number in range(20)]
    before = [action_votes(student, state) for state in asked]
    save_student(student, tmp_path / "model")
    loaded = load_student(tmp_path / "model")
    assert [action_votes(loaded, state) for state in asked] == before
    assert [p.confidence for p in loaded.propose_batch(asked)] == [p.confidence for p in student.propose_batch(asked)]


def action_votes(student: CompactStudent, state: State) -> dict[str, float]:
    transcript = student.evidence.prompts.read(state)
    assert student.evidence.forest is not None
    return student.evidence.forest.shares(student.evidence.encoder.encode(document_of(transcript)))


@pytest.mark.parametrize(("labels", "helps"), [(LABELS, True), (["other", "same"] * 20, False)])
def test_trees_help_where_they_say_more_of_what_they_have_not_seen(
    labels: list[str], helps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear = fit_softmax(BOTH_OR_NEITHER, 2, LABELS, np.ones(40), c=100.0)
    evidence = ActionEvidence(
        *([None] * 2), words=linear, forest=grown(), **dict.fromkeys(("intents", "ngrams", "learned"))
    )  # type: ignore[arg-type]
    held = [
        Example(
            Decision(state=State([], []), calls=(ToolCall(label, {}),), task=f"t{n}", episode=f"e{n}"),
            *[None] * 2,
            facts,
            frozenset(),
        )  # type: ignore[arg-type]
        for n, (facts, label) in enumerate(zip(BOTH_OR_NEITHER, labels, strict=True))
    ]
    assert votes_help(evidence, held) is helps
    assert votes_help(evidence, []) is False
    assert votes_help(evidence._replace(forest=None), held) is False
    monkeypatch.setattr(evidence_module, "LEAST_GAIN", 1.0)  # they gain log 2
    assert votes_help(evidence, held) is False


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("left", lambda a: np.zeros_like(a)),  # a walk in circles
        ("right", lambda a: a + 10_000),
        ("roots", lambda a: a - 1),
        ("roots", lambda a: a[:0]),
        ("feature", lambda a: np.where(a >= 0, 99, a)),
        ("columns", lambda a: a - 5),
        ("voters", lambda a: a[:-1]),
        ("voters", lambda a: a[::-1]),
        ("votes_class", lambda a: a + 7),
        ("votes_share", lambda a: a[:-1]),
        ("threshold", lambda a: a[:-1]),
    ],
)
def test_arrays_that_make_no_trees_are_refused(name: str, change) -> None:  # type: ignore[no-untyped-def]
    forest = grown()
    with pytest.raises(KeyError, match="do not make trees"):
        Forest(forest.classes, forest.arrays | {name: change(forest.arrays[name])})

"""Several teachers: what they have in common is learned from all of them, their habits from each."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.errors import DataError
from ultracore.distillation.students.compact.artefact import load_student, save_student
from ultracore.distillation.students.compact.student import CompactStudent, standing_in
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.fit import fit_compact

TOOLS = [Tool("check"), Tool("mend"), Tool("report")]
HABITS = {"careful": ("check", "mend", "report"), "brisk": ("mend", "check", "report")}
"""Each teacher does the same in an order of its own."""


def episode(teacher: str, number: int, rng: random.Random) -> list[Decision]:
    said = [{"role": "user", "content": f"The {rng.choice(['pump', 'lamp', 'door'])} {number} of mine is broken"}]
    decisions = []
    for step, name in enumerate(HABITS[teacher]):
        decisions.append(
            Decision(
                state=State(list(said), TOOLS), calls=(ToolCall(name, {}),), episode=f"{teacher}-{number}", task=f"t{number}",
                step=step, teacher=teacher,
            )
        )  # fmt: skip
        said.append({"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": name, "arguments": "{}"}}]})
        said.append({"role": "tool", "tool_call_id": "c", "content": "done"})
    return decisions


def both(careful: int, brisk: int) -> list[Decision]:
    rng = random.Random(0)
    of_careful = [d for number in range(careful) for d in episode("careful", number, rng)]
    return of_careful + [d for number in range(careful, careful + brisk) for d in episode("brisk", number, rng)]


@pytest.fixture(scope="module")
def student() -> CompactStudent:
    return fit_compact(both(20, 30)).student


def first_call(student: CompactStudent, number: int = 900) -> str:
    return student.propose(episode("careful", number, random.Random(1))[0].state).action


def test_by_default_it_stands_in_for_the_most_frequent_teacher(student: CompactStudent) -> None:
    assert student.teacher == "brisk"
    assert first_call(student) == "mend"


def test_each_teacher_is_foretold_by_its_own_habits(student: CompactStudent) -> None:
    assert first_call(student.standing_in_for("careful")) == "check"
    assert first_call(student) == "mend"


def test_each_decision_is_asked_of_the_student_of_its_teacher(student: CompactStudent) -> None:
    rng = random.Random(5)
    unseen = [d for teacher in HABITS for number in (700, 701) for d in episode(teacher, number, rng)]
    asked = zip(standing_in(student, unseen), unseen, strict=True)
    assert [who.propose(d.state).action for who, d in asked] == [d.action for d in unseen]


def test_a_decision_that_names_no_teacher_is_asked_of_the_one_stood_in_for(student: CompactStudent) -> None:
    decision = episode("brisk", 702, random.Random(5))[0]
    (who,) = standing_in(student, [msgspec.structs.replace(decision, teacher="")])
    assert who.teacher == student.teacher == "brisk"


def test_a_context_is_remembered_for_the_teacher_who_was_in_it() -> None:
    rng = random.Random(0)
    again = [d for trial in range(8) for d in episode("careful", trial % 2, rng)]
    states = {d.state.key: d for d in again if d.step == 0}
    student = fit_compact([*again, *both(8, 8)], teacher="careful").student
    mine, others = student, student.standing_in_for("brisk")
    remembered = [d for d in states.values() if mine.recall(d.state) is not None]
    assert remembered
    assert all(others.recall(d.state) is None for d in remembered)


def test_saving_keeps_whom_it_stands_in_for(student: CompactStudent, tmp_path: Path) -> None:
    careful = student.standing_in_for("careful")
    assert save_student(careful, tmp_path / "careful") != save_student(student, tmp_path / "brisk")
    loaded = load_student(tmp_path / "careful")
    assert loaded.teacher == "careful"
    assert first_call(loaded) == "check"


def test_decisions_that_name_no_teacher_are_the_chosen_ones() -> None:
    unnamed = [msgspec.structs.replace(d, teacher="") for d in both(20, 0)]
    student = fit_compact([*unnamed, *both(20, 30)[60:]], teacher="careful").student
    assert student.teacher == "careful"
    assert first_call(student) == "check"


def test_of_one_teacher_nothing_depends_on_its_name(student: CompactStudent, tmp_path: Path) -> None:
    named = fit_compact(both(12, 0)).student
    unnamed = fit_compact([msgspec.structs.replace(d, teacher="") for d in both(12, 0)]).student
    assert named.teacher == ""
    assert save_student(named, tmp_path / "named") == save_student(unnamed, tmp_path / "unnamed")
    assert named.standing_in_for("anybody").teacher == ""


def test_a_teacher_who_decided_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="no decision is by nobody; the traces name brisk, careful"):
        fit_compact(both(3, 3), teacher="nobody")


def test_thresholds_are_developed_on_the_decisions_of_one_teacher() -> None:
    fit = fit_compact(both(8, 8))
    mine = fit.development_for("careful")
    assert {out.decision.teacher for out in mine} == {"careful"}
    assert 2 * len(mine) == len(fit.development)

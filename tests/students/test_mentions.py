"""What stands around a value tells arguments of one kind apart, in whichever turn it was said."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ultracore.distillation.agreement import strict
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact.arguments import ARGUMENT_FEATURES, ARGUMENT_FEATURES_BEFORE_MENTIONS
from ultracore.distillation.students.compact.artefact import load_student
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.mentions import mentions_of
from ultracore.distillation.students.compact.ranker import Ranker
from ultracore.distillation.students.compact.slots import slots_of
from ultracore.distillation.students.compact.sources import Sources
from ultracore.distillation.students.compact.sparse import document_of
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.fit import FitResult, fit_compact

ABOUT = {"pickup_date": "First day of the hire", "dropoff_date": "Last day until it is back"}
SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string", "description": about} for name, about in ABOUT.items()},
    "required": ["pickup_date", "dropoff_date"],
}
RENT = Tool("rent", "Rent a car", SCHEMA)
ASKED = {"pickup_date": "When do you need it?", "dropoff_date": "Until when do you keep it?"}
FROM = ["I need it on March {}", "From March {} please", "I collect it on March {}"]
UNTIL = ["I keep it until March {}", "I bring it back on March {}", "Return is March {}"]


def rental(number: int, rng: random.Random) -> Decision:
    """Both days are said, in either order and in turns of their own, sometimes only as an answer."""
    days = dict(zip(ASKED, rng.sample(range(10, 29), 2), strict=True))
    messages: list[dict[str, Any]] = [{"role": "user", "content": "I want a car"}]
    for name in rng.sample(list(ASKED), 2):
        said = "March {}" if rng.random() < 0.4 else rng.choice(FROM if name == "pickup_date" else UNTIL)
        messages.append({"role": "assistant", "content": ASKED[name]})
        messages.append({"role": "user", "content": said.format(days[name])})
    call = ToolCall("rent", {name: f"2024-03-{day}" for name, day in days.items()})
    return Decision(state=State(messages, [RENT]), calls=(call,), episode=f"e{number}", task=f"t{number}")


@pytest.fixture(scope="module")
def fit() -> FitResult:
    rng = random.Random(3)
    return fit_compact([rental(number, rng) for number in range(120)], seed=0)


def test_the_words_around_two_dates_tell_which_is_which(fit: FitResult) -> None:
    rng = random.Random(4)
    unseen = [rental(number, rng) for number in range(60)]
    agreed = [bool(strict(fit.student.propose(d.state).calls, d.calls, [RENT])) for d in unseen]
    assert sum(agreed) / len(agreed) > 0.9


def test_a_loaded_student_reads_as_the_fitted_one_does(fit: FitResult, tmp_path: Path) -> None:
    fit.student.save(tmp_path / "model")
    loaded, rng = load_student(tmp_path / "model"), random.Random(5)
    states = [rental(number, rng).state for number in range(10)]
    assert [loaded.propose(state) for state in states] == [fit.student.propose(state) for state in states]


def test_a_value_is_heard_for_each_argument_apart_and_not_where_nobody_said_it(fit: FitResult) -> None:
    state = rental(1, random.Random(6)).state
    evidence, transcript = fit.student.evidence, Transcript(state)
    sources = Sources(Candidates(transcript), evidence.encoder.encode(document_of(transcript)), evidence.learned)
    slots = slots_of(RENT)[:2]
    said = list(mentions_of(transcript))
    apart = [[sources.heard(slot.name, key) for key in said] for slot in slots]
    assert apart[0] != apart[1]
    assert apart == [[sources.heard(slot.name, key) for key in said] for slot in slots]
    assert sources.heard(slots[0].name, "never said") is None


def test_what_stands_around_a_new_argument_is_read_as_around_its_relative(fit: FitResult) -> None:
    properties = {
        name: {"type": "string", "description": about} for name, about in zip("ab", ABOUT.values(), strict=True)
    }
    lease = Tool("lease", "Rent a car", {"type": "object", "properties": properties | {"c": {"type": "string"}}})
    transcript = Transcript(rental(1, random.Random(6)).state)
    learned, encoder = fit.student.evidence.learned, fit.student.evidence.encoder
    sources = Sources(Candidates(transcript), encoder.encode(document_of(transcript)), learned)
    assert [sources.spoken_name(slot) for slot in slots_of(lease)] == ["pickup_date", "dropoff_date", "c"]
    assert [sources.spoken_name(slot) for slot in slots_of(RENT)] == list(ABOUT)


def test_a_mention_knows_its_age_its_words_and_the_question_before_it() -> None:
    messages = [
        {"role": "user", "content": "until May 7th, 2024"},
        {"role": "assistant", "content": "Which room?"},
        {"role": "user", "content": "room 12"},
    ]
    found = mentions_of(Transcript(State(messages, [])))
    (date,), (room,) = found["2024-05-07"], found["12"]
    assert (date.age, room.age) == (1, 0)
    assert "0<until" in date.around
    assert "?which" in room.around
    assert "?which" not in date.around
    assert "which" in room.words
    assert "until" in date.words


def test_a_ranker_of_an_earlier_release_reads_the_columns_that_it_knows() -> None:
    rng = np.random.default_rng(0)
    old = ARGUMENT_FEATURES_BEFORE_MENTIONS
    assert old < ARGUMENT_FEATURES
    ones = np.ones(old, np.float32)
    ranker = Ranker(
        {
            "mean": 0 * ones, "scale": ones, "w1": rng.normal(size=(2, old, 3)), "b1": np.zeros((2, 3)),
            "w2": np.ones((2, 3)), "b2": np.zeros(2),
        }
    )  # fmt: skip
    rows = rng.normal(size=(4, ARGUMENT_FEATURES)).astype(np.float32)
    assert ranker.scores(rows).tolist() == ranker.scores(rows[:, :old]).tolist()


def test_a_name_said_some_turns_ago_is_found_whatever_its_spelling() -> None:
    tool = Tool("visit", "Visit a town", {"type": "object", "properties": {"town": {"type": "string"}}})
    rng = random.Random(6)

    def visit(number: int) -> Decision:
        town = "".join(rng.choice("bdfgklmnprst") + rng.choice("aeiou") for _ in range(3))
        messages = [
            {"role": "user", "content": f"show me the town of {town} please"},
            {"role": "assistant", "content": "Shall I?"},
            {"role": "user", "content": "yes"},
        ]
        call = ToolCall("visit", {"town": town})
        return Decision(state=State(messages, [tool]), calls=(call,), episode=f"e{number}", task=f"t{number}")

    student = fit_compact([visit(number) for number in range(60)], seed=0).student
    unseen = [visit(number) for number in range(60, 80)]
    agreed = [bool(strict(student.propose(d.state).calls, d.calls, [tool])) for d in unseen]
    assert sum(agreed) / len(agreed) > 0.9

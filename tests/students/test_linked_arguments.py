"""Arguments that belong together: filled in the order in which they are written, with what stands beside them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact import filling
from ultracore.distillation.students.compact.arguments import Question
from ultracore.distillation.students.compact.artefact import load_student
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.knowledge import Knowledge
from ultracore.distillation.students.compact.order import Writing, in_order
from ultracore.distillation.students.compact.ranker import Ranker
from ultracore.distillation.students.compact.records import Records
from ultracore.distillation.students.compact.slots import ABSENT, slots_of
from ultracore.distillation.students.compact.sources import Learned, Sources
from ultracore.distillation.students.compact.sparse import Vector
from ultracore.distillation.students.compact.student import CompactStudent, Rankers
from ultracore.distillation.students.compact.tables import ARGUMENT_FEATURES_BEFORE_PARAPHRASES
from ultracore.distillation.students.compact.text import spans_of
from ultracore.distillation.students.compact.transcript import Transcript, key_of
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.fit import fit_compact

MOVE = Tool(
    "move_trip",
    "Move the legs of a trip",
    {
        "type": "object",
        "properties": {
            "class": {"type": "string", "enum": ["first", "second"]},
            "legs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"day": {"type": "string"}, "train": {"type": "string"}},
                    "required": ["day", "train"],
                },
            },
            "trip": {"type": "string"},
        },
        "required": ["class", "legs", "trip"],
    },
)
LOOK = Tool("get_trip", "Look a trip up", {"type": "object", "properties": {"trip": {"type": "string"}}})
WRITTEN = {
    "trip": "TR123",
    "class": "first",
    "legs": [{"day": "2024-05-20", "train": "IC100"}, {"day": "2024-05-20", "train": "IC200"}],
}


def moved(number: int, rng: random.Random) -> Decision:
    """Two legs, often on one day, of one of two trips that were looked up."""
    messages: list[dict[str, Any]] = []
    trips = {}
    for trip in (f"TR{rng.randrange(100, 999)}" for _ in range(2)):
        days = sorted(f"2024-05-{rng.randrange(20, 23)}" for _ in range(2))
        trips[trip] = [{"day": day, "train": f"IC{rng.randrange(100, 999)}"} for day in days]
        call = {"id": trip, "function": {"name": "get_trip", "arguments": json.dumps({"trip": trip})}}
        result = json.dumps({"trip": trip, "legs": trips[trip], "made": "2024-04-01"})
        messages += [
            {"role": "user", "content": f"What about {trip}?"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": trip, "content": result},
            {"role": "assistant", "content": "It is booked."},
        ]
    chosen, kind = rng.choice(list(trips)), rng.choice(["first", "second"])
    messages.append({"role": "user", "content": f"Please put {chosen} into {kind} class."})
    call = ToolCall("move_trip", {"trip": chosen, "class": kind, "legs": trips[chosen]})
    return Decision(state=State(messages, [MOVE, LOOK]), calls=(call,), episode=f"e{number}", task=f"t{number}")


def test_slots_are_filled_as_they_are_written_and_led_by_what_elements_do_not_share() -> None:
    writing = Writing()
    writing.add("move_trip", [WRITTEN])
    writing.add("move_trip/legs", WRITTEN["legs"])  # type: ignore[arg-type]
    slots = in_order(slots_of(MOVE), "move_trip", writing.orders())
    assert [slot.name for slot in slots] == ["trip", "class", "legs"]
    assert [(item.name, item.repeats) for item in slots[-1].items] == [("train", True), ("day", False)]

    writing.add("move_trip/legs", [{"day": "a", "train": "IC1"}, {"day": "b", "train": "IC1"}] * 2)
    assert writing.orders()["move_trip/legs"] == ["day", "train"]  # trains recur as well: as they are written, mostly


def test_a_tool_never_called_is_filled_in_the_order_of_its_schema() -> None:
    assert in_order(slots_of(MOVE), "move_trip", {"get_trip": ["trip"]}) == slots_of(MOVE)
    (trip, *others) = in_order(slots_of(MOVE), "move_trip", {"move_trip": ["trip"]})
    assert [trip.name, *(slot.name for slot in others)] == ["trip", "class", "legs"]  # what was never written is last


def test_who_writes_in_any_order_is_followed_in_none() -> None:
    writing = Writing()
    for number in range(20):
        names = ["trip", "class"] if number % 5 else ["class", "trip"]
        writing.add("move_trip", [dict.fromkeys(names, "x")])
        writing.add("get_trip", [{"trip": "x"}])
    assert writing.orders() == {"get_trip": ["trip"]}


def test_what_stands_together_is_a_record_and_the_next_one_follows_it() -> None:
    records = Records([{"trip": "T1", "legs": [{"a": "X", "n": 1}, {"a": "Y", "n": 2}]}], "", (), key_of)
    assert [record.keys for record in records.all] == [{"T1"}, {"X", "1"}, {"Y", "2"}]
    assert records.all[1].named == {("a", "X"), ("n", "1")}
    assert records.of["Y"] == [2]
    assert records.after == {1: 2}
    assert records.neighbours(2) == records.all[1:]

    text = "IC100 leaves on 2024-05-20. IC200 does not.\nAnd 2024-05-21?"
    said = Records([], text, tuple(spans_of(text)), key_of).all
    assert ["IC100" in said[0].keys, "2024-05-20" in said[0].keys, "IC200" in said[0].keys] == [True, True, False]
    assert [record.follows for record in said] == [-1, 0, 1]


def test_a_leg_is_akin_to_the_one_that_it_goes_on_from() -> None:
    result = {
        "trip": "TR1",
        "legs": [{"train": "IC1", "from": "A", "to": "B"}, {"train": "IC2", "from": "B", "to": "C"}],
    }
    other = [{"train": "IC3", "from": "A", "to": "B"}]
    asked = {"id": "1", "function": {"name": "find", "arguments": '{"day": "2024-05-21"}'}}
    messages: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": "0", "content": json.dumps(result)},
        {"role": "assistant", "tool_calls": [asked]},
        {"role": "tool", "tool_call_id": "1", "content": json.dumps(other)},
    ]
    kinship = Candidates(Transcript(State(messages, [MOVE]))).kinship

    def figures(keys: list[str | None], chosen: list[str], taken: list[str], *, leads: bool) -> np.ndarray[Any, Any]:
        return np.array(kinship.figures(keys, chosen, taken, leads=leads)).reshape(len(keys), -1)

    beside, shared, follows, asked_for, ends, same, other_names, early, left = range(9)
    next_leg = figures(["IC2", "IC3", None], ["TR1", "IC1"], ["IC1"], leads=True)
    assert next_leg[:, follows].tolist() == [1, 0, 0]
    assert next_leg[:, same].tolist() == [0, 0.5, 0]  # another train between the same places
    assert next_leg[:, other_names].tolist() == [0.25, 0, 0]  # begins where the last one ended
    assert next_leg[:, early].tolist() == [0, 0, 0]
    assert next_leg[:, left].tolist() == [0.25] * 3
    assert next_leg[:, ends].tolist() == [0] * 3
    assert figures(["IC2"], ["TR1"], [], leads=True)[0, early] == 1  # before its turn
    assert figures([None], ["IC1", "IC2"], ["IC1", "IC2"], leads=True)[0, [ends, left]].tolist() == [1, 0]

    day = figures(["2024-05-21", "A", "C"], ["IC2", "IC3"], [], leads=False)
    assert day[:, asked_for].tolist() == [1, 0, 0]
    assert day[:, beside].tolist() == [0, 1, 0]
    assert day[:, shared].tolist() == [0, 0.5, 0.5]


def test_a_list_ends_where_it_is_likeliest_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Going on is a little likelier than ending each time, and yet nothing long is likely."""
    columns = {"mean": 1, "scale": 1, "w1": (1, 1, 1), "b1": (1, 1), "w2": (1, 1), "b2": 1}
    ranker = Ranker({name: np.ones(shape, np.float32) for name, shape in columns.items()} | {"mean": np.zeros(1)})
    tool = Tool("f", parameters={"properties": {"names": {"type": "array", "items": {"type": "string"}}}})

    def question(slot: Any, sources: Any, before: Any, taken: Any = ()) -> Question:
        values = [name for name in "abc" if name not in taken]
        scores = [0.2] * len(values) + [0.0 if values else 0.5]
        return Question([*values, ABSENT], [*values, ""], np.array(scores, np.float32)[:, None])

    monkeypatch.setattr(filling, "question_for", question)
    pool = Candidates(Transcript(State([], [tool])))
    nothing = Vector(np.zeros(0, np.int32), np.zeros(0, np.float32))
    sources = Sources(pool, nothing, Learned(Knowledge(), {}, None))
    ((_, filled),) = filling.fill_all(slots_of(tool), sources, ranker)
    share = 1 / (1 + 3 * np.exp(0.2))
    assert filled.value is ABSENT
    assert filled.confidence == pytest.approx(share, rel=1e-4)


@pytest.fixture(scope="module")
def student() -> CompactStudent:
    rng = random.Random(0)
    return fit_compact([moved(number, rng) for number in range(80)], seed=0).student


def test_elements_that_share_a_value_are_filled_from_the_object_that_they_stand_in(
    student: CompactStudent, tmp_path: Path
) -> None:
    rng = random.Random(1)
    new = [moved(number, rng) for number in range(100, 130)]
    same_day = [d for d in new if len({leg["day"] for leg in (d.calls[0].arguments or {})["legs"]}) == 1]
    assert len(same_day) >= 5
    for some, least in ((new, 0.8), (same_day, 0.6)):
        right = sum(student.propose(d.state).calls == d.calls for d in some)
        assert right >= least * len(some), f"{right} of {len(some)}"
    student.save(tmp_path)
    loaded = load_student(tmp_path)
    assert [loaded.propose(d.state) for d in new] == [student.propose(d.state) for d in new]


def test_a_student_from_before_is_loaded_and_fills_as_it_learned_to(student: CompactStudent, tmp_path: Path) -> None:
    new, width = student.rankers.arguments, ARGUMENT_FEATURES_BEFORE_PARAPHRASES
    assert new is not None
    cut = {name: new.arrays[name][..., :width] for name in ("mean", "scale")} | {"w1": new.arrays["w1"][:, :width]}
    learned = student.evidence.learned
    knowledge = msgspec.structs.replace(learned.knowledge, orders={})
    old = CompactStudent(
        student.evidence._replace(learned=learned._replace(knowledge=knowledge)),
        Rankers(
            student.rankers.actions,
            Ranker({**new.arrays, **cut}),
            student.rankers.calls,
            student.rankers.gate,
            student.rankers.trust,
        ),
        student.memory,
    )
    old.save(tmp_path)
    loaded = load_student(tmp_path)
    assert loaded.evidence.learned.knowledge.slots_of(MOVE) == slots_of(MOVE)
    decision = moved(200, random.Random(2))
    assert loaded.propose(decision.state) == old.propose(decision.state)
    assert student.evidence.learned.knowledge.slots_of(MOVE) != slots_of(MOVE)

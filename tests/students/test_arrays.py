"""Lists and arrays where the schema changed, elements lack something, or a result is huge."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact import filling, transcript
from ultracore.distillation.students.compact.arguments import Question, question_for
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.kinship import Kinship
from ultracore.distillation.students.compact.knowledge import Knowledge
from ultracore.distillation.students.compact.lru import LruCache
from ultracore.distillation.students.compact.order import SHARED, Writing, in_order
from ultracore.distillation.students.compact.ranker import Ranker
from ultracore.distillation.students.compact.records import MAX_RECORDS, MAX_VALUES, Records
from ultracore.distillation.students.compact.slots import ABSENT, slots_of
from ultracore.distillation.students.compact.sources import Learned, Sources
from ultracore.distillation.students.compact.sparse import Vector
from ultracore.distillation.students.compact.tables import KINSHIP_AT
from ultracore.distillation.students.compact.text import spans_of
from ultracore.distillation.students.compact.transcript import Transcript, key_of
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.evidence import _mark
from ultracore.distillation.train.fit import fit_compact

WORD = {"type": "string"}


def tool(required: list[str] | None = None, name: str = "book", **properties: Any) -> Tool:
    return Tool(name, parameters={"type": "object", "properties": properties, "required": required or []})


def array(required: list[str], *names: str) -> dict[str, Any]:
    items = {"type": "object", "properties": dict.fromkeys(names, WORD), "required": required}
    return {"type": "array", "items": items}


@pytest.mark.parametrize(
    "now",
    [
        WORD,
        {"type": "array", "items": WORD},
        {"type": "array", "items": {"type": "object"}},
        {"type": "array", "items": {"type": "object", "properties": {"stops": {"type": "array"}}}},
    ],
)
def test_what_was_an_array_when_it_was_learned_may_be_something_else_by_now(now: dict[str, Any]) -> None:
    knowledge = Knowledge(orders={"book": ["legs"], "book/legs": ["from", "to"]})
    assert knowledge.slots_of(tool(legs=now)) == slots_of(tool(legs=now))


def test_a_tool_may_be_named_like_the_argument_of_another() -> None:
    writing = Writing()
    writing.add("search/flights", [{"from": "Rome"}])
    writing.add("search", [{"flights": "all"}])
    knowledge = Knowledge(orders=writing.orders())
    assert knowledge.slots_of(tool(name="search", flights=WORD)) == slots_of(tool(name="search", flights=WORD))


def test_a_log_in_which_an_array_became_a_list_is_learned() -> None:
    old, new = (
        tool(["legs"], legs=array(["from", "to"], "to", "from")),
        tool(["legs"], legs={**WORD, "type": "array", "items": WORD}),
    )
    decisions = []
    for number in range(24):
        a, b = ("Rome", "Oslo", "Bern")[number % 3], ("Riga", "Cork")[number % 2]
        legs: list[Any] = [{"from": a, "to": b}] if number < 12 else [a, b]
        state = State([{"role": "user", "content": f"From {a} to {b}"}], [old if number < 12 else new])
        decisions.append(
            Decision(state=state, calls=(ToolCall("book", {"legs": legs}),), episode=f"{number}", task=f"{number}")
        )
    student = fit_compact(decisions, seed=0).student
    for decision in decisions[10:14]:
        (call,) = student.propose(decision.state).calls
        kinds = {type(leg) for leg in (call.arguments or {})["legs"]}
        assert kinds == {type(leg) for leg in (decision.calls[0].arguments or {})["legs"]}


def led_by(elements: list[dict[str, str]], required: list[str], offered: list[str]) -> list[tuple[str, bool]]:
    writing = Writing()
    for _ in range(20):
        writing.add("book/bags", elements, required)
    slots = in_order(slots_of(tool(bags=array(required, *offered))), "book", writing.orders())
    return [(item.name, item.repeats) for item in slots[0].items]


def test_an_array_is_led_by_what_every_element_has() -> None:
    bags = [{"note": "big", "type": "bag"}, {"type": "bag"}]
    assert led_by(bags, ["type"], ["type", "note"]) == [("type", True), ("note", False)]
    assert led_by(bags, [], ["note", "type"]) == [("type", True), ("note", False)]
    named = [{"type": "bag", "id": "1"}, {"type": "bag", "id": "2"}]
    assert led_by(named, ["type"], ["type", "id"]) == [("id", True), ("type", False)]
    assert led_by([*named, {"type": "box"}], ["type"], ["type", "id"]) == [("type", True), ("id", False)]
    assert led_by([*named, {"type": "box"}], ["type", "id"], ["type", "id"])[0] == ("id", True), (
        "what is required leads"
    )


def test_what_leads_is_chosen_from_what_is_offered() -> None:
    bags = tool(bags=array(["type"], "note", "type"))
    (slot,) = in_order(slots_of(bags), "book", {"book/bags": ["id", "note", "type"]})
    assert [(item.name, item.repeats) for item in slot.items] == [("type", True), ("note", False)]


def test_one_mistake_in_many_arrays_changes_no_order() -> None:
    writing = Writing()
    for number in range(2 * int(1 / SHARED)):
        writing.add("book/legs", [{"train": f"{number}", "day": "1"}, {"train": f"{number}b", "day": "2"}], ["train"])
    before = writing.orders()
    writing.add("book/legs", [{"train": "1", "day": "1"}, {"train": "1", "day": "2"}], ["train"])
    assert writing.orders() == before == {"book/legs": ["train", "day"]}
    for _ in range(4):
        writing.add("book/legs", [{"train": "1", "day": "1"}, {"train": "1", "day": "2"}], ["train", "day"])
    assert writing.orders() == {"book/legs": ["day", "train"]}


def fill(asked: Tool, steps: list[dict[Any, float]], monkeypatch: pytest.MonkeyPatch) -> filling.Filled:
    """Fill the only slot of a tool from questions whose alternatives have these shares."""

    def question(slot: Any, sources: Any, before: Any, taken: Any = ()) -> Question:
        shares = steps[min(len(taken), len(steps) - 1)]
        keys = ["" if value is ABSENT else key_of(value) for value in shares]
        return Question(list(shares), keys, np.log(np.array([[share] for share in shares.values()], np.float32)))

    class Given(Ranker):
        def scores(self, rows: Any) -> Any:
            return rows[:, 0]

    monkeypatch.setattr(filling, "question_for", question)
    columns = {"mean": 1, "scale": 1, "w1": (1, 1, 1), "b1": (1, 1), "w2": (1, 1), "b2": 1}
    ranker = Given({name: np.ones(shape, np.float32) for name, shape in columns.items()})
    ((_, filled),) = filling.fill_all(slots_of(asked), sources_of(State([], [asked])), ranker)
    return filled


def sources_of(state: State) -> Sources:
    nothing = Vector(np.zeros(0, np.int32), np.zeros(0, np.float32))
    return Sources(Candidates(Transcript(state)), nothing, Learned(Knowledge(), {}, None))


UNLIKELY = [{"a": 0.6, ABSENT: 0.4}, {"b": 0.55, ABSENT: 0.45}, {"c": 0.2, ABSENT: 0.8}]
NAMES = {"type": "array", "items": WORD}


@pytest.mark.parametrize(("names", "filled"), [(NAMES, ["a"]), (array([], "x"), [{"x": "a"}])])
def test_what_is_required_is_not_left_out(names: Any, filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fill(tool(names=names), UNLIKELY, monkeypatch).value is ABSENT
    assert fill(tool(["names"], names=names), UNLIKELY, monkeypatch).value == filled
    at_once = [{"a": 0.3, ABSENT: 0.7}, {ABSENT: 1.0}]
    assert fill(tool(["names"], names=names), at_once, monkeypatch) == (filled, 1.0)
    assert fill(tool(["names"], names=names), [{}], monkeypatch) == (ABSENT, 0.0)


def test_an_empty_word_is_a_value_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[dict[Any, float]] = [{"": 0.05, ABSENT: 0.35, "a": 0.6}, {"": 0.05, ABSENT: 0.9, "b": 0.05}]
    filled = fill(tool(names=NAMES), steps, monkeypatch)
    assert filled.value == ["a"]
    assert filled.confidence == pytest.approx(0.6 * 0.9, rel=1e-5)

    schema = {"type": "array", "items": {"type": "string", "enum": ["", "a", "b"]}}
    state = State([{"role": "user", "content": "a"}], [tool(["names"], names=schema)])
    (slot,) = slots_of(state.tools[0])
    sources = sources_of(state)
    assert question_for(slot, sources, []).values == ["", "a", "b"]
    rest = question_for(slot, sources, [], [""])
    assert rest.values == ["a", "b", ABSENT]
    assert question_for(slot, sources, [], ["a"]).values == ["", "b", ABSENT]
    both = question_for(slot, sources, [], ["a"])
    assert _mark(both, "").right.tolist() == [1, 0, 0]
    assert _mark(both, ABSENT).right.tolist() == [0, 0, 1]

    result = json.dumps([{"name": "a", "middle": ""}])
    kinship = Kinship(Transcript(State([{"role": "tool", "tool_call_id": "0", "content": result}], [])).turns)
    empty, end = np.array(kinship.figures(["", None], ["a"], [], leads=False)).reshape(2, -1)
    assert (empty[0], end[0]) == (1, 0)
    state.messages.append({"role": "tool", "tool_call_id": "0", "content": result})
    told = question_for(slot, sources_of(state), [], ["a"])
    assert told.values == ["", "b", ABSENT]
    assert told.rows[:, KINSHIP_AT.start].tolist() == [1, 0, 0], "the end stands beside nothing"


def test_the_records_of_a_message_are_bounded() -> None:
    wide = {f"k{number}": f"v{number}" for number in range(3 * MAX_VALUES)}
    found = Records([wide, {"next": "x"}], "", (), key_of).all
    assert [len(record.keys) for record in found] == [MAX_VALUES]
    table = [{f"k{column}": f"v{row}-{column}" for column in range(100)} for row in range(MAX_RECORDS)]
    found = Records([table], "", (), key_of).all
    assert sum(len(record.named) for record in found) == MAX_VALUES

    text = "\n".join(f"Train IC{number} leaves." for number in range(100, 100 + 2 * MAX_RECORDS))
    both = Records([[{"n": number} for number in range(2 * MAX_RECORDS)]], text, tuple(spans_of(text)), key_of)
    assert sum(not record.named for record in both.all) == MAX_RECORDS
    assert sum(bool(record.named) for record in both.all) == MAX_RECORDS, "sentences leave room for objects"
    assert both.all[-1].follows == len(both.all) - 2
    assert both.all[MAX_RECORDS].follows == -1


@pytest.mark.parametrize(
    "content", [[dict.fromkeys("abcdefghij", "x")] * 300, {f"k{n}": f"v{n}" for n in range(20000)}]
)
def test_records_count_in_the_size_of_a_message(content: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = LruCache[tuple[Any, ...], transcript.Turn](transcript.MAX_BYTES)
    monkeypatch.setattr(transcript, "_remembered", cache)
    message = {"role": "tool", "tool_call_id": "0", "content": json.dumps(content)}
    tracemalloc.start()
    try:
        (turn,) = Transcript(State([message], [])).turns
        assert turn.records.of
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.5 * taken < cache.size < 2.5 * taken

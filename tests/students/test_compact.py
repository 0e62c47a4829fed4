"""The compact student on small worlds of our own: what it must learn, and what it must never do."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ultracore.distillation.agreement import strict
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.errors import ArtefactError, DataError
from ultracore.distillation.students.base import Student
from ultracore.distillation.students.compact import sparse, transcript
from ultracore.distillation.students.compact.artefact import load_student, save_student
from ultracore.distillation.students.compact.days import Calendar
from ultracore.distillation.students.compact.memory import ContextMemory
from ultracore.distillation.students.compact.slots import ABSENT, assemble, coerce, slots_of, value_at
from ultracore.distillation.students.compact.student import CompactStudent
from ultracore.distillation.students.compact.text import spans_of
from ultracore.distillation.students.schema import is_valid
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.fit import FitResult, fit_compact

ORDER = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
REFUND = {
    "type": "object",
    "properties": {"order_id": {"type": "string"}, "reason": {"type": "string", "enum": ["broken", "late"]}},
    "required": ["order_id", "reason"],
}
TOOLS = [Tool("get_order", "Look an order up", ORDER), Tool("refund_order", "Pay an order back", REFUND)]


def episode(number: int, rng: random.Random) -> list[Decision]:
    """A customer asks for an order; the teacher looks it up, then pays back what the words mean."""
    order = f"W{rng.randrange(1000, 9999)}"
    late = rng.random() < 0.5
    wish = (
        rng.choice(["it never came", "still waiting for it"])
        if late
        else rng.choice(["it is in pieces", "the glass cracked"])
    )
    messages: list[dict[str, Any]] = [{"role": "user", "content": f"My order {order}: {wish}, please pay it back"}]
    decisions = []
    results = {"get_order": {"order_id": order, "status": "shipped"}, "refund_order": {"ok": True}}
    calls = [
        ToolCall("get_order", {"order_id": order}),
        ToolCall("refund_order", {"order_id": order, "reason": "late" if late else "broken"}),
    ]
    for step, call in enumerate(calls):
        state = State([*messages], TOOLS)
        decisions.append(Decision(state=state, calls=(call,), episode=f"e{number}", task=f"t{number}", step=step))
        text = json.dumps(call.arguments)
        messages.append(
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": call.name, "arguments": text}}]}
        )
        messages.append({"role": "tool", "tool_call_id": "c", "content": json.dumps(results[call.name])})
    state = State([*messages], TOOLS)
    return [*decisions, Decision(state=state, reply="Done.", episode=f"e{number}", task=f"t{number}", step=2)]


def world(n: int, seed: int = 0) -> list[Decision]:
    rng = random.Random(seed)
    return [decision for number in range(n) for decision in episode(number, rng)]


@pytest.fixture(scope="module")
def fit() -> FitResult:
    return fit_compact(world(60), seed=1)


def test_it_learns_to_look_up_to_mean_and_to_stop(fit: FitResult) -> None:
    unseen = world(40, seed=9)
    agreed = [strict(fit.student.propose(d.state).calls, d.calls, TOOLS) for d in unseen]
    assert sum(map(bool, agreed)) / len(agreed) > 0.9
    assert isinstance(fit.student, Student)


def test_a_confidence_is_not_a_constant() -> None:
    flips = random.Random(3)
    decisions = [
        msgspec.structs.replace(d, calls=(), reply="Let me think.") if flips.random() < 0.1 else d for d in world(60)
    ]
    student = fit_compact(decisions, seed=1).student
    assert len({round(student.propose(d.state).confidence, 3) for d in world(20, seed=9)}) > 3


def test_every_training_decision_has_a_proposal_from_a_student_without_its_task(fit: FitResult) -> None:
    assert len(fit.development) == 180
    assert [held.decision.episode for held in fit.development] == [d.episode for d in world(60)]


def test_equal_seeds_give_equal_students_and_saving_changes_nothing(fit: FitResult, tmp_path: Path) -> None:
    again = fit_compact(world(60), seed=1)
    first, second = save_student(fit.student, tmp_path / "a"), save_student(again.student, tmp_path / "b")
    assert first == second
    loaded = load_student(tmp_path / "a")
    assert loaded.model_id == first
    states = [decision.state for decision in world(15, seed=5)]
    assert loaded.propose_batch(states) == [fit.student.propose(state) for state in states]


def test_equal_states_of_a_batch_are_answered_once_and_others_for_themselves(
    fit: FitResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (decision.state for decision in world(1, seed=5)[:2])
    bare = State(first.messages, [Tool(tool.name) for tool in TOOLS])
    asked: list[State] = []
    propose = CompactStudent.propose
    monkeypatch.setattr(
        CompactStudent, "propose", lambda student, state: asked.append(state) or propose(student, state)
    )
    states = [first, second, State(json.loads(json.dumps(first.messages)), TOOLS), bare, second]
    assert fit.student.propose_batch(states) == [propose(fit.student, state) for state in states]
    assert asked == [first, second, bare]


def forget() -> None:
    """As a process that has read nothing yet."""
    transcript._remembered.clear()
    sparse.phrases_of.cache_clear()


@given(st.lists(st.integers(0, 29), min_size=1, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_dialogue_read_turn_by_turn_beside_others_is_answered_as_one_read_anew(
    fit: FitResult, places: list[int], rng: random.Random
) -> None:
    states = [decision.state for decision in world(10, seed=7)]
    asked = [states[place] for place in places]
    warm = [fit.student.propose(state) for state in asked]
    for state, answer in rng.sample(list(zip(asked, warm, strict=True)), len(asked)):
        forget()
        copied = msgspec.json.decode(msgspec.json.encode(state), type=State)  # no object in common
        assert fit.student.propose(copied) == answer


def test_what_was_asked_before_does_not_change_an_answer(fit: FitResult) -> None:
    states = [decision.state for decision in world(5, seed=6)]
    forward = [fit.student.propose(state) for state in states]
    assert [fit.student.propose(state) for state in reversed(states)] == forward[::-1]


def test_only_offered_tools_and_valid_arguments(fit: FitResult) -> None:
    asked = world(10, seed=7)
    for decision in asked:
        less = State(decision.state.messages, TOOLS[:1])
        proposal = fit.student.propose(less)
        assert all(call.name == "get_order" for call in proposal.calls)
        other = Tool("get_order", parameters={"type": "object", "properties": {"order_id": {"type": "integer"}}})
        for call in fit.student.propose(State(decision.state.messages, [other])).calls:
            assert is_valid(other, call.arguments or {})


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": None}],
        [{"role": "system", "content": "x"}],
        [{"role": "user", "content": "Где мой заказ W1234?"}],
        [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "x", "arguments": "{broken"}}]}],
        [{"role": "tool", "tool_call_id": "nobody", "content": "[" * 500}],
        [{"role": "user", "content": "W" + "1" * 50000}],
        [{"role": "context", "content": {"a": [1, {"b": None}], "c": "d"}}],
    ],
)
def test_odd_conversations_get_an_answer(fit: FitResult, messages: list[dict[str, Any]]) -> None:
    proposal = fit.student.propose(State(messages, TOOLS))
    assert 0.0 <= proposal.confidence <= 1.0
    assert fit.student.propose(State(messages, [])).calls == ()


def test_serving_imports_no_scikit_learn(fit: FitResult, tmp_path: Path) -> None:
    save_student(fit.student, tmp_path / "model")
    code = (
        "import sys; from pathlib import Path; from ultracore.distillation.students.compact.artefact import load_student; "
        "from ultracore.distillation.decisions import State; from ultracore.distillation.tools import Tool; "
        f"s = load_student(Path({str(tmp_path / 'model')!r})); "
        "s.propose(State([{'role': 'user', 'content': 'order W1234 is late'}], [Tool('get_order')])); "
        "sys.exit('sklearn' in sys.modules or 'scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_to_learn_from_is_said() -> None:
    with pytest.raises(DataError, match="no decisions"):
        fit_compact([])
    with pytest.raises(DataError):
        fit_compact(episode(0, random.Random(0)))


# ---- the artefact (M6)


def test_every_altered_byte_is_refused(fit: FitResult, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_student(fit.student, folder)
    rng = random.Random(0)
    for name in ("config.json", "weights.safetensors", "manifest.json"):
        path = folder / name
        original = path.read_bytes()
        for _ in range(25):
            place = rng.randrange(len(original))
            path.write_bytes(original[:place] + bytes([original[place] ^ 1]) + original[place + 1 :])
            try:
                changed = load_student(folder).model_id
            except ArtefactError:
                continue
            assert name == "manifest.json", f"{name} altered at {place} was loaded"
            assert changed != fit.student.model_id
        path.write_bytes(original)


def test_links_missing_files_and_strangers_are_refused(fit: FitResult, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_student(fit.student, folder)
    config = folder / "config.json"
    elsewhere = tmp_path / "config.json"
    config.rename(elsewhere)
    with pytest.raises(ArtefactError, match="missing"):
        load_student(folder)
    config.symlink_to(elsewhere)
    with pytest.raises(ArtefactError, match="not a plain file"):
        load_student(folder)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"]["../../evil.pkl"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ArtefactError, match="must name exactly"):
        load_student(folder)
    with pytest.raises(ArtefactError, match="a model folder"):
        load_student(tmp_path / "nowhere")


# ---- the parts


def test_slots_flatten_nested_objects_and_take_arrays_apart() -> None:
    schema = {
        "properties": {
            "to": {"type": "object", "properties": {"iban": {"type": "string"}}, "required": ["iban"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "rows": {
                "type": "array",
                "items": {"type": "object", "properties": {"kind": {"enum": ["a", "b"]}, "n": {"type": "integer"}}},
            },
            "any": {"type": "object"},
        },
        "required": ["to"],
    }
    slots = {slot.key: slot for slot in slots_of(Tool("f", parameters=schema))}
    assert {key: slot.kind for key, slot in slots.items()} == {
        "f/to/iban": "scalar", "f/tags": "list", "f/rows": "objects", "f/any": "whole",
    }  # fmt: skip
    assert slots["f/to/iban"].required
    assert [(part.name, part.repeats, part.allowed) for part in slots["f/rows"].items] == [
        ("kind", True, ("a", "b")), ("n", False, ()),
    ]  # fmt: skip
    filled = assemble([(slots["f/to/iban"], "X"), (slots["f/tags"], ABSENT)])
    assert filled == {"to": {"iban": "X"}}
    assert value_at(filled, ("to", "iban")) == "X"
    assert value_at(filled, ("to", "name")) is ABSENT


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [("12", "integer", 12), (78750, "string", "78750"), ("1,200", "number", 1200), ("x", "number", ABSENT), (True, "integer", ABSENT), ("TRUE", "boolean", True), (2.5, "integer", ABSENT)],
)  # fmt: skip
def test_values_take_the_declared_type(value: Any, kind: str, expected: Any) -> None:
    assert coerce(value, {"type": kind}) == expected


def test_spans_are_shapes_of_writing_in_any_domain() -> None:
    found = {
        (span.kind, span.value)
        for span in spans_of('Mail a.b@c.example, "two words", #A-12, 1,250.5 on May 3rd', Calendar("2025-01"))
    }
    assert {
        ("email", "a.b@c.example"),
        ("quoted", "two words"),
        ("code", "#A-12"),
        ("number", 1250.5),
        ("date", "2025-05-03"),
    } <= found


def test_a_memory_is_as_sure_as_such_memories_were_right() -> None:
    def seen(query: str, tool: str, n: int, weight: float = 1.0) -> list[Decision]:
        state = State([{"role": "user", "content": query}], TOOLS)
        calls = (
            ToolCall(tool, {"order_id": query, "reason": "late"} if tool == "refund_order" else {"order_id": query}),
        )
        return [Decision(state=state, calls=calls, episode=f"{query}{i}", task=query, weight=weight) for i in range(n)]

    decisions = (
        [d for q in "abcdefgh" for d in seen(q, "get_order", 4)]
        + seen("x", "get_order", 3)
        + seen("x", "refund_order", 1)
    )
    memory = ContextMemory.build(decisions)
    found = memory.recall(seen("a", "get_order", 1)[0].state)
    assert found is not None
    assert (found.source, found.calls) == ("cache", (ToolCall("get_order", {"order_id": "a"}),))
    assert 0.9 < memory.reliability["3/3"] < 1.0
    assert memory.recall(seen("new", "get_order", 1)[0].state) is None
    merged = ContextMemory.build([d for q in "abcdefgh" for d in seen(q, "get_order", 1, weight=4.0)])
    assert merged.decisions["".join(list(merged.decisions)[:1])][2] == 4, "a merged row was seen as often as it weighs"


def test_a_hostile_schema_makes_no_call_valid(tmp_path: Path) -> None:
    for schema in ({"$ref": (tmp_path / "x").as_uri()}, {"type": "nonsense"}, {"pattern": 5}):
        assert not is_valid(Tool("f", parameters=schema), {})


def test_student_without_arguments_still_chooses() -> None:
    tools = [Tool("a"), Tool("b")]
    rows = [
        Decision(
            state=State([{"role": "context", "content": {"query": f"{word} {n}"}}], tools),
            calls=(ToolCall(name, {}),), episode=f"{n}", task=f"{n}",
        )
        for n, (word, name) in enumerate([("open it", "a"), ("close it", "b")] * 40)
    ]  # fmt: skip
    student: CompactStudent = fit_compact(rows).student
    assert student.propose(State([{"role": "context", "content": {"query": "close it 99"}}], tools)).action == "b"


def test_the_surest_half_is_right_more_often_than_the_other() -> None:
    rng = random.Random(3)
    rows = world(60, seed=2)
    noisy = [  # for some wishes the teacher's reason is a coin toss, which the student must notice
        msgspec.structs.replace(
            d, calls=(ToolCall(d.action, {**(d.calls[0].arguments or {}), "reason": rng.choice(["broken", "late"])}),)
        )
        if d.action == "refund_order"
        else d
        for d in rows
    ]
    held = sorted(fit_compact(noisy).development, key=lambda out: out.proposal.confidence)
    right = [bool(strict(out.proposal.calls, out.decision.calls, TOOLS)) for out in held]
    half = len(right) // 2
    assert sum(right[half:]) > sum(right[:half]) + 10


def test_memories_that_contradict_one_another_are_not_trusted() -> None:
    def seen(query: str, tool: str, n: int) -> Decision:
        state = State([{"role": "user", "content": query}], TOOLS)
        return Decision(state=state, calls=(ToolCall(tool, {}),), episode=f"{query}{tool}{n}", task=query)

    rows = [seen(q, tool, n) for q in "abcdefgh" for n, tool in enumerate(["get_order", "refund_order"])]
    assert ContextMemory.build(rows).reliability["1/1"] < 0.1


def test_an_episode_that_goes_in_circles_is_learned_as_one_decision() -> None:
    ask = {"role": "user", "content": "Where is W1234?"}
    again = {"role": "assistant", "tool_calls": [{"function": {"name": "get_order", "arguments": '{"order_id":"W1"}'}}]}
    poll = ToolCall("get_order", {"order_id": "W1"})
    circling = [
        Decision(state=State([ask, *[again] * n], TOOLS), calls=(poll,), episode="c", task="c", step=n)
        for n in range(9)
    ]
    learned = [out.decision for out in fit_compact([*world(8), *circling]).development]
    weights = [decision.weight for decision in learned if decision.state.in_circles]
    assert weights == pytest.approx([1 / 6] * 6)

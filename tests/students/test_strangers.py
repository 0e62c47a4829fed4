"""Tools and arguments that training never saw: their descriptions, their names and the teacher's habits must help."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from ultracore.distillation.agreement import strict
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.knowledge import Knowledge, SlotKnowledge
from ultracore.distillation.students.compact.matching import Matcher, name_words
from ultracore.distillation.students.compact.plans import Plan
from ultracore.distillation.students.compact.slots import slots_of
from ultracore.distillation.students.compact.sources import Learned, Sources
from ultracore.distillation.students.compact.sparse import Vector
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.fit import fit_compact
from ultracore.distillation.train.strangers import hidden_tools

THINGS = [
    ("parcel", "carrier"), ("flight", "airline"), ("recipe", "kitchen"), ("garden", "plant"), ("museum", "painter"),
    ("train", "station"), ("concert", "singer"), ("hotel", "resort"), ("doctor", "clinic"), ("movie", "director"),
    ("planet", "orbit"), ("bridge", "river"), ("castle", "king"), ("school", "teacher"), ("engine", "motor"),
    ("market", "trader"), ("forest", "ranger"), ("island", "harbour"), ("novel", "author"), ("stadium", "club"),
]  # fmt: skip
NAMES = ["Adastra", "Belmont", "Corvus", "Dunmore", "Elgin", "Farrow", "Galen", "Hythe", "Iona", "Jarrow"]


def tool_for(thing: str, part: str) -> Tool:
    schema = {"type": "object", "properties": {part: {"type": "string", "description": f"The {part} to look for"}}}
    return Tool(f"find{thing.capitalize()}", f"Find a {thing} for somebody", {**schema, "required": [part]})


def asked(things: list[tuple[str, str]], number: int, rng: random.Random) -> Decision:
    thing, part = rng.choice(things)
    offered = [*rng.sample([pair for pair in things if pair[0] != thing], 3), (thing, part)]
    rng.shuffle(offered)
    name = rng.choice(NAMES) + str(rng.randrange(10, 99))
    text = rng.choice(["Please find a {} with {} {}", "I need the {} whose {} is {}"]).format(thing, part, name)
    state = State([{"role": "user", "content": text}], [tool_for(*pair) for pair in offered])
    call = ToolCall(f"find{thing.capitalize()}", {part: name})
    return Decision(state=state, calls=(call,), episode=f"e{number}", task=f"t{number}")


def test_a_tool_never_seen_is_called_with_its_argument() -> None:
    rng = random.Random(0)
    student = fit_compact([asked(THINGS[:14], i, rng) for i in range(70)], seed=0).student
    unseen = [asked(THINGS[14:], i, rng) for i in range(40)]
    found = [bool(strict(student.propose(d.state).calls, d.calls, d.state.tools)) for d in unseen]
    assert sum(found) / len(found) > 0.8


def test_names_are_words_however_they_are_joined() -> None:
    assert name_words("getOrder_details") == name_words("get_order_details") == ["get", "order", "details"]


def test_a_description_that_fits_better_is_more_similar() -> None:
    tools = [Tool("a", "Book a table in a restaurant"), Tool("b", "Weather forecast for a city")]
    transcript = Transcript(State([{"role": "user", "content": "Will the weather be fine?"}], tools))
    fit = Matcher({}).similarities(transcript)
    assert fit["b"] > fit["a"] == 0.0
    bent = Transcript(State([{"role": "user", "content": "forecasting"}], tools))
    assert Matcher({}).similarities(bent)["b"] > 0, "beginnings of words count"
    assert Matcher({}).similarities(Transcript(State([], tools))) == {"a": 0.0, "b": 0.0}


def test_rare_words_count_more() -> None:
    tools = [Tool("a", "order"), Tool("b", "invoice")]
    transcript = Transcript(State([{"role": "user", "content": "order invoice"}], tools))
    fit = Matcher({"order": 1.0, "invoice": 5.0}).similarities(transcript)
    assert fit["b"] > fit["a"]


def test_how_tools_fit_is_remembered_until_somebody_says_more_or_other_tools_are_offered() -> None:
    said = {"role": "user", "content": "cancel my order"}
    answered = [{"role": "assistant", "content": "Which invoice?"}]
    tool, other = Tool("cancel", "Cancel an order"), Tool("cancel", "Look up an invoice")
    matcher = Matcher({})
    first = matcher.match(Transcript(State([said], [tool])))
    assert matcher.match(Transcript(State([dict(said)], [tool]))) is first
    states = [State([said], [other]), State([said, *answered], [other]), State([said, *answered, said], [tool])]
    for transcript in map(Transcript, states):
        found, alone = matcher.match(transcript), Matcher({}).match(transcript)
        assert (found.similarities, found.overlaps("cancel")) == (alone.similarities, alone.overlaps("cancel"))
    assert len({matcher.match(Transcript(state)).overlaps("cancel") for state in states}) == 3


def test_a_slot_never_seen_borrows_from_its_name_then_from_its_type() -> None:
    rng = random.Random(1)
    decisions = [asked(THINGS[:4], i, rng) for i in range(20)]
    from ultracore.distillation.train.examples import prepare

    pools = [example.pool for example in prepare(decisions).examples]
    knowledge = Knowledge.count(decisions, pools, {}, [])
    (known,) = slots_of(tool_for("flight", "airline"))
    (same_name,) = slots_of(Tool("plane", parameters={"properties": {"airline": {"type": "string", "enum": ["A"]}}}))
    (same_type,) = slots_of(Tool("plane", parameters={"properties": {"pilot": {"type": "string"}}}))
    (strange,) = slots_of(Tool("f", parameters={"properties": {"n": {"type": "integer"}}}))
    assert [knowledge.strangeness(slot) for slot in (known, same_name, same_type, strange)] == [0, 1, 2, 3]
    assert knowledge.of(same_name).gold == knowledge.of(known).gold != {}
    assert knowledge.of(same_name).constants == knowledge.of(known).constants
    everything = sum(knowledge.slots[key].calls for key in knowledge.slots)
    assert knowledge.of(same_type).calls == everything == 20
    assert knowledge.of(same_type).constants == {}, "values of another argument are no constants of this one"
    assert knowledge.of(strange) == SlotKnowledge()


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("with airline Corvus", "Corvus", (1.0, 0.0, 0.0)),
        ("Corvus, please", "Corvus", (0.0, 0.0, 0.0)),
        ("look for Corvus", "Corvus", (0.0, 0.5, 0.0)),
        ("any carrier", "look", (0.0, 0.0, 1.0)),
    ],
)
def test_words_beside_a_value_say_what_it_is(text: str, key: str, expected: tuple[float, ...]) -> None:
    (slot,) = slots_of(tool_for("flight", "airline"))
    plan, nothing = Plan(slot, Knowledge()), Vector(np.zeros(0, np.int32), np.zeros(0, np.float32))
    pool = Candidates(Transcript(State([{"role": "user", "content": text}], [])))
    echo = Sources(pool, nothing, Learned(Knowledge(), {}, None)).echo(key)
    assert (*plan.beside(echo.beside), plan.habit(key)[3]) == expected


def test_tools_are_hidden_only_where_the_tools_on_offer_vary() -> None:
    rng = random.Random(2)
    varied = [asked(THINGS[:14], i, rng) for i in range(40)]
    hidden, called = hidden_tools(varied, 0), {d.action for d in varied}
    assert hidden < called
    assert len(hidden) == len(called) // 2
    assert hidden == hidden_tools(varied, 0) != hidden_tools(varied, 1)
    everything = [tool_for(*pair) for pair in THINGS[:14]]
    same = [msgspec.structs.replace(d, state=State(d.state.messages, everything)) for d in varied]
    assert hidden_tools(same, 0) == frozenset()


def test_tools_that_are_always_offered_together_are_hidden_together() -> None:
    rng = random.Random(4)
    services = [[Tool(f"{verb}_{number}") for verb in ("find", "book")] for number in range(8)]
    decisions = []
    for number in range(80):
        chosen = rng.sample(services, 3)
        tool = rng.choice([tool for service in chosen for tool in service])
        state = State([{"role": "user", "content": "go"}], [tool for service in chosen for tool in service])
        decisions.append(
            Decision(state=state, calls=(ToolCall(tool.name, {}),), episode=f"e{number}", task=f"t{number}")
        )
    hidden = hidden_tools(decisions, 0)
    assert len(hidden) == 8
    assert {name.partition("_")[2] for name in hidden if name.startswith("find")} == {
        name.partition("_")[2] for name in hidden if name.startswith("book")
    }

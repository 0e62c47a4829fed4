"""New tools and arguments are read as those seen in training that do and mean the same."""

from __future__ import annotations

import math
import random
from typing import Any

from ultracore.distillation.agreement import strict
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact.actions import ACTION_FEATURES_BEFORE_BAYES, action_rows
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.knowledge import Knowledge, _ordered, likewise
from ultracore.distillation.students.compact.plans import Plan
from ultracore.distillation.students.compact.relatives import CLOSE, LEAST_OF_SLOTS, LEAST_OF_TOOLS, MOST, Relatives
from ultracore.distillation.students.compact.slots import slots_of
from ultracore.distillation.students.compact.sparse import document_of
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.examples import prepare
from ultracore.distillation.train.fit import fit_compact

TOWNS = ["Arden", "Brook", "Colne", "Derwent", "Esk", "Frome"]
KINDS = ["ferry", "tram", "coach", "glider", "sledge", "canoe", "barge", "rocket"]


def tools_of(kind: str) -> list[Tool]:
    """Two tools of one service: what it is called differs from service to service, what it does, hardly."""
    town = {"stop": {"type": "string", "description": f"Town where the {kind} ends"}}
    schema = {"type": "object", "properties": town, "required": list(town)}
    return [
        Tool(f"{kind}_find", f"Find the times of a {kind}", schema),
        Tool(f"{kind}_buy", f"Buy a ticket for a {kind}", schema),
    ]


def journey(number: int, kinds: list[str], rng: random.Random) -> Decision:
    """Times are looked up first; the ticket is bought once they are known, whatever is said."""
    kind, town = rng.choice(kinds), rng.choice(TOWNS)
    find, buy = tools_of(kind)
    offered = [find, buy, *tools_of(rng.choice([k for k in KINDS if k != kind]))]
    rng.shuffle(offered)
    messages = [{"role": "user", "content": f"by {kind} to {town}"}]
    if again := rng.random() < 0.5:
        arguments = f'{{"stop": "{town}"}}'
        messages += [
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": find.name, "arguments": arguments}}]},
            {"role": "tool", "tool_call_id": "1", "content": '{"leaves": "08:15"}'},
            {"role": "assistant", "content": "It leaves at a quarter past eight."},
            {"role": "user", "content": "fine"},
        ]
    call = ToolCall((buy if again else find).name, {"stop": town})
    return Decision(state=State(messages, offered), calls=(call,), episode=f"e{number}", task=f"t{number}")


def test_nothing_is_like_what_is_of_another_kind_or_shares_no_word() -> None:
    relatives = Relatives({"a": (["town"], ["where", "it", "ends"], "text"), "b": (["town"], [], "number")}, 0.3)
    assert [r.key for r in relatives.near((["stop"], ["town", "where", "it", "ends"], "text"))] == ["a"]
    assert relatives.near((["town"], [], "other")) == []
    assert relatives.near((["colour"], [], "text")) == []
    assert relatives.rarity("ends") > relatives.rarity("town")
    assert relatives.rarity("never") == 1.0


def test_an_argument_never_seen_borrows_from_its_relatives() -> None:
    rng = random.Random(1)
    decisions = [journey(number, KINDS[:4], rng) for number in range(30)]
    knowledge = Knowledge.count(decisions, [example.pool for example in prepare(decisions).examples], {}, [])
    (new,) = slots_of(tools_of("rocket")[0])
    (old,) = slots_of(next(tool for d in decisions for tool in d.state.tools if tool.name == d.action))
    (other,) = slots_of(Tool("x", parameters={"properties": {"n": {"type": "integer"}}}))
    assert [knowledge.strangeness(slot) < 1 for slot in (old, new, other)] == [True, True, False]
    assert new.key not in knowledge.slots
    assert set(knowledge.of(new).constants) <= set(TOWNS)
    assert knowledge.of(new).constants
    assert knowledge.relatives_of(tools_of("rocket")[1])[0].key.endswith("_buy")


def test_what_others_must_give_may_be_left_out_where_it_is_optional() -> None:
    rng = random.Random(1)
    decisions = [journey(number, KINDS[:4], rng) for number in range(30)]
    knowledge = Knowledge.count(decisions, [example.pool for example in prepare(decisions).examples], {}, [])
    needed = tools_of("rocket")[0]
    (wanted,) = slots_of(needed)
    (free,) = slots_of(Tool("may", parameters={"properties": dict(needed.properties)}))
    assert (knowledge.of(wanted).presence > 0.9, knowledge.of(free).presence) == (True, 0.5)
    assert knowledge.of(free).constants.keys() >= knowledge.of(wanted).constants.keys() > set()
    assert [Plan(slot, knowledge).may_be_absent for slot in (wanted, free)] == [False, True]


def offers(kind: str) -> list[Tool]:
    """Who finds may say how many seats, who buys takes the seat that was found."""
    seats = {"seats": {"type": "string", "description": "Number of seats"}}
    berth = {"berth": {"type": "string", "description": f"Place in the {kind}"}}
    return [
        Tool(f"{kind}_find", f"Find a {kind}", {"type": "object", "properties": seats}),
        Tool(f"{kind}_buy", f"Buy a {kind}", {"type": "object", "properties": seats | berth}),
    ]


def bought(number: int, kind: str, *, again: bool) -> Decision:
    find, buy = offers(kind)
    messages = [{"role": "user", "content": "two seats please"}]
    if again:
        messages += [
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": find.name, "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": f'[{{"berth": "B{number}", "deck": "D{number}"}}]'},
            {"role": "user", "content": "fine"},
        ]
    call = ToolCall(buy.name, {"seats": "2", "berth": f"B{number}"}) if again else ToolCall(find.name, {})
    return Decision(state=State(messages, [find, buy]), calls=(call,), episode=f"e{number}", task=f"t{number}")


def learned_of(kinds: list[str]) -> Knowledge:
    cases = [(kind, again) for kind in kinds for again in (False, True) for _ in range(6)]
    decisions = [bought(number, kind, again=again) for number, (kind, again) in enumerate(cases)]
    return Knowledge.count(decisions, [example.pool for example in prepare(decisions).examples], {}, [])


def test_of_arguments_that_mean_the_same_those_of_tools_that_do_the_same_count() -> None:
    knowledge = learned_of(KINDS[:2])
    found, bought, _ = [slot for tool in offers("rocket") for slot in slots_of(tool)]
    assert [r.key.rpartition("_")[2] for r in knowledge.relatives(bought)] == ["buy/seats", "buy/seats"]
    assert (knowledge.of(found).presence < 0.1, knowledge.of(bought).calls) == (True, 0), "of those always given"


LEGS = {"type": "array", "items": {"type": "object", "properties": {"stop": {"type": "string"}}}}
TRIP = {"type": "object", "properties": {"town": {"type": "string"}, "legs": LEGS}}


def trips(names: list[str]) -> Knowledge:
    arguments = {"town": "Arden", "legs": [{"stop": "Brook"}]}
    decisions = [
        Decision(
            state=State([{"role": "user", "content": "go"}], [Tool(name, parameters=TRIP)]),
            calls=(ToolCall(name, arguments),),
            episode=name,
            task=name,
        )
        for name in names
    ]
    return Knowledge.count(decisions, [example.pool for example in prepare(decisions).examples], {}, [])


def test_a_tool_is_known_by_its_whole_name_whatever_slashes_it_has() -> None:
    knowledge = trips(["sea/book_ferry", "sea/find_glider"])
    town, legs = slots_of(Tool("sea/book_rocket", parameters=TRIP))
    for slot in (town, *legs.items):
        assert [r.key.split("/")[1] for r in knowledge.relatives(slot)] == ["book_ferry"]
    assert Knowledge().owner("fly/town") == "fly", "a model from before"


def test_slots_outlive_their_being_forgotten_by_another_thread() -> None:
    class Forgetful(dict[Any, Any]):
        """Another thread clears it whenever somebody has looked or written."""

        def __contains__(self, key: object) -> bool:
            found = super().__contains__(key)
            self.clear()
            return found

        def __setitem__(self, key: Any, value: Any) -> None:
            super().__setitem__(key, value)
            self.clear()

    tool = Tool("fly", parameters=TRIP)
    learned = Knowledge()
    _ordered[learned] = Forgetful()
    assert learned.slots_of(tool) == slots_of(tool)
    _ordered[learned] = found = Forgetful()
    dict.__setitem__(found, id(slots_of(tool)), (slots_of(tool), slots_of(tool)))
    assert learned.slots_of(tool) == slots_of(tool)


def test_a_result_that_bears_an_arguments_name_is_its_source_whatever_the_tool() -> None:
    knowledge = learned_of(KINDS[:2])
    plan = Plan(slots_of(offers("rocket")[1])[1], knowledge)
    own, other = (plan.source(f"result:rocket_find/[]/{name}").prior for name in ("berth", "deck"))
    assert own > 0.5 > other == 0.0
    assert plan.source("result:tram_find/[]/berth").prior > 0.0
    assert (likewise("result:a/[]/berth", "berth"), likewise("call:a/berth", "berth")) == ("result:=", "call:=")
    assert likewise("user:berth", "berth") == likewise("result:a/berth/deck", "berth") == ""


def test_a_service_never_seen_is_used_in_the_order_of_its_relatives() -> None:
    rng = random.Random(0)
    student = fit_compact([journey(number, KINDS[:6], rng) for number in range(150)], seed=0).student
    unseen = [journey(number, KINDS[6:], rng) for number in range(40)]
    agreed = [bool(strict(student.propose(d.state).calls, d.calls, d.state.tools)) for d in unseen]
    assert sum(agreed) / len(agreed) > 0.8
    evidence, favoured = student.evidence, []
    for decision in unseen:
        transcript = evidence.prompts.read(decision.state)
        row = evidence.encoder.encode(document_of(transcript))
        names, rows = action_rows(transcript, Candidates(transcript), row, evidence)
        said = dict(zip(names, rows, strict=True))
        own = [said[tool.name] for tool in tools_of(decision.action.partition("_")[0])]
        assert all(LEAST_OF_TOOLS <= row[ACTION_FEATURES_BEFORE_BAYES - 1] < 1.0 for row in own), "how much alike"
        log_share = [float(row[0]) for row in own]
        favoured.append((log_share[1] > log_share[0]) == decision.action.endswith("_buy"))
    assert sum(favoured) / len(favoured) > 0.9, "the linear model knows which of the two comes first"


def test_a_conversation_reads_the_same_under_other_names() -> None:
    state = next(d.state for n in range(20) if len((d := journey(n, KINDS, random.Random(n))).state.messages) > 1)
    transcript = Transcript(state)
    assert transcript.since_user == []
    (called,) = [name for name in transcript.actions if name.endswith("_find")]
    other = transcript.renamed({called: "tram_find"})
    assert other.actions == [{called: "tram_find"}.get(action, action) for action in transcript.actions]
    assert called in transcript.actions
    assert (other.user_text, other.tools) == (transcript.user_text, transcript.tools)


def test_the_index_finds_what_comparing_with_each_finds() -> None:
    rng, words = random.Random(1), [f"w{n}" for n in range(30)]
    things = {
        f"k{n:03}": (rng.sample(words, 2), sorted(rng.sample(words, 4)), rng.choice(("s", "t"))) for n in range(200)
    }
    relatives = Relatives(things, LEAST_OF_SLOTS)
    bags = {key: relatives._bag(thing) for key, thing in things.items()}
    for thing in list(things.values())[:50]:
        bag = relatives._bag(thing)
        alike = [
            (-math.fsum(amount * bags[key].get(word, 0.0) for word, amount in bag.items()), key)
            for key, other in things.items()
            if other[2] == thing[2]
        ]
        least = max(LEAST_OF_SLOTS, CLOSE * -min(alike)[0])
        assert [(-r.likeness, r.key) for r in relatives.near(thing)] == [
            a for a in sorted(alike)[:MOST] if -a[0] >= least
        ]

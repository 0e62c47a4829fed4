"""Arguments that are spoken of although nobody says their value."""

from __future__ import annotations

import random

import pytest

from ultracore.distillation.agreement import strict
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact.topics import Talk, truth_of
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.fit import fit_compact

ASKED = [{"role": "user", "content": "play it"}, {"role": "assistant", "content": "Please confirm, without subtitles?"}]


@pytest.mark.parametrize(
    ("said", "sign"),
    [
        ("No, with subtitles", 1.0),
        ("no subtitles please", -1.0),
        ("I don't want to see any subtitles", 1.0),  # too far away to be sure
        ("I don't need a subtitle", -1.0),
        ("yes", -1.0),  # as it was put to them
    ],
)
def test_the_newest_mention_affirms_or_denies(said: str, sign: float) -> None:
    talk = Talk(Transcript(State([*ASKED, {"role": "user", "content": said}], [])))
    assert talk.of({"subt": 1.0}, {})[-1] == sign
    assert talk.of({"wifi": 1.0}, {})[-1] == 0.0


def test_shares_tell_who_spoke_of_it_and_when() -> None:
    messages = [
        {"role": "user", "content": "a room with wifi"},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "find", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "{}"},
        {"role": "user", "content": "a good rating matters"},
        {"role": "assistant", "content": "For how many guests?"},
        {"role": "user", "content": "two"},
    ]
    talk = Talk(Transcript(State(messages, [])))
    assert talk.of({"wifi": 1.0}, {"gues": 3.0, "numb": 1.0}) == (0.0, 0.0, 0.0, 0.0, 0.75, 0.0, 0.0)
    assert talk.of({"rati": 1.0, "star": 1.0}, {}) == (0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 1.0)


def test_truths_are_told_by_their_text() -> None:
    assert [truth_of(key) for key in ("True", "no", "maybe", "")] == [1.0, -1.0, 0.0, 0.0]


FLAGS = [
    "garden",
    "balcony",
    "sauna",
    "parking",
    "breakfast",
    "heating",
    "lift",
    "kitchen",
    "terrace",
    "piano",
    "laundry",
    "fireplace",
    "cinema",
    "library",
    "workshop",
    "cellar",
    "gym",
    "office",
    "attic",
    "pool",
]


def house(number: int, flags: list[str], rng: random.Random) -> Decision:
    """A flag of a tool is given only where it is spoken of."""
    flag, offered = rng.choice(flags), [*rng.sample(FLAGS, 2)]
    schema = {"type": "object", "properties": {f"has_{flag}": {"type": "boolean"}}}
    tools = [Tool(f"rent_{flag}", "Rent a house", schema), *(Tool(f"sell_{f}", "Sell something else") for f in offered)]
    how = rng.randrange(3)
    text = "please rent a house" + ("", f" with a {flag}", f" without a {flag}")[how]
    arguments = ({}, {f"has_{flag}": True}, {f"has_{flag}": False})[how]
    call = ToolCall(f"rent_{flag}", arguments)
    return Decision(
        state=State([{"role": "user", "content": text}], tools), calls=(call,), episode=f"e{number}", task=f"t{number}"
    )


def test_a_flag_of_a_tool_never_seen_is_given_where_it_is_spoken_of() -> None:
    rng = random.Random(0)
    student = fit_compact([house(number, FLAGS[:14], rng) for number in range(120)], seed=0).student
    unseen = [house(number, FLAGS[14:], rng) for number in range(40)]
    agreed = [bool(strict(student.propose(d.state).calls, d.calls, d.state.tools)) for d in unseen]
    assert sum(agreed) / len(agreed) > 0.8

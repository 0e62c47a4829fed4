"""Values that were said in small letters, in short, or by the agent alone, are found as they are to be written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ultracore.distillation.decisions import State
from ultracore.distillation.students.compact.arguments import Question, question_for
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.knowledge import Knowledge, SlotKnowledge
from ultracore.distillation.students.compact.slots import Slot
from ultracore.distillation.students.compact.sources import Learned, Sources
from ultracore.distillation.students.compact.sparse import Vector
from ultracore.distillation.students.compact.spelling import (
    begins_with_capitals,
    has_capitals_throughout,
    shortened,
    titled,
)
from ultracore.distillation.students.compact.tagger import Spoken
from ultracore.distillation.students.compact.transcript import Transcript

SLOT = Slot("ride/place", "ride", ("place",), "scalar", True, {"type": "string"})
NOTHING = Vector(np.zeros(0, np.int32), np.zeros(0, np.float32))


class Heard(Sources):
    """Sources whose tagger found exactly these stretches."""

    found: tuple[str, ...] = ()

    def spoken(self, slot: Slot) -> list[Spoken]:
        return [Spoken(slot.key, value, 0, 0.9) for value in self.found]


def asked(messages: list[dict[str, Any]], found: list[str], shapes: dict[str, int]) -> Question:
    counts = SlotKnowledge(
        10, 10, 10, constants={"San Diego": ("San Diego", 3, 3), "Reno": ("Reno", 3, 3)}, shapes=shapes
    )
    sources = Heard(
        Candidates(Transcript(State(messages, []))), NOTHING, Learned(Knowledge({SLOT.key: counts}), {}, None)
    )
    sources.found = tuple(found)
    return question_for(SLOT, sources, [])


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def test_a_name_said_in_small_letters_is_offered_with_capitals() -> None:
    assert "Los Altos" in asked(user("in los altos"), ["los altos"], {"Aa Aa": 9, "a": 1}).keys


def test_where_values_are_plain_words_it_is_left_as_it_was_said() -> None:
    assert "Los Altos" not in asked(user("in los altos"), ["los altos"], {"Aa Aa": 1, "a": 9}).keys


def test_both_ways_to_write_it_were_heard() -> None:
    question = asked(user("in los altos"), ["los altos"], {"Aa Aa": 9})
    rows = dict(zip(question.keys, question.rows, strict=True))
    heard = np.isclose(rows["Los Altos"], 0.9)
    assert heard.any()
    assert (heard == np.isclose(rows["los altos"], 0.9)).all()
    assert not np.isclose(rows["Reno"], 0.9).any()


def test_initials_speak_for_a_value() -> None:
    question = asked(user("a ride in sd please"), [], {"Aa Aa": 9})
    diego, reno = (question.rows[question.keys.index(key)] for key in ("San Diego", "Reno"))
    unsaid = asked(user("a ride please"), [], {"Aa Aa": 9})
    before, other = (unsaid.rows[unsaid.keys.index(key)] for key in ("San Diego", "Reno"))
    assert ((diego == 1.0) & (before == 0.0)).sum() >= 2
    assert not ((reno == 1.0) & (other == 0.0)).any()


@pytest.mark.parametrize(
    ("reply", "is_offered"), [("To 12 Main Street, with AB-1234?", True), ("Shall I book it?", False)]
)
def test_what_a_result_holds_and_the_agent_names_is_offered(reply: str, is_offered: bool) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    messages = [
        *user("an event with code AB-1234"),
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": '{"where": "12 Main Street", "price": "30 dollars"}'},
        {"role": "assistant", "content": reply},
        *user("yes"),
    ]
    question = asked(messages, [], {"Aa": 9})
    assert ("12 Main Street" in question.keys) is is_offered
    assert "30 dollars" not in question.keys
    assert "AB-1234" not in question.keys, "the user's own words have sources of their own"


def test_every_word_begins_with_a_capital_and_goes_on_as_it_did() -> None:
    assert titled("giants vs NYC") == "Giants Vs NYC"
    assert titled("o'hare field 2b") == "O'hare Field 2B"


def test_no_value_says_nothing_of_capitals() -> None:
    assert not begins_with_capitals({})


@pytest.mark.parametrize(
    ("value", "said", "expected"),
    [
        ("san diego", {"sd"}, True),
        ("las vegas", {"vegas"}, True),
        ("philadelphia", {"phila"}, True),
        ("philadelphia", {"phi"}, False),
        ("san diego", {"san"}, False),
        ("reno", {"r"}, False),
        ("san diego", set(), False),
    ],
)
def test_shortened(value: str, said: set[str], expected: bool) -> None:
    assert shortened(value.split()).isdisjoint(said) is not expected


def test_names_have_capitals_throughout_or_keep_the_users_spelling() -> None:
    cities, films = {"Aa Aa": 20, "Aa": 30}, {"Aa Aa": 15, "Aa a Aa": 5, "Aa": 30}
    assert has_capitals_throughout(cities)
    assert not has_capitals_throughout(films)
    assert not has_capitals_throughout({"Aa": 30})

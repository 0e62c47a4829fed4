"""Candidates are gathered message by message; here leaf by leaf, as they are defined."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ultracore.distillation.decisions import State
from ultracore.distillation.students.compact import transcript
from ultracore.distillation.students.compact.arguments import question_for
from ultracore.distillation.students.compact.availability import AVAILABILITY_FEATURES, LIKELY, availability
from ultracore.distillation.students.compact.candidates import STATIC_FEATURES, Candidates
from ultracore.distillation.students.compact.knowledge import Knowledge, SlotKnowledge
from ultracore.distillation.students.compact.lru import LruCache
from ultracore.distillation.students.compact.slots import slots_of
from ultracore.distillation.students.compact.sources import Learned, Sources
from ultracore.distillation.students.compact.sparse import Vector
from ultracore.distillation.students.compact.tables import LINKS_AT
from ultracore.distillation.students.compact.transcript import Transcript, Turn, key_of
from ultracore.distillation.tools import Tool

WORDS = st.sampled_from(["Ada", "Lima", "R-77", "5", "5.0", "order 12", "yes", "Lima to Oslo", ""])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 6), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["id", "to", "K9X"]), inner)),
    max_leaves=8,
)
PATHS = st.sampled_from(
    ["user:capital", "user:code", "user:number", "result:f/id", "result:f/[]", "result:f", "call:f/x"]
)


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _result(value: Any) -> dict[str, Any]:
    return {"role": "tool", "content": msgspec.json.encode(value).decode()}


def _call(value: Any) -> dict[str, Any]:
    function = {"name": "f", "arguments": msgspec.json.encode({"x": value}).decode()}
    return {"role": "assistant", "tool_calls": [{"id": "1", "function": function}]}


MESSAGES = st.lists(
    st.one_of(
        st.lists(WORDS, max_size=4).map(" and ".join).map(_user), VALUES.map(_result), VALUES.map(_call),
        WORDS.map(lambda text: {"role": "assistant", "content": text}),
    ),
    max_size=6,
)  # fmt: skip


@given(MESSAGES)
@settings(max_examples=200, deadline=None)
def test_equal_values_are_one_candidate_with_all_its_places(messages: list[dict[str, Any]]) -> None:
    read = Transcript(State(messages, []))
    pool = Candidates(read)
    lying: dict[str, list[tuple[int, Any]]] = {}
    for number, turn in enumerate(read.turns):
        for leaf in turn.leaves:
            lying.setdefault(key_of(leaf.value), []).append((number, leaf))
    assert list(pool.index) == pool.keys == list(lying)
    assert len(pool) == len(lying)
    for place, found in enumerate(lying.values()):
        leaves = [leaf for _, leaf in found]
        assert pool.values[place] == leaves[0].value
        assert pool.paths_of[place] == tuple(leaf.path for leaf in leaves)
        assert pool.turns_of[place] == tuple(dict.fromkeys(number for number, _ in found))
        around = pool.surroundings[pool.group[place]]
        assert around is pool.around(place)
        assert around.words == frozenset().union(*(leaf.thing.words for leaf in leaves))
        assert around.result_words == frozenset().union(*(leaf.root.words for leaf in leaves))
        assert around.ids == frozenset().union(*(leaf.thing.ids | leaf.root.ids for leaf in leaves))
    assert pool.paths == list(dict.fromkeys(leaf.path for found in lying.values() for _, leaf in found))
    assert sorted(place for places in pool.kinds.values() for place in places) == list(range(len(pool)))


@given(MESSAGES)
@settings(max_examples=100, deadline=None)
def test_what_is_said_of_a_candidate_follows_from_the_conversation(messages: list[dict[str, Any]]) -> None:
    read = Transcript(State(messages, []))
    pool = Candidates(read)
    rows = pool.static_rows
    assert rows.shape == (len(pool) + 1, STATIC_FEATURES)
    assert not rows[-1].any()
    n = len(read.turns)
    for place, row in enumerate(rows[:-1].tolist()):
        turns, paths = pool.turns_of[place], pool.paths_of[place]
        spoken = sum(path.startswith("user:") for path in paths)
        expected = [len(paths), n - turns[-1], n - turns[0], spoken, sum(path.startswith("call:") for path in paths)]
        assert np.allclose([*row[:3], *row[4:6]], np.log1p(expected), rtol=1e-6)
        assert row[3] == (turns[-1] == n - 1)
        assert row[8] == (len(pool.keys[place]) > 1 and pool.keys[place].lower() in read.user_text.lower())


@given(
    MESSAGES, st.dictionaries(st.sampled_from(["x", "y", "z"]), st.dictionaries(PATHS, st.integers(0, 3)), min_size=1)
)
@example([_user("Lima"), _call("R-77"), _result({"id": "R-77", "to": "Ada"})], {"x": {"result:f/id": 3}})
@example([_user("R-77"), _call(5), _result({"id": "R-77", "to": "Ada"})], {"y": {"result:f/id": 3, "user:code": 1}})
@example([_user("R-77 to Lima"), _result({"id": "R-77"})], {"y": {"user:capital": 1}})
@settings(max_examples=100, deadline=None)
def test_what_is_at_hand_is_counted_value_by_value(
    messages: list[dict[str, Any]], gold: dict[str, dict[str, int]]
) -> None:
    slots = {f"f/{name}": SlotKnowledge(calls=1, gold=paths, seen=_seen(paths)) for name, paths in gold.items()}
    tools = [
        Tool("f", parameters={"type": "object", "properties": {name: {} for name in gold}, "required": list(gold)})
    ]
    read = Transcript(State(messages, tools))
    pool = Candidates(read)
    found = availability(tools, pool, Knowledge(slots))[0]
    assert any(np.allclose(found, _at_hand(pool, ("f", (name,)), slots[f"f/{name}"].priors())) for name in gold)


def _seen(gold: dict[str, int]) -> dict[str, int]:
    """A path that gave a value once was seen so often that none is likely there."""
    return {path: 99 if n == 1 else n for path, n in gold.items()}


def _at_hand(pool: Candidates, argument: tuple[str, tuple[str, ...]], priors: dict[str, float]) -> list[float]:
    """As `availability` describes a slot."""
    if not any(priors.get(path) for path in pool.paths):
        return [0.0] * (AVAILABILITY_FEATURES - 1) + [1.0]
    t, best = pool.transcript, [max(priors.get(path, 0.0) for path in paths) for paths in pool.paths_of]
    likely = [place for place, prior in enumerate(best) if np.float32(prior) > LIKELY]
    unused = [place for place in likely if pool.keys[place] not in t.given.get(argument, {})]
    latest = max((pool.turns_of[place][-1] for place in unused), default=-1)
    return [
        min(len(likely), 30) / 30,
        min(len(unused), 30) / 30,
        min(sum(pool.said_at[place] >= 0 for place in unused), 10) / 10,
        min(sum(pool.said_last[place] for place in unused), 10) / 10,
        min(len(t.given.get(argument, {})), 9) / 9,
        float(np.log1p(len(t.turns) - latest)) if latest >= 0 else 5.0,
        max((best[place] for place in unused), default=0.0),
        1.0,
    ]


def test_a_value_is_linked_to_those_chosen_before_it() -> None:
    rides = [{"id": "R-77", "city": "Lima"}, {"id": "R-99", "city": "Oslo"}]
    messages = [_user("the one to Oslo"), _call(1), _result(rides)]
    tool = Tool("f", parameters={"type": "object", "required": ["city"], "properties": {"id": {}, "city": {}}})
    knowledge = Knowledge({"f/city": SlotKnowledge(calls=5, present=5, constants={"Kiel": ("Kiel", 5, 5)})})
    chosen, slot = slots_of(tool)
    nothing = Vector(np.zeros(0, np.int32), np.zeros(0, np.float32))
    sources = Sources(Candidates(Transcript(State(messages, [tool]))), nothing, Learned(knowledge, {}, None))
    alone = question_for(slot, sources, [])
    assert not alone.rows[:, LINKS_AT].any()
    question = question_for(slot, sources, [(chosen, "R-99")])
    links = dict(zip(question.keys, question.rows[:, LINKS_AT].tolist(), strict=True))
    oslo, lima, kiel = links["Oslo"], links["Lima"], links["Kiel"]
    assert (oslo[:2], lima[:2]) == ([1, 1], [1, 1])  # candidates, of the same turn
    assert oslo[7] > lima[7] >= 0  # words in common
    assert (oslo[8], lima[8]) == (1, 0)  # the very same object
    assert not any(kiel)
    again = question_for(slot, sources, [(chosen, "Kiel")])
    assert [key for key, row in zip(again.keys, again.rows[:, LINKS_AT], strict=True) if row.any()] == ["Kiel"]


@given(st.lists(MESSAGES, min_size=1, max_size=4), st.sampled_from([0, 2_000, 20_000]))
@settings(max_examples=60, deadline=None)
def test_what_is_remembered_of_messages_changes_nothing_and_has_its_bounds(
    conversations: list[list[dict[str, Any]]], max_bytes: int
) -> None:
    def read() -> list[Transcript]:
        return [Transcript(State(messages, [])) for messages in [*conversations, *conversations]]

    expected = read()
    with pytest.MonkeyPatch.context() as patch:
        cache = LruCache[tuple[Any, ...], Turn](max_bytes)
        patch.setattr(transcript, "_remembered", cache)
        found = read()
    assert cache.size <= max_bytes
    for mine, other in zip(found, expected, strict=True):
        assert [turn.leaves for turn in mine.turns] == [turn.leaves for turn in other.turns]
        assert mine.actions == other.actions
        assert np.array_equal(Candidates(mine).static_rows, Candidates(other).static_rows)

"""Candidates are gathered message by message; here leaf by leaf, as they are defined."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ultracore.distillation.decisions import State
from ultracore.distillation.students.compact.candidates import STATIC_FEATURES, Candidates
from ultracore.distillation.students.compact.transcript import Transcript, key_of

WORDS = st.sampled_from(["Ada", "Lima", "R-77", "5", "5.0", "order 12", "yes", "Lima to Oslo", ""])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 6), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["id", "to", "K9X"]), inner)),
    max_leaves=8,
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
    transcript = Transcript(State(messages, []))
    pool = Candidates(transcript)
    lying: dict[str, list[tuple[int, Any]]] = {}
    for number, turn in enumerate(transcript.turns):
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
    transcript = Transcript(State(messages, []))
    pool = Candidates(transcript)
    rows = pool.static_rows
    assert rows.shape == (len(pool) + 1, STATIC_FEATURES)
    assert not rows[-1].any()
    n = len(transcript.turns)
    for place, row in enumerate(rows[:-1].tolist()):
        turns, paths = pool.turns_of[place], pool.paths_of[place]
        spoken = sum(path.startswith("user:") for path in paths)
        expected = [len(paths), n - turns[-1], n - turns[0], spoken, sum(path.startswith("call:") for path in paths)]
        assert np.allclose([*row[:3], *row[4:6]], np.log1p(expected), rtol=1e-6)
        assert row[3] == (turns[-1] == n - 1)
        assert row[8] == (len(pool.keys[place]) > 1 and pool.keys[place].lower() in transcript.user_text.lower())

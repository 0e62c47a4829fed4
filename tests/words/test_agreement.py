"""The laws of agreement: they hold for any call that JSON can write."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultracore.distillation.agreement import Comparators, infer_free_text, same_kind, same_tools, strict, tolerant
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.tools import Tool, ToolCall

SCALARS = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(-1e6, 1e6) | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3)
CALLS = st.lists(st.builds(ToolCall, st.sampled_from(["f", "g"]), ARGUMENTS), max_size=3)
TOOLS = [
    Tool("f"),
    Tool("g", parameters={"properties": {"a": {"type": "integer", "default": 3}, "b": {"type": "array"}}}),
]


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(item) for key, item in reversed(value.items())}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@given(CALLS)
def test_reflexive(calls: list[ToolCall]) -> None:
    assert strict(calls, calls, TOOLS) is True
    assert tolerant(calls, calls, TOOLS, Comparators()) is True


@given(CALLS, CALLS)
def test_symmetric_and_strict_implies_tolerant_implies_same_tools(a: list[ToolCall], b: list[ToolCall]) -> None:
    assert strict(a, b, TOOLS) == strict(b, a, TOOLS)
    assert tolerant(a, b, TOOLS, Comparators()) == tolerant(b, a, TOOLS, Comparators())
    if strict(a, b, TOOLS):
        assert tolerant(a, b, TOOLS, Comparators())
        assert same_tools(a, b)
        assert same_kind(a, b)


@given(CALLS)
def test_key_order_and_the_order_of_parallel_calls_do_not_count(calls: list[ToolCall]) -> None:
    other = [ToolCall(call.name, shuffled(call.arguments)) for call in reversed(calls)]
    assert strict(calls, other, TOOLS) is True


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ({"a": 5}, {"a": 5.0}, True),
        ({"a": "5"}, {"a": 5}, True),  # declared an integer
        ({}, {"a": 3}, True),  # omitted is the default
        ({"a": 4}, {}, False),
        ({"a": True}, {"a": 1}, False),
        ({"x": "5"}, {"x": 5}, False),  # nothing declared
        ({"b": [1, 2]}, {"b": [2, 1]}, False),
        ({"b": [{"c": 1, "d": 2}]}, {"b": [{"d": 2.0, "c": 1.0}]}, True),
        ({"b": None}, {}, False),
    ],
)
def test_strict(left: dict[str, Any], right: dict[str, Any], expected: bool) -> None:
    assert strict([ToolCall("g", left)], [ToolCall("g", right)], TOOLS) is expected


def test_tolerant_takes_scalar_lists_as_sets_and_overlooks_free_text() -> None:
    a, b = [ToolCall("g", {"b": [1, 2], "note": "x"})], [ToolCall("g", {"b": [2, 1, 1], "note": "y"})]
    assert not tolerant(a, b, TOOLS, Comparators())
    assert tolerant(a, b, TOOLS, Comparators(frozenset({("g", "note")})))
    assert not strict(a, b, TOOLS)


def test_unknown_arguments_are_unknown_but_a_tool_without_arguments_has_none() -> None:
    bare = Tool("ping", parameters={"type": "object", "properties": {}})
    assert strict([ToolCall("f")], [ToolCall("f", {})], TOOLS) is None
    assert strict([ToolCall("f")], [ToolCall("g")], TOOLS) is False
    assert strict([ToolCall("ping")], [ToolCall("ping", {})], [bare]) is True


def test_two_text_replies_agree_and_a_reply_is_no_call() -> None:
    assert strict([], [], TOOLS) is True
    assert strict([], [ToolCall("f", {})], TOOLS) is False


def decision(text: str, said: str = "") -> Decision:
    state = State([{"role": "user", "content": said}], TOOLS)
    return Decision(state=state, calls=(ToolCall("f", {"note": text, "id": text[:2]}),), episode=text, task=text)


def test_free_text_is_prose_that_is_never_repeated_nor_copied() -> None:
    prose = [f"The customer number {n} wants something quite unusual {n}" for n in range(8)]
    assert infer_free_text([decision(text) for text in prose]).free_text == {("f", "note")}
    assert not infer_free_text([decision(prose[0]) for _ in range(8)]).free_text, "a constant is not prose"
    assert not infer_free_text([decision(text, said=text) for text in prose]).free_text, "a copy is not prose"
    assert not infer_free_text([decision(text) for text in prose[:4]]).free_text, "too few to tell"

"""Every usual way of writing a tool or a call becomes one form."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ultracore.distillation.decisions import Decision, State, prompt_fingerprint, text_of
from ultracore.distillation.errors import DataError
from ultracore.distillation.tools import REPLY, Tool, ToolCall, parse_call, parse_tool

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}


@pytest.mark.parametrize(
    "written",
    [
        {"type": "function", "function": {"name": "find", "description": "d", "parameters": SCHEMA}},
        {"type": "function", "name": "find", "description": "d", "parameters": SCHEMA},
        {"name": "find", "description": "d", "parameters": SCHEMA},
        {"name": "find", "description": "d", "input_schema": SCHEMA},
        {"name": "find", "description": "d", "inputSchema": SCHEMA},
        SimpleNamespace(name="find", description="d", parameters=SCHEMA),
    ],
)
def test_one_form(written: Any) -> None:
    tool = parse_tool(written)
    assert tool == Tool("find", "d", SCHEMA)
    assert tool.required == {"q"}
    assert parse_tool(tool.to_openai()) == tool


def test_a_hint_of_destruction_is_kept_and_a_name_is_needed() -> None:
    assert parse_tool({"name": "wipe", "annotations": {"destructiveHint": True}}).destructive is True
    for nameless in ({}, {"name": ""}, {"function": {"name": 3}}):
        with pytest.raises(DataError, match="needs a name"):
            parse_tool(nameless)


def test_references_and_nullable_branches_are_resolved() -> None:
    schema = {
        "properties": {"to": {"$ref": "#/$defs/to"}, "n": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
        "$defs": {"to": {"type": "object", "properties": {"iban": {"type": "string"}}}},
    }
    assert Tool("f", parameters=schema).properties == {
        "to": {"type": "object", "properties": {"iban": {"type": "string"}}},
        "n": {"type": "integer"},
    }


def test_arguments_as_text_as_object_and_missing() -> None:
    assert parse_call({"function": {"name": "f", "arguments": '{"x": [1]}'}}) == ToolCall("f", {"x": [1]})
    assert parse_call({"name": "f", "input": {"x": 1}}) == ToolCall("f", {"x": 1})
    assert parse_call({"name": "f"}).arguments is None
    for bad in ("{", "[1]", "3"):
        with pytest.raises(DataError):
            parse_call({"name": "f", "arguments": bad})


def test_a_flat_row_and_a_conversation_become_decisions() -> None:
    flat = Decision.from_row({"context": {"query": "hi"}, "tools_available": [{"name": "f"}], "tool_selected": "f"}, 4)
    assert flat.state.messages == [{"role": "context", "content": {"query": "hi"}}]
    assert (flat.calls, flat.episode, flat.task) == ((ToolCall("f"),), "row-4", "row-4")
    chat = Decision.from_row(
        {"context": {"messages": [{"role": "user", "content": "hi"}]}, "tool_calls": [], "session_id": "s", "task": "t"}
    )
    assert (chat.action, chat.is_call, chat.episode, chat.task) == (REPLY, False, "s", "t")
    with pytest.raises(DataError, match="row 2: 'context' must be a dict"):
        Decision.from_row({"context": "hi"}, 2)


def test_decisions_share_equal_tools() -> None:
    def tool(default: object) -> Tool:
        row = {
            "context": {},
            "tools_available": [{"name": "f", "parameters": {"properties": {"n": {"default": default}}}}],
        }
        return Decision.from_row(row).state.tools[0]

    assert tool(7) is tool(7), "a student remembers tools by their identity"
    assert tool(7) is not tool(8)
    assert tool(1) is not tool(True), "equal in Python, not in JSON"
    odd = object()
    assert tool(odd).properties["n"]["default"] is odd, "what is no JSON is read all the same"


def calling(*orders: int) -> list[dict[str, Any]]:
    """An assistant that makes one call after the other, each with a result."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "go on"}]
    for number, order in enumerate(orders):
        call = {"id": f"call_{number}", "type": "function", "function": {"name": "f", "arguments": f'{{"x":{order}}}'}}
        messages += [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": f"result {number}"}]
    return messages


def test_a_conversation_goes_in_circles_after_three_equal_calls_in_a_row() -> None:
    assert State(calling(2, 1, 1, 1), []).in_circles, "neither ids nor results count"
    assert not State(calling(1, 1), []).in_circles
    assert not State(calling(1, 1, 1, 2), []).in_circles
    assert not State(calling(1, 1, 2, 1), []).in_circles
    reply = {"role": "assistant", "content": "one moment"}
    assert not State([*calling(1, 1), reply, *calling(1)], []).in_circles
    assert not State([reply, reply, reply], []).in_circles, "replies are no calls"


def test_the_key_of_a_state_sees_the_prompt_but_not_the_ids() -> None:
    def state(prompt: str, call_id: str) -> State:
        call = {"id": call_id, "function": {"name": "f", "arguments": "{}"}}
        return State([{"role": "system", "content": prompt}, {"role": "assistant", "tool_calls": [call]}], [Tool("f")])

    assert state("a", "1").key == state("a", "2").key != state("b", "1").key
    assert prompt_fingerprint([{"role": "system", "content": "today 2025-01-02"}]) == prompt_fingerprint(
        [{"role": "system", "content": "today 2026-11-30"}]
    )
    assert text_of({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}) == "a\nb"

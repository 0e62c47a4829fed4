"""A Messages request as the chat request that means the same, so that one student serves both.

`system` is the system message, `tool_use` blocks are `tool_calls`, each `tool_result` block is a tool's message.
Marks for the teacher's cache say nothing of the conversation and are left out. What this file does not know: what
the student or the teacher makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ultracore.distillation.decisions import Message
from ultracore.distillation.serve.content import content_as_chat
from ultracore.distillation.serve.wire import ChatRequest, RequestError, check_common, decode_fields, decode_json

__all__ = ["parse_message_request"]

DROPPED = frozenset({"cache_control", "system", "tool_choice", "top_k"})
"""Options that are told otherwise, or do not change what a correct call is."""

OF_TOOLS = frozenset({"cache_control", "description", "eager_input_streaming", "input_examples", "strict", "type"})
"""Beside name and schema, what a function may say of itself; with anything else only the teacher knows what to do."""

TEXTS = ("text",)
THOUGHTS = ("thinking", "redacted_thinking")  # no set: a client may send a type that has no hash
CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def parse_message_request(body: bytes) -> ChatRequest:
    """Read a request body.

    Raises:
        RequestError: 400; the body is not UTF-8 JSON, is nested too deeply, or is not a Messages request.

    Example:
        >>> parse_message_request(
        ...     b'{"model": "m", "system": "be brief", "messages": [{"role": "user", "content": "hi"}]}'
        ... ).messages
        [{'role': 'system', 'content': 'be brief'}, {'role': 'user', 'content': 'hi'}]
    """
    fields = decode_fields(body)
    tools, problem = _tools(bytes(fields.pop("tools", msgspec.Raw())))
    values = {name: decode_json(raw) for name, raw in fields.items()}
    model, told = values.pop("model", None), values.pop("messages", None)
    check_common(model, values)
    if not isinstance(told, list) or not told or not all(map(_is_message, told)):
        raise RequestError(
            400, "'messages' must be a non-empty list of objects with 'role' and 'content'", code="invalid_messages"
        )
    system = values.get("system")
    messages: list[Message] = [] if system is None else [{"role": "system", "content": content_as_chat(system, TEXTS)}]
    for message in told:
        messages += _as_chat(message)
    return ChatRequest(
        body=body, model=model, messages=messages, tools=tools, options=_options(values), problem=problem
    )


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("role"), str)
        and (
            isinstance(content := value.get("content"), str)
            or (isinstance(content, list) and all(isinstance(block, dict) for block in content))
        )
    )


def _options(values: Mapping[str, Any]) -> dict[str, Any]:
    """As chat options; what is unknown stays, for `serve.support` to refuse."""
    options = {name: value for name, value in values.items() if name not in DROPPED}
    if options.get("thinking") in (None, {"type": "disabled"}):
        options.pop("thinking", None)
    if options.get("stop_sequences") == []:
        del options["stop_sequences"]
    person = options.get("metadata")
    if isinstance(person, dict) and "user_id" in person:
        options["user"] = person["user_id"]
    choice = values.get("tool_choice")
    if choice is not None:
        options |= _choice(choice)
    return options


def _choice(choice: Any) -> dict[str, Any]:
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "tool":
        said: Any = {"type": "function", "function": {"name": choice.get("name")}}
    else:
        said = CHOICES.get(kind, choice) if isinstance(kind, str) else choice
    alone = isinstance(choice, dict) and choice.get("disable_parallel_tool_use") is True
    return {"tool_choice": said, **({"parallel_tool_calls": False} if alone else {})}


def _as_chat(message: Mapping[str, Any]) -> list[Message]:
    role, content = message["role"], message["content"]
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    results = [_result(block) for block in content if block.get("type") == "tool_result"]
    calls = [_call(block) for block in content if block.get("type") == "tool_use"]
    rest = [block for block in content if block.get("type") not in ("tool_result", "tool_use", *THOUGHTS)]
    if calls:
        return [
            *results,
            {"role": role, "content": content_as_chat(rest, TEXTS) if rest else None, "tool_calls": calls},
        ]
    return [*results, {"role": role, "content": content_as_chat(rest, TEXTS)}] if rest or not results else results


def _call(block: Mapping[str, Any]) -> dict[str, Any]:
    arguments = msgspec.json.encode(block.get("input")).decode()
    return {
        "id": block.get("id"),
        "type": "function",
        "function": {"name": block.get("name"), "arguments": arguments},
    }


def _result(block: Mapping[str, Any]) -> Message:
    content = block.get("content")
    return {
        "role": "tool",
        "tool_call_id": block.get("tool_use_id"),
        "content": "" if content is None else content_as_chat(content, TEXTS),
    }


_tool_list = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def _tools(raw: bytes) -> tuple[bytes, str]:
    """Definitions in chat's form, and what keeps a local call from being one of them; others stay as they came."""
    try:
        return _functions(_tool_list.decode(raw)) if raw else (raw, "")
    except (ValueError, RecursionError):
        return raw, ""  # `read_offer` says what is wrong with it


def _functions(tools: list[dict[str, msgspec.Raw]]) -> tuple[bytes, str]:
    problem = ""
    forms = []
    for tool in tools:
        if bytes(tool.get("type", b'"custom"')) not in (b'"custom"', b"null"):
            forms.append(msgspec.json.encode(tool))
            continue
        if tool.keys() - OF_TOOLS - {"name", "input_schema"}:
            problem = "a tool with an option that only the teacher knows"
        names = (("name", "name"), ("description", "description"), ("parameters", "input_schema"))
        function = {chat: tool[ours] for chat, ours in names if ours in tool}
        forms.append(msgspec.json.encode({"type": "function", "function": function}))
    return b"[" + b",".join(forms) + b"]", problem

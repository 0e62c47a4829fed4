"""A Responses request as the chat request that means the same, so that one student serves both.

`instructions` is the system message, a run of `function_call` items is one assistant message with
`tool_calls`, `function_call_output` is a tool's message. What has no such form is named in `problem`.
What this file does not know: what the student or the teacher makes of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ultracore.distillation.decisions import Message
from ultracore.distillation.serve.content import content_as_chat
from ultracore.distillation.serve.wire import ChatRequest, RequestError, check_common, decode_fields, decode_json

__all__ = ["parse_response_request"]

STATE = ("previous_response_id", "conversation", "prompt")
"""Fields that name something which the teacher keeps: what it sees is not in the request."""

RENAMED = {"max_output_tokens": "max_tokens"}

SAME: dict[str, tuple[Any, ...]] = {
    "background": (False,),
    "include": ([], ["reasoning.encrypted_content"]),
    "text": ({}, {"format": {"type": "text"}}),
    "top_logprobs": (0,),
    "truncation": ("auto", "disabled"),
}
"""Options that, with these values, do not change what a correct call is; dropped."""

FREE = frozenset({"max_tool_calls", "reasoning", "input", "instructions"})
TEXTS = ("input_text", "output_text", "text")


def parse_response_request(body: bytes) -> ChatRequest:
    """Read a request body.

    Raises:
        RequestError: 400; the body is not UTF-8 JSON, is nested too deeply, or is not a Responses request.

    Example:
        >>> parse_response_request(b'{"model": "m", "input": "hi", "store": false}').messages
        [{'role': 'user', 'content': 'hi'}]
    """
    fields = decode_fields(body)
    tools = bytes(fields.pop("tools", msgspec.Raw()))
    values = {name: decode_json(raw) for name, raw in fields.items()}
    model = values.pop("model", None)
    check_common(model, values)
    messages, problem = _messages(values)
    return ChatRequest(
        body=body,
        model=model,
        messages=messages,
        tools=tools,
        options=_options(values),
        problem=problem,
        partial=any(values.get(name) is not None for name in STATE) or problem == REFERENCE,
    )


REFERENCE = "an input item that the teacher keeps"


def _options(values: dict[str, Any]) -> dict[str, Any]:
    """As chat options; what is unknown stays, for `serve.support` to refuse.

    Left out, `store` means that the teacher is to keep the response, which no local answer can give.
    """
    options = {RENAMED.get(name, name): value for name, value in values.items() if not _neutral(name, value)}
    choice = options.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "function" and "function" not in choice:
        options["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    return {"store": True, **options}


def _neutral(name: str, value: Any) -> bool:
    return name in FREE or any(type(value) is type(same) and value == same for same in SAME.get(name, ()))


def _messages(values: Mapping[str, Any]) -> tuple[list[Message], str]:
    given, instructions = values.get("input"), values.get("instructions")
    head: list[Message] = [{"role": "system", "content": instructions}] if isinstance(instructions, str) else []
    problem = "" if instructions is None or head else "instructions that are not text"
    if isinstance(given, str):
        return [*head, {"role": "user", "content": given}], problem
    if given is None and any(values.get(name) is not None for name in STATE):
        return head, problem
    if not isinstance(given, list) or not given or not all(isinstance(item, dict) for item in given):
        raise RequestError(400, "'input' must be text or a non-empty list of objects", code="invalid_input")
    told = _Telling(head)
    for item in given:
        told.take(item)
    return told.messages, problem or told.problem


class _Telling:
    """Turns items into messages, one after the other.

    Attributes:
        messages: So far.
        problem: The first thing that has no chat form.
    """

    def __init__(self, head: Iterable[Message]) -> None:
        self.messages = list(head)
        self.problem = ""

    def take(self, item: dict[str, Any]) -> None:
        kind = item.get("type", "message" if "role" in item else None)
        if kind == "message" and isinstance(item.get("role"), str):
            self.messages.append({"role": item["role"], "content": content_as_chat(item.get("content"), TEXTS)})
        elif kind == "function_call":
            self._call(item)
        elif kind == "function_call_output":
            answer = {"tool_call_id": item.get("call_id"), "content": content_as_chat(item.get("output"), TEXTS)}
            self.messages.append({"role": "tool", **answer})
        elif kind == "item_reference":
            self.problem = REFERENCE
        elif kind != "reasoning":  # a teacher's own thoughts; a student has no use for them
            self.problem = self.problem or "an input item that is neither a message nor a function call"

    def _call(self, item: dict[str, Any]) -> None:
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        last = self.messages[-1] if self.messages else {}
        if last.get("role") == "assistant":  # parallel calls, and what was said with them, are one message
            last.setdefault("tool_calls", []).append(call)
        else:
            self.messages.append({"role": "assistant", "content": None, "tool_calls": [call]})

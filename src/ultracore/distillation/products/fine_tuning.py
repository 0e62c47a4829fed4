"""Decisions in the forms that trainers of language models read: OpenAI's fine-tuning JSONL, and TRL's for SFT.

They differ in one thing: `arguments` is a JSON text for OpenAI and an object for TRL. What this file does not know:
which decisions are exported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import DataError
from ultracore.distillation.events import AgentDecisionEvent
from ultracore.distillation.tools import ToolCall

__all__ = ["FORMS", "example_of"]

Json = dict[str, Any]

FORMS: dict[str, Callable[[Json], Any]] = {
    "openai": lambda arguments: msgspec.json.encode(arguments).decode(),
    "trl": lambda arguments: arguments,
}
"""How each form writes the arguments of a call."""


def example_of(event: AgentDecisionEvent, form: str) -> Json | None:
    """A decision as an example; `None` where it says too little: erased, arguments or reply not recorded.

    Args:
        event: The decision.
        form: `openai` or `trl`.
    """
    if event.metadata.erased:
        return None
    names = ("context", "tools_available", "tool_selected", "tool_parameters", "tool_calls", "reply")
    try:
        decision = Decision.from_row({name: getattr(event, name) for name in names})
    except DataError:
        return None
    answer = _answer(decision, form)
    if answer is None:
        return None
    messages = [_message(message, form) for message in decision.state.messages]
    example: Json = {"messages": [*messages, answer]}
    if decision.state.tools:
        example["tools"] = [tool.to_openai() for tool in decision.state.tools]
    if form == "openai" and len(decision.calls) > 1:
        example["parallel_tool_calls"] = True
    return example


def _answer(decision: Decision, form: str) -> Json | None:
    if not decision.calls:
        return None if not decision.reply else {"role": "assistant", "content": decision.reply}
    if any(call.arguments is None for call in decision.calls):
        return None
    calls = [_call(call, number, form) for number, call in enumerate(decision.calls)]
    return {"role": "assistant", "content": decision.reply, "tool_calls": calls}


def _call(call: ToolCall, number: int, form: str) -> Json:
    arguments = FORMS[form](call.arguments or {})
    return {"id": f"call_{number}", "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _message(message: Json, form: str) -> Json:
    """A flat context is what the user said; earlier calls take the form's arguments."""
    if message.get("role") == "context":
        return {"role": "user", "content": msgspec.json.encode(message["content"]).decode()}
    calls = message.get("tool_calls")
    if not calls or form == "openai":
        return message
    return {**message, "tool_calls": [_with_object(call) for call in calls]}


def _with_object(call: Json) -> Json:
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        return {**call, "function": {**function, "arguments": msgspec.json.decode(function["arguments"] or "{}")}}
    except msgspec.DecodeError:
        return call

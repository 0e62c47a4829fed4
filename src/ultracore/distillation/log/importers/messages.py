"""Messages as others wrote them, in OpenAI's current form and with nothing else.

Legacy `function_call` and `function` messages become tool calls and tool messages. What this file
does not know: which message is a decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ultracore.distillation.log.importers.lines import SkipReason

__all__ = ["BadMessage", "normal_messages"]

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})

Message = dict[str, Any]


class BadMessage(Exception):  # noqa: N818 - becomes a `Skip`, never reaches a user as an error
    """A message cannot be read."""

    def __init__(self, reason: SkipReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: SkipReason = reason
        self.detail = detail


def normal_messages(given: Iterable[Any]) -> list[Message]:
    """The messages in order, one for one.

    Raises:
        BadMessage: A message is no object, has an unknown role, or parts of the wrong type.
    """
    out: list[Message] = []
    legacy_id: str | None = None
    for index, message in enumerate(given):
        normal = _normal(message, index)
        if normal["role"] == "function":  # the legacy form pairs by order, today's by id
            normal = {**normal, "role": "tool", "tool_call_id": legacy_id}
        elif isinstance(message.get("function_call"), dict):
            legacy_id = f"call_{index}"
            normal["tool_calls"] = [_call({"id": legacy_id, "function": message["function_call"]}, index)]
        out.append(normal)
    return out


def _normal(message: Any, index: int) -> Message:
    if not isinstance(message, dict):
        raise BadMessage("bad_message", f"message {index} is not an object")
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise BadMessage("unknown_role", f"message {index}: {role!r}")
    normal: Message = {"role": role, "content": _content(message.get("content"), index)}
    normal |= {key: message[key] for key in ("name", "tool_call_id") if isinstance(message.get(key), str)}
    calls = message.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise BadMessage("bad_message", f"message {index}: tool_calls is not a list")
    if calls and role == "assistant":
        normal["tool_calls"] = [_call(call, index) for call in calls]
    return normal


def _content(content: Any, index: int) -> Any:
    """Text as a string; parts stay a list only where one of them is not text."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise BadMessage("bad_message", f"message {index}: content is neither text nor a list of parts")
    texts = [part.get("text") for part in content if part.get("type") == "text"]
    if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
        return "\n".join(str(text) for text in texts)
    return content


def _call(call: Any, index: int) -> dict[str, Any]:
    if not isinstance(call, Mapping):
        raise BadMessage("bad_message", f"message {index}: a tool call is not an object")
    inner = call.get("function")
    function = inner if isinstance(inner, Mapping) else call
    arguments = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    identity = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {**identity, "type": "function", "function": {"name": function.get("name"), "arguments": arguments}}

"""A local call in the shapes of chat completions: one JSON object, or a short stream of chunks.

`usage` counts the tokens that a teacher billed; a local answer cost none, so every count is 0. What
this file does not know: why the call was sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ultracore.distillation.tools import LOCAL_CALL_PREFIX, ToolCall

__all__ = ["NO_USAGE", "Answer", "arguments_of", "as_json", "as_stream"]

NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


class Answer(msgspec.Struct, frozen=True):
    """What a student says to a request.

    Attributes:
        receipt: Id of the decision in the log; the completion and the call ids are made from it.
        model: The student's id.
        created: Seconds since the epoch.
        calls: The calls, each with its arguments.
        legacy: Whether the one call is to be told as a `function_call`.
    """

    receipt: str
    model: str
    created: int
    calls: Sequence[ToolCall]
    legacy: bool = False

    def call_id(self, index: int) -> str:
        """The id of a call; it says that a student made it."""
        return f"{LOCAL_CALL_PREFIX}{self.receipt[:24]}_{index}"

    @property
    def functions(self) -> list[dict[str, str]]:
        """Name and arguments of each call."""
        return [{"name": call.name, "arguments": arguments_of(call)} for call in self.calls]

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """The calls as a message carries them."""
        return [
            {"id": self.call_id(index), "type": "function", "function": function}
            for index, function in enumerate(self.functions)
        ]

    @property
    def finish_reason(self) -> str:
        """Why the answer ends."""
        return "function_call" if self.legacy else "tool_calls"


def arguments_of(call: ToolCall) -> str:
    """The arguments of a call as the JSON text that OpenAI sends."""
    return msgspec.json.encode(call.arguments).decode()


def as_json(answer: Answer) -> bytes:
    """A `chat.completion`."""
    calls = {"function_call": answer.functions[0]} if answer.legacy else {"tool_calls": answer.tool_calls}
    message = {"role": "assistant", "content": None, "refusal": None, **calls}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    return msgspec.json.encode({**_head(answer, "chat.completion"), "choices": [choice], "usage": NO_USAGE})


def as_stream(answer: Answer, *, include_usage: bool) -> bytes:
    """The whole stream of `chat.completion.chunk` events: role, each call, the end, `[DONE]`.

    Args:
        answer: What to say.
        include_usage: Whether a last chunk without choices tells the usage, as `stream_options` asks.
    """
    usage = {"usage": None} if include_usage else {}
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": None}, None)]
    if answer.legacy:
        deltas.append(({"function_call": answer.functions[0]}, None))
    else:
        deltas += [({"tool_calls": [{"index": i, **call}]}, None) for i, call in enumerate(answer.tool_calls)]
    deltas.append(({}, answer.finish_reason))
    head = _head(answer, "chat.completion.chunk")
    chunks = [
        {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}], **usage}
        for delta, reason in deltas
    ]
    if include_usage:
        chunks.append({**head, "choices": [], "usage": NO_USAGE})
    return b"".join(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


def _head(answer: Answer, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{answer.receipt}", "object": kind, "created": answer.created, "model": answer.model}

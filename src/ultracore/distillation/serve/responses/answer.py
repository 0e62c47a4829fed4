"""A local call in the shapes of the Responses API: one response object, or the events of its stream.

Fields that a request gave are told back as they came. What this file does not know: why the call was sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ultracore.distillation.serve.answers import Answer
from ultracore.distillation.serve.wire import ChatRequest, decode_fields

__all__ = ["NO_USAGE", "as_response", "as_response_stream"]

NO_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}

ECHOED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response tells of its request, and what it says where the request was silent: OpenAI's defaults."""


def as_response(answer: Answer, request: ChatRequest) -> bytes:
    """A whole `response`."""
    return msgspec.json.encode(_response(answer, request, _items(answer), done=True))


def as_response_stream(answer: Answer, request: ChatRequest) -> bytes:
    """The whole stream: created, in progress, each call with its arguments in one piece, completed."""
    events = enumerate(_events(answer, request))
    return b"".join(_frame({**event, "sequence_number": number}) for number, event in events)


def _events(answer: Answer, request: ChatRequest) -> Iterator[dict[str, Any]]:
    items = _items(answer)
    begun = _response(answer, request, [], done=False)
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(items):
        place, arguments = {"item_id": item["id"], "output_index": index}, item["arguments"]
        empty = {**item, "arguments": "", "status": "in_progress"}
        yield {"type": "response.output_item.added", "output_index": index, "item": empty}
        yield {"type": "response.function_call_arguments.delta", **place, "delta": arguments}
        yield {
            "type": "response.function_call_arguments.done",
            **place,
            "name": item["name"],
            "arguments": arguments,
        }
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": _response(answer, request, items, done=True)}


def _items(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "id": f"fc_{answer.receipt}_{index}",
            "type": "function_call",
            "status": "completed",
            "call_id": answer.call_id(index),
            **function,
        }
        for index, function in enumerate(answer.functions)
    ]


def _response(answer: Answer, request: ChatRequest, output: list[dict[str, Any]], *, done: bool) -> dict[str, Any]:
    fields = decode_fields(request.body)
    given = {name: raw for name, raw in fields.items() if name in ECHOED and bytes(raw) != b"null"}
    return {
        "id": f"resp_{answer.receipt}",
        "object": "response",
        "created_at": answer.created,
        "completed_at": answer.created if done else None,
        "status": "completed" if done else "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": answer.model,
        "output": output,
        **ECHOED,
        **given,
        "usage": NO_USAGE if done else None,
    }


def _frame(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: ".encode() + msgspec.json.encode(event) + b"\n\n"

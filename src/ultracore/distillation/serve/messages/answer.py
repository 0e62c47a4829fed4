"""A local call in the shapes of the Messages API: one message, or the events of its stream.

What this file does not know: why the call was sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ultracore.distillation.serve.answers import Answer, arguments_of

__all__ = ["NO_USAGE", "as_message", "as_message_stream"]

NO_USAGE = {
    "input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 0,
}


def as_message(answer: Answer) -> bytes:
    """A whole `message`."""
    blocks = [
        {"type": "tool_use", "id": answer.call_id(index), "name": call.name, "input": call.arguments}
        for index, call in enumerate(answer.calls)
    ]
    return msgspec.json.encode(_message(answer, blocks, "tool_use"))


def as_message_stream(answer: Answer) -> bytes:
    """The whole stream: the message without content, each call with its arguments in one piece, the end."""
    frames = (f"event: {event['type']}\ndata: ".encode() + msgspec.json.encode(event) for event in _events(answer))
    return b"".join(frame + b"\n\n" for frame in frames)


def _events(answer: Answer) -> Iterator[dict[str, Any]]:
    yield {"type": "message_start", "message": _message(answer, [], None)}
    for index, call in enumerate(answer.calls):
        empty = {"type": "tool_use", "id": answer.call_id(index), "name": call.name, "input": {}}
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        piece = {"type": "input_json_delta", "partial_json": arguments_of(call)}
        yield {"type": "content_block_delta", "index": index, "delta": piece}
        yield {"type": "content_block_stop", "index": index}
    end = {"stop_reason": "tool_use", "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": NO_USAGE}
    yield {"type": "message_stop"}


def _message(answer: Answer, blocks: list[dict[str, Any]], reason: str | None) -> dict[str, Any]:
    return {
        "id": f"msg_{answer.receipt}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": NO_USAGE,
    }

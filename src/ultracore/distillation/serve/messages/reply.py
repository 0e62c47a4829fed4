"""What the teacher decided, read from its message or from the events of its stream.

What this file does not know: requests, and what becomes of the bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ultracore.distillation.serve.replies import Call, Function, Reader

__all__ = ["MessageReader"]

ENDS = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_calls"}
"""Reasons to stop after which the message is a decision, in chat's words."""


class Block(msgspec.Struct):
    """A block of content, or what an event adds to one."""

    type: str = ""
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")
    partial_json: str | None = None
    stop_reason: str | None = None


class Said(msgspec.Struct):
    """A message, or an event of a stream; unknown fields are skipped."""

    type: str = ""
    id: str | None = None
    index: int = 0
    content: list[Block] = []
    stop_reason: str | None = None
    usage: dict[str, Any] | None = None
    message: Said | None = None
    content_block: Block | None = None
    delta: Block | None = None


class MessageReader(Reader):
    """As `Reader`, for the Messages API."""

    def _take(self, data: bytes) -> None:
        try:
            said = _decoder.decode(data)
        except (ValueError, RecursionError):
            self._problem, self._malformed = "the reply is not a message", True
            return
        if said.type == "error":
            self._problem = "the reply tells of an error"
        elif said.type == "message":
            self._take_message(said)
        elif said.type == "message_start":
            self._take_message(said.message or Said())
        elif said.content_block is not None:
            self._begin(said.index, said.content_block, streamed=True)
        elif said.delta is not None:
            self._add(said.index, said.delta, said.usage)

    def _take_message(self, message: Said) -> None:
        self._id, self._usage = message.id, message.usage
        for index, block in enumerate(message.content):
            self._begin(index, block, streamed=False)
        self._ended(message.stop_reason)

    def _begin(self, index: int, block: Block, *, streamed: bool) -> None:
        if block.type == "tool_use":
            given = "" if streamed else bytes(block.input).decode()
            self._calls[index] = [Call(id=block.id, function=Function(block.name, given))]
        elif block.type == "text":
            self._text += [block.text] if block.text else []
        elif block.type not in ("thinking", "redacted_thinking"):
            self._problem = "the reply used a tool of the teacher's own"

    def _add(self, index: int, delta: Block, usage: dict[str, Any] | None) -> None:
        if delta.type == "input_json_delta" and index in self._calls:
            self._calls[index].append(Call(function=Function(None, delta.partial_json)))
        elif delta.type == "text_delta" and delta.text:
            self._text.append(delta.text)
        if usage is not None:  # of a stream: the prompt's tokens came first, the others with the end
            self._usage = {**(self._usage or {}), **{k: v for k, v in usage.items() if v is not None}}
        self._ended(delta.stop_reason)

    def _ended(self, reason: str | None) -> None:
        if reason is not None:
            self._finish = ENDS.get(reason, reason)

    def _decision(self) -> tuple[str, Any]:
        for call in self._calls.values():  # a call without arguments comes without a piece of them
            if not any(piece.function and piece.function.arguments for piece in call):
                call.append(Call(function=Function(None, "{}")))
        return super()._decision()


_decoder = msgspec.json.Decoder(Said)

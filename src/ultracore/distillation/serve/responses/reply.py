"""What the teacher decided, read from its response object or from the event that ends its stream.

Only `response.completed` carries a decision; everything before it is told again in it. What this file
does not know: requests, and what becomes of the bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ultracore.distillation.serve.replies import Call, Function, Reader

__all__ = ["ResponseReader"]


class Part(msgspec.Struct):
    """A piece of an output message."""

    text: str | None = None
    refusal: str | None = None


class Item(msgspec.Struct):
    """An output item; only messages and function calls are decisions, reasoning is neither."""

    type: str = ""
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    content: list[Part] | None = None


class Response(msgspec.Struct):
    """A response, or an event that may hold one; unknown fields are skipped."""

    type: str = ""
    id: str | None = None
    status: str | None = None
    output: list[Item] = []
    usage: dict[str, Any] | None = None
    error: Any = None
    response: Response | None = None


class ResponseReader(Reader):
    """As `Reader`, for the Responses API."""

    def _take(self, data: bytes) -> None:
        try:
            said = _decoder.decode(data)
        except (ValueError, RecursionError):
            self._problem, self._malformed = "the reply is not a response", True
            return
        if said.type == "error":
            self._problem = "the reply tells of an error"
        elif said.type in ("response.completed", "response.incomplete", "response.failed"):
            self._take_response(said.response or Response())
        elif not said.type:
            self._take_response(said)

    def _take_response(self, response: Response) -> None:
        self._id, self._usage = response.id, response.usage
        if response.error is not None:
            self._problem = "the reply tells of an error"
        self._finish = "stop" if response.status == "completed" else response.status
        for index, item in enumerate(response.output):
            self._take_item(index, item)

    def _take_item(self, index: int, item: Item) -> None:
        if item.type == "function_call":
            self._calls[index] = [Call(id=item.call_id, function=Function(item.name, item.arguments))]
        elif item.type == "message":
            said = [part.text or part.refusal for part in item.content or ()]
            self._text += [text for text in said if text]
        elif item.type != "reasoning":
            self._problem = "the reply used a tool of the teacher's own"


_decoder = msgspec.json.Decoder(Response)

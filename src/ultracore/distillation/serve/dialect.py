"""The shapes in which one can ask and be answered: what differs between two endpoints that hold decisions.

The gate, the log, the audit and the relay see one request and one reply, whatever the dialect. What
this file does not know: who answers.
"""

from __future__ import annotations

from typing import Protocol

from ultracore.distillation.serve.answers import Answer, as_json, as_stream
from ultracore.distillation.serve.replies import Reader
from ultracore.distillation.serve.wire import ChatRequest, parse_chat_request

__all__ = ["CHAT", "Dialect"]


class Dialect(Protocol):
    """One endpoint's way to write a decision down."""

    path: str
    """Below the base URL, here and at the teacher."""

    def parse(self, body: bytes) -> ChatRequest:
        """Read a request.

        Raises:
            RequestError: 400; it is none.
        """
        ...

    def reader(self, *, stream: bool) -> Reader:
        """Something that reads the teacher's reply as it passes."""
        ...

    def answer(self, answer: Answer, request: ChatRequest) -> bytes:
        """The whole body of a local answer, streamed or not as the request wants it."""
        ...


class Chat:
    """OpenAI's chat completions, and what all compatible servers speak."""

    path = "chat/completions"

    def parse(self, body: bytes) -> ChatRequest:
        """See `Dialect.parse`."""
        return parse_chat_request(body)

    def reader(self, *, stream: bool) -> Reader:
        """See `Dialect.reader`."""
        return Reader(stream=stream)

    def answer(self, answer: Answer, request: ChatRequest) -> bytes:
        """See `Dialect.answer`."""
        return as_stream(answer, include_usage=request.include_usage) if request.stream else as_json(answer)


CHAT = Chat()

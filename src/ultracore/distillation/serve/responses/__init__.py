"""OpenAI's Responses API through the same gate: stateless requests with function tools may be answered here.

What this package does not know: who answers. What the teacher keeps for the client (an earlier
response, a conversation, a stored prompt, built-in tools) only the teacher can answer.
"""

from __future__ import annotations

from ultracore.distillation.serve.answers import Answer
from ultracore.distillation.serve.replies import Reader
from ultracore.distillation.serve.responses.answer import as_response, as_response_stream
from ultracore.distillation.serve.responses.reply import ResponseReader
from ultracore.distillation.serve.responses.request import parse_response_request
from ultracore.distillation.serve.wire import ChatRequest

__all__ = ["RESPONSES"]


class Responses:
    """The dialect of `/v1/responses`; see `serve.dialect.Dialect`."""

    path = "responses"

    def parse(self, body: bytes) -> ChatRequest:
        """See `Dialect.parse`."""
        return parse_response_request(body)

    def reader(self, *, stream: bool) -> Reader:
        """See `Dialect.reader`."""
        return ResponseReader(stream=stream)

    def answer(self, answer: Answer, request: ChatRequest) -> bytes:
        """See `Dialect.answer`."""
        return as_response_stream(answer, request) if request.stream else as_response(answer, request)


RESPONSES = Responses()

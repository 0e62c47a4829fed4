"""Anthropic's Messages API through the same gate: requests with function tools and text may be answered here.

What this package does not know: who answers. What only the teacher can do or is to show (thinking, its own tools,
images, documents) it does.
"""

from __future__ import annotations

from ultracore.distillation.serve.answers import Answer
from ultracore.distillation.serve.messages.answer import as_message, as_message_stream
from ultracore.distillation.serve.messages.reply import MessageReader
from ultracore.distillation.serve.messages.request import parse_message_request
from ultracore.distillation.serve.replies import Reader
from ultracore.distillation.serve.wire import MESSAGES_PATH, ChatRequest

__all__ = ["MESSAGES"]


class Messages:
    """The dialect of `/v1/messages`; see `serve.dialect.Dialect`."""

    path = MESSAGES_PATH

    def parse(self, body: bytes) -> ChatRequest:
        """See `Dialect.parse`."""
        return parse_message_request(body)

    def reader(self, *, stream: bool) -> Reader:
        """See `Dialect.reader`."""
        return MessageReader(stream=stream)

    def answer(self, answer: Answer, request: ChatRequest) -> bytes:
        """See `Dialect.answer`."""
        return as_message_stream(answer) if request.stream else as_message(answer)


MESSAGES = Messages()

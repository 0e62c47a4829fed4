"""What the teacher decided, read from its reply: one JSON object, or a stream of events put together again.

Only a reply that came whole and ended by itself is a decision: one that was cut, hit a token limit,
was filtered, has several choices, or was made by another gateway's student is none. What this file
does not know: requests, and what becomes of the bytes.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import msgspec

from ultracore.distillation.errors import DataError
from ultracore.distillation.serve.wire import MAX_BODY
from ultracore.distillation.tools import LOCAL_CALL_PREFIX, ToolCall, parse_call

__all__ = ["Call", "Function", "Reader", "Reply"]

FINISHED = frozenset({"stop", "tool_calls", "function_call"})


class Function(msgspec.Struct):
    """A call's name and arguments, or a piece of them."""

    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct):
    """A tool call, or a piece of one."""

    index: int = 0
    id: str | None = None
    function: Function | None = None


class Message(msgspec.Struct):
    """A message, or what a chunk adds to it."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None


class Choice(msgspec.Struct):
    """One choice of a completion or of a chunk."""

    index: int = 0
    message: Message | None = None
    delta: Message | None = None
    finish_reason: str | None = None


class Completion(msgspec.Struct):
    """A completion or a chunk of one; unknown fields are skipped."""

    id: str | None = None
    choices: list[Choice] = []
    usage: dict[str, Any] | None = None
    error: Any = None


class Reply(NamedTuple):
    """What was read.

    Attributes:
        finished: Whether the reply ended by itself, decision or not.
        calls: The calls, or `None` where there is no decision.
        text: The text said, if any.
        problem: Why there is no decision, "" if there is one.
        usage: The tokens billed, where the teacher told.
        id: The teacher's name for it.
        malformed: Whether a part of it could not be read.
    """

    finished: bool
    calls: tuple[ToolCall, ...] | None
    text: str | None
    problem: str
    usage: dict[str, Any] | None
    id: str | None = None
    malformed: bool = False


class Reader:
    """Takes the bytes of a reply as they pass by; never changes or delays them.

    Args:
        stream: Whether they are server-sent events.

    Example:
        >>> reader = Reader(stream=False)
        >>> reader.feed(b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}')
        >>> reader.reply.text
        'hi'
    """

    def __init__(self, *, stream: bool) -> None:
        self.stream = stream
        self._pending = bytearray()
        self._size = 0
        self._last = b""
        self._problem = ""
        self._malformed = False
        self._calls: dict[int, list[Call]] = {}
        self._text: list[str] = []
        self._finish: str | None = None
        self._usage: dict[str, Any] | None = None
        self._id: str | None = None

    @property
    def at_line_end(self) -> bool:
        """Whether the last line of a stream is whole, so that an event can follow an empty line."""
        return self._last in (b"", b"\n")

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._size += len(data)
        self._last = data[-1:] or self._last
        if self._size > MAX_BODY:
            self._problem = "the reply is too large to be read"
            self._pending.clear()
            return
        self._pending += data
        if self.stream and b"\n" in data:
            *lines, rest = bytes(self._pending).split(b"\n")
            self._pending = bytearray(rest)
            for line in lines:
                self._take_line(line.strip())

    @functools.cached_property
    def reply(self) -> Reply:
        """What the bytes amount to; ask once they have all passed."""
        if not self.stream and self._pending:
            self._take(bytes(self._pending))
        problem, calls = self._problem, None
        if not problem:
            problem, calls = self._decision()
        text = "".join(self._text) or None
        return Reply(self._finish is not None, calls, text, problem, self._usage, self._id, self._malformed)

    def _take_line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            data = line[5:].strip()
            if data and data != b"[DONE]":
                self._take(data)

    def _take(self, data: bytes) -> None:
        try:
            completion = _completion.decode(data)
        except (ValueError, RecursionError):
            self._problem, self._malformed = "the reply is not a chat completion", True
            return
        if completion.error is not None:
            self._problem = "the reply tells of an error"
        self._usage, self._id = completion.usage or self._usage, completion.id or self._id
        for choice in completion.choices:
            self._take_choice(choice)

    def _take_choice(self, choice: Choice) -> None:
        if choice.index != 0:
            self._problem = "the reply has several choices"
            return
        self._finish = choice.finish_reason or self._finish
        message = choice.message or choice.delta or Message()
        self._text += [text for text in (message.content, message.refusal) if text]
        if message.function_call is not None:
            self._calls.setdefault(0, []).append(Call(function=message.function_call))
        for position, call in enumerate(message.tool_calls or ()):
            self._calls.setdefault(position if choice.message else call.index, []).append(call)

    def _decision(self) -> tuple[str, tuple[ToolCall, ...] | None]:
        if self._finish is None:
            return "the reply did not end", None
        if self._finish not in FINISHED:
            return f"the reply ended with {self._finish[:40]}", None
        pieces = [self._calls[index] for index in sorted(self._calls)]
        if any((piece.id or "").startswith(LOCAL_CALL_PREFIX) for call in pieces for piece in call):
            return "the reply was made by a student", None
        try:
            return "", tuple(_joined(call) for call in pieces)
        except DataError:
            return "a call in the reply has no name, or arguments that are not a JSON object", None


_completion = msgspec.json.Decoder(Completion)


def _joined(pieces: list[Call]) -> ToolCall:
    functions = [piece.function for piece in pieces if piece.function is not None]
    name = "".join(function.name or "" for function in functions)
    return parse_call({"name": name, "arguments": "".join(function.arguments or "" for function in functions)})

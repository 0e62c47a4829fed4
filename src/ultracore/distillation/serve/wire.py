"""Requests as they arrive in OpenAI's chat completion format, and errors as they leave, in OpenAI's or Anthropic's.

A request is checked just far enough to be understood: its bytes go to the teacher as they came, and
whatever this release does not know stays in them. What this file does not know: who answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from ultracore.distillation.decisions import Message, text_of
from ultracore.distillation.errors import DistillationError
from ultracore.distillation.events.base import UnchangingObject

if TYPE_CHECKING:
    from ultracore.distillation.serve.recurring import Recurring

__all__ = [
    "MAX_BODY",
    "MAX_DEPTH",
    "MAX_VALUES",
    "MESSAGES_PATH",
    "ChatRequest",
    "RequestError",
    "check_common",
    "decode_fields",
    "decode_json",
    "error_body",
    "is_anthropics",
    "parse_chat_request",
    "session_of",
]

MESSAGES_PATH = "messages"
"""Where Anthropic's clients ask, below `/v1`."""

MAX_BODY = 16 * 1024 * 1024
"""Bytes of a request body. OpenAI takes images inline; 16 MiB holds several."""

MAX_DEPTH = 100
"""Levels of nesting in a body. Far above any real schema, far below Python's own recursion limit of 1000."""

MAX_VALUES = 500_000
"""Values in one field of a body. A conversation of a million tokens holds some ten thousand."""


class RequestError(DistillationError):
    """The request cannot be served; the client gets `status` and an error in OpenAI's shape."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        """The error as JSON, in OpenAI's shape."""
        return error_body(self.status, self.message, self.code)

    def body_at(self, path: str) -> bytes:
        """The error as JSON, in the shape of whoever asks at a path below `/v1`."""
        return message_error_body(self.status, self.message) if is_anthropics(path) else self.body

    def event_at(self, path: str) -> bytes:
        """The same as an event of a stream."""
        return (b"event: error\n" if is_anthropics(path) else b"") + b"data: " + self.body_at(path) + b"\n\n"


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A request as a chat completion request, in whichever dialect it came; what follows from it is worked out once.

    Attributes:
        body: The bytes as they came; this is what a teacher receives.
        model: The model that the client asked for.
        messages: The conversation, decoded.
        tools: The JSON of `tools`, not decoded (`serve.offer` does, once for equal bytes); empty where absent.
        options: Every other field, decoded.
        legacy: Whether it came with `functions`, so that a call is answered as a `function_call`.
        problem: What in it has no chat form, so that only the teacher can answer; "" if all has.
        partial: Whether the conversation is kept by the teacher, so that `messages` is not the whole of it.
        digest: Of tenant, endpoint and body, where such requests are remembered (`serve.recent`); else empty.
    """

    body: bytes
    model: str
    messages: list[Message]
    tools: bytes = b""
    options: dict[str, Any] = {}
    legacy: bool = False
    problem: str = ""
    partial: bool = False
    digest: bytes = b""

    @cached_property
    def context(self) -> UnchangingObject:
        """What the log keeps of the conversation."""
        return UnchangingObject(messages=self.messages)

    @cached_property
    def session(self) -> str:
        """The conversation that it belongs to, where no header says so."""
        return session_of(self.messages, None)

    @cached_property
    def step(self) -> int:
        """How often the assistant has spoken."""
        return sum(message["role"] == "assistant" for message in self.messages)

    @property
    def recurring(self) -> Recurring | None:
        """What is the same each time that it gets the same answer; kept by `Exchange`."""
        return self.__dict__.get("recurring")

    @property
    def stream(self) -> bool:
        """Whether the answer is to be sent as server-sent events."""
        return self.options.get("stream") is True

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk that tells the usage."""
        options = self.options.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    @property
    def unstreamed(self) -> bytes:
        """The same request, to be answered by one JSON object."""
        fields = decode_fields(self.body)
        return msgspec.json.encode({k: v for k, v in fields.items() if k not in ("stream", "stream_options")})


def parse_chat_request(body: bytes) -> ChatRequest:
    """Read a request body.

    Raises:
        RequestError: 400; the body is not UTF-8 JSON, is nested too deeply, or is not a chat request.

    Example:
        >>> parse_chat_request(b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}').model
        'm'
    """
    fields = decode_fields(body)
    tools = fields.pop("tools", msgspec.Raw())
    legacy = bytes(fields.get("functions", b"null")) != b"null" and not bytes(tools)
    functions = fields.pop("functions") if legacy else None
    values = {name: decode_json(raw) for name, raw in fields.items()}
    model, messages = values.pop("model", None), values.pop("messages", None)
    check_common(model, values)
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        raise RequestError(400, "'messages' must be a non-empty list of objects with a 'role'", code="invalid_messages")
    offered = bytes(tools)
    if functions is not None:
        offered, values = _as_tools(functions), _as_tool_choice(values)
    return ChatRequest(body=body, model=model, messages=messages, tools=offered, options=values, legacy=legacy)


def check_common(model: Any, options: Mapping[str, Any]) -> None:
    """What every dialect demands.

    Raises:
        RequestError: 400; `model` is no name, or `stream` no truth value.
    """
    if not isinstance(model, str) or not model:
        raise RequestError(400, "'model' must be a non-empty string", code="invalid_model")
    if not isinstance(options.get("stream"), bool | None):  # 0 equals False
        raise RequestError(400, "'stream' must be true or false", code="invalid_stream")


def decode_json(raw: bytes | msgspec.Raw) -> Any:
    """Decode one JSON value of a request.

    Raises:
        RequestError: 400; it is not UTF-8, not JSON, nested deeper than `MAX_DEPTH`, or of too many values.
    """
    try:
        value = msgspec.json.decode(raw)
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from None
    _check_shape(value)
    return value


def error_body(status: int, message: str, code: str | None = None) -> bytes:
    """An error in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`."""
    kind = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    fallback = "invalid_request_error" if status < 500 else "api_error"
    error = {"message": message, "type": kind.get(status, fallback), "param": None, "code": code}
    return msgspec.json.encode({"error": error})


def message_error_body(status: int, message: str) -> bytes:
    """An error in Anthropic's shape: `{"type": "error", "error": {"type", "message"}}`."""
    kind = _ANTHROPICS.get(status, "invalid_request_error" if status < 500 else "api_error")
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})


_ANTHROPICS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def is_anthropics(path: str) -> bool:
    """Whether a path below `/v1` is one of Anthropic's."""
    return path == MESSAGES_PATH or path.startswith(MESSAGES_PATH + "/")


def session_of(messages: list[Message], header: str | None) -> str:
    """The conversation that a request belongs to.

    Args:
        messages: Of the request.
        header: Value of `x-distill-session`; without one, requests with the same system prompt and the
            same first user message count as one conversation.
    """
    if header:
        return header if len(header) <= 128 else hashlib.sha256(header.encode()).hexdigest()[:32]
    opening = [text_of(m) for m in messages if m.get("role") in ("system", "developer")]
    opening += [text_of(m) for m in messages if m.get("role") == "user"][:1]
    return "session-" + hashlib.sha256("\x00".join(opening).encode()).hexdigest()[:24]


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])


def decode_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a body, each still JSON.

    Raises:
        RequestError: 400; it is not a JSON object.
    """
    try:
        return _fields.decode(body)
    except msgspec.ValidationError:
        raise RequestError(400, "the body must be a JSON object", code="invalid_body") from None
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from None


def _as_tools(functions: msgspec.Raw) -> bytes:
    try:
        items = _list.decode(functions)
    except (ValueError, RecursionError):
        raise RequestError(400, "'functions' must be a list of objects", code="invalid_functions") from None
    return b"[" + b",".join(b'{"type":"function","function":' + bytes(item) + b"}" for item in items) + b"]"


def _as_tool_choice(values: dict[str, Any]) -> dict[str, Any]:
    """`function_call` as `tool_choice`; its absence says nothing, and there is one call at most."""
    choice = values.pop("function_call", None)
    if isinstance(choice, dict):
        choice = {"type": "function", "function": choice}
    return {**values, "tool_choice": values.get("tool_choice", choice), "parallel_tool_calls": False}


def _not_json(error: Exception) -> RequestError:
    if isinstance(error, RecursionError):
        return RequestError(400, f"the body is nested deeper than {MAX_DEPTH} levels", code="too_deep")
    if isinstance(error, UnicodeDecodeError):
        return RequestError(400, "the body is not UTF-8", code="invalid_encoding")
    return RequestError(400, "the body is not valid JSON", code="invalid_json")


def _check_shape(value: Any) -> None:
    level, seen = [value], 0
    for _ in range(MAX_DEPTH):
        nodes = [node for node in level if node.__class__ is dict or node.__class__ is list]
        level = [child for node in nodes for child in (node.values() if node.__class__ is dict else node)]
        seen += len(level)
        if seen > MAX_VALUES:
            raise RequestError(400, f"the body holds more than {MAX_VALUES} values", code="too_many_values")
        if not level:
            return
    raise _not_json(RecursionError())


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str)

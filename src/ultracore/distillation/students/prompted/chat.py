"""Asks an OpenAI-compatible server, one request at a time; its address and key come from the operator alone.

Redirects are not followed, and no message of an error holds the key. What this file does not know: what is asked.
"""

from __future__ import annotations

import http.client
import math
import os
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ultracore.distillation.decisions import text_of
from ultracore.distillation.errors import ConfigurationError, DistillationError

__all__ = ["Answer", "Chat", "ChatError", "ChatRefusedError"]

TIMEOUT = 60.0
MAX_BYTES = 16 * 1024**2


class ChatError(DistillationError):
    """A language model's server cannot be reached, or answers with something else: start it, or mend its URL."""


class ChatRefusedError(ChatError):
    """The server does not take this request: it may not know a field of it."""


class Answer(NamedTuple):
    """What the model said.

    Attributes:
        message: The message, with its tool calls.
        text: Its text.
        input_tokens: Where the server counts them.
        output_tokens: The same.
        seconds: From asking to the whole answer.
        probability: Of its tokens, geometric mean; 1 where the server does not say.
    """

    message: Mapping[str, Any]
    text: str
    input_tokens: int | None
    output_tokens: int | None
    seconds: float
    probability: float


class Chat:
    """A model at a server.

    Args:
        url: Base URL, such as `http://localhost:8000/v1`.
        model: The model's name there.
        key_env: Environment variable with the key; none is sent where it is unset.
        timeout: Seconds for a request.

    Raises:
        ConfigurationError: The URL cannot be used.
    """

    def __init__(
        self, url: str, *, model: str = "default", key_env: str = "OPENAI_API_KEY", timeout: float = TIMEOUT
    ) -> None:
        try:
            parts = urlsplit(url)
            self._port = parts.port
        except ValueError:
            raise ConfigurationError(f"{url!r} is not a URL; write it like http://localhost:8000/v1") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ConfigurationError(f"{url!r} is not a base URL; write it like http://localhost:8000/v1")
        self.url = url.rstrip("/")
        self.model = model
        self._tls = parts.scheme == "https"
        self._host = parts.hostname
        self._path = parts.path.rstrip("/")
        self.key_env = key_env
        self._timeout = timeout

    def check(self) -> None:
        """Whether the server is there; costs no token.

        Raises:
            ChatError: It is not, or refuses the key.
        """
        status, _ = self._request("GET", "/models", None)
        if status in (401, 403):
            raise ChatError(f"{self.url} refuses the key in {self.key_env}")

    def complete(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Answer:
        """One completion.

        Args:
            messages: OpenAI chat messages.
            **options: Further fields of the request, such as `tools`.

        Raises:
            ChatRefusedError: The server does not take the request.
            ChatError: There is no completion.
        """
        began = time.perf_counter()
        body = {"model": self.model, "messages": list(messages), "temperature": 0, **options}
        status, content = self._request("POST", "/chat/completions", msgspec.json.encode(body))
        if status != 200:
            refused = ChatRefusedError if status in (400, 422) else ChatError
            raise refused(f"{self.url} answered with status {status}: {content[:200].decode(errors='replace')}")
        try:
            reply = msgspec.json.decode(content)
            choice = reply["choices"][0]
            message = choice["message"]
            usage = reply.get("usage") or {}
            tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
            seconds = time.perf_counter() - began
            return Answer(message, text_of(message), *tokens, seconds, _probability(choice.get("logprobs")))
        except (msgspec.DecodeError, LookupError, TypeError, AttributeError):
            raise ChatError(f"{self.url} gave no chat completion: {content[:200].decode(errors='replace')}") from None

    def _request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {"content-type": "application/json"}
        if key := os.environ.get(self.key_env):
            headers["authorization"] = f"Bearer {key}"
        connection = self._connection()
        try:
            connection.request(method, self._path + path, body, headers)
            response = connection.getresponse()
            return response.status, response.read(MAX_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ChatError(f"{self.url} cannot be reached: {type(error).__name__}; is the server running?") from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)


def _probability(logprobs: Any) -> float:
    """Geometric mean of the tokens' probabilities; 1 where the server gives none: then nothing ranks its calls."""
    try:
        tokens = [float(token["logprob"]) for token in logprobs["content"]]
        return math.exp(math.fsum(tokens) / len(tokens)) if tokens else 1.0
    except (TypeError, KeyError, ValueError, OverflowError):
        return 1.0

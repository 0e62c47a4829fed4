"""A language model with a versioned prompt, behind the same protocol as every student.

Any OpenAI-compatible server will do; it parses the tool calls. What it proposes beyond the tools offered, or
against their schemas, is taken as no proposal. Tools whose schemas allow it are offered as `strict`, so that a
server that can constrain its output does; one that refuses the field is asked without it from then on. What this
file does not know: how the prompt came about, what is sure enough, and HTTP.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from ultracore.distillation.decisions import SYSTEM_ROLES, State
from ultracore.distillation.errors import ArtefactError, DataError
from ultracore.distillation.students.artefact import read_artefact, write_artefact
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.prompted.chat import Answer, Chat, ChatRefusedError
from ultracore.distillation.students.schema import is_valid
from ultracore.distillation.tools import ToolCall, canonical_json, fingerprint, parse_call

__all__ = ["KIND", "PromptedStudent", "Spent", "load_prompted"]

KIND = "prompted"
CONCURRENCY = 8


class Spent(msgspec.Struct):
    """What a student's requests took so far.

    Attributes:
        requests: How many.
        input_tokens: As the server counts them; what it does not count is not in here.
        output_tokens: The same.
        seconds: Of each request, in order of arrival.
    """

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: list[float] = []

    def cost(self, input_per_million: float, output_per_million: float) -> float:
        """Dollars, at so many for a million tokens."""
        return (self.input_tokens * input_per_million + self.output_tokens * output_per_million) / 1e6

    def latency(self, share: float) -> float | None:
        """Seconds within which so many (0..1) of the requests were answered."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None

    def figures(self, input_per_million: float, output_per_million: float) -> dict[str, float]:
        """Tokens, milliseconds and dollars of a request; nothing where there was none."""
        middle, slow = self.latency(0.5), self.latency(0.99)
        if middle is None or slow is None:
            return {}
        return {
            "requests": self.requests,
            "input_tokens": self.input_tokens / self.requests,
            "output_tokens": self.output_tokens / self.requests,
            "latency_ms": 1000 * middle,
            "latency_ms_p99": 1000 * slow,
            "cost_per_request_usd": self.cost(input_per_million, output_per_million) / self.requests,
        }


class PromptedStudent:
    """Asks a model.

    Args:
        prompt: The system prompt; it stands instead of the one that the teacher had.
        chat: The server and the model.
        options: Further fields of each request, such as `{"tool_choice": "required"}`.

    Attributes:
        spent: What its requests took.

    `propose` raises `ChatError` where the server does not answer; the gate then asks the teacher.
    """

    def __init__(self, prompt: str, chat: Chat, options: Mapping[str, Any] | None = None) -> None:
        self.prompt = prompt
        self.chat = chat
        self.options = dict(options or {})
        self.spent = Spent()
        self._lock = threading.Lock()
        self._offers_strict = True

    @property
    def model_id(self) -> str:
        """Changes with prompt, model, server and options."""
        return fingerprint([KIND, self._config()])

    def propose(self, state: State) -> Proposal:
        """What the model would do."""
        answer = self._asked(state)
        self._count(answer)
        calls = _calls(answer.message)
        if calls is None or not all(_keeps(call, state) for call in calls):
            return Proposal((), 0.0)
        return Proposal(tuple(calls), answer.probability)

    def _asked(self, state: State) -> Answer:
        tools = [tool.to_openai() for tool in state.tools]
        strict = [_strict(tool) for tool in tools] if self._offers_strict else tools
        try:
            return self._complete(state, strict)
        except ChatRefusedError:
            if strict == tools:
                raise
            answer = self._complete(state, tools)
            self._offers_strict = False  # it was this field that the server does not take
            return answer

    def _complete(self, state: State, tools: list[dict[str, Any]]) -> Answer:
        offered = {"tools": tools} if tools else {}
        return self.chat.complete(self._messages(state), **offered, logprobs=True, **self.options)

    def propose_batch(self, states: Sequence[State]) -> list[Proposal]:
        """As `propose` on each state, several at a time."""
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            return list(pool.map(self.propose, states))

    def save(self, folder: Path) -> str:
        """Write prompt and address as a model's files, never a key; returns the model id."""
        write_artefact(folder, KIND, self._config(), {})
        return self.model_id

    def _config(self) -> dict[str, Any]:
        chat = {"url": self.chat.url, "model": self.chat.model, "key_env": self.chat.key_env}
        return {"prompt": self.prompt, **chat, "options": self.options}

    def _messages(self, state: State) -> list[dict[str, Any]]:
        rest = [_sendable(message) for message in state.messages if message.get("role") not in SYSTEM_ROLES]
        return [{"role": "system", "content": self.prompt}, *rest]

    def _count(self, answer: Answer) -> None:
        with self._lock:
            self.spent.requests += 1
            self.spent.input_tokens += answer.input_tokens or 0
            self.spent.output_tokens += answer.output_tokens or 0
            self.spent.seconds.append(answer.seconds)


def load_prompted(folder: Path) -> PromptedStudent:
    """Read a student back.

    Raises:
        ArtefactError: It is none, or was altered.
    """
    _, config, _ = read_artefact(folder, KIND)
    try:
        chat = Chat(config["url"], model=config["model"], key_env=config["key_env"])
        return PromptedStudent(config["prompt"], chat, config["options"])
    except (KeyError, TypeError) as error:
        raise ArtefactError(f"{folder} is not a prompted student of this release: {error}") from None


def _strict(tool: dict[str, Any]) -> dict[str, Any]:
    """The tool as `strict`, where its schema is closed: every property required and no other allowed."""
    function = tool["function"]
    schema = function.get("parameters") or {}
    properties = schema.get("properties") or {}
    closed = schema.get("additionalProperties") is False and set(schema.get("required") or ()) == set(properties)
    return {**tool, "function": {**function, "strict": True}} if closed else tool


def _calls(message: Mapping[str, Any]) -> list[ToolCall] | None:
    try:
        return [parse_call(call) for call in message.get("tool_calls") or ()]
    except (DataError, AttributeError, TypeError):
        return None


def _keeps(call: ToolCall, state: State) -> bool:
    tool = next((tool for tool in state.tools if tool.name == call.name), None)
    return tool is not None and is_valid(tool, call.arguments or {})


def _sendable(message: Mapping[str, Any]) -> dict[str, Any]:
    """A flat row's context goes as the user's words: no server knows the role `context`."""
    if message.get("role") != "context":
        return dict(message)
    return {"role": "user", "content": canonical_json(message.get("content")).decode()}

"""A decision: one point at which the teacher had to choose between a text reply and tool calls.

The same struct serves conversations and flat rows with any `context` dict: a flat context becomes
one message of role `context`. Rows (plain dicts, as `get_history()` returns them) are what travels
between the stages; `Decision.from_row` is the one place that reads them. What this file does not
know: where rows come from and what is learned from them.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ultracore.distillation.errors import DataError
from ultracore.distillation.tools import REPLY, Tool, ToolCall, fingerprint, parse_call, parse_tool, shared

__all__ = [
    "CIRCLE",
    "Decision",
    "State",
    "action_of",
    "decisions_from_rows",
    "goes_in_circles",
    "mask_digits",
    "prompt_fingerprint",
    "system_prompt",
    "teachers_apart",
    "text_of",
]

Message = dict[str, Any]
SYSTEM_ROLES = frozenset({"system", "developer"})
CIRCLE = 3
"""Equal calls in a row after which a conversation goes in circles: some teachers then go on a hundred times."""


class State(msgspec.Struct, frozen=True):
    """What a student sees: the messages so far and the tools offered now.

    Attributes:
        messages: OpenAI chat messages; a flat row has one message of role `context` whose content
            is the context object.
        tools: The tools offered.
    """

    messages: list[Message]
    tools: list[Tool]

    @property
    def key(self) -> str:
        """Equal for equal messages, the system's included, and tool names; call ids do not count."""
        history = [_without_ids(message) for message in self.messages]
        return fingerprint([history, sorted(tool.name for tool in self.tools)])

    @property
    def in_circles(self) -> bool:
        """Whether the assistant's last `CIRCLE` messages made one and the same call."""
        return goes_in_circles(self.messages)


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of the teacher, in its context.

    Attributes:
        state: What the teacher saw.
        calls: The calls it made, in order; none means that it replied with text.
        reply: The text it said, with or instead of calls, where recorded.
        episode: The conversation; decisions of one episode are dependent.
        task: What the episode was about; the unit that is never split.
        step: Position within the episode, from 0.
        trial: Which repetition of the task this was.
        agent_id: Whose decision it was.
        teacher: The model that decided.
        tenant: Whose data it is.
        event_id: The event in the log, "" where there is none.
        weight: How many source decisions it stands for after curation (>= 1).
        split: "calibration" where a curator held the row back for the certificate, else "".
    """

    state: State
    calls: tuple[ToolCall, ...] = ()
    reply: str | None = None
    episode: str
    task: str
    step: int = 0
    trial: int = 0
    agent_id: str = ""
    teacher: str = ""
    tenant: str = "default"
    event_id: str = ""
    weight: float = 1.0
    split: str = ""

    @property
    def action(self) -> str:
        """The tool of the first call, or `REPLY`."""
        return action_of(self.calls)

    @property
    def is_call(self) -> bool:
        """Whether the teacher called a tool."""
        return bool(self.calls)

    @classmethod
    def from_row(cls, row: Mapping[str, Any], index: int = 0) -> Decision:
        """Read a row of `get_history()`, of a curator, or of an event's data.

        Args:
            row: At least `context` (or `messages`), `tools_available` and `tool_selected`.
            index: Position in its list: names the episode where nothing else does.

        Raises:
            DataError: The row names no tools, its context is not an object, or its weight is no positive number.
        """
        context = row.get("context")
        if context is None:
            context = {}
        if not isinstance(context, Mapping):
            raise DataError(f"row {index}: 'context' must be a dict, not {type(context).__name__}")
        tools = [shared(parse_tool(tool)) for tool in row.get("tools_available") or ()]
        calls = _calls_of(row)
        episode = str(row.get("session_id") or row.get("event_id") or f"row-{index}")
        return cls(
            state=State(_messages_of(context, row.get("messages")), tools),
            calls=calls,
            reply=row.get("reply"),
            episode=episode,
            task=str(row.get("task") or episode),
            step=int(row.get("step") or 0),
            trial=int(row.get("trial") or 0),
            agent_id=str(row.get("agent_id") or ""),
            teacher=str(row.get("teacher_model") or ""),
            tenant=str(row.get("tenant_id") or "default"),
            event_id=str(row.get("event_id") or ""),
            weight=_weight_of(row, index),
            split=str(row.get("split") or ""),
        )


def _weight_of(row: Mapping[str, Any], index: int) -> float:
    try:
        weight = float(row.get("weight") or 1.0)
    except (TypeError, ValueError):
        weight = math.nan
    if not 0.0 < weight < math.inf:
        raise DataError(f"row {index}: 'weight' must be a positive number, not {row['weight']!r}")
    return weight


def decisions_from_rows(rows: Iterable[Mapping[str, Any] | Decision]) -> list[Decision]:
    """Read many rows; decisions pass through unchanged."""
    return [row if isinstance(row, Decision) else Decision.from_row(row, i) for i, row in enumerate(rows)]


def teachers_apart(decisions: Sequence[Decision]) -> list[str]:
    """The teacher of each decision, where they are of several; where all are of one, "" for each.

    Example:
        >>> one, other = (Decision(state=State([], []), episode=e, task=e, teacher=e) for e in "ab")
        >>> teachers_apart([one, other]), teachers_apart([one, one])
        (['a', 'b'], ['', ''])
    """
    several = len({decision.teacher for decision in decisions}) > 1
    return [decision.teacher if several else "" for decision in decisions]


def action_of(calls: Sequence[ToolCall]) -> str:
    """The action that calls stand for: the first call's tool, or `REPLY` where there is none."""
    return calls[0].name if calls else REPLY


def goes_in_circles(messages: Sequence[Mapping[str, Any]]) -> bool:
    """As `State.in_circles`. Whether such a teacher goes on is all or nothing, so no student is asked there.

    Example:
        >>> call = {"role": "assistant", "tool_calls": [{"function": {"name": "poll", "arguments": "{}"}}]}
        >>> goes_in_circles([call] * 3), goes_in_circles([call] * 2)
        (True, False)
    """
    said = (message for message in reversed(messages) if message.get("role") == "assistant")
    last = [_without_ids(message).get("calls") for message in itertools.islice(said, CIRCLE)]
    return len(last) == CIRCLE and bool(last[0]) and all(calls == last[0] for calls in last)


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message, whether its content is a string, parts, or missing.

    Example:
        >>> text_of({"role": "user", "content": [{"type": "text", "text": "hi"}]})
        'hi'
    """
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""


_VARYING = re.compile(r"\d+")


def system_prompt(messages: Iterable[Mapping[str, Any]]) -> str:
    """The text of all system messages of a conversation."""
    return "\n".join(text_of(m) for m in messages if m.get("role") in SYSTEM_ROLES)


def mask_digits(text: str) -> str:
    """The text with each number as 0, so that a date or an order in it does not count."""
    return _VARYING.sub("0", text)


def prompt_fingerprint(messages: Sequence[Mapping[str, Any]]) -> str:
    """Fingerprint of the system prompt with its digits masked."""
    return _prompt_fingerprint(system_prompt(messages))


@functools.lru_cache(maxsize=256)  # a conversation asks again and again, and so does every one of its agent
def _prompt_fingerprint(text: str) -> str:
    return fingerprint(mask_digits(text))


def _messages_of(context: Mapping[str, Any], messages: Any) -> list[Message]:
    chat = messages if messages is not None else context.get("messages")
    if not isinstance(chat, list) or not all(isinstance(message, Mapping) for message in chat):
        return [{"role": "context", "content": dict(context)}]
    rest = {key: value for key, value in context.items() if key != "messages"}
    head: list[Message] = [{"role": "context", "content": rest}] if rest else []
    return head + [dict(message) for message in chat]


def _calls_of(row: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    calls = row.get("tool_calls")
    if calls is not None:
        return tuple(call if isinstance(call, ToolCall) else parse_call(call) for call in calls)
    selected = row.get("tool_selected")
    if not selected or selected == REPLY:
        return ()
    arguments = row.get("tool_parameters")
    return (ToolCall(str(selected), dict(arguments) if isinstance(arguments, Mapping) else None),)


def _without_ids(message: Message) -> dict[str, Any]:
    kept: dict[str, Any] = {"role": message.get("role"), "content": message.get("content") or None}
    if calls := message.get("tool_calls"):
        listed = calls if isinstance(calls, list) else [calls]  # a client may send anything
        kept["calls"] = [c.get("function", c) if isinstance(c, Mapping) else c for c in listed]
    if call := message.get("function_call"):
        kept["calls"] = [call]
    return kept

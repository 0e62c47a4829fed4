"""A conversation as the student reads it: who did what, what was said, which values lie about.

Each message is read once into facts, which are remembered by content: the next turn of a dialogue
costs only its new messages. What this file does not know: what any of it is good for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import msgspec

from ultracore.distillation.decisions import SYSTEM_ROLES, Message, State, text_of
from ultracore.distillation.errors import DataError
from ultracore.distillation.students.compact.days import Calendar, today_in
from ultracore.distillation.students.compact.lru import LruCache
from ultracore.distillation.students.compact.moments import latest_month
from ultracore.distillation.students.compact.records import Records
from ultracore.distillation.students.compact.stated import digits_in, looks_like_id, stated
from ultracore.distillation.students.compact.text import UNKNOWN, Span, spans_of, words_of
from ultracore.distillation.students.compact.things import NOTHING, Held, Leaf, Thing, held_in
from ultracore.distillation.tools import ToolCall, parse_call

__all__ = ["Transcript", "Turn", "words_of_short"]

MAX_BYTES = 64 * 1024 * 1024
"""Of the messages remembered, some seven thousand: what an agent's conversations say is read once."""

MAX_LEAVES = 4000
"""Of one message; the rest of a huge tool result is not offered as values."""


NO_RECORDS = Records((), "", (), str)


class Turn(NamedTuple):
    """One message.

    Attributes:
        role: user, assistant, tool, context, or system (what varies of its prompt).
        text: What it says.
        calls: The calls it makes.
        data: The parsed content of a tool result or a context, if it is JSON.
        leaves: The values in it, each once a path; empty ones are left out.
        held: The distinct values.
        words: The words of its text.
        spans: What its text says that may be a value.
        stated: What a tool result says of each thing it names, see `stated`.
        ids: Path and value of the identifiers in a tool's result.
        records: Values that stand together.
    """

    role: str
    text: str
    calls: tuple[ToolCall, ...]
    data: Any
    leaves: tuple[Leaf, ...]
    held: tuple[Held, ...]
    words: tuple[str, ...]
    spans: tuple[Span, ...] = ()
    stated: tuple[tuple[str, str], ...] = ()
    ids: tuple[tuple[str, str], ...] = ()
    records: Records = NO_RECORDS


USERS = frozenset({"user", "context", "system"})
"""Whose words say what is wanted."""
_remembered = LruCache[tuple[Any, ...], Turn](MAX_BYTES)


class Transcript:
    """A state, read.

    Args:
        state: The messages so far and the tools offered.
        told: What the system prompt says of this conversation alone, see `prompts`.
        calendar: What a date means that is not said in full, before the conversation tells.
        teacher: Whose decision is asked for, "" where only one teacher was learned from.

    Attributes:
        turns: What was told, if anything, then the messages but the system's; the pending calls are the last one.
        tools: The tools offered, by name.
        actions: What happened, in order: tool names, `R` for a reply, `U` for the user's turn, and `+` after
            pending calls.
        calls: The calls so far, pending ones included.
        told: Whether the first turn is the system's.
        teacher: As given.
    """

    def __init__(
        self,
        state: State,
        told: str = "",
        calendar: Calendar = UNKNOWN,
        teacher: str = "",
    ) -> None:
        self.teacher = teacher
        self.tools = {tool.name: tool for tool in state.tools}
        self.turns = _read(state.messages, calendar)
        self.told = bool(told)
        if told:
            self.turns.insert(
                0, _remember({"role": "system", "content": told}, told, (), "", _noted(told, calendar, is_system=True))
            )
        self.actions = [action for turn in self.turns for action in _actions(turn)]
        self.calls = [call for turn in self.turns for call in turn.calls]

    def going_on(self, pending: Sequence[ToolCall]) -> Transcript:
        """The same once these calls are chosen for the message that is being decided; what was said stays read."""
        if not pending:
            return self
        other = copy(self)
        for name in ("since_user", "used", "given"):
            other.__dict__.pop(name, None)
        turn = _remember({"role": "assistant"}, "", tuple(pending), "", UNKNOWN)
        other.turns = [*self.turns, turn]
        other.actions = [*self.actions, *_actions(turn), "+"]
        other.calls = [*self.calls, *pending]
        return other

    def renamed(self, names: Mapping[str, str]) -> Transcript:
        """The same, but its actions bear other names."""
        other = copy(self)
        other.__dict__.pop("since_user", None)
        other.actions = [names.get(action, action) for action in self.actions]
        return other

    @cached_property
    def user_texts(self) -> list[str]:
        """What the user said, turn by turn; a flat context, and what the system told, count as the user's words."""
        return [turn.text for turn in self.turns if turn.role in USERS]

    @cached_property
    def user_text(self) -> str:
        """All that the user said."""
        return "\n".join(self.user_texts)

    @property
    def last_user_text(self) -> str:
        """What the user said last."""
        return self.user_texts[-1] if self.user_texts else ""

    @cached_property
    def last_reply(self) -> str:
        """What the assistant said last."""
        return next((t.text for t in reversed(self.turns) if t.role == "assistant" and t.text and not t.calls), "")

    @cached_property
    def user_words(self) -> frozenset[str]:
        """The words the user used."""
        return frozenset(word for turn in self.turns if turn.role in USERS for word in turn.words)

    @cached_property
    def last_user_words(self) -> frozenset[str]:
        """The words of the user's last turn."""
        return frozenset(words_of(self.last_user_text))

    @cached_property
    def last_user_letters(self) -> int:
        """The letters of these words, of a long one ten."""
        return sum(min(len(word), 10) for word in self.last_user_words)

    @cached_property
    def reply_words(self) -> frozenset[str]:
        """The words of the assistant's last reply."""
        return frozenset(words_of(self.last_reply))

    @property
    def last(self) -> Turn:
        """The newest message."""
        return self.turns[-1] if self.turns else Turn("user", "", (), None, (), (), ())

    @cached_property
    def since_user(self) -> list[str]:
        """Actions since the user spoke, newest first."""
        recent = []
        for action in reversed(self.actions):
            if action == "U":
                break
            recent.append(action)
        return recent

    @cached_property
    def used(self) -> dict[str, int]:
        """How often each value was an argument of an earlier call, by its text."""
        counts: dict[str, int] = {}
        for call in self.calls:
            for _, value in scalars(call.arguments or {}):
                counts[key_of(value)] = counts.get(key_of(value), 0) + 1
        return counts

    @cached_property
    def given(self) -> dict[tuple[str, tuple[str, ...]], dict[str, int]]:
        """For each tool and argument path (without list steps), how often each value was given before."""
        out: dict[tuple[str, tuple[str, ...]], dict[str, int]] = {}
        for call in self.calls:
            for path, value in scalars(call.arguments or {}):
                counts = out.setdefault((call.name, tuple(step for step in path if step != "[]")), {})
                counts[key_of(value)] = counts.get(key_of(value), 0) + 1
        return out


def key_of(value: Any) -> str:
    """The text by which equal values are recognised, whatever their type: 5, 5.0 and "5" are one.

    Example:
        >>> key_of(5.0), key_of(True)
        ('5', 'true')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict | list):
        return msgspec.json.encode(value, order="sorted").decode()
    return str(value)


def scalars(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every scalar in a JSON value with its path; list items share the step `[]`."""
    if value is None or isinstance(value, str | int | float):  # most are, and whether one is a mapping is asked slowly
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from scalars(item, (*path, str(key)))
    elif isinstance(value, list):
        for item in value:
            yield from scalars(item, (*path, "[]"))
    else:
        yield path, value


def _is_id_key(key: str) -> bool:
    """Whether an object's key is data (an identifier) rather than the name of a field."""
    digits = digits_in(key)
    return digits >= 3 or (digits >= 1 and any(character.isupper() for character in key))


def _actions(turn: Turn) -> list[str]:
    if turn.role == "assistant":
        return [call.name for call in turn.calls] or ["R"]
    return ["U"] if turn.role in ("user", "context") else []


def _noted(text: str, calendar: Calendar, *, is_system: bool) -> Calendar:
    """The calendar once a text was read."""
    today = today_in(text) if is_system else ""
    return Calendar(latest_month(text) or calendar.month, today or calendar.today)


def _read(messages: Sequence[Message], calendar: Calendar) -> list[Turn]:
    turns: list[Turn] = []
    names: dict[str, str] = {}
    waiting: list[str] = []
    for message in messages:
        text = text_of(message)
        is_system = message.get("role") in SYSTEM_ROLES
        calendar = _noted(text, calendar, is_system=is_system)
        if is_system:
            continue
        calls = calls_of(message)
        if calls:
            waiting = [call.name for call in calls]
            raw = message.get("tool_calls") or []
            names |= {str(c.get("id")): call.name for c, call in zip(raw, calls, strict=False) if isinstance(c, dict)}
        source = ""
        if message.get("role") in ("tool", "function"):
            fallback = waiting.pop(0) if waiting else ""
            source = names.get(str(message.get("tool_call_id"))) or str(message.get("name") or fallback)
        turns.append(_remember(message, text, calls, source, calendar))
    return turns


def calls_of(message: Message) -> tuple[ToolCall, ...]:
    """The calls of an assistant message; those that cannot be read are passed over, they are only context."""
    raw = message.get("tool_calls") or ([message["function_call"]] if message.get("function_call") else [])
    calls = []
    for value in raw:
        try:
            calls.append(parse_call(value))
        except (DataError, AttributeError):
            continue
    return tuple(calls)


def _remember(message: Message, text: str, calls: tuple[ToolCall, ...], source: str, calendar: Calendar) -> Turn:
    content = message.get("content")
    plain = content if isinstance(content, str) else key_of(content) if content is not None else ""
    said = "".join(call.name + key_of(call.arguments) for call in calls)
    key = (message.get("role"), source, plain, said, calendar)
    turn = _remembered.get(key)
    if turn is None:
        turn = _turn(str(message.get("role")), text, content, calls, source, calendar)
        _remembered.keep(key, turn, _size(turn, len(plain) + len(said)))
    return turn


def _size(turn: Turn, characters: int) -> int:
    """About how many bytes a turn takes once its records were asked for.

    0.8 to 2 times what `tracemalloc` finds on the example bank, on tables and on objects of 100,000 names.
    """
    objects = [turn.data, *[call.arguments for call in turn.calls]]
    together = len(turn.spans) + sum(1 for _ in scalars(objects))
    return 500 + 4 * characters + 60 * len(turn.words) + 600 * len(turn.leaves) + 250 * together


def _turn(role: str, text: str, content: Any, calls: tuple[ToolCall, ...], source: str, calendar: Calendar) -> Turn:
    data: Any = None
    leaves: list[Leaf] = []
    spans: tuple[Span, ...] = ()
    says: tuple[tuple[str, str], ...] = ()
    if role in ("tool", "function"):
        role, data = "tool", _parse(text)
        says = stated(text, data)
        _walk(data if data is not None else text, f"result:{source}", NOTHING, _thing(data, deep=True), leaves)
    elif role == "context":
        data = content
        _walk(content, "context", NOTHING, _thing(content, deep=True), leaves)
        text = "\n".join(str(value) for _, value in scalars(content) if isinstance(value, str))
        leaves += _spoken("user", text, spans := tuple(spans_of(text[:20000], calendar)))
    else:
        leaves += _spoken(role, text, spans := tuple(spans_of(text[:20000], calendar)))
    for call in calls:
        thing = _thing(call.arguments or {}, deep=True)
        leaves += [
            Leaf(f"call:{call.name}/" + "/".join(path), value, thing, NOTHING)
            for path, value in scalars(call.arguments or {})
        ]
        leaves += [
            Leaf(f"call:{call.name}/{name}", value, thing, NOTHING)
            for name, value in (call.arguments or {}).items()
            if isinstance(value, dict | list)
        ]
    distinct: dict[tuple[str, str], Leaf] = {}
    for leaf in leaves[:MAX_LEAVES]:
        if leaf.value is not None and leaf.value != "":
            distinct.setdefault((leaf.path, key_of(leaf.value)), leaf)
    words = tuple(words_of(text[:20000]))
    ids = [(leaf.path, leaf.value) for leaf in distinct.values() if isinstance(leaf.value, str) and role == "tool"]
    named = tuple(pair for pair in ids if looks_like_id(pair[1]))
    records = Records([data, *[call.arguments for call in calls]], text, spans, key_of)
    return Turn(
        role, text, calls, data, tuple(distinct.values()), held_in(distinct), words, spans, says, named, records
    )


def _parse(text: str) -> Any:
    if text[:1] not in '{[-0123456789"tfn':
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None


def _spoken(role: str, text: str, spans: Sequence[Span]) -> list[Leaf]:
    leaves = []
    seen: dict[str, int] = {}
    for span in spans:
        order = seen[span.kind] = seen.get(span.kind, -1) + 1
        path = f"{role}:{span.kind}"
        leaves.append(Leaf(path, span.value, NOTHING, NOTHING))
        if role in USERS:
            before = words_of(text[max(0, span.start - 25) : span.start])
            if before:
                leaves.append(Leaf(f"{path}<{before[-1]}", span.value, NOTHING, NOTHING))
            if order < 4:
                leaves.append(Leaf(f"{path}#{order}", span.value, NOTHING, NOTHING))
    return leaves


def _walk(value: Any, path: str, thing: Thing, root: Thing, out: list[Leaf], depth: int = 0) -> None:
    if len(out) >= MAX_LEAVES or depth > 24:
        return
    if isinstance(value, str | int | float):
        if value != "" and (not isinstance(value, str) or len(value) <= 200):
            out.append(Leaf(path, value, thing, root))
    elif isinstance(value, Mapping):
        own = _thing(value)
        for key, item in value.items():
            step = str(key)
            if _is_id_key(step):
                out.append(Leaf(f"{path}/*key", step, _thing(item) if isinstance(item, Mapping) else own, root))
                step = "*"
            _walk(item, f"{path}/{step}", own, root, out, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _walk(item, f"{path}/[]", thing, root, out, depth + 1)
    elif value is not None:
        out.append(Leaf(path, value, thing, root))


def _thing(value: Any, *, deep: bool = False) -> Thing:
    """What can be said of an object: by its own scalars and its small parts, or (`deep`) by all in it."""
    if not isinstance(value, Mapping):
        return NOTHING
    words: set[str] = set()
    ids: set[str] = set()
    attributes: list[str] = []
    for key, item in value.items():
        if isinstance(item, str):
            is_id = looks_like_id(item)
            if len(item) < 24 and not is_id:
                attributes.append(f"{key}={item}")
            _note(item, is_id, words, ids)
        elif isinstance(item, bool):
            attributes.append(f"{key}={item}")
        elif item is not None and (deep or (isinstance(item, Mapping) and len(item) < 8)):
            for _, scalar in scalars(item):
                if isinstance(scalar, str):
                    _note(scalar, looks_like_id(scalar), words, ids)
    return Thing(frozenset(words), tuple(attributes), frozenset(ids))


def _note(text: str, is_id: bool, words: set[str], ids: set[str]) -> None:
    if len(text) < 60:
        if is_id and len(text) >= 5:
            ids.add(text)
        words.update(words_of_short(text))


@lru_cache(maxsize=16384)  # an object's are asked for it, for its parent and for the whole result
def words_of_short(text: str) -> tuple[str, ...]:
    """`words_of` a short text, remembered."""
    return tuple(words_of(text))

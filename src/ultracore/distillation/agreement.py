"""When do two decisions agree? Written once, used by training, certificates, audits and reports.

*Strict* agreement gates and certifies: same tools and same arguments after normalisation by the
schema only (declared types, key order, 5 = 5.0, an omitted argument = its default, parallel calls
unordered), unless the user declared how an argument compares. *Tolerant* agreement is printed beside
it: lists of scalars compare as sets and arguments that are free text are ignored. Which arguments are
free text is inferred from the teacher's own values or declared by the user, never by a built-in name.
What this file does not know: who made the calls.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from ultracore.distillation.decisions import Decision
from ultracore.distillation.tools import Tool, ToolCall, canonical_json

__all__ = [
    "NO_COMPARATORS",
    "Comparator",
    "Comparators",
    "infer_free_text",
    "normalise",
    "same_kind",
    "same_tools",
    "strict",
    "tolerant",
]


Comparator = Literal["exact", "set", "free_text", "case_insensitive"] | float
"""How one argument compares; a number is the largest difference of two numbers that agree."""


class Comparators(msgspec.Struct, frozen=True):
    """What is overlooked when arguments are compared.

    Attributes:
        free_text: (tool, argument) pairs whose wording tolerant agreement does not compare; inferred.
        declared: By tool and argument, what the user declared: it holds for strict agreement too, and
            comes before everything inferred.
    """

    free_text: frozenset[tuple[str, str]] = frozenset()
    declared: dict[str, dict[str, Comparator]] = {}


NO_COMPARATORS = Comparators()


def strict(
    a: Sequence[ToolCall], b: Sequence[ToolCall], tools: Iterable[Tool], comparators: Comparators = NO_COMPARATORS
) -> bool | None:
    """Whether two decisions are the same calls; two text replies agree, their wording is not compared.

    Args:
        a: Calls of one decider; none means a text reply.
        b: Calls of the other.
        tools: The tools that were offered; they normalise the arguments.
        comparators: Of these, only what was declared counts here.

    Returns:
        `None` where the tools agree but the arguments of one side were not recorded.

    Example:
        >>> tool = Tool("f", parameters={"properties": {"n": {"type": "integer", "default": 1}}})
        >>> strict([ToolCall("f", {})], [ToolCall("f", {"n": 1.0})], [tool])
        True
    """
    return _agree(a, b, {tool.name: tool for tool in tools}, comparators, is_tolerant=False)


def tolerant(
    a: Sequence[ToolCall], b: Sequence[ToolCall], tools: Iterable[Tool], comparators: Comparators
) -> bool | None:
    """As `strict`, but scalar lists compare as sets and free-text arguments are ignored."""
    return _agree(a, b, {tool.name: tool for tool in tools}, comparators, is_tolerant=True)


def same_tools(a: Sequence[ToolCall], b: Sequence[ToolCall]) -> bool:
    """Whether the same tools are called, whatever the arguments and the order."""
    return sorted(call.name for call in a) == sorted(call.name for call in b)


def same_kind(a: Sequence[ToolCall], b: Sequence[ToolCall]) -> bool:
    """Whether both call, or both reply with text."""
    return bool(a) == bool(b)


def normalise(call: ToolCall, tool: Tool | None) -> dict[str, Any] | None:
    """The arguments with declared types applied and defaults dropped; `None` where not recorded."""
    if call.arguments is None:
        return {} if tool is not None and not tool.takes_arguments else None
    properties = tool.properties if tool is not None else {}
    out = {}
    for name, value in call.arguments.items():
        schema = properties.get(name, {})
        plain = _apply_type(value, schema)
        if "default" in schema and canonical_json(plain) == canonical_json(_apply_type(schema["default"], schema)):
            continue
        out[name] = plain
    return out


def infer_free_text(decisions: Iterable[Decision]) -> Comparators:
    """Find the arguments whose values are prose: several words each, and hardly ever the same twice.

    An argument counts as free text where at least 5 values were seen, their median length is at
    least 4 words of letters, at least 80 % of them are distinct, and at most 20 % were said word
    for word earlier in the conversation (the prose is the teacher's own, not a copy).
    """
    values: dict[tuple[str, str], list[tuple[str, bool]]] = defaultdict(list)
    for decision in decisions:
        said: str | None = None
        for call in decision.calls:
            for name, value in (call.arguments or {}).items():
                if isinstance(value, str):
                    said = said or canonical_json(decision.state.messages).decode()
                    values[call.name, name].append((value, msgspec.json.encode(value).decode()[1:-1] in said))
    return Comparators(frozenset(key for key, seen in values.items() if _is_prose(seen)))


_WORD = re.compile(r"[^\W\d_]{2,}")


def _is_prose(seen: Sequence[tuple[str, bool]]) -> bool:
    words = sorted(len(_WORD.findall(value)) for value, _ in seen)
    distinct = len({value for value, _ in seen}) / len(seen)
    copied = sum(copy for _, copy in seen) / len(seen)
    return len(seen) >= 5 and words[len(words) // 2] >= 4 and distinct >= 0.8 and copied <= 0.2


class _Comparable(NamedTuple):
    """A call to compare: what must be equal, and the numbers that need only be close."""

    exact: bytes
    numbers: tuple[float, ...]
    tolerances: tuple[float, ...]

    def agrees(self, other: _Comparable) -> bool:
        if (self.exact, self.tolerances) != (other.exact, other.tolerances):
            return False
        return all(abs(x - y) <= t for x, y, t in zip(self.numbers, other.numbers, self.tolerances, strict=True))


def _agree(
    a: Sequence[ToolCall],
    b: Sequence[ToolCall],
    tools: Mapping[str, Tool],
    comparators: Comparators,
    *,
    is_tolerant: bool,
) -> bool | None:
    if not same_tools(a, b):
        return False
    left, right = (
        [_comparable(call, tools.get(call.name), comparators, is_tolerant) for call in calls] for calls in (a, b)
    )
    known = sorted(c for c in left if c is not None), sorted(c for c in right if c is not None)
    if len(known[0]) < len(left) or len(known[1]) < len(right):
        return None
    return all(one.agrees(other) for one, other in zip(*known, strict=True))


def _comparable(call: ToolCall, tool: Tool | None, comparators: Comparators, is_tolerant: bool) -> _Comparable | None:
    arguments = normalise(call, tool)
    if arguments is None:
        return None
    declared = comparators.declared.get(call.name, {})
    kept: dict[str, Any] = {}
    numbers: list[float] = []
    tolerances: list[float] = []
    for name, value in arguments.items():
        how = declared.get(name)
        if isinstance(how, int | float) and isinstance(value, int | float) and not isinstance(value, bool):
            numbers.append(float(value))
            tolerances.append(float(how))
            kept[name] = None
        elif how == "free_text" or (how is None and is_tolerant and (call.name, name) in comparators.free_text):
            continue
        else:
            kept[name] = _shown(value, how, is_tolerant)
    return _Comparable(canonical_json([call.name, kept]), tuple(numbers), tuple(tolerances))


def _shown(value: Any, how: Comparator | None, is_tolerant: bool) -> Any:
    if how == "case_insensitive":
        return _folded(value)
    return _as_set(value) if how == "set" or (how is None and is_tolerant) else value


def _folded(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.casefold().split())
    return [_folded(item) for item in value] if isinstance(value, list) else value


def _as_set(value: Any) -> Any:
    if isinstance(value, list):
        if all(not isinstance(item, list | dict) for item in value):
            return sorted({canonical_json(item).decode() for item in value})
        return [_as_set(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_set(item) for key, item in value.items()}
    return value


def _apply_type(value: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        return {key: _apply_type(item, properties.get(key) or {}) for key, item in value.items()}
    if isinstance(value, list):
        items = schema.get("items") or {}
        return [_apply_type(item, items) for item in value]
    if isinstance(value, str) and schema.get("type") in ("integer", "number"):
        value = _number(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, str) and schema.get("type") == "boolean" and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value


def _number(text: str) -> Any:
    try:
        return float(text) if "e" in text.lower() or "." in text else int(text)
    except ValueError:
        return text

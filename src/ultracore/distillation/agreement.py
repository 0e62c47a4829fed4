"""When do two decisions agree? Written once, used by training, certificates, audits and reports.

*Strict* agreement gates and certifies: same tools and same arguments after normalisation by the
schema only (declared types, key order, 5 = 5.0, an omitted argument = its default, parallel calls
unordered). *Tolerant* agreement is printed beside it: lists of scalars compare as sets and
arguments that are free text are ignored. Which arguments are free text is inferred from the
teacher's own values or declared by the user, never by a built-in name. What this file does not
know: who made the calls.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ultracore.distillation.decisions import Decision
from ultracore.distillation.tools import Tool, ToolCall, canonical_json

__all__ = ["Comparators", "infer_free_text", "normalise", "same_kind", "same_tools", "strict", "tolerant"]


class Comparators(msgspec.Struct, frozen=True):
    """What tolerant agreement overlooks.

    Attributes:
        free_text: (tool, argument) pairs whose wording is not compared.
    """

    free_text: frozenset[tuple[str, str]] = frozenset()


def strict(a: Sequence[ToolCall], b: Sequence[ToolCall], tools: Iterable[Tool]) -> bool | None:
    """Whether two decisions are the same calls; two text replies agree, their wording is not compared.

    Args:
        a: Calls of one decider; none means a text reply.
        b: Calls of the other.
        tools: The tools that were offered; they normalise the arguments.

    Returns:
        `None` where the tools agree but the arguments of one side were not recorded.

    Example:
        >>> tool = Tool("f", parameters={"properties": {"n": {"type": "integer", "default": 1}}})
        >>> strict([ToolCall("f", {})], [ToolCall("f", {"n": 1.0})], [tool])
        True
    """
    return _agree(a, b, {tool.name: tool for tool in tools}, None)


def tolerant(
    a: Sequence[ToolCall], b: Sequence[ToolCall], tools: Iterable[Tool], comparators: Comparators
) -> bool | None:
    """As `strict`, but scalar lists compare as sets and free-text arguments are ignored."""
    return _agree(a, b, {tool.name: tool for tool in tools}, comparators)


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


def _agree(
    a: Sequence[ToolCall], b: Sequence[ToolCall], tools: Mapping[str, Tool], comparators: Comparators | None
) -> bool | None:
    if not same_tools(a, b):
        return False
    left, right = ([(c.name, _comparable(c, tools.get(c.name), comparators)) for c in calls] for calls in (a, b))
    known_left = sorted((n, v) for n, v in left if v is not None)
    known_right = sorted((n, v) for n, v in right if v is not None)
    if len(known_left) == len(left) and len(known_right) == len(right):
        return known_left == known_right
    return None


def _comparable(call: ToolCall, tool: Tool | None, comparators: Comparators | None) -> bytes | None:
    arguments = normalise(call, tool)
    if arguments is None:
        return None
    if comparators is not None:
        arguments = {
            name: _as_set(value) for name, value in arguments.items() if (call.name, name) not in comparators.free_text
        }
    return canonical_json(arguments)


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

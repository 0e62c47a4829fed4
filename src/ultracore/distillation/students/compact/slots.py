"""Slots: the places of a call that want a value, flattened from the schema.

Nested objects become one slot for each leaf; an array of scalars is a list slot; an array of objects
is one slot that has slots of its own for each element; anything else that has structure is one slot
whose candidates are whole values.
What this file does not know: where values come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgspec

from ultracore.distillation.students.compact.per_tool import PerTool
from ultracore.distillation.students.compact.transcript import key_of
from ultracore.distillation.tools import Tool

__all__ = ["ABSENT", "Slot", "assemble", "coerce", "slots_of", "value_at"]

MAX_DEPTH = 3

ELEMENT = "/[]"
"""Ends the names of what belongs to an element of an array."""

Kind = Literal["scalar", "list", "objects", "whole"]


class _Absent:
    """Stands for an argument that is left out, and for the end of a list."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()


class Slot(NamedTuple):
    """A place that wants a value.

    Attributes:
        key: `tool/path/to/argument`, unique.
        tool: The tool.
        path: Keys from the arguments object down.
        kind: scalar, list (of scalars), objects (an array of them) or whole (any structure).
        required: Whether a call without it is invalid.
        schema: JSON schema of the value (of the items, for a list).
        allowed: The enum's members, if any.
        items: Slots of an element of an array of objects; their paths are relative to the element.
        repeats: Whether it is asked again until it is left out: a list, or the first slot of an element.
    """

    key: str
    tool: str
    path: tuple[str, ...]
    kind: Kind
    required: bool
    schema: Mapping[str, Any]
    allowed: tuple[Any, ...] = ()
    items: tuple[Slot, ...] = ()
    repeats: bool = False

    @property
    def name(self) -> str:
        """The argument's own name."""
        return self.path[-1]

    @property
    def is_listed(self) -> bool:
        """Whether its value is one of a list, or of an element of an array."""
        return self.repeats or self.tool.endswith(ELEMENT)


def slots_of(tool: Tool) -> tuple[Slot, ...]:
    """The slots of a tool in schema order; none for a tool without a schema."""
    return _of_tool(tool)


@lru_cache(maxsize=4096)  # equal tools have the same slots: much is remembered by a slot's identity
def _slots(encoded: bytes) -> tuple[Slot, ...]:
    tool = msgspec.json.decode(encoded, type=Tool)
    return tuple(_flatten(tool.name, (), tool.properties, tool.required, True))


_of_tool: PerTool[tuple[Slot, ...]] = PerTool(lambda tool: _slots(msgspec.json.encode(tool)))


def _flatten(
    tool: str, path: tuple[str, ...], properties: Mapping[str, Any], required: frozenset[str], outer: bool
) -> list[Slot]:
    slots: list[Slot] = []
    for name, schema in properties.items():
        here, needed = (*path, name), outer and name in required
        inner = schema.get("properties")
        if isinstance(inner, Mapping) and inner and len(here) < MAX_DEPTH:
            names = schema.get("required")
            slots += _flatten(tool, here, inner, frozenset(names if isinstance(names, list) else ()), needed)
        else:
            slots.append(_slot(tool, here, schema, needed))
    return slots


def _slot(tool: str, path: tuple[str, ...], schema: Mapping[str, Any], required: bool) -> Slot:
    key, items = "/".join((tool, *path)), schema.get("items")
    if _is_type(schema, "array") and isinstance(items, Mapping):
        if not _is_structured(items):
            return Slot(key, tool, path, "list", required, items, _allowed(items), repeats=True)
        if elements := _element_slots(key, items):
            return Slot(key, tool, path, "objects", required, schema, items=elements)
    if _is_structured(schema):
        return Slot(key, tool, path, "whole", required, schema)
    return Slot(key, tool, path, "scalar", required, schema, _allowed(schema))


def _element_slots(key: str, items: Mapping[str, Any]) -> tuple[Slot, ...]:
    """Slots of an element, required ones first; none where an element is not made of scalars."""
    properties, names = items.get("properties"), items.get("required")
    if not isinstance(properties, Mapping) or not properties:
        return ()
    needed = frozenset(names if isinstance(names, list) else properties)
    flat = _flatten(key + ELEMENT, (), properties, needed, True)
    flat.sort(key=lambda slot: not slot.required)
    if any(slot.kind != "scalar" for slot in flat):
        return ()
    return (flat[0]._replace(repeats=True), *flat[1:])


def _allowed(schema: Mapping[str, Any]) -> tuple[Any, ...]:
    if isinstance(schema.get("enum"), list):
        return tuple(schema["enum"])
    if _is_type(schema, "boolean"):
        return (True, False)
    return (schema["const"],) if "const" in schema else ()


def _is_type(schema: Mapping[str, Any], name: str) -> bool:
    declared = schema.get("type")
    return declared == name or (isinstance(declared, list) and name in declared)


def _is_structured(schema: Mapping[str, Any]) -> bool:
    return _is_type(schema, "object") or _is_type(schema, "array") or "properties" in schema


def value_at(arguments: Mapping[str, Any], path: Sequence[str]) -> Any:
    """The value at a path, or `ABSENT`."""
    value: Any = arguments
    for step in path:
        if not isinstance(value, Mapping) or step not in value:
            return ABSENT
        value = value[step]
    return value


def assemble(filled: Mapping[Slot, Any] | Sequence[tuple[Slot, Any]]) -> dict[str, Any]:
    """The arguments object in which every slot has its value; absent ones are left out.

    Example:
        >>> slot = Slot("f/to/name", "f", ("to", "name"), "scalar", True, {})
        >>> assemble([(slot, "Ada")])
        {'to': {'name': 'Ada'}}
    """
    pairs = filled.items() if isinstance(filled, Mapping) else filled
    arguments: dict[str, Any] = {}
    for slot, value in pairs:
        if value is ABSENT:
            continue
        target = arguments
        for step in slot.path[:-1]:
            target = target.setdefault(step, {})
        target[slot.path[-1]] = value
    return arguments


def coerce(value: Any, schema: Mapping[str, Any]) -> Any:
    """The value in the type that the schema declares, or `ABSENT` if it cannot be.

    Example:
        >>> coerce("12", {"type": "integer"}), coerce(78750, {"type": "string"})
        (12, '78750')
    """
    declared = schema.get("type")
    kinds = declared if isinstance(declared, list) else [declared]
    if None in kinds or isinstance(value, dict | list):
        return value
    for kind in kinds:
        plain = _as_type(value, kind)
        if plain is not ABSENT:
            return plain
    return ABSENT


def _as_type(value: Any, kind: Any) -> Any:
    if kind == "string":
        return value if isinstance(value, str) else key_of(value)
    if kind == "boolean":
        return value if isinstance(value, bool) else {"true": True, "false": False}.get(str(value).lower(), ABSENT)
    if kind in ("integer", "number"):
        return _as_number(value, whole=kind == "integer")
    return value if kind != "null" else (None if value is None else ABSENT)


def _as_number(value: Any, *, whole: bool) -> Any:
    if isinstance(value, bool):
        return ABSENT
    if isinstance(value, str):
        try:
            value = float(value.replace(",", "")) if len(value) < 20 else ABSENT
        except ValueError:
            return ABSENT
    if not isinstance(value, int | float):
        return ABSENT
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if not whole or isinstance(value, int) else ABSENT

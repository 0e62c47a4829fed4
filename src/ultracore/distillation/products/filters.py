"""Filters as a mapping, made into a condition: columns are those of the contract, values are bound, never pasted.

What this file does not know: where the rows are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from ultracore.distillation.errors import EventError, ProductError
from ultracore.distillation.events.store import instant
from ultracore.distillation.products.contract import Column, Contract

__all__ = ["Condition", "condition_of", "parse_filters"]

OPERATORS = {"eq": "=", "ne": "<>", "gte": ">=", "gt": ">", "lte": "<=", "lt": "<"}
KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "timestamp": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
}
MAX_VALUES = 500


class Condition(NamedTuple):
    """SQL that begins with ` AND`, or nothing, and the values bound to it."""

    sql: str
    values: tuple[Any, ...]


def condition_of(filters: Mapping[str, Any] | None, contract: Contract) -> Condition:
    """What rows must be like.

    Args:
        filters: By column: a value, a list of which one must be it, `None` for nothing known, or operators:
            `{"gte": ..., "lte": ...}`, also `gt`, `lt`, `eq`, `ne` and `in`.
        contract: Whose columns.

    Raises:
        ProductError: A column, an operator or the type of a value is not what the contract knows.
    """
    sql = ""
    values: list[Any] = []
    for name, wanted in (filters or {}).items():
        column = contract.column(name)
        if column.name in contract.personal:
            raise ProductError(f"{name} is personal and sealed in the log: it cannot be filtered by")
        operators = wanted if isinstance(wanted, Mapping) else {"in" if _is_list(wanted) else "eq": wanted}
        for operator, value in operators.items():
            part = _compared(column, operator, value)
            sql += f" AND {part.sql}"
            values += part.values
    return Condition(sql, tuple(values))


def _compared(column: Column, operator: str, value: Any) -> Condition:
    if value is None and operator in ("eq", "ne"):
        return Condition(f"{column.name} IS {'NOT ' if operator == 'ne' else ''}NULL", ())
    if operator == "in" and _is_list(value):
        if len(value) > MAX_VALUES:
            raise ProductError(f"at most {MAX_VALUES} values for {column.name}, not {len(value)}")
        return Condition(f"{column.name} IN ({', '.join('?' * len(value))})", tuple(_value(column, v) for v in value))
    if operator not in OPERATORS:
        raise ProductError(f"{column.name}: no operator {operator!r}; there are: {', '.join([*OPERATORS, 'in'])}")
    return Condition(f"{column.name} {OPERATORS[operator]} ?", (_value(column, value),))


def _value(column: Column, value: Any) -> Any:
    kinds = KINDS[column.logical_type]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ProductError(f"{column.name} is compared with a {column.logical_type}, not with {value!r}")
    if not _is_storable(value):
        raise ProductError(f"{column.name}: no row can hold {value!r}")
    if column.logical_type != "timestamp":
        return value
    try:
        return instant(str(value))
    except EventError as error:
        raise ProductError(f"{column.name}: {error}") from None


def _is_storable(value: Any) -> bool:
    """Whole numbers of 64 bits, and text that has a UTF-8 form."""
    if isinstance(value, int):
        return abs(value) < 2**63
    try:
        return not isinstance(value, str) or bool(value.encode() or True)
    except UnicodeEncodeError:
        return False


def _is_list(value: Any) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)


def parse_filters(pairs: Iterable[tuple[str, str]], contract: Contract) -> dict[str, Any]:
    """Filters as a command line or a URL writes them: `agent_id=x`, `timestamp.gte=2026-11-01`, `success=true`.

    The same name twice means either value; `null` is nothing known.

    Raises:
        ProductError: A column or an operator is unknown, or a value is not of its type.
    """
    found: dict[str, Any] = {}
    for key, text in pairs:
        name, _, operator = key.partition(".")
        value = _read(contract.column(name), text)
        if operator:
            found.setdefault(name, {})
            if not isinstance(found[name], dict):
                raise ProductError(f"{name}: give a value, or operators such as {name}.gte, not both")
            found[name][operator] = value
        elif name in found:
            before = found[name]
            found[name] = [*before, value] if isinstance(before, list) else [before, value]
        else:
            found[name] = value
    return found


def _read(column: Column, text: str) -> Any:
    if text == "null":
        return None
    try:
        if column.logical_type == "boolean":
            return {"true": True, "false": False}[text.lower()]
        return {"number": float, "integer": int}.get(column.logical_type, str)(text)
    except (KeyError, ValueError):
        raise ProductError(f"{column.name} is a {column.logical_type}, which {text!r} is not") from None

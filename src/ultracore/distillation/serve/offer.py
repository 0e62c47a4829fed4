"""The tools of a request: read once for equal bytes, and safe to validate calls against.

A schema comes from a client and is data, never trusted: its size after references are followed is
bounded, references lead nowhere but into its own definitions, patterns are matched in linear time.
What cannot be checked within these bounds is not answered locally. What this file does not know:
students and certificates.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import msgspec

from ultracore.distillation.errors import DataError
from ultracore.distillation.events.base import Unchanging
from ultracore.distillation.serve.wire import RequestError, decode_json
from ultracore.distillation.tools import MAX_REF_DEPTH, Tool, ToolCall, canonical_json, parse_tool

__all__ = ["Offer", "invalid", "read_offer"]

MAX_TOOLS = 1024
"""OpenAI accepts 128; a few compatible servers accept more."""

MAX_BYTES = 512 * 1024
"""128 MCP tools take 100 to 200 KiB."""

MAX_NODES = 30_000
"""Schema nodes of all tools once references are followed: a walk of about 15 ms. 22 references in a row, each
of which branches in two, would be 4 million."""

MAX_ARGUMENT_BYTES = 64 * 1024


class Offer(msgspec.Struct, frozen=True):
    """The tools offered.

    Attributes:
        definitions: As they came; logged.
        tools: By name; empty where there is a `problem`.
        fingerprints: Of each tool, by name.
        problem: Why these tools cannot be handled locally, "" if they can.
    """

    definitions: list[dict[str, Any]] = []
    tools: dict[str, Tool] = {}
    fingerprints: dict[str, str] = {}
    problem: str = ""


def read_offer(raw: bytes) -> Offer:
    """Read the JSON of a request's `tools`.

    Raises:
        RequestError: 400; it is not a list of objects, or one of more than `MAX_TOOLS`.

    Example:
        >>> list(read_offer(b'[{"type": "function", "function": {"name": "f"}}]').tools)
        ['f']
    """
    return _read(raw) if len(raw) > MAX_BYTES else _read_cached(raw)


def invalid(call: ToolCall, tool: Tool) -> str:
    """Why the arguments of a call are not valid for a tool; "" if they are.

    A tool without a schema takes no arguments, as OpenAI defines it.

    Example:
        >>> invalid(ToolCall("f", {"n": "x"}), Tool("f", parameters={"properties": {"n": {"type": "integer"}}}))
        'n: does not satisfy type'
    """
    if call.arguments is None:
        return "the arguments are unknown"
    try:  # what is validated is what will be sent: NaN, for one, becomes null on the way
        encoded = canonical_json(call.arguments)
        arguments = msgspec.json.decode(encoded)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return "the arguments are not JSON"
    if not isinstance(arguments, dict) or len(encoded) > MAX_ARGUMENT_BYTES:
        return "the arguments are not an object, or too large"
    validator = _validator(canonical_json(tool.parameters))
    if validator is None:
        return "the schema of the tool cannot be checked"
    try:
        validator.validate(arguments)  # stops at the first error; a hostile schema can have thousands
    except jsonschema_rs.ValidationError as error:
        return f"{'.'.join(map(str, error.instance_path)) or 'arguments'}: does not satisfy {error.kind.name}"
    return ""


def _read(raw: bytes) -> Offer:
    definitions = decode_json(raw) if raw else None
    if definitions is None:
        return Offer()
    if not isinstance(definitions, list) or not all(isinstance(item, dict) for item in definitions):
        raise RequestError(400, "'tools' must be a list of objects", code="invalid_tools")
    if len(definitions) > MAX_TOOLS:
        raise RequestError(400, f"more than {MAX_TOOLS} tools", code="too_many_tools")
    if len(raw) > MAX_BYTES:
        return Offer(definitions, problem="the tools are too large")
    try:
        return _checked(definitions)
    except DataError as error:
        return Offer(definitions, problem=str(error))
    except (AttributeError, RecursionError, TypeError, ValueError):
        return Offer(definitions, problem="a tool's schema is malformed")


_read_cached = functools.lru_cache(maxsize=32)(_read)


def _checked(definitions: list[dict[str, Any]]) -> Offer:
    if any(item.get("type") != "function" for item in definitions):
        raise DataError("a tool that is not a function")
    tools = {tool.name: tool for tool in map(parse_tool, definitions)}
    if len(tools) < len(definitions):
        raise DataError("two tools of one name")
    left = MAX_NODES
    for tool in tools.values():
        left = _Walk(tool.parameters, left).left
        _ = tool.properties, tool.required  # what a student will ask; a malformed schema fails here, not there
    return Offer(Unchanging(definitions), tools, {name: tool.fingerprint for name, tool in tools.items()})


class _Walk:
    """Follows every branch of a schema as far as `tools.resolve` does, and no further than a budget of nodes.

    Attributes:
        left: What remains of the budget.
        plain: Whether all references lead into the schema's own definitions and end within `MAX_REF_DEPTH`.
    """

    def __init__(self, schema: Mapping[str, Any], budget: int) -> None:
        self.left = budget
        self.plain = True
        definitions = schema.get("$defs") or schema.get("definitions") or {}
        if not isinstance(definitions, Mapping):
            raise DataError("a tool's schema has definitions that are not an object")
        self._definitions = definitions
        self._visit(schema, 0)

    def _visit(self, node: Any, references: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise DataError("the tools' schemas are too large once their references are followed")
        if isinstance(node, list):
            for item in node:
                self._visit(item, references)
        elif isinstance(node, Mapping):
            for item in node.values():
                self._visit(item, references)
            self._follow(node, references)

    def _follow(self, node: Mapping[str, Any], references: int) -> None:
        if any(isinstance(node.get(key), str) for key in ("$dynamicRef", "$recursiveRef", "$id")):
            self.plain = False
        reference = node.get("$ref")
        if not isinstance(reference, str):
            return
        prefix, _, name = reference.rpartition("/")
        self.plain = self.plain and prefix in ("#/$defs", "#/definitions") and references < MAX_REF_DEPTH
        if references < MAX_REF_DEPTH and name in self._definitions:
            self._visit(self._definitions[name], references + 1)


@functools.lru_cache(maxsize=256)
def _validator(schema_json: bytes) -> jsonschema_rs.Validator | None:
    schema = msgspec.json.decode(schema_json) or {"type": "object", "additionalProperties": False}
    try:
        if not _Walk(schema, MAX_NODES).plain:
            return None
        return jsonschema_rs.validator_for(
            schema,
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 20),
        )
    except (DataError, ValueError):  # jsonschema-rs raises ValueError for bad schemas and unsupported patterns
        return None

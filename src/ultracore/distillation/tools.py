"""Tools and tool calls: one normal form for every way the field writes them down.

OpenAI's nested and flat definitions, Anthropic's `input_schema`, MCP's `inputSchema`, a bare
`{"name": ...}` and objects with a name all become `Tool`; arguments as a JSON string or as an
object become `ToolCall`. What this file does not know: conversations, and when two calls are equal
(`agreement`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from ultracore.distillation.errors import DataError

__all__ = [
    "LOCAL_CALL_PREFIX",
    "REPLY",
    "Tool",
    "ToolCall",
    "canonical_json",
    "fingerprint",
    "parse_call",
    "parse_tool",
    "shared",
]

REPLY = "(reply)"
"""The action of answering with text; not a legal tool name, so that it cannot collide with one."""

LOCAL_CALL_PREFIX = "call_distill_"
"""Begins the id of every call that a student sent; no importer reads such a call as a teacher's decision."""

MAX_REF_DEPTH = 8

SHARED = 4096
"""Tools that are kept to be shared."""


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes.

    Example:
        >>> canonical_json({"b": 1, "a": [True, None]})
        b'{"a":[true,null],"b":1}'
    """
    return msgspec.json.encode(value, order="sorted")


def fingerprint(value: Any) -> str:
    """The first 16 hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()[:16]


class Tool(msgspec.Struct, frozen=True):
    """A tool as it was offered.

    Attributes:
        name: What a call names.
        description: What the tool does, for a reader.
        parameters: JSON schema of the arguments object; `{}` where none was recorded.
        destructive: Whether it changes the world for good, where MCP annotations say; `None` where they do not.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    destructive: bool | None = None

    @property
    def properties(self) -> dict[str, dict[str, Any]]:
        """Schema of each argument, local references and `anyOf [..., null]` resolved."""
        definitions = self.parameters.get("$defs") or self.parameters.get("definitions") or {}
        properties = self.parameters.get("properties")
        if not isinstance(properties, dict):
            return {}
        return {name: resolve(schema, definitions) for name, schema in properties.items()}

    @property
    def required(self) -> frozenset[str]:
        """Names of the arguments that must be given."""
        required = self.parameters.get("required")
        return frozenset(required) if isinstance(required, list) else frozenset()

    @property
    def takes_arguments(self) -> bool:
        """Whether a call may carry arguments at all, or whether that is unknown."""
        return bool(self.properties) or not self.parameters

    @property
    def fingerprint(self) -> str:
        """Changes when the name, the description or the schema changes."""
        return fingerprint([self.name, self.description, self.parameters])

    def to_openai(self) -> dict[str, Any]:
        """The definition in OpenAI's nested form."""
        function: dict[str, Any] = {"name": self.name}
        if self.description:
            function["description"] = self.description
        if self.parameters:
            function["parameters"] = self.parameters
        return {"type": "function", "function": function}


class ToolCall(msgspec.Struct, frozen=True):
    """A call that somebody chose to make.

    Attributes:
        name: The tool.
        arguments: Argument values by name; `None` means that they were not recorded, never `{}`.
    """

    name: str
    arguments: dict[str, Any] | None = None


def parse_tool(value: Any) -> Tool:
    """Read a tool definition in any of the usual forms.

    Args:
        value: An OpenAI (nested, flat or legacy), Anthropic or MCP definition, a dict with at
            least `name`, a bare name, or an object with a `name` attribute.

    Raises:
        DataError: There is no usable name.

    Example:
        >>> parse_tool({"type": "function", "function": {"name": "search"}}).name
        'search'
    """
    if isinstance(value, Tool):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        value = {key: getattr(value, key, None) for key in ("name", "description", "parameters", "input_schema")}
    inner = value.get("function")
    source: Mapping[str, Any] = inner if isinstance(inner, Mapping) else value
    name = source.get("name")
    if not isinstance(name, str) or not name:
        raise DataError("a tool needs a name: a dict with 'name', or an OpenAI tool definition")
    schema = source.get("parameters") or source.get("input_schema") or source.get("inputSchema")
    return Tool(
        name=name,
        description=str(source.get("description") or ""),
        parameters=dict(schema) if isinstance(schema, Mapping) else {},
        destructive=_destructive(value.get("annotations") or source.get("annotations")),
    )


def shared(tool: Tool) -> Tool:
    """The one object for all equal tools: what students know of a tool is remembered by its identity.

    A log gives each decision tools of its own, ten thousands of objects where there are a dozen tools.
    """
    try:
        key = msgspec.json.encode(tool)
    except (TypeError, ValueError):  # a caller's own schema may hold what is no JSON
        return tool
    if len(_shared) >= SHARED:
        _shared.clear()
    return _shared.setdefault(key, tool)


_shared: dict[bytes, Tool] = {}


def _destructive(hints: Any) -> bool | None:
    """What MCP annotations say; where a tool is not read-only, their default is that it destroys."""
    if not isinstance(hints, Mapping):
        return None
    if hints.get("readOnlyHint") is True:
        return False
    said = hints.get("destructiveHint")
    if isinstance(said, bool):
        return said
    return True if hints.get("readOnlyHint") is False else None


def parse_call(value: Mapping[str, Any]) -> ToolCall:
    """Read a tool call: OpenAI's nested form, legacy `function_call`, or `{"name", "arguments"}`.

    Raises:
        DataError: There is no name, or the arguments are not a JSON object.

    Example:
        >>> parse_call({"function": {"name": "f", "arguments": '{"x": 1}'}}).arguments
        {'x': 1}
    """
    inner = value.get("function")
    source: Mapping[str, Any] = inner if isinstance(inner, Mapping) else value
    name = source.get("name")
    if not isinstance(name, str) or not name:
        raise DataError("a tool call without a function name")
    return ToolCall(name, _parse_arguments(source.get("arguments", source.get("input")), name))


def _parse_arguments(raw: Any, name: str) -> dict[str, Any] | None:
    if raw is None:
        return None
    if isinstance(raw, str):
        try:
            raw = msgspec.json.decode(raw or "{}")
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            raise DataError(f"the arguments of {name} are not JSON") from None
    if not isinstance(raw, Mapping):
        raise DataError(f"the arguments of {name} are not a JSON object")
    return dict(raw)


def resolve(schema: Any, definitions: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """Follow local `$ref`s and drop the null branch of `anyOf`; anything else stays as it is."""
    if not isinstance(schema, Mapping) or depth > MAX_REF_DEPTH:
        return {}
    out: dict[str, Any] = dict(schema)
    reference = out.pop("$ref", None)
    if isinstance(reference, str):
        out = {**resolve(definitions.get(reference.rsplit("/", 1)[-1], {}), definitions, depth + 1), **out}
    branches = out.pop("anyOf", None) or out.pop("oneOf", None)
    if isinstance(branches, list):
        real = [branch for branch in branches if isinstance(branch, Mapping) and branch.get("type") != "null"]
        out = {**(resolve(real[0], definitions, depth + 1) if real else {}), **out}
    if isinstance(out.get("items"), Mapping):
        out["items"] = resolve(out["items"], definitions, depth + 1)
    if isinstance(out.get("properties"), Mapping):
        out["properties"] = {k: resolve(v, definitions, depth + 1) for k, v in out["properties"].items()}
    return out
